"""Impute a target file from a reference panel: ``python -m snvrag.impute``."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from .config.command_line import run_main
from .imputation.options import ImputeOptions

DESCRIPTION = (
    "Impute the sites of a reference panel that a target, phased or not, lacks, and write them as "
    "VCF or BCF."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["snvrag", "impute", *given])

    def run(options: ImputeOptions) -> None:
        # What computes takes a while to load, which --help and wrong arguments need not wait for.
        from .imputation.imputation import impute_file
        from .log import close_log, open_console

        open_console()
        try:
            with _cleaning_up_at_sigterm():
                impute_file(options, command)
        finally:
            close_log()

    return run_main("impute", ImputeOptions, DESCRIPTION, run, given)


@contextmanager
def _cleaning_up_at_sigterm() -> Iterator[None]:
    """Let SIGTERM remove unfinished files as Ctrl-C does."""

    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
