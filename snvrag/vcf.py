"""Panels from VCF and BCF files, through htslib."""

from __future__ import annotations

import ctypes
import gzip
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import InputError
from .panel import Panel

_CHUNK_SITES = 1024
_NUCLEOTIDES = frozenset("ACGT")


@dataclass
class ReadReport:
    """What became of the records of a file.

    Attributes
    ----------
    path : str
        The file.
    num_records : int
        Records read.
    dropped : Counter
        Number of dropped records by reason.
    """

    path: str
    num_records: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kept = self.num_records - sum(self.dropped.values())
        text = f"{self.path}: {self.num_records} records, {kept} kept"
        if self.dropped:
            text += ", dropped: " + ", ".join(
                f"{count} {reason}" for reason, count in self.dropped.most_common()
            )
        return text


class _SiteBuffer:
    """Rows of site bits that grow in place: no second copy of a panel while it is read."""

    def __init__(self, num_haplotypes: int) -> None:
        self.alleles = np.empty((_CHUNK_SITES, num_haplotypes), np.uint8)
        self._filled = 0
        self._num_rows = 0
        self._bits = np.empty((_CHUNK_SITES, (num_haplotypes + 63) // 64), np.uint64)

    @property
    def next_row(self) -> NDArray[np.uint8]:
        row: NDArray[np.uint8] = self.alleles[self._filled]
        return row

    def keep_row(self) -> None:
        self._filled += 1
        if self._filled == _CHUNK_SITES:
            self._flush()

    def finish(self) -> NDArray[np.uint64]:
        self._flush()
        # Nothing else refers to the array, and numpy's own count is fooled by debuggers.
        self._bits.resize((self._num_rows, self._bits.shape[1]), refcheck=False)
        return self._bits

    def _flush(self) -> None:
        needed = self._num_rows + self._filled
        if needed > self._bits.shape[0]:
            rows = max(needed, self._bits.shape[0] + self._bits.shape[0] // 2)
            self._bits.resize((rows, self._bits.shape[1]), refcheck=False)
        self._bits[self._num_rows : needed] = _core.pack_rows(self.alleles[: self._filled])
        self._num_rows = needed
        self._filled = 0


# The empty block that ends every bgzipped file (SAM specification, 4.1.2).
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@contextmanager
def _quiet_htslib() -> Iterator[None]:
    """Keep htslib's own lines off standard error: what it finds becomes one line of ours."""
    import cyvcf2

    library = ctypes.CDLL(cyvcf2.cyvcf2.__file__)
    before = library.hts_get_log_level()
    library.hts_set_log_level(0)
    try:
        yield
    finally:
        library.hts_set_log_level(before)


def _check_format(path: str) -> None:
    """Refuse what is no VCF or BCF, or is cut off, before htslib is asked."""
    try:
        with open(path, "rb") as raw:
            head = raw.read(18)
            magic = head[:2]
            raw.seek(0, 2)
            raw.seek(max(0, raw.tell() - len(_BGZF_END)))
            end = raw.read()
        if head[12:14] == b"BC" and magic == b"\x1f\x8b" and end != _BGZF_END:
            raise InputError(
                f"{path}: truncated, the mark at the end of a bgzipped file is missing"
            )
        opener: Any = gzip.open if magic == b"\x1f\x8b" else open
        with opener(path, "rb") as stream:
            start = stream.read(16)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, not a VCF or BCF file") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from error
    if not start.startswith((b"##fileformat=VCF", b"BCF\x02")):
        raise InputError(f"{path}: not a VCF or BCF file")


def _open(path: str, region: str | None) -> tuple[list[str], Iterator[Any]]:
    import cyvcf2

    try:
        reader = cyvcf2.VCF(path, gts012=False, strict_gt=False)
    except Exception as error:  # cyvcf2 raises bare Exception for a header it cannot read
        raise InputError(f"{path}: not a readable VCF or BCF file ({error})") from error
    samples = list(reader.samples)
    if not samples:
        raise InputError(f"{path}: no samples")
    if len(set(samples)) != len(samples):
        twice = next(name for name, count in Counter(samples).items() if count > 1)
        raise InputError(f"{path}: sample {twice} stands twice in the header")
    if region is None:
        return samples, iter(reader)
    if not any(Path(path + suffix).exists() for suffix in (".tbi", ".csi")):
        raise InputError(f"{path}: --region needs an index: run 'bcftools index {path}'")
    chrom = region.rpartition(":")[0] if re.fullmatch(r".+:[\d,]+(-[\d,]*)?", region) else region
    if chrom not in reader.seqnames:
        raise InputError(
            f"--region {region}: {path} has no chromosome {chrom} (it has "
            f"{', '.join(reader.seqnames[:5])}{', ...' if len(reader.seqnames) > 5 else ''})"
        )
    return samples, _records_of(reader, region)


def _records_of(reader: Any, region: str) -> Iterator[Any]:
    """Yield a region's records; an empty region is no reason for a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield from reader(region)


def read_panel(path: str | Path, *, region: str | None = None) -> tuple[Panel, ReadReport]:
    """Read phased biallelic SNVs of diploid samples from one chromosome.

    One rule for each kind of record that is not that: a record with several ALT alleles, one that
    is not an SNV, one with a missing genotype, and one whose position and alleles were there before
    are dropped and counted; an unphased heterozygote, a call of another ploidy, a second chromosome
    and a position that descends are refused. Unphased homozygotes are phased by nature.

    Parameters
    ----------
    path : str or Path
        VCF or BCF, plain or bgzipped.
    region : str, optional
        ``chrom`` or ``chrom:first-last`` (1-based, inclusive); the file needs an index.

    Returns
    -------
    Panel, ReadReport
        Memory: one bit an allele, and a buffer of 1,024 sites.

    Raises
    ------
    InputError
        If the file cannot be read or is refused, or if nothing is left.
    """
    path = str(path)
    _check_format(path)
    with _quiet_htslib():
        return _read_panel(path, region)


def _read_panel(path: str, region: str | None) -> tuple[Panel, ReadReport]:
    samples, records = _open(path, region)
    report = ReadReport(path)
    buffer = _SiteBuffer(2 * len(samples))
    chrom: str | None = None
    positions: list[int] = []
    alleles: list[tuple[str, str]] = []
    here: set[tuple[str, str]] = set()
    last_position = 0
    try:
        for record in records:
            report.num_records += 1
            position = int(record.POS)
            if chrom is None:
                chrom = str(record.CHROM)
            elif chrom != record.CHROM:
                raise InputError(
                    f"{path}: two chromosomes, {chrom} and {record.CHROM}: choose one by --region"
                )
            if position < last_position:
                raise InputError(
                    f"{path}: not sorted, {chrom}:{position} comes after {chrom}:{last_position}: "
                    "run 'bcftools sort'"
                )
            if position > last_position:
                here.clear()
            last_position = position
            reason = _read_record(path, record, samples, buffer, here)
            if reason is not None:
                report.dropped[reason] += 1
                continue
            pair = (record.REF.upper(), record.ALT[0].upper())
            here.add(pair)
            buffer.keep_row()
            positions.append(position)
            alleles.append(pair)
    except InputError:
        raise
    except Exception as error:  # htslib's errors come as bare Exception
        raise InputError(f"{path}: damaged after {report.num_records} records ({error})") from error
    if not positions or chrom is None:
        where = f" in {region}" if region else ""
        raise InputError(f"{path}: no phased biallelic SNV left{where} ({report})")
    panel = Panel(
        chrom=chrom,
        position=np.array(positions, np.int64),
        alleles=np.array(alleles, "U1"),
        samples=tuple(samples),
        site_bits=buffer.finish(),
    )
    return panel, report


def _read_record(
    path: str, record: Any, samples: list[str], buffer: _SiteBuffer, here: set[tuple[str, str]]
) -> str | None:
    """Write a record's alleles to the buffer's next row; return why it is dropped, or None."""
    alts = record.ALT
    if len(alts) > 1:
        return "multi-allelic"
    ref, alt = record.REF.upper(), alts[0].upper() if alts else "."
    if ref not in _NUCLEOTIDES or alt not in _NUCLEOTIDES:
        return "not an SNV"
    if (ref, alt) in here:
        return "duplicate"
    place = f"{record.CHROM}:{record.POS}"
    if "GT" not in record.FORMAT:
        raise InputError(f"{path}: no genotypes (FORMAT/GT) at {place}")
    calls = record.genotype.array()
    if calls.shape[1] != 3:
        if _has_empty_call(calls):
            return "missing genotype"
        raise InputError(
            f"{path}: calls of {calls.shape[1] - 1} alleles at {place}, expected diploid samples"
        )
    unphased, haploid, missing, _, highest = _core.read_genotypes(calls, buffer.next_row)
    if missing and _has_empty_call(calls):
        return "missing genotype"
    if haploid >= 0:
        raise InputError(
            f"{path}: haploid genotype of sample {samples[haploid]} at {place}, expected diploid "
            "samples: leave them out, e.g. with 'bcftools view -S'"
        )
    if unphased >= 0:
        raise InputError(
            f"{path}: unphased genotype of sample {samples[unphased]} at {place}: phase the file "
            "first (Beagle, Eagle or SHAPEIT)"
        )
    if highest > 1:
        return "multi-allelic"
    if missing:
        return "missing genotype"
    return None


def _has_empty_call(calls: NDArray[np.int16]) -> bool:
    """Tell whether a sample has no allele at all, be it written ``.|.`` or ``.``."""
    return bool((calls[:, :-1] < 0).all(axis=1).any())
