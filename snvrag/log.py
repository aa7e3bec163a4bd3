"""The log: lines on standard output and in a file."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from tqdm import tqdm

from .io.atomic import printable, unwritable

log = logging.getLogger("snvrag")


class _BarHandler(logging.Handler):
    """Lines on standard output that leave a progress bar in one piece."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(printable(self.format(record)), file=sys.stdout)
        sys.stdout.flush()


class _FileHandler(logging.Handler):
    """Lines at the end of a file, each there when the call returns.

    Unlike `logging.FileHandler`, it lets a full disk end the run.
    """

    def __init__(self, path: Path, keep_bytes: int | None) -> None:
        super().__init__()
        self.path = path
        try:
            self._stream = open(path, "ab", buffering=0)  # noqa: SIM115
            if keep_bytes is not None and self.num_bytes > keep_bytes:
                self._stream.truncate(keep_bytes)
        except OSError as error:
            raise unwritable(path, error) from error

    @property
    def num_bytes(self) -> int:
        return os.fstat(self._stream.fileno()).st_size

    def emit(self, record: logging.LogRecord) -> None:
        left = (printable(self.format(record)) + "\n").encode()
        try:
            while left:
                left = left[self._stream.write(left) :]
        except OSError as error:
            raise unwritable(self.path, error) from error

    def flush_to_disk(self) -> None:
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_log(path: Path, keep_bytes: int | None = 0) -> None:
    """Send log lines to standard output and to the end of a file.

    Parameters
    ----------
    path : Path
    keep_bytes : int or None
        Cut the file back to this length first: what a run wrote after the checkpoint that is
        continued will be written again. None: leave it as it is.
    """
    close_log()
    for handler in (_BarHandler(), _FileHandler(path, keep_bytes)):
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def no_log() -> None:
    """Drop log lines: another process of the run has them."""
    close_log()
    log.addHandler(logging.NullHandler())
    log.propagate = False


def log_bytes() -> int:
    """Bring the log to the disk and return its length; 0 where there is none."""
    for handler in log.handlers:
        if isinstance(handler, _FileHandler):
            handler.flush_to_disk()
            return handler.num_bytes
    return 0


def close_log() -> None:
    """Close what `open_log` opened."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


def open_console() -> None:
    """Send log lines to standard output alone; `close_log` ends it."""
    close_log()
    handler = _BarHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
