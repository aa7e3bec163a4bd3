"""Configurations as TOML files, read and written.

The fields of a dataclass are the keys, in tables by the group that a field's metadata names, or
without tables.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Collection, Mapping
from typing import Any, get_args, get_origin, get_type_hints

from ..errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def read_settings(path: str, kind: type, also: Collection[str] = ()) -> dict[str, Any]:
    """Read the settings of a file.

    Parameters
    ----------
    path : str
    kind : type
        The dataclass whose fields may be set. Its field metadata names a ``group`` each.
    also : collection of str
        Other keys that may be there, outside of tables, with strings.

    Returns
    -------
    dict
        Values by field name, of the fields' types: what the file sets and nothing else.

    Raises
    ------
    InputError
        For a file that cannot be read, a key or table that is unknown, or a value of another type.
    """
    try:
        with open(path, "rb") as stream:
            content = tomllib.load(stream)
    except OSError as error:
        raise InputError(f"--config {path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # of syntax, or not UTF-8
        reason = " ".join(str(error).split())
        raise InputError(f"--config {path}: not a TOML file ({reason})") from error
    types = get_type_hints(kind)
    groups = {option.name: option.metadata["group"] for option in dataclasses.fields(kind)}
    settings: dict[str, Any] = {}

    def take(key: str, value: Any, table: str) -> None:
        name = key.replace("-", "_")
        known = name in groups and table in ("", groups[name])
        if not (known or (not table and name in also)):
            where = f" in [{table}]" if table else ""
            place = f": it belongs in [{groups[name]}]" if name in groups else ""
            raise InputError(f"--config {path}: no option is called {key}{where}{place}")
        if name in settings:
            raise InputError(f"--config {path}: {key} is set twice")
        settings[name] = _convert(value, types[name] if known else str, f"--config {path}: {key}")

    for key, value in content.items():
        if not isinstance(value, dict):
            take(key, value, "")
        elif key in groups.values():
            for inner, setting in value.items():
                take(inner, setting, key)
        else:
            raise InputError(
                f"--config {path}: no table is called [{key}]: there are "
                f"{', '.join(f'[{group}]' for group in dict.fromkeys(groups.values()))}"
            )
    return settings


def _convert(value: Any, kind: Any, what: str) -> Any:
    """Return a value of TOML as one of a field's type."""
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if not isinstance(value, list):
            raise InputError(f"{what} must be a list, got {value!r}")
        return tuple(_convert(item, inner, what) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{what} must be {_KINDS[kind]}, got {value!r}")
    return value


def format_settings(settings: Mapping[str, Any], groups: Mapping[str, str]) -> str:
    """Return settings as TOML, in tables.

    Parameters
    ----------
    settings : mapping
        Values by field name: numbers, booleans, strings and lists of them.
    groups : mapping
        The table of each field.
    """
    lines: list[str] = []
    for group in dict.fromkeys(groups[name] for name in settings):
        lines += ["", f"[{group}]"] if lines else [f"[{group}]"]
        lines += [
            f"{name} = {_format(value)}"
            for name, value in settings.items()
            if groups[name] == group
        ]
    return "\n".join(lines) + "\n"


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_format, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which JSON does not escape and TOML forbids.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
