"""Command lines made from `Options`, and the one way that they end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from functools import partial
from typing import Any, NoReturn, get_args, get_origin

from ..errors import InputError, LostRankError, RemoteInputError, one_line, reason
from .options import (
    Entry,
    Options,
    OptionsT,
    build,
    choices_of,
    entries,
    plain_type,
    preset_values,
    sections,
)
from .toml import read_settings

_METAVARS = {int: "N", float: "X", str: "TEXT"}

EXIT_INPUT = 2
"""Something the user gave is wrong, or a file cannot be written."""
EXIT_FAILED = 1
"""Another process of the run was lost, or nobody reads the output any more."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, or none if another process of the run reports them."""

    quiet = False

    def error(self, message: str) -> NoReturn:
        """Report an error in one line and exit with code 2."""
        line = f"{self.prog}: error: {one_line(message)} (see --help)\n"
        self.exit(EXIT_INPUT, None if self.quiet else line)


class VersionAction(argparse.Action):
    """Prints the version line; it is made when asked for, as that takes longer than parsing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and exit."""
        from .._installation import version_line

        print(version_line())
        parser.exit()


def run_main(
    name: str,
    kind: type[OptionsT],
    description: str,
    run: Callable[[OptionsT], int | None],
    arguments: Sequence[str] | None = None,
    *,
    quiet: bool = False,
) -> int:
    """Parse the command line of ``snvrag name``, run the command, and return its exit code.

    Exit codes: 0 done, 2 for an `InputError` or a file that cannot be written, 1 for a lost rank or
    a closed pipe, 130 after Ctrl-C, otherwise what ``run`` returns. ``quiet``: another process of
    the run has the same arguments and reports what is wrong with them.
    """
    parser = build_parser(name, kind, description)
    parser.quiet = quiet

    def report(message: object) -> None:
        if not quiet:
            print(f"snvrag {name}: {message}", file=sys.stderr)

    try:
        values = _values(parser, kind, arguments, lambda line: report(f"warning: {line}"))
        options = build(kind, values)
        quiet = False  # what goes wrong from here on, only this process may know
        return run(options) or 0
    except RemoteInputError:
        return EXIT_INPUT
    except InputError as error:
        report(f"error: {error.text(shown(kind, error.argument))}")
        return EXIT_INPUT
    except LostRankError as error:
        report(f"error: {error}")
        return EXIT_FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        report(f"error: {error.filename or 'output'}: cannot be written ({reason(error)})")
        return EXIT_INPUT
    except KeyboardInterrupt:
        report("interrupted")
        return 128 + signal.SIGINT


def shown(kind: type[Options], argument: str) -> str:
    """Return an argument as the command line writes it: ``--k`` for k, PANEL for a positional."""
    for entry in entries(kind):
        if entry.name == argument:
            return _positional_name(entry) or flag(argument)
    return flag(argument) if argument in ("config", "preset") else argument


def flag(name: str) -> str:
    """Return the flag of an option: ``--mask-rates`` for mask_rates."""
    return "--" + name.replace("_", "-")


def parse(
    name: str, kind: type[OptionsT], description: str, arguments: Sequence[str] | None = None
) -> tuple[OptionsT, list[str]]:
    """Return the options of a command line and warnings about old names.

    What a TOML file sets (``--config``, for programs with sections) comes on top of the preset, and
    the command line on top of both. Raises `InputError` for a value that is not allowed, and
    SystemExit for ``--help``, ``--version`` and an unknown or malformed option.
    """
    warnings: list[str] = []
    parser = build_parser(name, kind, description)
    return build(kind, _values(parser, kind, arguments, warnings.append)), warnings


def _values(
    parser: Parser,
    kind: type[Options],
    arguments: Sequence[str] | None,
    warn: Callable[[str], object],
) -> dict[str, Any]:
    """Return what preset, file and command line set, by name; old names are warned of at once."""
    given = vars(parser.parse_args(sys.argv[1:] if arguments is None else arguments))
    path = given.pop("config", None)
    values = read_settings(path, kind, warn) if path else {}
    preset = given.pop("preset", values.pop("preset", None))
    if preset is not None:
        if preset not in (known := presets(kind)):
            raise InputError(f"must be one of {', '.join(known)}, got {preset}", argument="preset")
        values = {**preset_values(kind, preset), **values}
    renamed = {_old_name(entry): entry.name for entry in entries(kind)}
    for key, value in given.items():
        name = renamed.get(key, key)
        if name != key:
            warn(f"{flag(key)} is now {flag(name)}")
        values[name] = tuple(value) if isinstance(value, list) else value
    return values


