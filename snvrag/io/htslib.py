"""Functions of the htslib within cyvcf2 that cyvcf2 itself does not offer, through ctypes."""

from __future__ import annotations

import ctypes
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

# The empty block that ends every bgzipped file (SAM specification, 4.1.2).
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

_CHUNK_BYTES = 1 << 20
# What bcftools takes.
_BLOCKS_PER_THREAD = 256
# cyvcf2 has 32 bits for a position, and wraps around past them.
_LAST_POSITION = 2**31 - 1
# Bytes of a line that are looked at: more than the longest name of a chromosome.
_START_BYTES = 300
# VCF specification, 1.4.7, and a limit of 255 letters.
_CHROM = re.compile(rb"[0-9A-Za-z!$%&+./:;?@^_|~-][0-9A-Za-z!#$%&*+./:;=?@^_|~-]{,254}")


def _library() -> ctypes.CDLL:
    import cyvcf2

    return ctypes.CDLL(cyvcf2.cyvcf2.__file__)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep htslib from writing to standard error, and cyvcf2 from warning."""
    library = _library()
    before = library.hts_get_log_level()
    library.hts_set_log_level(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a region without records
            yield
    finally:
        library.hts_set_log_level(before)


def build_index(path: Path, min_shift: int) -> None:
    """Index a BCF or a bgzipped VCF; InputError if htslib cannot.

    ``min_shift`` is 0 for a .tbi index, the binary logarithm of the smallest interval for a .csi.
    """
    if _library().bcf_index_build3(os.fsencode(path), None, min_shift, 1) != 0:
        raise InputError("cannot be indexed", path=path)


class BgzfFile:
    """A bgzipped file to write; errors are raised as OSError, without a cause: htslib says none.

    Compression, on as many threads, does not change what is written.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._library = library = _library()
        library.bgzf_open.restype = ctypes.c_void_p
        library.bgzf_mt.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
        library.bgzf_write.restype = ctypes.c_ssize_t
        library.bgzf_write.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        library.bgzf_close.argtypes = [ctypes.c_void_p]
        self._file = library.bgzf_open(os.fsencode(path), b"w")
        if not self._file:
            raise OSError("cannot be opened")
        if threads > 1:
            library.bgzf_mt(self._file, threads, _BLOCKS_PER_THREAD)

    def write(self, data: bytes) -> None:
        """Write some bytes."""
        if self._library.bgzf_write(self._file, data, len(data)) != len(data):
            raise OSError("disk full?")

    def close(self) -> None:
        """Write what is left, and the mark of the end."""
        file, self._file = self._file, None
        if file and self._library.bgzf_close(file) != 0:
            raise OSError("disk full?")


class LineGuard:
    """Checks the first two fields of every line of a VCF before cyvcf2 parses it.

    Where a line cannot be parsed and its chromosome is not in the header, cyvcf2 returns half a
    record, and the process crashes on it: a blank line at the end of a file is enough. The guard
    inflates the file a second time, which takes a sixth of the time of parsing it.

    ``add_chrom`` is called with the name of each chromosome before its first line may be parsed.
    """

    def __init__(self, path: str, add_chrom: Callable[[str], None]) -> None:
        self._path = path
        self._add_chrom = add_chrom
        self._known_chroms: set[bytes] = set()
        self._num_checked = 0
        self._chunks = _first_fields(path)

    def has_record(self, index: int) -> bool:
        """Return whether there is a record of this index (from 0), which may then be parsed.

        Raises InputError if its line, or one soon after it, does not begin with the name of a
        chromosome, or its position is too large.
        """
        while index >= self._num_checked and (fields := next(self._chunks, None)) is not None:
            for number, (chrom, position) in enumerate(fields, self._num_checked + 1):
                if chrom not in self._known_chroms:
                    self._check_chrom(chrom, number)
                if len(position) > 9 and position.isdigit() and int(position) > _LAST_POSITION:
                    expected = f"expected positions up to {_LAST_POSITION}"
                    raise self._error(number, f"is at {_readable(position)}, {expected}")
            self._num_checked += len(fields)
        return index < self._num_checked

    def _check_chrom(self, field: bytes, number: int) -> None:
        if not _CHROM.fullmatch(field):
            what = "is empty" if not field else f"begins with {_readable(field)}"
            raise self._error(number, f"{what}, expected a chromosome and a tab")
        self._add_chrom(field.decode())
        self._known_chroms.add(field)

    def _error(self, number: int, what: str) -> InputError:
        return InputError(f"record {number} {what}", path=self._path)


def _first_fields(path: str) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield chromosome and position of the line of every record, a chunk's lines at a time.

    Blank lines at the end of the file are skipped.
    """
    is_header = True
    num_blanks = 0
    for starts in _line_starts(path):
        fields = []
        for start in starts:
            if is_header:
                is_header = not start.startswith(b"#") or start.startswith(b"##")
            elif start in (b"", b"\r"):
                num_blanks += 1
            else:
                fields += [(b"", b"")] * num_blanks
                num_blanks = 0
                chrom, _, rest = start.partition(b"\t")
                fields.append((chrom, rest.partition(b"\t")[0]))
        yield fields


def _line_starts(path: str) -> Iterator[list[bytes]]:
    """Yield the first bytes of every line, a chunk's lines at a time."""
    begun = b""  # the start of a line that continues in the next chunk
    for chunk in _inflated(path):
        starts = []
        at = 0
        while (end := chunk.find(b"\n", at)) >= 0:
            starts.append((begun + chunk[at : min(end, at + _START_BYTES)])[:_START_BYTES])
            begun = b""
            at = end + 1
        begun = (begun + chunk[at : at + _START_BYTES])[:_START_BYTES]
        yield starts
    if begun:
        yield [begun]


def _inflated(path: str) -> Iterator[bytes]:
    """Yield the inflated content of a file in chunks."""
    library = _library()
    library.bgzf_open.restype = ctypes.c_void_p
    library.bgzf_read.restype = ctypes.c_ssize_t
    library.bgzf_read.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.bgzf_close.argtypes = [ctypes.c_void_p]
    file = library.bgzf_open(os.fsencode(path), b"r")
    if not file:
        raise InputError("cannot be read", path=path)
    try:
        buffer = ctypes.create_string_buffer(_CHUNK_BYTES)
        while (count := library.bgzf_read(file, buffer, _CHUNK_BYTES)) > 0:
            yield ctypes.string_at(buffer, count)
        if count < 0:
            raise InputError("damaged, it cannot be decompressed", path=path)
    finally:
        library.bgzf_close(file)


def _readable(field: bytes) -> str:
    return repr(field[:20].decode("ascii", "replace"))
