"""A whole training run: from files and options to a finished output folder."""

from __future__ import annotations

from typing import Any

import torch

from .._installation import version_line
from ..errors import unwritable
from ..io.atomic import write_text
from ..log import close_log, log, no_log, open_log
from .distributed import Ranks
from .dry_run import plan_lines, size_line
from .options import Config
from .run_data import load_run_data
from .run_folder import (
    Resumed,
    check_resumable,
    find_checkpoint,
    noted_changes,
    prepare_output,
    restore_best,
    set_aside_newer,
)
from .trainer import Trainer


def train(config: Config) -> list[dict[str, Any]]:
    """Run a training as configured; return the metrics of every epoch.

    Raises `InputError` for what the user can correct (files, options, a full disk),
    `TrainingInterrupted` when SIGTERM or SIGINT ended it, after a checkpoint was saved, and
    `LostRankError` if another process of the run has ended.
    """
    if config.network.network == "head":
        torch.set_num_threads(1)  # its layers are too small to share
    elif config.run.threads:
        torch.set_num_threads(config.run.threads)
    ranks = Ranks.start(config.run.rank_timeout)
    trainer, resumed, warnings = _prepare(config, ranks)
    lines = [version_line(), *(f"Warning: {warning}" for warning in warnings)]
    if resumed is not None:
        lines += _resumed_lines(trainer, resumed)
    if config.run.dry_run:
        if ranks.is_writer:
            print(*lines, *plan_lines(trainer), sep="\n")
        return []
    if resumed is None:
        lines += [*trainer.data.report, size_line(trainer)]
    try:
        with ranks.raise_on_all_ranks():
            if ranks.is_writer:
                _open_output(trainer, resumed)
            else:
                no_log()
        for line in lines:
            log.info("%s", line)
        trainer.fit()
    except OSError as error:
        raise unwritable(error.filename or config.run.output, error) from error
    finally:
        trainer.scalars.close()
        close_log()
    ranks.close()
    return trainer.history


def _prepare(config: Config, ranks: Ranks) -> tuple[Trainer, Resumed | None, list[str]]:
    """Read the files and the checkpoint, make the output folder; also return the warnings."""
    resumed: Resumed | None = None
    warnings: list[str] = []
    with ranks.raise_on_all_ranks():
        if ranks.is_writer:
            resumed, warnings = find_checkpoint(config)
        data = load_run_data(config)
        trainer = Trainer(config, data, ranks)
    ranks.require_same("panel or samples", data.fingerprints)
    resumed = ranks.broadcast(resumed)
    with ranks.raise_on_all_ranks():
        if resumed is not None:
            check_resumable(resumed, config, data.fingerprints)
            trainer.restore(resumed.content)
        if ranks.is_writer and not config.run.dry_run:
            prepare_output(config, resumed)
    return trainer, resumed, warnings


def _open_output(trainer: Trainer, resumed: Resumed | None) -> None:
    """Bring the output folder to the state in which the run continues."""
    config, folder = trainer.config, trainer.folder
    log_bytes: int | None = 0
    if resumed is not None:
        log_bytes = resumed.content["log_bytes"] if resumed.is_inside(folder) else None
        if config.run.resume != "auto":  # for which all newer ones are damaged
            set_aside_newer(resumed.path, trainer.epoch - 1, folder)
        restore_best(resumed.path, trainer.stopping.best_epoch, folder)
    open_log(folder / "train.log", log_bytes)
    write_text(folder / "config.toml", config.to_toml())
    trainer.tidy_output()
    trainer.scalars.open(folder / "tensorboard", trainer.step)


def _resumed_lines(trainer: Trainer, resumed: Resumed) -> list[str]:
    """Return lines about a checkpoint and what has changed since."""
    config, content = trainer.config, resumed.content
    place = f", batch {trainer.num_batches_done}" if trainer.num_batches_done else ""
    lines = [f"Resumed from {resumed.path}: continuing at epoch index {trainer.epoch}{place}"]
    writer = content.get("written_by", "an earlier version of snvrag")
    if writer != version_line():
        lines.append(f"Note: the checkpoint was written by {writer}")
    lines += [f"Note: {change}" for change in noted_changes(resumed, config)]
    if "epochs" in config.changes(content["config"]) and config.training.final_rate < 1:
        lines.append("Note: the learning rate follows the new number of epochs")
    then, now = content["num_ranks"], trainer.ranks.size
    if then != now:
        lines.append(
            f"Note: {then} ranks then, {now} now: sums are rounded and dropout is drawn differently"
        )
    return lines
