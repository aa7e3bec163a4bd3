"""Reading genetic maps of both formats, and what is refused."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest

from snvrag.errors import InputError
from snvrag.io.genetic_map import read_genetic_map

POSITION = [100, 2_000, 2_000, 50_000]
CM = [0.0, 0.5, 0.75, 2.0]
PLINK = "".join(f"20 . {cm} {bp}\n" for bp, cm in zip(POSITION, CM, strict=True))
SHAPEIT = "".join(f"{bp}\t20\t{cm}\n" for bp, cm in zip(POSITION, CM, strict=True))


NEITHER = "neither 'chrom id cM bp' nor 'bp chrom cM'"


@pytest.fixture
def write(tmp_path):
    def _write(content: str | bytes, name: str = "chr20.map") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return _write


def test_formats(write):
    for text in (
        gzip.compress(PLINK.encode()),  # whatever the file's name
        PLINK,
        SHAPEIT,
        PLINK.replace("20 .", "chr20 rs1"),
        "chr id cM bp\n" + PLINK,
        "pos\tchr\tcM\n" + SHAPEIT,
        "chr20 id cM bp\n" + PLINK,  # a header that begins like a line
        PLINK.replace("\n", "\r\n"),
        "\n" + PLINK.replace("\n", "\n\n"),
        PLINK.removesuffix("\n"),
        "19 . 7 1\n" + PLINK + "21 . 0 1\n21 . 0 7\n",
    ):
        for chrom in ("20", "chr20"):
            read = read_genetic_map(write(text), chrom)
            assert read.position.dtype == np.int64
            assert read.cm.dtype == np.float64
            assert (read.position.tolist(), read.cm.tolist()) == (POSITION, CM), text


def test_a_first_line_that_is_no_header_counts(write):
    for text in ("X . 0. 100\nX . 1.5 200\n", "100 X 0.\n200 X 1.5\n"):
        read = read_genetic_map(write(text), "chrX")
        assert (read.position.tolist(), read.cm.tolist()) == ([100, 200], [0, 1.5])


def test_errors_name_the_file_and_the_line(write):
    for text, words in (
        ("", "0 lines of chromosome 20, expected 2 or more"),
        ("20 . 0 1\n", "1 lines of chromosome 20"),
        (PLINK.replace("20 .", "2 ."), "0 lines of chromosome 20"),
        (PLINK + "20 . 3 49999\n", "line 5: position or cM descends"),
        (PLINK + "20 . 1.9 60000\n", "line 5: position or cM descends"),
        (PLINK + "20 3\n", f"line 5 is {NEITHER}"),
        (PLINK + "20 . 3 6e4\n", f"line 5 is {NEITHER}"),
        (PLINK + "20 . many 60000\n", f"line 5 is {NEITHER}"),
        (PLINK + "20 . inf 60000\n", f"line 5 is {NEITHER}"),
        (PLINK + "20 . 3 -1\n", f"line 5 is {NEITHER}"),
        (PLINK + f"20 . 3 {2**63}\n", f"line 5 is {NEITHER}"),
        ("20 . 0 1\nchr id cM bp\n", f"line 2 is {NEITHER}"),
        # HapMap's, chrom bp cM/Mb cM
        ("Chromosome bp Rate(cM/Mb) Map(cM)\nchr20 61795 0.29 0.0\n", f"line 2 is {NEITHER}"),
    ):
        path = write(text)
        with pytest.raises(InputError, match=re.escape(f"{path}: {words}")) as refused:
            read_genetic_map(path, "20")
        assert refused.value.argument == "genetic_map"
        assert "\n" not in str(refused.value)


def test_files_that_cannot_be_read(tmp_path, write):
    whole = gzip.compress(PLINK.encode() * 50)
    damaged = (whole[:-20], whole[:14] + bytes(20) + whole[34:], b"20 . 0 1\n\xff\xfe")
    paths = [write(content, str(i)) for i, content in enumerate(damaged)]
    for path in (tmp_path / "none", tmp_path, *paths):
        with pytest.raises(InputError, match=rf"{path}: cannot be read \(") as refused:
            read_genetic_map(str(path), "20")
        assert "\n" not in str(refused.value)
