"""Writing VCF and BCF files, with their index."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, printable, reason
from . import htslib
from .atomic import flush_folder
from .imputed_columns import CELL_BYTES

if TYPE_CHECKING:
    from typing_extensions import Self

# For `VcfWriter`: the header line of phase sets.
PHASE_SET_FIELD = """\
##FORMAT=<ID=PS,Number=1,Type=Integer,Description="Phase set: the position of its first \
heterozygote. Genotypes of a sample are phased with those of the same set">
"""

# A .tbi index has positions up to 2**29.
_TBI_LIMIT_BP = 1 << 29
_CSI_MIN_SHIFT = 14
# Text of records that is made at once.
_TEXT_BYTES = 32 << 20
# More than the length of a record's columns before the samples.
_FIXED_BYTES = 4096

_HEADER = """\
##fileformat=VCFv4.2
##source=snvrag {version}
##snvragCommand={command}
{origin}
##contig=<ID={chrom}{length}>
##FILTER=<ID=PASS,Description="All filters passed">
{fields}"""


@dataclass(frozen=True)
class Provenance:
    """Origin of a file, for its header.

    ``model_sha256`` is that of the model file, "" where the model was learned from the panel;
    ``learned`` then says what.
    """

    version: str
    command: str
    model_sha256: str = ""
    learned: str = ""

    @property
    def model_line(self) -> str:
        """The header line of the model."""
        if self.model_sha256:
            return f"##snvragModelSHA256={self.model_sha256}"
        return f"##snvragLearned={self.learned}"


def check_output(path: str | Path, *, overwrite: bool) -> str:
    """Return the format of a file to write by its suffix: ``.vcf.gz``, ``.bcf`` or ``.vcf``.

    Raises
    ------
    InputError
        If the suffix is another one, or the file cannot be written there: its folder is missing, or
        it exists and ``overwrite`` is False.
    """
    path = Path(path)
    kind = next((suffix for suffix in _KINDS if path.name.endswith(suffix)), None)
    if kind is None:
        raise _refusal(path, "must end in .vcf.gz, .bcf or .vcf")
    if printable(str(path)) != str(path):
        raise _refusal(printable(str(path)), "must be UTF-8, for htslib")
    check_place(path, "output", overwrite=overwrite)
    return kind


def check_place(path: Path, argument: str, *, overwrite: bool) -> None:
    """Refuse, by an InputError, to write where it is not possible or not allowed."""
    if path.is_dir():
        problem = "is a folder"
    elif not path.parent.is_dir():
        problem = f"there is no folder {path.parent}"
    elif path.exists() and not overwrite:
        problem = "already exists: give another name or allow overwriting"
    else:
        return
    raise InputError(problem, argument=argument, path=path)


def _refusal(path: str | Path, message: str) -> InputError:
    return InputError(message, argument="output", path=path)


class VcfWriter:
    """Writes a VCF or BCF and its index, which get their names once they are complete.

    It is a context manager. After an error no file is left, and an old file stays as it was. What
    the records hold is up to a class that derives from it.

    Parameters
    ----------
    path : str or Path
        Ends in ``.vcf.gz`` (bgzipped, indexed), ``.bcf`` (indexed) or ``.vcf``. An existing file is
        replaced: see `check_output`. InputError if it cannot be written.
    samples : T str
    haploid : (T,) bool
        Samples with one allele.
    chrom : str
    contig_length : int, optional
        In bp.
    provenance : Provenance
    fields : str
        Header lines of INFO and FORMAT.
    threads : int
        Number of threads that compress.
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
        fields: str,
        threads: int = 1,
    ) -> None:
        self.path = Path(path)
        self.kind = check_output(path, overwrite=True)
        self._haploid = haploid
        self._chrom = chrom
        self._contig_length = contig_length or 0
        self._last_position = 0
        self._threads = threads
        columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
        self._num_columns = len(columns) + len(samples)
        self._header = (
            _HEADER.format(
                version=provenance.version,
                command=printable(" ".join(provenance.command.split())),
                origin=printable(provenance.model_line),
                chrom=chrom,
                length=f",length={contig_length}" if contig_length else "",
                fields=fields,
            )
            + "\t".join([*columns, *samples])
            + "\n"
        )
        self._folder: Path | None = None
        self._file: Any = None

    def __enter__(self) -> Self:
        try:
            folder = tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            self._folder = Path(folder)
            self._temporary = self._folder / f"written{self.kind}"
            self._file = _KINDS[self.kind](self._temporary, self._header, self._threads)
        except BaseException as error:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._folder is not None
        assert self._file is not None
        try:
            try:
                self._file.close()
            except OSError as unwritten:
                if kind is None:
                    raise self._unwritable(unwritten) from unwritten
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write_records(
        self, position: NDArray[np.int64], lines_of: Callable[[slice], bytes]
    ) -> None:
        """Write records at ascending positions, also across calls, a part at a time.

        ``lines_of`` returns the text of a part of them.
        """
        assert self._file is not None
        num_at_once = max(1, _TEXT_BYTES // (CELL_BYTES * max(1, self._haploid.size)))
        for start in range(0, position.size, num_at_once):
            part = slice(start, start + num_at_once)
            lines = lines_of(part)
            try:
                self._file.write(lines)
            except OSError as error:
                raise self._unwritable(error) from error
            self._last_position = int(position[part][-1])

    def _publish(self) -> None:
        """Check that the file is complete, index it and rename it."""
        with open(self._temporary, "rb") as stream:
            os.fsync(stream.fileno())
            tail = _FIXED_BYTES + CELL_BYTES * self._haploid.size
            stream.seek(-min(tail, os.fstat(stream.fileno()).st_size), os.SEEK_END)
            end = stream.read()
        # cyvcf2 reports no error of closing a BCF, when the last bytes are written.
        if self.kind == ".vcf":
            last = end[:-1].rpartition(b"\n")[2].split(b"\t")
            is_complete = end.endswith(b"\n") and (
                self._last_position == 0
                or (len(last) == self._num_columns and int(last[1]) == self._last_position)
            )
        else:
            is_complete = end.endswith(htslib.BGZF_END)
        if not is_complete:
            raise self._unwritable(OSError("disk full?"))
        if self.kind != ".vcf":
            long = max(self._contig_length, self._last_position) >= _TBI_LIMIT_BP
            use_csi = self.kind == ".bcf" or long
            index = ".csi" if use_csi else ".tbi"
            htslib.build_index(self._temporary, _CSI_MIN_SHIFT if use_csi else 0)
            # htslib would take an index of the replaced file for one of this.
            for suffix in (".tbi", ".csi"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            os.replace(f"{self._temporary}{index}", f"{self.path}{index}")
        os.replace(self._temporary, self.path)
        flush_folder(self.path.parent)

    def _unwritable(self, error: OSError) -> InputError:
        return _refusal(self.path, f"cannot be written ({reason(error)})")


class _TextFile:
    """A plain VCF."""

    def __init__(self, path: Path, header: str, threads: int) -> None:  # noqa: ARG002
        self._stream = open(path, "wb")  # noqa: SIM115
        self.write = self._stream.write
        self.close = self._stream.close
        self.write(header.encode())


class _BgzippedFile(htslib.BgzfFile):
    """A bgzipped VCF."""

    def __init__(self, path: Path, header: str, threads: int) -> None:
        super().__init__(path, threads)
        self.write(header.encode())


class _BcfFile:
    """A BCF, made by htslib of the same text."""

    def __init__(self, path: Path, header: str, threads: int) -> None:
        import cyvcf2

        self._writer: Any = cyvcf2.Writer.from_string(str(path), header, "wb")
        if threads > 1:
            self._writer.set_threads(threads)
        self._writer.write_header()
        self.close = self._writer.close

    def write(self, lines: bytes) -> None:
        for line in lines.decode().splitlines():
            if self._writer.write_record(self._writer.variant_from_string(line)) != 0:
                raise OSError("disk full?")


_KINDS: dict[str, Any] = {".vcf.gz": _BgzippedFile, ".bcf": _BcfFile, ".vcf": _TextFile}
