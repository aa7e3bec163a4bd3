"""Which checkpoint a run continues from, and whether it may."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..io.checkpoint import (
    DamagedCheckpointError,
    best_path,
    epoch_checkpoints,
    load_checkpoint,
    step_path,
)
from .options import Config

Content = dict[str, Any]


@dataclass(frozen=True)
class Resumed:
    """A checkpoint that a run continues from.

    Attributes
    ----------
    path : Path
    content : dict
    """

    path: Path
    content: Content


def find_checkpoint(config: Config) -> tuple[Resumed | None, list[str]]:
    """Read what ``--resume`` names; for ``auto``, the newest whole checkpoint in ``--output``.

    Returns
    -------
    resumed : Resumed or None
        None for a fresh start.
    warnings : list of str
        A line for each damaged checkpoint that was passed over.

    Raises
    ------
    InputError
        If the checkpoint named is missing or damaged, or one cannot be read or is of another
        version: to start afresh would write over it.
    """
    if not config.run.resume:
        return None, []
    if config.run.resume != "auto":
        return Resumed(Path(config.run.resume), load_checkpoint(config.run.resume)), []
    warnings: list[str] = []

    def attempt(path: Path) -> Resumed | None:
        try:
            return Resumed(path, load_checkpoint(path))
        except DamagedCheckpointError as error:
            warnings.append(f"passed over {str(error).removeprefix('--resume ')}")
            return None

    step = step_path(config.run.output)
    within = attempt(step) if step.exists() else None
    for epoch, path in reversed(epoch_checkpoints(config.run.output).items()):
        if within is not None and within.content["epoch"] >= epoch:
            return within, warnings
        found = attempt(path)
        if found is not None:
            return found, warnings
    # Older epochs may be gone (--keep), but for the best one.
    best = best_path(config.run.output)
    if within is None and best.exists():
        within = attempt(best)
    return within, warnings


def check_resumable(path: Path, content: Content, config: Config, fingerprint: str) -> None:
    """Refuse a checkpoint of another panel or another configuration.

    Raises
    ------
    InputError
        Naming what differs.
    """
    epoch = int(content["epoch"])
    if config.run.resume_epoch not in (None, epoch + 1):
        raise InputError(
            f"--resume-epoch {config.run.resume_epoch}: {path} is of epoch index {epoch} and continues "
            f"at {epoch + 1}"
        )
    differing = _lines(content, config, "same")
    if differing:
        raise InputError(
            f"of another configuration: {'; '.join(differing)}", argument="resume", path=path
        )
    if content["fingerprint"] != fingerprint:
        raise InputError(
            f"--resume {path}: of another panel or other samples (fingerprint "
            f"{content['fingerprint'][:12]}, here {fingerprint[:12]}): give the files it was "
            "trained on"
        )


def changed_options(content: Content, config: Config) -> list[str]:
    """Return a line for each option that differs, of those that may and are worth a note."""
    return _lines(content, config, "noted")


def _lines(content: Content, config: Config, resume: str) -> list[str]:
    return [
        f"{name} was {then}, is {now}"
        for name, (may, then, now) in config.changes(content["config"]).items()
        if may == resume
    ]
