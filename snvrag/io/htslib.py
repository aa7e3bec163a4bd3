"""A look at the lines of a VCF before htslib parses them.

cyvcf2 gives out a half-read record, and the process crashes on it, where a line cannot be parsed
and its chromosome is not in the header: a blank line at the end of a file is enough. So each line's
first field is looked at ahead of the parser. This costs the inflation of the file once more (by
htslib, a sixth of its parsing).
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator

from ..errors import InputError

_CHUNK_BYTES = 1 << 20
# cyvcf2's positions have 32 bits, and begin again behind it.
_LAST_POSITION = 2**31 - 1
# Of a line: more than the longest name that is taken for one.
_START_BYTES = 300
# VCF specification, 1.4.7; what is longer is no name either.
_CHROM = re.compile(rb"[0-9A-Za-z!$%&+./:;?@^_|~-][0-9A-Za-z!#$%&*+./:;=?@^_|~-]{,254}")


class LineGuard:
    """Follows the lines of a VCF, plain or compressed, ahead of the parser.

    Parameters
    ----------
    path : str
    library : ctypes.CDLL
        htslib.
    add_chrom : callable
        Called with the name of each chromosome before its first line may be parsed.
    """

    def __init__(self, path: str, library: ctypes.CDLL, add_chrom: Callable[[str], None]) -> None:
        self._path = path
        self._add_chrom = add_chrom
        self._known: set[bytes] = set()
        self._num_lines = 0
        self._num_seen = 0
        self._is_done = False
        self._fields = _first_fields(path, library)

    def has_record(self, index: int) -> bool:
        """Tell whether there is a record of this index (from 0), which may then be parsed.

        Raises
        ------
        InputError
            If its line, or one soon after it, has no name of a chromosome in front.
        """
        while index >= self._num_seen and not self._is_done:
            self._look_on()
        return index < self._num_seen

    def _look_on(self) -> None:
        fields = next(self._fields, None)
        if fields is None:
            self._is_done = True
            return
        for chrom, position in fields:
            self._num_lines += 1
            if chrom not in self._known:
                self._meet(chrom)
            if len(position) > 9 and position.isdigit() and int(position) > _LAST_POSITION:
                raise InputError(
                    f"{self._path}: record {self._num_lines} is at {_readable(position)}, expected "
                    f"positions up to {_LAST_POSITION}"
                )
        self._num_seen += len(fields)

    def _meet(self, field: bytes) -> None:
        if not _CHROM.fullmatch(field):
            what = "is empty" if not field else f"begins with {_readable(field)}"
            raise InputError(
                f"{self._path}: record {self._num_lines} {what}, expected a chromosome and a tab"
            )
        self._add_chrom(field.decode())
        self._known.add(field)


def _first_fields(path: str, library: ctypes.CDLL) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield chromosome and position of every record's line, some at a time.

    Blank lines at the end of the file are none.
    """
    is_header = True
    blanks = 0
    for starts in _line_starts(path, library):
        fields = []
        for start in starts:
            if is_header:
                is_header = not start.startswith(b"#") or start.startswith(b"##")
            elif start in (b"", b"\r"):
                blanks += 1
            else:
                fields += [(b"", b"")] * blanks
                blanks = 0
                chrom, _, more = start.partition(b"\t")
                fields.append((chrom, more.partition(b"\t")[0]))
        yield fields


def _line_starts(path: str, library: ctypes.CDLL) -> Iterator[list[bytes]]:
    """Yield the first bytes of every line, a chunk's lines at a time."""
    rest = b""  # of the line that goes on in the next chunk
    for chunk in _text(path, library):
        starts = []
        at = 0
        while (end := chunk.find(b"\n", at)) >= 0:
            starts.append((rest + chunk[at : min(end, at + _START_BYTES)])[:_START_BYTES])
            rest = b""
            at = end + 1
        rest = (rest + chunk[at : at + _START_BYTES])[:_START_BYTES]
        yield starts
    if rest:
        yield [rest]


def _text(path: str, library: ctypes.CDLL) -> Iterator[bytes]:
    """Yield the text of a file, inflated."""
    library.bgzf_open.restype = ctypes.c_void_p
    library.bgzf_read.restype = ctypes.c_ssize_t
    library.bgzf_read.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.bgzf_close.argtypes = [ctypes.c_void_p]
    file = library.bgzf_open(os.fsencode(path), b"r")
    if not file:
        raise InputError(f"{path}: cannot be read")
    try:
        buffer = ctypes.create_string_buffer(_CHUNK_BYTES)
        while (count := library.bgzf_read(file, buffer, _CHUNK_BYTES)) > 0:
            yield ctypes.string_at(buffer, count)
        if count < 0:
            raise InputError(f"{path}: damaged, it cannot be decompressed")
    finally:
        library.bgzf_close(file)


def _readable(field: bytes) -> str:
    return repr(field[:20].decode("ascii", "replace"))
