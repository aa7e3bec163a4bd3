"""Tables of populations, names and sites, and what is refused."""

from __future__ import annotations

import re

import pytest

from snvrag.errors import InputError
from snvrag.io.sample_tables import read_names, read_populations, read_sites


@pytest.fixture
def write(tmp_path):
    def _write(text: str) -> str:
        path = tmp_path / "table.tsv"
        path.write_text(text)
        return str(path)

    return _write


def test_tables(write):
    path = write("#sample\tsex\tpopulation\tsuper\ns1\tm\tGBR\tEUR\n\ns2\tf\tYRI\tAFR\n")
    assert read_populations(path, "population") == {"s1": "GBR", "s2": "YRI"}
    assert read_populations(path, "super") == {"s1": "EUR", "s2": "AFR"}

    assert read_names(write("s5\n\n  s2 \r\ns5\n")) == ["s5", "s2"]
    path = write("#CHROM\tPOS\tREF\tALT\nchr20\t5\ta\tc\n\n20\t7\tG\tT\tmore\n")
    assert read_sites(path) == {("20", 5, "A", "C"), ("20", 7, "G", "T")}


def test_refused(tmp_path, write):
    for read, text, words in (
        (read_populations, "", "no column 'sample', found none"),
        (read_populations, "name\tpopulation\ns1\tA\n", "no column 'sample', found name, pop"),
        (read_populations, "sample\tsuper\ns1\tA\n", "no column 'population'"),
        (read_populations, "sample\tpopulation\ns1\tA\ns1\tB\n", "duplicate sample s1"),
        (read_populations, "sample\tpopulation\ns1\n", "line 2 has 1 columns, the header 2"),
        (read_names, " \n\n", "no names"),
        (read_sites, "20\t5\tA\n", "line 1 must be chromosome, position, REF and ALT"),
        (read_sites, "20\tfive\tA\tC\n", "line 1 must be chromosome, position, REF and ALT"),
    ):
        path = write(text)
        column = ["population"] if read is read_populations else []
        with pytest.raises(InputError, match=re.escape(f"given {path}: {words}")) as refused:
            read(path, *column, argument="given")
        assert "\n" not in str(refused.value)
    binary = tmp_path / "binary.tsv"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    for path in (tmp_path / "none.tsv", tmp_path, binary):
        with pytest.raises(InputError, match=r"val_samples .*: cannot be read \("):
            read_names(path)
