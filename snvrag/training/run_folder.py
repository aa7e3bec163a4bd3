"""The output folder: made, kept to one run, and brought into agreement with its checkpoints."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from ..errors import InputError, unwritable
from ..io.atomic import TEMPORARY, atomic_file, flush_folder
from ..io.checkpoint import (
    PREFIX,
    best_path,
    checkpoint_path,
    epoch_checkpoints,
    load_checkpoint,
    step_path,
)
from .options import Config

SUPERSEDED = ".superseded"


def prepare_output(config: Config, resumed: Path | None) -> None:
    """Make the output folder, and refuse one that cannot be written or holds another run.

    Parameters
    ----------
    config : Config
    resumed : Path or None
        The checkpoint that the run continues from.

    Raises
    ------
    InputError
        Naming the folder and what to do.
    """
    folder = Path(config.run.output)
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
    for path in folder.glob(f"*{TEMPORARY}"):
        if path.name.startswith((PREFIX, "metrics.", "timing.", "config.")):
            path.unlink()  # what a killed run was writing
    old = [*epoch_checkpoints(folder).values()]
    old += [path for path in (step_path(folder), best_path(folder)) if path.exists()]
    if not old or config.run.resume == "auto" or is_inside(resumed, folder):
        return
    if not config.run.overwrite:
        raise InputError(
            f"--output {folder}: holds the checkpoints of an earlier run ({old[0].name}, ...): "
            "continue it by --resume auto, replace it by --overwrite yes, or give another folder"
        )
    for path in old:
        if not (resumed and path.samefile(resumed)):
            path.unlink()


def is_inside(resumed: Path | None, folder: str | Path) -> bool:
    """Return whether a checkpoint lies in a folder."""
    return resumed is not None and resumed.parent.resolve() == Path(folder).resolve()


def set_aside_later(resumed: Path, epoch: int, folder: Path) -> list[Path]:
    """Rename what a run left that went further than the checkpoint that is now continued.

    ``--resume auto`` would else take it for the newest of the new run.

    Parameters
    ----------
    resumed : Path
    epoch : int
        The last whole epoch of the checkpoint.
    folder : Path
        Of the output.

    Returns
    -------
    list of Path
        The old names.
    """
    later = [path for number, path in epoch_checkpoints(folder).items() if number > epoch]
    later.append(step_path(folder))
    later = [path for path in later if path.exists() and not path.samefile(resumed)]
    for path in later:
        path.replace(path.with_name(path.name + SUPERSEDED))
    return later


def mark_best(checkpoint: Path, folder: Path) -> None:
    """Make ``rag_bert.model.best`` in a folder that checkpoint: a hard link, or else a copy."""
    best = best_path(folder)
    if best.exists() and best.samefile(checkpoint):
        return
    temporary = best.with_name(best.name + TEMPORARY)
    try:
        temporary.unlink(missing_ok=True)
        try:
            os.link(checkpoint, temporary)
        except OSError:  # another file system, or one without hard links
            with open(checkpoint, "rb") as whole, atomic_file(best) as stream:
                shutil.copyfileobj(whole, stream)
            return
        os.replace(temporary, best)
        flush_folder(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(best, error) from error


def restore_best(resumed: Path, best_epoch: int, folder: Path) -> None:
    """Point ``best`` to the best epoch so far: a run that was given up may have gone further.

    One that is of this epoch stays: where it is a copy, the epoch's own checkpoint may be damaged.
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
    """Remove what an epoch's checkpoint makes superfluous: that within it, and all but ``keep``.

    Parameters
    ----------
    folder : Path
    epoch : int
        Loop index of the last checkpoint.
    keep : int
        Epoch checkpoints to keep, the last one among them; 0 for all.
    """
    step_path(folder).unlink(missing_ok=True)
    if keep:
        for number, path in epoch_checkpoints(folder).items():
            if number <= epoch - keep:
                path.unlink()
