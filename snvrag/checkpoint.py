"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import contextlib
import os
import shutil
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


def prepare_output(config: Config) -> None:
    """Make the output folder, and refuse one that cannot be written or holds another run.

    Raises
    ------
    InputError
        Naming the folder and what to do.
    """
    folder = Path(config.output)
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write_test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        for path in made:  # the innermost first
            with contextlib.suppress(OSError):
                path.rmdir()
        raise InputError(
            f"--output {folder}: cannot be written ({error.strerror}): give another folder"
        ) from error
    old = sorted(folder.glob("rag_bert.model.*"))
    if old and not (config.resume and Path(config.resume).parent.resolve() == folder.resolve()):
        if not config.overwrite:
            raise InputError(
                f"--output {folder}: holds the checkpoints of an earlier run ({old[0].name}, ...): "
                "continue it by --resume, replace it by --overwrite yes, or give another folder"
            )
        for path in old:
            if not (config.resume and path.samefile(config.resume)):
                path.unlink()


def mark_best(checkpoint: Path, folder: Path) -> None:
    """Make ``rag_bert.model.best`` in a folder that checkpoint: a hard link, or else a copy."""
    best = folder / "rag_bert.model.best"
    temporary = best.with_name(best.name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(checkpoint, temporary)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(checkpoint, temporary)
    os.replace(temporary, best)


def restore_best(resumed: str, best_epoch: int, output: str) -> None:
    """Point ``best`` to the best epoch so far: a run that was given up may have gone further."""
    checkpoint = checkpoint_path(Path(resumed).parent, best_epoch)
    best = Path(output) / "rag_bert.model.best"
    if checkpoint.exists():
        mark_best(checkpoint, Path(output))
    elif best.exists() and not best.samefile(resumed):  # what the user resumes from stays
        best.unlink()
