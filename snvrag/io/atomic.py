"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

TEMPORARY = ".tmp"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a stream whose content appears under ``path`` when the block ends, and not before.

    It is written to a temporary name beside it, flushed to the disk and renamed, and so is the
    folder's entry: a crash or a loss of power leaves the old file or the new one.

    Raises
    ------
    InputError
        If it cannot be written, by a full disk for example; what was there before is then whole.
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


def printable(text: str) -> str:
    r"""Return a text that UTF-8 can hold: a file name's byte that is none comes as ``\udcff``."""
    return text.encode(errors="backslashreplace").decode()


def flush_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: OSError) -> InputError:
    """Return the error of a file that the system does not let us write."""
    return InputError(f"{path}: cannot be written ({error.strerror or error})")
