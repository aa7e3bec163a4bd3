"""The command line: ``snvrag train``, ``impute``, ``evaluate`` and ``prepare``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from .config.command_line import Parser, VersionAction

COMMANDS = {
    "train": "train an imputation model",
    "impute": "fill in what a target lacks of a panel's sites",
    "evaluate": "score imputed files against the truth",
    "prepare": "write a panel in a form that is mapped into memory, not read",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in COMMANDS:
        code: int = import_module(f"snvrag.{given[0]}").main(given[1:])
        return code
    parser = Parser(
        prog="snvrag",
        description="Imputation of SNV genotypes from a reference panel.",
        epilog="\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
        + "\n\n'snvrag COMMAND --help' lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=VersionAction, nargs=0, help="print the version")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    parser.parse_args(given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
