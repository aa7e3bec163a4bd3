"""Options as frozen dataclasses: a field is the one place that a command line, a TOML file, a
checkpoint and the checks take an option from.
"""

from __future__ import annotations

import math
import operator
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from ..errors import InputError

Resume = Literal["same", "free", "noted"]


def option(  # every parameter is one fact about an option, given by keyword
    default: Any = MISSING,
    help: str = "",  # noqa: A002
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    metavar: str = "",
    positional: bool = False,
    repeat: bool = False,
    resume: Resume = "same",
    saved: bool = True,
    formerly: str = "",
    **presets: Any,
) -> Any:
    """Return a field of an `Options` dataclass.

    Parameters
    ----------
    default
        None: not given. Without a default, the option is required.
    help : str
        What it is, with its unit, as a line that stands alone.
    least, most, above, below : float, optional
        Bounds of a number, or of each in a tuple; the last two are exclusive.
    metavar : str
        Stands for the value in the help; by default N, X or TEXT by type.
    positional : bool
        Given by position on the command line, not by flag.
    repeat : bool
        A tuple that is given by repeating the flag, not by several values.
    resume : {"same", "free", "noted"}
        Whether a run that is resumed must have the same value, may have another, or may have
        another that the log notes.
    saved : bool
        False for what belongs to one start of a run: it is not written to its TOML file.
    formerly : str
        The option's name before, as ``name`` or ``table.name``; still taken, with a warning. See
        also `Options.moved_from`.
    **presets
        The value in presets other than the default, by the preset's name.
    """
    metadata = {
        "help": help,
        "bounds": (least, above, most, below),
        "metavar": metavar,
        "positional": positional,
        "repeat": repeat,
        "resume": resume,
        "saved": saved,
        "formerly": formerly,
        "presets": presets,
    }
    return field(default=default, metadata=metadata)


def section(kind: type[Options]) -> Any:
    """Return a field that holds the options of one part of a program."""
    return field(default_factory=kind)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all options: checks every field against its type's choices and its bounds.

    Fields are made by `option`, or by `section` for the options of a part.
    """

    title: ClassVar[str] = ""
    """Heading of the options in a command line's help."""

    moved_from: ClassVar[str] = ""
    """The table that these options stood in before, if it was another."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.metadata:
                _check(item, _types(type(self))[item.name], getattr(self, item.name))
        self.check()

    def check(self) -> None:
        """Check how options go together; raise `InputError` if they do not."""


OptionsT = TypeVar("OptionsT", bound=Options)


class Entry(NamedTuple):
    """One option of a program: the section that holds it ("" at the top), its field and type."""

    table: str
    item: Field[Any]
    kind: Any
    moved_from: str = ""

    @property
    def name(self) -> str:
        """Its name, as in Python."""
        return self.item.name

    @property
    def formerly(self) -> tuple[str, str]:
        """The section and name that it had before; those of today unless they were others."""
        table, _, name = self.item.metadata["formerly"].rpartition(".")
        return table or self.moved_from or self.table, name or self.name


def entries(kind: type[Options]) -> Iterator[Entry]:
    """Yield all options of a program, those of its sections in place of the sections."""
    for item in fields(kind):
        if item.metadata:
            yield Entry("", item, _types(kind)[item.name])
            continue
        part = _types(kind)[item.name]
        for inner in fields(part):
            yield Entry(item.name, inner, _types(part)[inner.name], part.moved_from)


def sections(kind: type[Options]) -> dict[str, type[Options]]:
    """Return the sections of a program by their names."""
    return {item.name: _types(kind)[item.name] for item in fields(kind) if not item.metadata}


def build(kind: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Return options from values by name, whatever their section; the others have defaults.

    Raises `InputError` for a value that is not allowed, TypeError for a name that no option has.
    """
    unknown = values.keys() - {entry.name for entry in entries(kind)}
    if unknown:
        raise TypeError(f"{kind.__name__} has no option {min(unknown)}")
    arguments: dict[str, Any] = {}
    for name, part in sections(kind).items():
        inner = {item.name for item in fields(part)}
        arguments[name] = part(**{key: values[key] for key in inner & values.keys()})
    own = {item.name for item in fields(kind) if item.metadata}
    return kind(**arguments, **{key: values[key] for key in own & values.keys()})


def values_of(options: Options) -> dict[str, Any]:
    """Return all values by name, whatever their section."""
    return {
        entry.name: getattr(getattr(options, entry.table) if entry.table else options, entry.name)
        for entry in entries(type(options))
    }


def to_tables(options: Options) -> dict[str, Any]:
    """Return plain values by section and name, as TOML and checkpoints hold them, without None."""
    tables: dict[str, Any] = {}
    given = values_of(options)
    for entry in entries(type(options)):
        value = given[entry.name]
        if value is None:
            continue
        table = tables.setdefault(entry.table, {}) if entry.table else tables
        table[entry.name] = list(value) if isinstance(value, tuple) else value
    return tables


def from_table(kind: type[OptionsT], table: Mapping[str, Any]) -> OptionsT:
    """Return a part's options from a table of `to_tables`; names that it lacks are ignored."""
    known = {item.name for item in fields(kind)}
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in table.items()
        if name in known
    }
    return kind(**values)


def preset_values(kind: type[Options], preset: str) -> dict[str, Any]:
    """Return the values by name that a preset changes."""
    return {
        entry.name: entry.item.metadata["presets"][preset]
        for entry in entries(kind)
        if preset in entry.item.metadata["presets"]
    }


def plain_type(kind: Any) -> Any:
    """Return a type without ``| None``."""
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (inner for inner in get_args(kind) if inner is not type(None))
    return kind


def choices_of(kind: Any) -> tuple[str, ...]:
    """Return the values that a type allows; none if it is no Literal."""
    kind = plain_type(kind)
    return get_args(kind) if get_origin(kind) is Literal else ()


_hints = cache(get_type_hints)


def _types(kind: Any) -> dict[str, Any]:
    """Return the types of a class's fields by name."""
    return _hints(kind)


def _check(item: Field[Any], kind: Any, value: Any) -> None:
    if value is None:
        return
    choices = choices_of(kind)
    if choices and value not in choices:
        raise InputError(f"must be one of {', '.join(choices)}, got {value}", argument=item.name)
    is_tuple = isinstance(value, tuple)
    if is_tuple and not value and not item.metadata["repeat"]:
        raise InputError("must be one or more values, got none", argument=item.name)
    for number in value if is_tuple else (value,):
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            continue
        bounds = item.metadata["bounds"]
        if not math.isfinite(number) or not all(
            bound is None or holds(number, bound)
            for bound, holds in zip(bounds, _BOUNDS.values(), strict=True)
        ):
            expected = _bounds_text(bounds)
            many = "numbers " if is_tuple else ""
            shown = " ".join(map(str, value)) if is_tuple else value
            raise InputError(f"must be {many}{expected}, got {shown}", argument=item.name)


# How each of an option's bounds is written, and how a number must compare with it.
_BOUNDS = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}


def _bounds_text(bounds: tuple[float | None, ...]) -> str:
    """Return bounds in words: ``at least 1``, ``from 0 to 1``, ``above 0 and below 1``."""
    least, _, most, _ = bounds
    if least is not None and most is not None:
        return f"from {least} to {most}"
    given = zip(_BOUNDS, bounds, strict=True)
    parts = (f"{words} {bound}" for words, bound in given if bound is not None)
    return " and ".join(parts) or "finite"