def presets(kind: type[Options]) -> list[str]:
    """Return the names of a program's presets: small, of the defaults, and those of its options."""
    named = {name for entry in entries(kind) for name in entry.item.metadata["presets"]}
    return ["small", *sorted(named)] if named else []


def build_parser(name: str, kind: type[Options], description: str) -> Parser:
    """Return the parser of a command's options, in a group for each section."""
    parser = Parser(
        prog=f"snvrag {name}",
        description=description,
        formatter_class=partial(argparse.HelpFormatter, max_help_position=28, width=100),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--version", action=VersionAction, nargs=0, help="print the version and exit"
    )
    if names := presets(kind):
        parser.add_argument(
            "--preset", choices=names, help="set of defaults to start from (default: small)"
        )
    parts = sections(kind)
    if parts:
        parser.add_argument(
            "--config",
            metavar="FILE",
            help="TOML file of options by name; the command line overrides it. Every run writes "
            "its own as config.toml into its output folder",
        )
    groups: dict[str, Any] = {
        table: parser.add_argument_group(part.title) for table, part in parts.items()
    }
    # --x yes is ambiguous where a file may follow: there a flag takes no value.
    plain_flags = any(entry.item.metadata["positional"] for entry in entries(kind))
    for entry in entries(kind):
        _add(groups.get(entry.table, parser), entry, plain_flags)
    return parser


def _add(group: Any, entry: Entry, plain_flags: bool) -> None:
    """Add an option to a parser, and its old name if it has one."""
    item = entry.item
    kind = plain_type(entry.kind)
    is_tuple = get_origin(kind) is tuple
    base = get_args(kind)[0] if is_tuple else kind
    settings: dict[str, Any] = {"help": _help(entry)}
    if choices := choices_of(base):
        settings["choices"] = choices
    elif base is bool and plain_flags:
        settings |= {"action": "store_true", "default": argparse.SUPPRESS}
    elif base is bool:
        settings |= {"type": parse_bool, "nargs": "?", "const": True, "metavar": "yes|no"}
    else:
        settings |= {"type": base, "metavar": item.metadata["metavar"] or _METAVARS[base]}
    if item.metadata["repeat"]:
        settings["action"] = "append"
    elif is_tuple:
        settings["nargs"] = "+"
    if metavar := _positional_name(entry):
        if item.default is not MISSING:
            settings["nargs"] = "*" if is_tuple else "?"
        group.add_argument(item.name, **{**settings, "metavar": metavar})
        return
    group.add_argument(
        flag(item.name), dest=item.name, required=item.default is MISSING, **settings
    )
    if old := _old_name(entry):
        group.add_argument(flag(old), dest=old, **{**settings, "help": argparse.SUPPRESS})


def _positional_name(entry: Entry) -> str:
    """Return how the help calls an option that is given by position; "" for the others."""
    metadata = entry.item.metadata
    return (metadata["metavar"] or entry.name.upper()) if metadata["positional"] else ""


def _old_name(entry: Entry) -> str:
    """Return the name that an option had on the command line, if it was another."""
    return "" if entry.formerly[1] == entry.name else entry.formerly[1]


def _help(entry: Entry) -> str:
    default = entry.item.default
    text: str = entry.item.metadata["help"].replace("%", "%%")
    if default is MISSING or (default is None and "default" in text) or default == ():
        return text
    return f"{text} (default: {_default_text(default)})"


def _default_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(_default_text, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def parse_bool(text: str) -> bool:
    """Return what ``yes`` or ``no`` says."""
    if text.lower() in ("yes", "true", "1", "on"):
        return True
    if text.lower() in ("no", "false", "0", "off"):
        return False
    raise argparse.ArgumentTypeError(f"must be yes or no, got {text}")
