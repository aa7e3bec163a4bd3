"""Checkpoints: written atomically, checked byte by byte, read without running code.

torch, which takes seconds to load, is imported only where a checkpoint is written or read.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO, cast

from .._installation import version_line
from ..errors import InputError, unreadable
from .atomic import atomic_file

FORMAT = "snvrag checkpoint 5"
_FIELDS = (
    *("format", "epoch", "step", "num_batches_done", "config", "fingerprints", "num_ranks"),
    *("model", "optimizer", "random_state", "early_stopping", "sums", "clock", "baselines"),
    *("history", "timing", "log_bytes"),
)
_DAMAGED = "damaged, or not a checkpoint: take an older one"
_FOREIGN = (
    "not a checkpoint of snvrag, but another program's file of torch, such as a pickled network of "
    "V18: train again, into another folder"
)
PREFIX = "rag_bert.model."
"""First part of the names of all checkpoints."""
# A line of 15 + 64 + 1 bytes after the zip archive; readers of zip skip it.
_TRAILER_START = b"\nsnvrag sha256 "
_TRAILER_BYTES = len(_TRAILER_START) + 64 + 1
_ZIP_END, _ZIP_END_BYTES = b"PK\x05\x06", 22


class DamagedCheckpointError(InputError):
    """A checkpoint is missing or damaged; an older one may be intact."""


def checkpoint_path(folder: str | Path, epoch: int) -> Path:
    """Return the path of the checkpoint after an epoch, by its loop index."""
    return Path(folder) / f"{PREFIX}ep{epoch}"


def step_path(folder: str | Path) -> Path:
    """Return the path of the checkpoint within an epoch."""
    return Path(folder) / f"{PREFIX}step"


def best_path(folder: str | Path) -> Path:
    """Return the path of the checkpoint of the best epoch."""
    return Path(folder) / f"{PREFIX}best"


def epoch_checkpoints(folder: str | Path) -> dict[int, Path]:
    """Return the paths of a folder's epoch checkpoints by loop index, ascending."""
    start = PREFIX + "ep"
    paths = {path.name.removeprefix(start): path for path in Path(folder).glob(start + "*")}
    return dict(sorted((int(name), path) for name, path in paths.items() if name.isdecimal()))


class _Hashing:
    """A stream that hashes what is written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, with a line of what wrote it, followed by the SHA-256 of its bytes.

    Raises
    ------
    InputError
        If it cannot be written; an old file is left as it was.
    """
    import torch

    try:
        with atomic_file(path) as stream:
            hashing = _Hashing(stream)
            head = {"format": FORMAT, "written_by": version_line()}
            torch.save({**head, **content}, cast(BinaryIO, hashing))
            stream.write(_TRAILER_START + hashing.digest.hexdigest().encode() + b"\n")
    except RuntimeError as error:  # torch's error for a full disk, of several lines
        cause = str(error).splitlines()[0]
        raise InputError(f"cannot be written ({cause})", path=path) from error


def load_checkpoint(path: str | Path, argument: str = "resume") -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Errors name ``argument``, by which the file was given.

    Raises
    ------
    DamagedCheckpointError
        If there is no such file, or a byte of it differs from what was written.
    InputError
        If it cannot be read, or is intact and of another version or another program.
    """
    import torch

    damaged = partial(DamagedCheckpointError, argument=argument, path=path)
    if not Path(path).is_file():
        raise damaged("no such file")
    try:
        with open(path, "rb") as stream:
            if not _is_intact(stream):
                if _is_foreign(stream):
                    raise InputError(_FOREIGN, argument=argument, path=path)
                raise damaged(_DAMAGED)
            stream.seek(0)
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except OSError as error:
        raise unreadable(path, error, argument) from error
    except Exception as error:  # pickle, zip and torch raise different errors for damage
        raise damaged(_DAMAGED) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise InputError(
            f"not a checkpoint of this version of snvrag ({FORMAT}), got {found}"
            f"{written_by(content)}: use the version that wrote it, or train again",
            argument=argument,
            path=path,
        )
    for name in _FIELDS:
        if name not in content:
            raise damaged(f"damaged, has no {name}")
    return content


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def written_by(content: Any) -> str:
    """Return `` written by ...`` with the version line in a checkpoint; "" if it has none."""
    line = content.get("written_by") if isinstance(content, dict) else None
    return f" written by {line}" if line else ""


def _is_foreign(stream: BinaryIO) -> bool:
    """Return whether a file was written by ``torch.save`` of another program, to its end.

    V18 gives its files the names of these checkpoints. No code of the file is run.
    """
    import torch

    if stream.seek(0, 2) < _ZIP_END_BYTES:
        return False
    stream.seek(-_ZIP_END_BYTES, 2)
    if not stream.read().startswith(_ZIP_END):
        return False
    stream.seek(0)
    try:
        content = torch.load(stream, map_location="cpu", weights_only=True)
    except UnpicklingError:  # of a class, such as a whole network
        return True
    return not (isinstance(content, dict) and "format" in content)


def _is_intact(stream: BinaryIO) -> bool:
    """Return whether the bytes of a file match the digest at its end."""
    left = stream.seek(0, 2) - _TRAILER_BYTES
    stream.seek(0)
    digest = hashlib.sha256()
    while left > 0 and (block := stream.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    return stream.read() == _TRAILER_START + digest.hexdigest().encode() + b"\n"
