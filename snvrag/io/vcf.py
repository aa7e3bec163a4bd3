"""Records of VCF and BCF files, through cyvcf2."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, one_line, printable, unreadable
from ..panel.regions import Region
from . import htslib
from .records import Record, checked_samples

# BCF's code of a missing integer, which texts that are missing become, too.
_NO_PHASE_SET = -(2**31)


class VcfSource:
    """Records of a VCF or BCF, plain, gzipped or bgzipped.

    A region needs an index.

    Raises
    ------
    InputError
        If the file is not a VCF or BCF, is truncated, or lacks the region's chromosome or an index.
    """

    def __init__(self, path: str, region: Region | None = None) -> None:
        self.path = path
        is_bcf = _check_format(path)
        with self.quiet():
            self._open(region)
            # Through an index, htslib reads only lines whose chromosome it knows.
            self._guard = None if is_bcf or region else self._guard_lines()

    def _open(self, region: Region | None) -> None:
        import cyvcf2

        path = self.path
        if printable(path) != path:
            raise InputError("its name must be UTF-8, for htslib", path=printable(path))
        try:
            self._reader = cyvcf2.VCF(path, gts012=False, strict_gt=False)
            samples = list(self._reader.samples)
            self._header = str(self._reader.raw_header)
            self._has_phase_sets = "##FORMAT=<ID=PS," in self._header
        except Exception as error:  # cyvcf2 raises bare Exception for a header it cannot read
            raise self._error(f"not a readable VCF or BCF file ({one_line(error)})") from error
        self.samples = checked_samples(samples, path)
        self._records = iter(self._reader) if region is None else self._records_of(region)

    def _error(self, message: str) -> InputError:
        return InputError(message, path=self.path)

    def _guard_lines(self) -> htslib.LineGuard:
        def add_chrom(name: str) -> None:
            if name not in chroms:
                self._reader.add_to_header(f"##contig=<ID={name}>")

        chroms = set(self._reader.seqnames)
        return htslib.LineGuard(self.path, add_chrom)

    def _records_of(self, region: Region) -> Iterator[Any]:
        path, reader = self.path, self._reader
        if not any(Path(path + suffix).exists() for suffix in (".tbi", ".csi")):
            raise self._error(f"a region needs an index: run 'bcftools index {path}'")
        return iter(reader(region.within(path, reader.seqnames).text))

    def records(self) -> Iterator[Record]:
        """Yield the records in file order."""
        count = 0
        try:
            while self._guard is None or self._guard.has_record(count):
                record = next(self._records, None)
                if record is None:
                    return
                count += 1
                yield record.CHROM, record.POS, record.ID, record.REF, record.ALT, record
        except InputError:
            raise
        except Exception as error:  # htslib's errors come as bare Exception
            raise self._error(f"damaged after {count} records ({one_line(error)})") from error

    def codes(self, handle: Any) -> NDArray[np.int32] | None:
        """See `RecordSource.codes`; the handle is cyvcf2's record."""
        try:
            fields = handle.FORMAT
            if fields and fields[0] == "GT":
                # As integers: handle.genotype decodes each call, format("GT") returns text.
                codes: NDArray[np.int32] = handle.format("GT", int)
                return codes
        except Exception as error:
            place = f"{handle.CHROM}:{handle.POS}"
            raise self._error(f"damaged at {place} ({one_line(error)})") from error
        if "GT" in fields:
            # htslib reads arbitrary bytes for samples without it, or ends the process.
            raise self._error(f"GT is not the first field of FORMAT at {handle.CHROM}:{handle.POS}")
        return None

    def phase_sets(self, handle: Any) -> NDArray[Any] | None:
        """See `RecordSource.phase_sets`; FORMAT/PS is an integer or text."""
        if not self._has_phase_sets:
            return None
        num_samples = len(self.samples)
        try:
            sets = handle.format("PS") if "PS" in handle.FORMAT else None
        except Exception as error:
            place = f"{handle.CHROM}:{handle.POS}"
            raise self._error(f"damaged at {place} ({one_line(error)})") from error
        if sets is None:
            return np.full(num_samples, _NO_PHASE_SET)
        sets = sets.reshape(num_samples, -1)[:, 0]
        if sets.dtype.kind == "U":
            sets = np.where(np.isin(sets, ["", "."]), _NO_PHASE_SET, sets.astype(object))
        return sets

    def contig_length(self, chrom: str) -> int | None:
        """Return the length in bp from the header."""
        for line in re.findall(r"^##contig=<(.*)>\s*$", self._header, flags=re.MULTILINE):
            entries = dict(re.findall(r"(\w+)=([^,]*)", line))
            if entries.get("ID") == chrom and entries.get("length", "").isdecimal():
                return int(entries["length"])
        return None

    def declares_info(self, name: str) -> bool:
        """Return whether the header declares an INFO field."""
        return f"##INFO=<ID={name}," in self._header

    def quiet(self) -> AbstractContextManager[None]:
        """Keep htslib from writing to standard error: errors are raised as InputError."""
        return htslib.quiet()


def _check_format(path: str) -> bool:
    """Return whether a file is BCF; refuse one that is neither VCF nor BCF, or is truncated."""
    refusal = partial(InputError, path=path)
    try:
        with open(path, "rb") as raw:
            head = raw.read(18)
            raw.seek(max(0, raw.seek(0, 2) - len(htslib.BGZF_END)))
            end = raw.read()
        is_gzipped = head.startswith(b"\x1f\x8b")
        is_bgzipped = is_gzipped and head[12:14] == b"BC"
        if is_bgzipped and end != htslib.BGZF_END:
            raise refusal("truncated, the end mark of a bgzipped file is missing")
        opener: Any = gzip.open if is_gzipped else open
        with opener(path, "rb") as stream:
            start = stream.read(16)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error
    if not start.startswith((b"##fileformat=VCF", b"BCF\x02")):
        raise refusal("not a VCF or BCF file")
    is_bcf: bool = start.startswith(b"BCF")
    if is_bcf and not is_bgzipped:
        # It has no checksums, and htslib may crash on a damaged one.
        raise refusal("BCF that is not bgzipped: run 'bcftools view -Ob'")
    return is_bcf
