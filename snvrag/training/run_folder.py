"""The output folder of a run: its checkpoints, and which of them a run continues from."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, reason, unwritable
from ..io.atomic import TEMPORARY, atomic_file, flush_folder
from ..io.checkpoint import (
    PREFIX,
    DamagedCheckpointError,
    best_path,
    checkpoint_path,
    epoch_checkpoints,
    load_checkpoint,
    step_path,
)
from .options import Config

SUPERSEDED = ".superseded"


# --- the checkpoint to continue from --------------------------------------------------------------


class Resumed(NamedTuple):
    """A checkpoint that a run continues from."""

    path: Path
    content: dict[str, Any]

    def is_inside(self, folder: str | Path) -> bool:
        """Return whether the checkpoint is in a folder."""
        return self.path.parent.resolve() == Path(folder).resolve()


def find_checkpoint(config: Config) -> tuple[Resumed | None, list[str]]:
    """Read the checkpoint to resume; for ``auto``, the newest intact one of the output folder.

    None is a fresh start; each damaged checkpoint that was skipped has a warning. Raises
    `InputError` if the named checkpoint is missing or damaged, or a checkpoint cannot be read or is
    of another version or program: a fresh start would overwrite it.
    """
    if not config.run.resume:
        return None, []
    if config.run.resume != "auto":
        return Resumed(Path(config.run.resume), load_checkpoint(config.run.resume)), []
    warnings: list[str] = []

    def read(path: Path) -> Resumed | None:
        try:
            return Resumed(path, load_checkpoint(path))
        except DamagedCheckpointError as error:
            warnings.append(f"skipped {error.text('')}")
            return None

    step = step_path(config.run.output)
    within = read(step) if step.exists() else None
    for epoch, path in reversed(epoch_checkpoints(config.run.output).items()):
        if within is not None and within.content["epoch"] >= epoch:
            return within, warnings
        found = read(path)
        if found is not None:
            return found, warnings
    # Older epochs may have been removed, except for the best one.
    best = best_path(config.run.output)
    if within is None and best.exists():
        within = read(best)
    return within, warnings


def check_resumable(resumed: Resumed, config: Config, fingerprints: Mapping[str, str]) -> None:
    """Raise `InputError` if a checkpoint is of another configuration, other data or epoch."""
    epoch = int(resumed.content["epoch"])
    if config.run.resume_epoch not in (None, epoch + 1):
        raise InputError(
            f"must be {epoch + 1}, as {resumed.path} is of epoch index {epoch}, got "
            f"{config.run.resume_epoch}",
            argument="resume_epoch",
        )
    wrong = ""
    then = resumed.content["fingerprints"]
    names = [name for name in {**then, **fingerprints} if then.get(name) != fingerprints.get(name)]
    if differing := _changes(resumed, config, "same"):
        wrong = f"of another configuration: {'; '.join(differing)}"
    elif names:
        others = " and another ".join(names)
        wrong = f"trained with another {others}: give the files that it was trained with"
    if wrong:
        raise InputError(wrong, argument="resume", path=resumed.path)


def noted_changes(resumed: Resumed, config: Config) -> list[str]:
    """Return a line for each option that differs, of those that may and are worth a note."""
    return _changes(resumed, config, "noted")


def _changes(resumed: Resumed, config: Config, resume: str) -> list[str]:
    return [
        f"{name} was {then}, is {now}"
        for name, (may, then, now) in config.changes(resumed.content["config"]).items()
        if may == resume
    ]


# --- the folder -----------------------------------------------------------------------------------


def prepare_output(config: Config, resumed: Resumed | None) -> None:
    """Make the output folder.

    Raises `InputError` if it cannot be written, or has the checkpoints of another run that may not
    be replaced.
    """
    folder = Path(config.run.output)
    _require_writable(folder)
    for path in folder.glob(f"*{TEMPORARY}"):
        if path.name.startswith((PREFIX, "metrics.", "timing.", "config.")):
            path.unlink()  # left by a run that was killed while writing
    old = [*epoch_checkpoints(folder).values()]
    old += [path for path in (step_path(folder), best_path(folder)) if path.exists()]
    continues = config.run.resume == "auto" or (resumed is not None and resumed.is_inside(folder))
    if not old or continues:
        return
    if not config.run.overwrite:
        raise InputError(
            f"has the checkpoints of an earlier run ({old[0].name}, ...): resume it (auto), "
            "overwrite it, or choose another folder",
            argument="output",
            path=folder,
        )
    for path in old:
        if not (resumed and path.samefile(resumed.path)):
            path.unlink()


def _require_writable(folder: Path) -> None:
    """Make a folder and a file in it; leave no part of its path if that fails."""
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
            f"cannot be written ({reason(error)}): choose another folder",
            argument="output",
            path=folder,
        ) from error


def set_aside_newer(resumed: Path, epoch: int, folder: Path) -> None:
    """Rename checkpoints newer than the one resumed, which has finished ``epoch``.

    Otherwise resume=auto would take them for the newest of the resumed run.
    """
    newer = [path for number, path in epoch_checkpoints(folder).items() if number > epoch]
    newer.append(step_path(folder))
    for path in newer:
        if path.exists() and not path.samefile(resumed):
            path.replace(path.with_name(path.name + SUPERSEDED))


def mark_best(checkpoint: Path, folder: Path) -> None:
    """Make a checkpoint the best of a folder: by a hard link, or a copy where there are none."""
    best = best_path(folder)
    if best.exists() and best.samefile(checkpoint):
        return
    temporary = best.with_name(best.name + TEMPORARY)
    try:
        temporary.unlink(missing_ok=True)
        try:
            os.link(checkpoint, temporary)
        except OSError:  # another file system, or one without hard links
            with open(checkpoint, "rb") as source, atomic_file(best) as stream:
                shutil.copyfileobj(source, stream)
            return
        os.replace(temporary, best)
        flush_folder(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(best, error) from error


def restore_best(resumed: Path, best_epoch: int, folder: Path) -> None:
    """Make the best checkpoint that of the best epoch so far, as a newer one was set aside.

    One that is of this epoch stays: if it is a copy, the epoch's own checkpoint may be damaged.
    """
    checkpoint = checkpoint_path(resumed.parent, best_epoch)
    best = best_path(folder)
    if best.exists():
        others = [path for path in (resumed, checkpoint) if path.exists()]
        if any(best.samefile(path) for path in others) or _epoch_of(best) == best_epoch:
            return
    if best_epoch >= 0 and checkpoint.exists():
        mark_best(checkpoint, folder)
    else:
        best.unlink(missing_ok=True)


def _epoch_of(checkpoint: Path) -> int | None:
    try:
        return int(load_checkpoint(checkpoint)["epoch"])
    except InputError:
        return None


def remove_old(folder: Path, epoch: int, keep: int) -> None:
    """Remove the checkpoint within the epoch that was saved last, and epochs beyond ``keep``.

    These include that epoch; 0: all are kept.
    """
    step_path(folder).unlink(missing_ok=True)
    if keep:
        for number, path in epoch_checkpoints(folder).items():
            if number <= epoch - keep:
                path.unlink()
