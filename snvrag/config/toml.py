"""Options in TOML files, in a table for each section."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args, get_origin

from ..errors import InputError, one_line, reason
from .options import Options, choices_of, entries, plain_type, sections

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TYPES = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


class Settings(NamedTuple):
    """What a file sets: values by option, and warnings about names that have changed."""

    values: dict[str, Any]
    warnings: list[str]


def read_settings(path: str, kind: type[Options]) -> Settings:
    """Read the options that a TOML file sets.

    An option may stand in the table of its section or outside of tables; ``preset`` outside.

    Raises
    ------
    InputError
        For a file that cannot be read, a key or table that is unknown, or a value of another type.
    """
    try:
        with open(path, "rb") as stream:
            content = tomllib.load(stream)
    except OSError as error:
        raise _error(path, f"cannot be read ({reason(error)})") from error
    except ValueError as error:  # of syntax, or not UTF-8
        raise _error(path, f"not a TOML file ({one_line(error)})") from error
    known = {entry.item.name: entry for entry in entries(kind)}
    old = {
        tuple(entry.item.metadata["formerly"].split(".")): entry.item.name
        for entry in known.values()
        if entry.item.metadata["formerly"]
    }
    tables = {*sections(kind), *(names[0] for names in old if len(names) == 2)}
    settings = Settings({}, [])

    def take(key: str, value: Any, table: str) -> None:
        name = key.replace("-", "_")
        if not table and name == "preset":
            settings.values[name] = _convert(value, str, path, key)
            return
        entry = known.get(name)
        if entry is None or table not in ("", entry.table):
            current = old.get((table, name)) or (old.get((name,)) if not table else None)
            current = current or next(
                (new for names, new in old.items() if not table and names[-1] == name), None
            )
            if current is None:
                place = f": it belongs in [{entry.table}]" if entry else ""
                where = f" in [{table}]" if table else ""
                raise _error(path, f"no option is called {key}{where}{place}")
            entry = known[current]
            settings.warnings.append(
                f"{path}: {key}{f' in [{table}]' if table else ''} is now {current} in "
                f"[{entry.table}]"
            )
            name = current
        if name in settings.values:
            raise _error(path, f"{key} is set twice")
        settings.values[name] = _convert(value, entry.kind, path, key)

    for key, value in content.items():
        if not isinstance(value, dict):
            take(key, value, "")
        elif key in tables:
            for inner, setting in value.items():
                take(inner, setting, key)
        else:
            names = ", ".join(f"[{table}]" for table in sections(kind))
            raise _error(path, f"no table is called [{key}]: there are {names}")
    return settings


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
