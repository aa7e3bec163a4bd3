"""Options in TOML files, in a table for each section."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

from ..errors import InputError, one_line, reason
from .options import Entry, Options, choices_of, entries, plain_type, sections

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Names = dict[tuple[str, str], Entry]
_TYPES = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def read_settings(path: str, kind: type[Options], warn: Callable[[str], object]) -> dict[str, Any]:
    """Return the options that a TOML file sets, by name.

    An option may stand in the table of its section or outside of tables; ``preset`` outside.
    ``warn`` gets a line for each name that has changed, and for each "" and 0 that an earlier
    version wrote for an option that is not given. Raises `InputError` for a file that cannot be
    read, a key or table that is unknown, or a value of another type.
    """
    known, old = _names(kind)
    tables = {table for table, _ in (*known, *old)}
    values: dict[str, Any] = {}
    content = _read(path)
    for table in content.keys() - tables:
        names = ", ".join(f"[{name}]" for name in sections(kind))
        raise _error(path, f"no table is called [{table}]: there are {names}")
    for table, key, value in ((t, *item) for t, inner in content.items() for item in inner.items()):
        name = key.replace("-", "_")
        if (table, name) == ("", "preset"):
            values["preset"] = _convert(value, str, path, key)
            continue
        entry = known.get((table, name)) or old.get((table, name))
        place = f" in [{table}]" if table else ""
        if entry is None:
            home = known.get(("", name))
            hint = f": it belongs in [{home.table}]" if home else ""
            raise _error(path, f"no option is called {key}{place}{hint}")
        if (table, name) not in known:
            warn(f"{path}: {key}{place} is now {entry.name} in [{entry.table}]")
        if entry.name in values:
            raise _error(path, f"{key} is set twice")
        values[entry.name] = _convert(value, entry.kind, path, key)
        if _meant_none(entry, value):
            warn(f"{path}: {key}{place} = {value!r} is now left out")
            values[entry.name] = None
    return values


def _meant_none(entry: Entry, value: Any) -> bool:
    """Return whether a value is what an earlier version wrote for what is not given."""
    least = entry.item.metadata["bounds"][0]
    is_none = value == "" or (value == 0 and least is not None and least > 0)
    return entry.item.default is None and is_none


def _read(path: str) -> dict[str, dict[str, Any]]:
    """Return the tables of a file; "" holds what is outside of tables."""
    try:
        with open(path, "rb") as stream:
            content = tomllib.load(stream)
    except OSError as error:
        raise _error(path, f"cannot be read ({reason(error)})") from error
    except ValueError as error:  # of syntax, or not UTF-8
        raise _error(path, f"not a TOML file ({one_line(error)})") from error
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    return {"": {name: content[name] for name in content if name not in tables}, **tables}


def _names(kind: type[Options]) -> tuple[_Names, _Names]:
    """Return the options of a program by (table, name), and by the names that they had before."""
    known, old = {}, {}
    for entry in entries(kind):
        known[entry.table, entry.name] = known["", entry.name] = entry
        if entry.formerly != (entry.table, entry.name):
            old[entry.formerly] = old["", entry.formerly[1]] = entry
    return known, old


def _convert(value: Any, kind: Any, path: str, key: str) -> Any:
    """Return a value of TOML as one of an option's type."""
    kind = plain_type(kind)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise _error(path, f"{key} must be a list, got {value!r}")
        return tuple(_convert(item, get_args(kind)[0], path, key) for item in value)
    if choices_of(kind):
        kind = str
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _error(path, f"{key} must be {_TYPES[kind]}, got {value!r}")
    return value


def _error(path: str, message: str) -> InputError:
    return InputError(message, argument="config", path=path)


def format_tables(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables of numbers, booleans, strings and lists of them as TOML."""
    parts = [
        "\n".join([f"[{table}]", *(f"{name} = {_format(value)}" for name, value in inner.items())])
        for table, inner in tables.items()
    ]
    return "\n\n".join(parts) + "\n"


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_format, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which JSON does not escape and TOML forbids.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
