"""Command lines made from `Options`, and the one way that they end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from typing import Any, NoReturn, get_args, get_origin

from ..errors import InputError, LostRankError, RemoteInputError, one_line, reason
from .options import (
    Entry,
    O,
    Options,
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
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Report an error in one line and exit with code 2."""
        self.exit(EXIT_INPUT, f"{self.prog}: error: {one_line(message)} (see --help)\n")


class Formatter(argparse.HelpFormatter):
    """Help a little wider than argparse's own."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=100)


class _Version(argparse.Action):
    """Prints the version; it is looked up when asked for, as that takes longer than parsing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import snvrag

        parser.exit(message=f"snvrag {snvrag.__version__}\n")


def run_main(
    name: str,
    kind: type[O],
    description: str,
    run: Callable[[O], int | None],
    arguments: Sequence[str] | None = None,
    *,
    quiet: bool = False,
) -> int:
    """Parse a command line, run the command, and return its exit code.

    Exit codes: 0 done, 2 for an `InputError` or a file that cannot be written, 1 for a lost rank or
    a closed pipe, 130 after Ctrl-C, otherwise what ``run`` returns.

    Parameters
    ----------
    name : str
        Of the command: ``snvrag name`` is the prefix of its messages.
    kind : type
        The command's options.
    description : str
        For ``--help``.
    run : callable
        Takes the options.
    arguments : sequence of str, optional
        By default those of the process.
    quiet : bool
        Whether another process of the run reports the same errors.
    """

    def report(message: object) -> None:
        if not quiet:
            print(f"snvrag {name}: {message}", file=sys.stderr)

    try:
        options, warnings = parse(name, kind, description, arguments, quiet=quiet)
        for warning in warnings:
            report(f"warning: {warning}")
        return run(options) or 0
    except RemoteInputError:
        return EXIT_INPUT
    except InputError as error:
        report(f"error: {error.text(shown(kind, error.argument))}")
        return EXIT_INPUT
    except LostRankError as error:
        print(f"snvrag {name}: error: {error}", file=sys.stderr)
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
    for _, item, _ in entries(kind):
        if item.name == argument:
            return argument.upper() if item.metadata["positional"] else flag(argument)
    return argument


def flag(name: str) -> str:
    """Return the flag of an option: ``--mask-rates`` for mask_rates."""
    return "--" + name.replace("_", "-")


def parse(
    name: str,
    kind: type[O],
    description: str,
    arguments: Sequence[str] | None = None,
    *,
    quiet: bool = False,
) -> tuple[O, list[str]]:
    """Return the options of a command line and warnings about old names.

    What a TOML file sets (``--config``, for programs with sections) comes on top of the preset, and
    the command line on top of both.

    Raises
    ------
    InputError
        For a value that is not allowed.
    SystemExit
        For ``--help``, ``--version`` and an unknown or malformed option.
    """
    parser = build_parser(name, kind, description)
    if quiet:
        parser.error = lambda _: sys.exit(EXIT_INPUT)  # type: ignore[assignment,method-assign]
    given = vars(parser.parse_args(sys.argv[1:] if arguments is None else arguments))
    values: dict[str, Any] = {}
    warnings: list[str] = []
    old_names = {entry.item.metadata["formerly"].rpartition(".")[2] for entry in entries(kind)}
    if path := given.pop("config", None):
        settings = read_settings(path, kind)
        warnings += settings.warnings
        values |= settings.values
    preset = given.pop("preset", None) or values.pop("preset", None)
    if preset is not None:
        _check_preset(kind, preset)
        values = {**preset_values(kind, preset), **values}
    for key, value in given.items():
        old, is_old, current = key.partition(" formerly ")
        if is_old and old in old_names:
            warnings.append(f"{flag(old)} is now called {flag(current)}")
        values[current if is_old else key] = tuple(value) if isinstance(value, list) else value
    return build(kind, values), warnings


def _check_preset(kind: type[Options], preset: str) -> None:
    known = presets(kind)
    if preset not in known:
        raise InputError(f"must be one of {', '.join(known)}, got {preset}", argument="preset")


def presets(kind: type[Options]) -> list[str]:
    """Return the names of a program's presets: ``default`` and those that its options name."""
    named = {name for entry in entries(kind) for name in entry.item.metadata["presets"]}
    return ["small", *sorted(named)] if named else []


def build_parser(name: str, kind: type[Options], description: str) -> Parser:
    """Return the parser of a command's options, in a group for each section."""
    parser = Parser(
        prog=f"snvrag {name}",
        description=description,
        formatter_class=Formatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
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
    if item.metadata["positional"]:
        settings["metavar"] = item.metadata["metavar"] or item.name.upper()
        optional = {} if item.default is MISSING else {"nargs": "?"}
        group.add_argument(item.name, **settings, **optional)
        return
    group.add_argument(
        flag(item.name), dest=item.name, required=item.default is MISSING, **settings
    )
    old = item.metadata["formerly"].rpartition(".")[2]
    if old and old != item.name:
        settings["help"] = argparse.SUPPRESS
        group.add_argument(flag(old), dest=f"{old} formerly {item.name}", **settings)


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
        return " ".join(f"{item:g}" for item in value)
    return "none" if value is None else str(value)


def parse_bool(text: str) -> bool:
    """Return what ``yes`` or ``no`` says."""
    if text.lower() in ("yes", "true", "1", "on"):
        return True
    if text.lower() in ("no", "false", "0", "off"):
        return False
    raise argparse.ArgumentTypeError(f"must be yes or no, got {text}")
