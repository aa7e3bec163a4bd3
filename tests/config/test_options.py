"""Options as dataclasses: their checks, sections, presets and plain values."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, dataclass
from typing import Literal

import pytest

from snvrag.config.options import (
    Options,
    build,
    choices_of,
    entries,
    from_table,
    option,
    plain_type,
    preset_values,
    section,
    sections,
    to_tables,
    values_of,
)
from snvrag.errors import InputError


@dataclass(frozen=True, kw_only=True)
class One(Options):
    count: int = option(3, "a count", least=1, most=9)
    share: float = option(0.5, "a share", above=0, below=1, big=0.9)
    rates: tuple[float, ...] = option((0.1, 0.2), "rates", least=0)
    names: tuple[str, ...] = option((), "names", repeat=True)
    kind: Literal["a", "b"] = option("a", "a kind", big="b")
    flag: bool = option(True, "a flag")
    path: str | None = option(None, "a file")
    limit: int | None = option(None, "a limit", least=2)
    free: float = option(0.0, "any number")


def refused(**values) -> tuple[str, str]:
    with pytest.raises(InputError) as error:
        One(**values)
    return error.value.argument, error.value.message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", 0, "must be from 1 to 9, got 0"),
        ("count", 10, "must be from 1 to 9, got 10"),
        ("share", 0, "must be above 0 and below 1, got 0"),
        ("share", 1.0, "must be above 0 and below 1, got 1.0"),
        ("share", math.nan, "must be above 0 and below 1, got nan"),
        ("rates", (0.5, -1.0), "must be numbers at least 0, got 0.5 -1.0"),
        ("rates", (), "must be one or more values, got none"),
        ("kind", "c", "must be one of a, b, got c"),
        ("limit", 1, "must be at least 2, got 1"),
        ("free", math.inf, "must be finite, got inf"),
    ],
)
def test_what_is_out_of_bounds(name, value, message):
    assert refused(**{name: value}) == (name, message)


def test_bounds_belong_to_what_is_allowed():
    for name, value in (("count", 1), ("count", 9), ("share", 1e-9), ("limit", 2), ("limit", None)):
        assert getattr(One(**{name: value}), name) == value


def test_options_are_frozen_and_without_default_required():
    @dataclass(frozen=True, kw_only=True)
    class Needy(Options):
        file: str = option(help="a file")

    with pytest.raises(TypeError, match="file"):
        Needy()
    with pytest.raises(FrozenInstanceError):
        Needy(file="x").file = "y"


def test_types():
    kinds = {entry.name: entry.kind for entry in entries(One)}
    assert plain_type(kinds["limit"]) is int
    assert plain_type(kinds["count"]) is int
    assert choices_of(kinds["kind"]) == ("a", "b")
    assert choices_of(kinds["path"]) == ()


# --- sections -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Two(Options):
    size: int = option(7, "a size", least=1)

    def check(self) -> None:
        if self.size == 13:
            raise InputError("must not be 13", argument="size")


@dataclass(frozen=True, kw_only=True)
class Program(Options):
    top: int = option(0, "at the top", least=0)
    one: One = section(One)
    two: Two = section(Two)


def test_a_program_is_made_from_values_by_name():
    made = build(Program, {"size": 8, "count": 4, "top": 5})
    assert made == Program(top=5, one=One(count=4), two=Two(size=8))
    assert build(Program, {}) == Program()
    assert sections(Program) == {"one": One, "two": Two}
    values = values_of(made)
    assert list(values) == [entry.name for entry in entries(Program)]
    assert (values["top"], values["size"], values["path"]) == (5, 8, None)
    assert build(Program, values) == made


def test_what_build_refuses():
    with pytest.raises(TypeError, match="Program has no option sizes"):
        build(Program, {"sizes": 8})
    for values, argument in (({"size": 13}, "size"), ({"top": -1}, "top"), ({"count": 0}, "count")):
        with pytest.raises(InputError) as error:
            build(Program, values)
        assert error.value.argument == argument


def test_tables_hold_plain_values_without_none():
    made = build(Program, {"rates": (0.5,), "names": ("x",), "size": 8})
    tables = to_tables(made)
    assert list(tables) == ["top", "one", "two"]
    assert tables["two"] == {"size": 8}
    assert tables["one"]["rates"] == [0.5]
    assert not {"path", "limit"} & tables["one"].keys()
    assert from_table(One, tables["one"]) == made.one
    assert from_table(Two, {**tables["two"], "of_a_later_version": 1}) == made.two
    with pytest.raises(InputError, match="size must be"):
        from_table(Two, {"size": 0})


def test_presets_are_values_of_their_options():
    assert preset_values(Program, "big") == {"share": 0.9, "kind": "b"}
    assert preset_values(Program, "small") == {}
