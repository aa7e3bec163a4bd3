"""The log: lines to standard output and to a file, and the progress of long loops."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from .errors import printable, unwritable

log = logging.getLogger("snvrag")

SECONDS_BETWEEN_LINES = 30.0
"""Least time between two log lines of `Progress`."""


class _BarHandler(logging.Handler):
    """Writes lines to standard output, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(printable(self.format(record)), file=sys.stdout)
        sys.stdout.flush()


class _FileHandler(logging.Handler):
    """Appends lines to a file, unbuffered.

    Unlike `logging.FileHandler`, it raises an error of writing, such as a full disk, as InputError.
    """

    def __init__(self, path: Path, keep_bytes: int | None) -> None:
        super().__init__()
        self.path = path
        try:
            self.stream = open(path, "ab", buffering=0)  # noqa: SIM115
            if keep_bytes is not None and self.num_bytes > keep_bytes:
                self.stream.truncate(keep_bytes)
        except OSError as error:
            raise unwritable(path, error) from error

    @property
    def num_bytes(self) -> int:
        return os.fstat(self.stream.fileno()).st_size

    def emit(self, record: logging.LogRecord) -> None:
        left = (printable(self.format(record)) + "\n").encode()
        try:
            while left:
                left = left[self.stream.write(left) :]
        except OSError as error:
            raise unwritable(self.path, error) from error

    def close(self) -> None:
        self.stream.close()
        super().close()


def open_log(path: Path, keep_bytes: int | None = 0) -> None:
    """Write log lines to standard output and append them to a file.

    It is first truncated to ``keep_bytes``, as a resumed run writes again what came after its
    checkpoint; None keeps all of it. Raises `InputError` if it cannot be written, here or later.
    """
    close_log()
    _add_handlers(_BarHandler(), _FileHandler(path, keep_bytes))


def no_log() -> None:
    """Discard log lines: another process of the run writes them."""
    close_log()
    _add_handlers(logging.NullHandler())


def log_bytes() -> int:
    """Flush the log file to the disk and return its length in bytes; 0 without a file."""
    for handler in log.handlers:
        if isinstance(handler, _FileHandler):
            os.fsync(handler.stream.fileno())
            return handler.num_bytes
    return 0


def close_log() -> None:
    """Remove the handlers of `open_log`, `open_console` or `no_log`, and close the file."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


def open_console() -> None:
    """Write log lines to standard output alone."""
    close_log()
    _add_handlers(_BarHandler())


def _add_handlers(*handlers: logging.Handler) -> None:
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


class Progress:
    """How far a loop has come: a bar on a terminal; elsewhere a log line from time to time.

    ``total`` is the number of units of work, None if unknown, of which ``done`` are done. ``phase``
    is the name of the work. Nothing is shown with ``shown`` False, for a process whose log another
    one writes.
    """

    def __init__(
        self,
        unit: str,
        total: int | None = None,
        done: int = 0,
        *,
        phase: str = "",
        shown: bool = True,
    ) -> None:
        self.done, self.total, self.phase, self.unit = done, total, phase, unit
        disable = None if shown else True  # None: on a terminal
        self.bar = tqdm(
            desc=phase or None,
            unit=unit,
            total=total,
            initial=done,
            disable=disable,
            leave=False,
        )
        self._logs = shown and self.bar.disable
        self.logged_at = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def __str__(self) -> str:
        return str(self.done) if self.total is None else f"{self.done}/{self.total}"

    def advance(self, count: int, line: Callable[[], str] | None = None) -> None:
        """Count units of work as done.

        If a log line is due, it is what ``line`` returns, or else ``Phase: done/total unit``.
        """
        count = count if self.total is None else min(count, self.total - self.done)
        self.done += count
        self.bar.update(count)
        if self._logs and time.monotonic() - self.logged_at >= SECONDS_BETWEEN_LINES:
            log.info("%s", line() if line else f"{self.phase}: {self} {self.unit.strip()}")
            self.logged_at = time.monotonic()


class Phases:
    """How far work in several phases has come: `Progress` under the name of each.

    Phases may take turns. ``advance`` and ``reach`` take the name of the phase, its unit, and the
    number of units in all, None if unknown.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._done: dict[str, int] = {}

    def __enter__(self) -> Phases:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.bar.close()

    def advance(self, phase: str, unit: str, count: int, total: int | None = None) -> None:
        """Count units of a phase as done."""
        self.reach(phase, unit, self._done.get(phase, 0) + count, total)

    def reach(self, phase: str, unit: str, done: int, total: int | None = None) -> None:
        """Say how many units of a phase are done."""
        last = self._progress
        if last is None or last.phase != phase:
            self.__exit__()
            self._progress = Progress(unit, total, self._done.get(phase, 0), phase=phase)
            if last is not None:
                self._progress.logged_at = last.logged_at
        assert self._progress is not None
        self._progress.advance(done - self._done.get(phase, 0))
        self._done[phase] = done
