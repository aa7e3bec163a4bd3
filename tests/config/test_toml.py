"""Options from TOML files, and back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snvrag.config.options import Options, build, option, section, to_tables
from snvrag.config.toml import format_tables, read_settings
from snvrag.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Part(Options):
    count: int = option(3, "a count")
    share: float = option(0.5, "a share")
    rates: tuple[float, ...] = option((0.1,), "rates")
    names: tuple[str, ...] = option((), "names", repeat=True)
    flag: bool = option(True, "a flag")
    file_name: str | None = option(None, "a file")
    limit: int | None = option(None, "a limit", least=1)


@dataclass(frozen=True, kw_only=True)
class Other(Options):
    size: int = option(7, "a size", formerly="part.length")


@dataclass(frozen=True, kw_only=True)
class Program(Options):
    part: Part = section(Part)
    other: Other = section(Other)


@pytest.fixture
def read(tmp_path):
    path = tmp_path / "run.toml"

    def values(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_settings(str(path), Program, warn=pytest.fail)

    return values


def test_flat_and_in_tables(read):
    expected = {"count": 64, "flag": False, "file_name": "a b.vcf", "size": 2}
    flat = "count = 64\nflag = false\nfile_name = 'a b.vcf'\nsize = 2\n"
    tables = "size = 2\n[part]\nflag = false\nfile-name = 'a b.vcf'\ncount = 64\n"
    assert read(flat) == read(tables) == expected
    assert read("") == {}
    assert read("preset = 'any'") == {"preset": "any"}


def test_whole_numbers_are_numbers(read):
    values = read("rates = [0, 0.5]\nshare = 3\n")
    assert values == {"rates": (0.0, 0.5), "share": 3.0}
    assert type(values["share"]) is float


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("counts = 3", "no option is called counts"),
        ("[other]\ncount = 1", "no option is called count in [other]: it belongs in [part]"),
        ("[net]\nwidth = 3", "no table is called [net]: there are [part], [other]"),
        ("[net]", "no table is called [net]"),
        ("count = {a = 1}", "no table is called [count]"),
        ("[part]\npreset = 'big'", "no option is called preset in [part]"),
        ("count = 3.0", "count must be an integer, got 3.0"),
        ("count = true", "count must be an integer, got True"),
        ("flag = 1", "flag must be true or false, got 1"),
        ("share = 'all'", "share must be a number, got 'all'"),
        ("file_name = 3", "file_name must be a string, got 3"),
        ("rates = 0.5", "rates must be a list, got 0.5"),
        ("rates = ['a']", "rates must be a number, got 'a'"),
        ("count = 3\n[part]\ncount = 4", "count is set twice"),
        ("file-name = 'a'\nfile_name = 'b'", "file_name is set twice"),
        ("count = ", "not a TOML file ("),
        (b"count = '\xff'", "not a TOML file ("),
    ],
)
def test_what_is_wrong_is_named(read, tmp_path, text, words):
    with pytest.raises(InputError) as refused:
        read(text)
    line = str(refused.value)
    assert line.startswith(f"config {tmp_path / 'run.toml'}: {words}")
    assert "\n" not in line


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InputError, match=f"config {path}: cannot be read"):
            read_settings(str(path), Program, warn=pytest.fail)


def test_what_earlier_versions_wrote_for_nothing_is_nothing(tmp_path):
    path, lines = tmp_path / "run.toml", []
    path.write_text("file_name = ''\n[part]\nlimit = 0\ncount = 0")
    values = read_settings(str(path), Program, warn=lines.append)
    assert values == {"file_name": None, "limit": None, "count": 0}
    for line, place in zip(lines, ("file_name = ''", "limit in [part] = 0"), strict=True):
        assert line == f"{path}: {place} is now left out"
    path.write_text("[part]\nlength = 3\n[other]\nsize = 4")
    with pytest.raises(InputError, match="size is set twice"):
        read_settings(str(path), Program, warn=lines.append)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "count": st.integers(-(2**63), 2**63 - 1),
            "share": numbers,
            "rates": st.lists(numbers, min_size=1).map(tuple),
            "names": st.lists(texts).map(tuple),
            "flag": st.booleans(),
            "file_name": texts.filter(bool),
            "limit": st.integers(1, 9),
            "size": st.integers(0, 9),
        },
    )
)
def test_what_is_written_is_read_again(tmp_path_factory, values):
    made = build(Program, values)
    path = tmp_path_factory.getbasetemp() / "round.toml"
    path.write_text(format_tables(to_tables(made)), encoding="utf-8", newline="")
    assert build(Program, read_settings(str(path), Program, warn=pytest.fail)) == made
