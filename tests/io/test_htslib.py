"""The guard of lines sees what the parser will see, wherever chunks end."""

from __future__ import annotations

import gzip

import pytest

from snvrag.errors import InputError
from snvrag.io import htslib
from snvrag.io.htslib import LineGuard

HEADER = "##fileformat=VCFv4.2\n##contig=<ID=1>\n#CHROM\tPOS\n"
LONG = "1\t30\t" + 500 * "x" + "\n"


@pytest.fixture(params=[1, 2, 7, 64, 299, 300, 301, 1 << 20])
def guard(request, tmp_path, monkeypatch):
    """Return the function that makes the guard of a text, and the chromosomes it has met."""
    monkeypatch.setattr(htslib, "_CHUNK_BYTES", request.param)

    def make(text: str, pack=bytes) -> tuple[LineGuard, list[str]]:
        path = tmp_path / "file"
        path.write_bytes(pack(text.encode()))
        met: list[str] = []
        return LineGuard(str(path), met.append), met

    return make


def test_records_are_counted_and_chromosomes_met(guard):
    for text in (HEADER, HEADER.rstrip("\n"), "", HEADER + "\n\n"):
        assert not guard(text)[0].has_record(0)
    for pack in (bytes, gzip.compress):
        for end in ("", "\n", "\n\n", "\n\r\n"):
            made, met = guard(HEADER + "1\t10\tx\n" + LONG + LONG + "chrX:2\t5" + end, pack)
            assert [made.has_record(i) for i in range(6)] == [True] * 4 + [False] * 2
            assert met == ["1", "chrX:2"]


def test_what_must_not_be_parsed(guard):
    for line, words in (
        ("", "record 3 is empty"),
        ("\r", "record 3 is empty"),
        ("\t10", "record 3 is empty"),
        ("#1\t10", "record 3 begins with '#1'"),
        ("1 2\t10", "record 3 begins with '1 2'"),
        ("1\0\t10", r"record 3 begins with '1\\x00'"),
        (300 * "x" + "\t10", "record 3 begins with 'xxxxxxxxxxxxxxxxxxxx'"),
        ("1\t99999999999", "record 3 is at '99999999999'"),
    ):
        made, _ = guard(HEADER + "1\t10\n" + LONG + line + "\n" + LONG)
        with pytest.raises(InputError, match=words):
            [made.has_record(i) for i in range(4)]
    made, _ = guard(HEADER + 300 * LONG, lambda text: gzip.compress(text)[:-30])
    with pytest.raises(InputError, match="damaged, it cannot be decompressed"):
        [made.has_record(i) for i in range(400)]
