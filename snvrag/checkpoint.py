"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from .config import FREE_FIELDS, Config
from .errors import InputError

FORMAT = "snvrag checkpoint 1"
_FIELDS = ("format", "epoch", "step", "config", "fingerprint", "model", "optimizer", "schedule",
           "scaler", "early_stopping", "random_state", "epoch_position", "history")  # fmt: skip


def checkpoint_path(folder: str | Path, epoch: int) -> Path:
    """Return the path of the checkpoint of a loop index."""
    return Path(folder) / f"rag_bert.model.ep{epoch}"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint: to a temporary name, flushed, then renamed.

    Raises
    ------
    InputError
        If it cannot be written; what was there before is then whole.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as stream:
            torch.save({"format": FORMAT, **content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"checkpoint {path}: cannot be written ({reason})") from error


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises
    ------
    InputError
        If there is none, or it is truncated or something else.
    """
    if not Path(path).is_file():
        raise InputError(f"--resume {path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have errors of their own for damage
        raise InputError(
            f"--resume {path}: damaged, or not a checkpoint of snvrag: take an older one"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"--resume {path}: not a checkpoint of this version of snvrag ({FORMAT})")
    missing = [name for name in _FIELDS if name not in content]
    if missing:
        raise InputError(f"--resume {path}: damaged, has no {missing[0]}")
    return content


def check_resumable(path: str, content: dict[str, Any], config: Config, fingerprint: str) -> None:
    """Refuse a checkpoint of another panel or another configuration.

    Raises
    ------
    InputError
        Naming what differs.
    """
    epoch = int(content["epoch"])
    if config.resume_epoch >= 0 and config.resume_epoch != epoch + 1:
        raise InputError(
            f"--resume-epoch {config.resume_epoch}: {path} is of epoch index {epoch} and continues "
            f"at {epoch + 1}"
        )
    then, now = content["config"], config.to_dict()
    differing = [
        f"--{name.replace('_', '-')} was {then.get(name)}, is {now[name]}"
        for name in now
        if name not in FREE_FIELDS and then.get(name) != now[name]
    ]
    if differing:
        raise InputError(f"--resume {path}: of another configuration: {'; '.join(differing)}")
    if content["fingerprint"] != fingerprint:
        raise InputError(
            f"--resume {path}: of another panel or other samples (fingerprint "
            f"{content['fingerprint'][:12]}, here {fingerprint[:12]}): give the files it was "
            "trained on"
        )
