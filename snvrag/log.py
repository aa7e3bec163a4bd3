"""The log: lines to standard output and to a file."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from tqdm import tqdm

from .errors import printable, unwritable

log = logging.getLogger("snvrag")


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
