"""Imputed files: records of GT, DS, HDS and GP, through htslib, whole or not at all."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .atomic import flush_folder, printable
from .vcf import _BGZF_END as BGZF_END

# Dosages and probabilities are written, and held, in thousandths.
SCALE = 1000

_MODES = {".vcf.gz": "wz", ".bcf": "wb", ".vcf": "w"}
# A .tbi index ends at 2**29 bp.
_TBI_LIMIT_BP = 1 << 29
_CSI_MIN_SHIFT = 14
# Text of a sample: tab, GT, and six numbers of at most five letters with what parts them.
_CELL = 4 + 6 * 6
_TEXT_BYTES = 32 << 20
# More than a record's columns before those of the samples.
_END_BYTES = 4096

_HEADER = """\
##fileformat=VCFv4.2
##source=snvrag {version}
##snvragCommand={command}
##snvragModelSHA256={model}
##contig=<ID={chrom}{length}>
##FILTER=<ID=PASS,Description="All filters passed">
##INFO=<ID=AF,Number=A,Type=Float,Description="ALT frequency in the samples, the mean of HDS">
##INFO=<ID=DR2,Number=A,Type=Float,Description="Estimated squared correlation of imputed and true \
alleles: variance of HDS over AF * (1 - AF), 0 where AF is 0 or 1">
##INFO=<ID=IMP,Number=0,Type=Flag,Description="Imputed: the target has no such site">
##INFO=<ID=TYPED,Number=0,Type=Flag,Description="Typed: the target has the site; its missing \
alleles are imputed">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype, the most probable of GP">
##FORMAT=<ID=DS,Number=A,Type=Float,Description="Expected number of ALT alleles, the sum of HDS">
##FORMAT=<ID=HDS,Number=.,Type=Float,Description="Probability of ALT on each haplotype">
##FORMAT=<ID=GP,Number=G,Type=Float,Description="Probabilities of the genotypes, the haplotypes' \
multiplied">
"""


@dataclass(frozen=True)
class Provenance:
    """Where an imputed file comes from, for its header."""

    version: str
    command: str
    model_sha256: str


def check_output(path: str | Path, *, overwrite: bool) -> str:
    """Return the suffix that tells a file's format: ``.vcf.gz``, ``.bcf`` or ``.vcf``.

    Raises
    ------
    InputError
        If it is another one, and if the file may not be written there.
    """
    path = Path(path)
    kind = next((suffix for suffix in _MODES if path.name.endswith(suffix)), None)
    if kind is None:
        raise InputError(f"--output {path}: must end in .vcf.gz, .bcf or .vcf")
    if printable(str(path)) != str(path):
        raise InputError(f"--output {printable(str(path))}: must be UTF-8, for htslib")
    if path.is_dir():
        raise InputError(f"--output {path}: is a folder")
    if not path.parent.is_dir():
        raise InputError(f"--output {path}: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise InputError(f"--output {path}: is there already: give another name or --overwrite")
    return kind


def genotype_probabilities(
    hap_dosage: NDArray[np.uint16],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the genotypes' probabilities and the phased genotype from the haplotypes' dosages.

    Parameters
    ----------
    hap_dosage : (..., 2) uint16
        Probability of ALT on each haplotype, in thousandths.

    Returns
    -------
    (..., 3) int64
        Of 0, 1 and 2 ALT alleles, in thousandths, which sum to 1,000.
    (..., 2) bool
        Where the most probable genotype (the fewer ALT at ties) has ALT; that of a heterozygote is
        on the haplotype of the higher dosage, on the first at a tie.
    """
    first, second = hap_dosage[..., 0].astype(np.int64), hap_dosage[..., 1].astype(np.int64)
    both = (first * second + SCALE // 2) // SCALE
    none = ((SCALE - first) * (SCALE - second) + SCALE // 2) // SCALE
    probabilities = np.stack([none, SCALE - none - both, both], axis=-1)
    genotype = probabilities.argmax(axis=-1)
    on_first = (genotype == 2) | ((genotype == 1) & (first >= second))
    on_second = (genotype == 2) | ((genotype == 1) & (first < second))
    return probabilities, np.stack([on_first, on_second], axis=-1)


def site_statistics(
    hap_dosage: NDArray[np.uint16], haploid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return AF and DR2 of each site.

    With h the probability of ALT of a haplotype, AF = mean(h) and DR2 = (mean(h^2) - AF^2) /
    (AF (1 - AF)): the variance of what was imputed over that which known alleles of this frequency
    would have. It is the Rsq of Minimac (Das et al., Nature Genetics 48:1284, 2016), after MaCH (Li
    et al., Genetic Epidemiology 34:816, 2010). 0 where AF is 0 or 1.

    Parameters
    ----------
    hap_dosage : (n, T, 2) uint16
        In thousandths.
    haploid : (T,) bool
        Samples of which only the first haplotype counts.

    Returns
    -------
    (n,) float64, (n,) float64
    """
    counted = np.ones((haploid.size, 2), bool)
    counted[haploid, 1] = False
    h = hap_dosage[:, counted].astype(np.float64) / SCALE
    af = h.mean(axis=1)
    expected = af * (1 - af)
    known = expected > 0
    variance = np.maximum((h * h).mean(axis=1) - af * af, 0)
    return af, np.divide(variance, expected, out=np.zeros_like(af), where=known).clip(0, 1)


class ImputedWriter:
    """Writes an imputed VCF or BCF and its index; under its final name only when all is well.

    To be used as a context manager: what is left by an error is removed.

    Parameters
    ----------
    path : str or Path
        Ends in ``.vcf.gz`` (bgzipped, indexed), ``.bcf`` (indexed) or ``.vcf``.
    samples : sequence of str
    haploid : (T,) bool
        Samples with one allele.
    chrom : str
    contig_length : int, optional
        In bp.
    provenance : Provenance
    overwrite : bool
        Whether a file of that name may be replaced.
    threads : int
        That compress.

    Raises
    ------
    InputError
        If the file is there, or cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        samples: Sequence[str],
        haploid: NDArray[np.bool_],
        *,
        chrom: str,
        contig_length: int | None,
        provenance: Provenance,
        overwrite: bool = False,
        threads: int = 1,
    ) -> None:
        self.path = Path(path)
        self.kind = check_output(path, overwrite=overwrite)
        self._haploid = haploid
        self._chrom = chrom
        self._contig_length = contig_length or 0
        self._last_position = 0
        self._threads = threads
        columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
        self._num_columns = len(columns) + len(samples)
        self._header = _HEADER.format(
            version=provenance.version,
            command=printable(" ".join(provenance.command.split())),
            model=provenance.model_sha256,
            chrom=chrom,
            length=f",length={contig_length}" if contig_length else "",
        ) + "\t".join([*columns, *samples])
        self._folder: Path | None = None
        self._writer: Any = None

    def __enter__(self) -> ImputedWriter:
        import cyvcf2

        try:
            folder = tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        except OSError as error:
            raise self._unwritable(error.strerror or error) from error
        self._folder = Path(folder)
        self._temporary = self._folder / f"imputed{self.kind}"
        try:
            self._writer = cyvcf2.Writer.from_string(
                str(self._temporary), self._header + "\n", _MODES[self.kind]
            )
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise
        if self._threads > 1:
            self._writer.set_threads(self._threads)
        self._writer.write_header()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._folder is not None
        try:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def write(
        self,
        position: NDArray[np.int64],
        ids: Sequence[str],
        alleles: NDArray[np.str_],
        typed: NDArray[np.bool_],
        hap_dosage: NDArray[np.uint16],
    ) -> None:
        """Write records of consecutive sites.

        Parameters
        ----------
        position : (n,) int64
            Not before those of the last call.
        ids : n str
            "." for none.
        alleles : (n, 2) str
        typed : (n,) bool
        hap_dosage : (n, T, 2) uint16
            Probability of ALT of each haplotype, in thousandths; of a haploid sample the first
            counts.
        """
        at_once = max(1, _TEXT_BYTES // (_CELL * max(1, self._haploid.size)))
        for start in range(0, position.size, at_once):
            part = slice(start, start + at_once)
            self._write(position[part], ids[part], alleles[part], typed[part], hap_dosage[part])
        if position.size:
            self._last_position = int(position[-1])

    def _write(
        self,
        position: NDArray[np.int64],
        ids: Sequence[str],
        alleles: NDArray[np.str_],
        typed: NDArray[np.bool_],
        hap_dosage: NDArray[np.uint16],
    ) -> None:
        cells = sample_columns(hap_dosage, self._haploid)
        af, dr2 = site_statistics(hap_dosage, self._haploid)
        rows = zip(
            position.tolist(), ids, alleles.tolist(), typed.tolist(), af.tolist(), dr2.tolist(),
            cells, strict=True,
        )  # fmt: skip
        for place, name, (ref, alt), is_typed, frequency, r2, text in rows:
            record = (
                f"{self._chrom}\t{place}\t{name}\t{ref}\t{alt}\t.\tPASS\t"
                f"AF={frequency:.6g};DR2={r2:.4g};{'TYPED' if is_typed else 'IMP'}\tGT:DS:HDS:GP"
            )
            variant = self._writer.variant_from_string(record + text)
            if self._writer.write_record(variant) != 0:
                raise self._unwritable("disk full?")

    def _publish(self) -> None:
        """Index the file and give it its name."""
        with open(self._temporary, "rb") as stream:
            os.fsync(stream.fileno())
            tail = _END_BYTES + _CELL * self._haploid.size
            stream.seek(-min(tail, os.fstat(stream.fileno()).st_size), os.SEEK_END)
            end = stream.read()
        # cyvcf2 says nothing of an error at closing, when the last bytes are written.
        if self.kind == ".vcf":
            last = end[:-1].rpartition(b"\n")[2].split(b"\t")
            is_whole = end.endswith(b"\n") and (
                self._last_position == 0
                or (len(last) == self._num_columns and int(last[1]) == self._last_position)
            )
        else:
            is_whole = end.endswith(BGZF_END)
        if not is_whole:
            raise self._unwritable("disk full?")
        if self.kind != ".vcf":
            long = max(self._contig_length, self._last_position) >= _TBI_LIMIT_BP
            use_csi = self.kind == ".bcf" or long
            index = ".csi" if use_csi else ".tbi"
            _build_index(self._temporary, _CSI_MIN_SHIFT if use_csi else 0)
            # An index of what is replaced would be taken for one of this.
            for suffix in (".tbi", ".csi"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            os.replace(f"{self._temporary}{index}", f"{self.path}{index}")
        os.replace(self._temporary, self.path)
        flush_folder(self.path.parent)

    def _unwritable(self, reason: object) -> InputError:
        return InputError(f"--output {self.path}: cannot be written ({reason})")


def sample_columns(hap_dosage: NDArray[np.uint16], haploid: NDArray[np.bool_]) -> list[str]:
    """Return the text of all samples' columns of each site, ``GT:DS:HDS:GP`` each after a tab.

    Parameters
    ----------
    hap_dosage : (n, T, 2) uint16
        In thousandths.
    haploid : (T,) bool

    Returns
    -------
    n str

    Notes
    -----
    All cells are laid out at once in an array of bytes of equal width, from which the padding is
    then dropped: a record costs no formatting in Python.
    """
    n, num_samples, _ = hap_dosage.shape
    cells = np.zeros((n, num_samples, _CELL), np.uint8)
    cells[:, ~haploid] = _diploid_cells(hap_dosage[:, ~haploid])
    cells[:, haploid] = _haploid_cells(hap_dosage[:, haploid, 0])
    table = cells.reshape(n, num_samples * _CELL)
    used = table != 0
    ends = used.sum(axis=1).cumsum().tolist()
    text = table[used].tobytes().decode("ascii")
    return [text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _numbers() -> NDArray[np.uint8]:
    """(2 * SCALE + 1, 5): the text of every number of thousandths, padded by zero bytes."""
    texts = [f"{n / SCALE:g}".encode().ljust(5, b"\0") for n in range(2 * SCALE + 1)]
    return np.frombuffer(b"".join(texts), np.uint8).reshape(-1, 5)


_NUMBERS = _numbers()


def _lay_out(
    cells: NDArray[np.uint8], at: int, columns: Sequence[tuple[str, NDArray[np.integer[Any]]]]
) -> None:
    """Write numbers, each after its mark, from a column of the cells on."""
    for mark, values in columns:
        cells[..., at] = ord(mark)
        cells[..., at + 1 : at + 6] = _NUMBERS[values]
        at += 6


def _diploid_cells(hap_dosage: NDArray[np.uint16]) -> NDArray[np.uint8]:
    probabilities, alt = genotype_probabilities(hap_dosage)
    first, second = hap_dosage[..., 0], hap_dosage[..., 1]
    none, one, both = np.moveaxis(probabilities, -1, 0)
    cells = np.zeros((*first.shape, _CELL), np.uint8)
    cells[..., 0] = ord("\t")
    cells[..., 1] = ord("0") + alt[..., 0]
    cells[..., 2] = ord("|")
    cells[..., 3] = ord("0") + alt[..., 1]
    columns = [(":", first + second), (":", first), (",", second)]
    _lay_out(cells, 4, [*columns, (":", none), (",", one), (",", both)])
    return cells


def _haploid_cells(dosage: NDArray[np.uint16]) -> NDArray[np.uint8]:
    cells = np.zeros((*dosage.shape, _CELL), np.uint8)
    cells[..., 0] = ord("\t")
    cells[..., 1] = ord("0") + (2 * dosage > SCALE)
    _lay_out(cells, 4, [(":", dosage), (":", dosage), (":", SCALE - dosage), (",", dosage)])
    return cells


def _build_index(path: Path, min_shift: int) -> None:
    """Index a bgzipped VCF (min_shift 0: .tbi) or a BCF by the htslib that cyvcf2 carries."""
    import cyvcf2

    library = ctypes.CDLL(cyvcf2.cyvcf2.__file__)
    if library.bcf_index_build3(os.fsencode(path), None, min_shift, 1) != 0:
        raise InputError(f"{path}: cannot be indexed")
