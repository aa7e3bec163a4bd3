"""Records of VCF and BCF files, through htslib."""

from __future__ import annotations

import ctypes
import gzip
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, one_line
from ..panel.regions import Region
from .atomic import printable
from .htslib import LineGuard
from .records import Record

# The empty block that ends every bgzipped file (SAM specification, 4.1.2).
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


class VcfSource:
    """Records of a VCF or BCF, plain, gzipped or bgzipped.

    Parameters
    ----------
    path : str
    region : Region, optional
        Needs an index of the file.

    Raises
    ------
    InputError
        If the file is no VCF or BCF, is cut off, or lacks the region's chromosome or the index.
    """

    def __init__(self, path: str, region: Region | None = None) -> None:
        self.path = path
        is_bcf = _check_format(path)
        with self.quiet():
            self._open(region)
            # By an index, htslib reads lines whose chromosome it knows.
            self._guard = None if is_bcf or region else self._guard_lines()

    def _open(self, region: Region | None) -> None:
        import cyvcf2

        path = self.path
        if printable(path) != path:
            raise InputError(f"{printable(path)}: its name must be UTF-8, for htslib")
        try:
            self._reader = cyvcf2.VCF(path, gts012=False, strict_gt=False)
            samples = list(self._reader.samples)
            self._header = str(self._reader.raw_header)
        except Exception as error:  # cyvcf2 raises bare Exception for a header it cannot read
            raise InputError(
                f"{path}: not a readable VCF or BCF file ({one_line(error)})"
            ) from error
        if not samples:
            raise InputError(f"{path}: no samples")
        if len(set(samples)) != len(samples):
            twice = next(name for name, count in Counter(samples).items() if count > 1)
            raise InputError(f"{path}: sample {twice} stands twice in the header")
        self.samples = tuple(samples)
        self._records = iter(self._reader) if region is None else self._records_of(region)

    def _guard_lines(self) -> LineGuard:
        def add_chrom(name: str) -> None:
            if name not in chroms:
                self._reader.add_to_header(f"##contig=<ID={name}>")

        chroms = set(self._reader.seqnames)
        return LineGuard(self.path, _htslib(), add_chrom)

    def _records_of(self, region: Region) -> Iterator[Any]:
        path, reader = self.path, self._reader
        if not any(Path(path + suffix).exists() for suffix in (".tbi", ".csi")):
            raise InputError(f"{path}: --region needs an index: run 'bcftools index {path}'")
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
            raise InputError(
                f"{self.path}: damaged after {count} records ({one_line(error)})"
            ) from error

    def codes(self, handle: Any) -> NDArray[np.int32] | None:
        """Return the genotypes of cyvcf2's record as htslib has them."""
        try:
            fields = handle.FORMAT
            if fields and fields[0] == "GT":
                # Not handle.genotype, which decodes each call, nor as the text that GT is by name.
                codes: NDArray[np.int32] = handle.format("GT", int)
                return codes
        except Exception as error:
            place = f"{handle.CHROM}:{handle.POS}"
            raise InputError(f"{self.path}: damaged at {place} ({one_line(error)})") from error
        if "GT" in fields:
            # htslib reads chance bytes for samples without it, or ends the process.
            raise InputError(
                f"{self.path}: GT is not the first field of FORMAT at {handle.CHROM}:{handle.POS}"
            )
        return None

    def contig_length(self, chrom: str) -> int | None:
        """Return the length that the header gives."""
        for line in re.findall(r"^##contig=<(.*)>\s*$", self._header, flags=re.MULTILINE):
            entries = dict(re.findall(r"(\w+)=([^,]*)", line))
            if entries.get("ID") == chrom and entries.get("length", "").isdecimal():
                return int(entries["length"])
        return None

    def declares_info(self, name: str) -> bool:
        """Tell whether the header declares an INFO field."""
        return f"##INFO=<ID={name}," in self._header

    def quiet(self) -> AbstractContextManager[None]:
        """Keep htslib's own lines off standard error: what it finds becomes one line of ours."""
        return _quiet_htslib()


def _htslib() -> ctypes.CDLL:
    """Return the htslib within cyvcf2."""
    import cyvcf2

    return ctypes.CDLL(cyvcf2.cyvcf2.__file__)


@contextmanager
def _quiet_htslib() -> Iterator[None]:
    library = _htslib()
    before = library.hts_get_log_level()
    library.hts_set_log_level(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # cyvcf2's, of a region without records
            yield
    finally:
        library.hts_set_log_level(before)


def _check_format(path: str) -> bool:
    """Tell whether a file is BCF; refuse what is no VCF or BCF, or is cut off, before htslib."""
    try:
        with open(path, "rb") as raw:
            head = raw.read(18)
            magic = head[:2]
            raw.seek(0, 2)
            raw.seek(max(0, raw.tell() - len(_BGZF_END)))
            end = raw.read()
        is_bgzipped = head[12:14] == b"BC" and magic == b"\x1f\x8b"
        if is_bgzipped and end != _BGZF_END:
            raise InputError(
                f"{path}: truncated, the mark at the end of a bgzipped file is missing"
            )
        opener: Any = gzip.open if magic == b"\x1f\x8b" else open
        with opener(path, "rb") as stream:
            start = stream.read(16)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from error
    if not start.startswith((b"##fileformat=VCF", b"BCF\x02")):
        raise InputError(f"{path}: not a VCF or BCF file")
    is_bcf: bool = start.startswith(b"BCF")
    if is_bcf and not is_bgzipped:
        # It has no checksums, and htslib may crash on what is damaged.
        raise InputError(f"{path}: BCF that is not bgzipped: run 'bcftools view -Ob'")
    return is_bcf
