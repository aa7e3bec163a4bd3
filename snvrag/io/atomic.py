"""Atomic writes: a crash leaves the old file or the new one, and nothing between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import printable, unwritable

TEMPORARY = ".tmp"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a stream whose content appears under ``path`` when the block ends without an error.

    It is written to a temporary name in the same folder, flushed to the disk and renamed; then the
    folder is flushed. So a crash or a loss of power leaves the old file or the new one.

    Raises
    ------
    InputError
        If it cannot be written, for example on a full disk; an old file is left as it was.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 through `atomic_file`."""
    with atomic_file(path) as stream:
        stream.write(printable(text).encode())


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
