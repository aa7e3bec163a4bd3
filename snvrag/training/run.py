"""A whole training run: from files and options to a finished output folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import unwritable
from ..io.atomic import write_text
from ..log import close_log, log, no_log, open_log
from .distributed import Ranks
from .dry_run import plan_lines
from .options import Config
from .resume import Resumed, changed_options, check_resumable, find_checkpoint
from .run_data import fingerprint, load_run_data
from .run_folder import is_inside, prepare_output, restore_best, set_aside_later
from .trainer import Trainer


def train(config: Config) -> list[dict[str, Any]]:
    """Run a whole training as configured; return the metrics of every epoch.

    Raises
    ------
    InputError
        For what the user can mend: files, options, a full disk.
    TrainingInterrupted
        When SIGTERM or SIGINT ended it, after a checkpoint was saved.
    """
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    ranks = Ranks.start(config.run.rank_timeout)
    resumed: Resumed | None = None
    warnings: list[str] = []
    with ranks.together():
        if ranks.is_writer:
            resumed, warnings = find_checkpoint(config)
        sources = load_run_data(config)
        trainer = Trainer(config, sources, ranks)
    if ranks.size > 1:
        ranks.require_same("panel or samples", fingerprint(sources))
    resumed = ranks.of_writer(resumed)
    with ranks.together():
        if resumed is not None:
            check_resumable(resumed.path, resumed.content, config, fingerprint(sources))
            trainer.restore(resumed.content)
        if ranks.is_writer and not config.run.dry_run:
            prepare_output(config, resumed.path if resumed else None)
    if config.run.dry_run and not ranks.is_writer:
        return []
    if config.run.dry_run:
        for line in [*(f"Warning: {warning}" for warning in warnings),
                     *_resumed_lines(config, trainer, resumed), *plan_lines(trainer)]:  # fmt: skip
            print(line)
        return []
    try:
        with ranks.together():
            if ranks.is_writer:
                _open_output(config, trainer, resumed)
            else:
                no_log()
        for warning in warnings:
            log.info("Warning: %s", warning)
        for line in _resumed_lines(config, trainer, resumed):
            log.info("%s", line)
        if resumed is None:
            for line in (*sources.report, trainer.size_line()):
                log.info("%s", line)
        trainer.fit()
    except OSError as error:
        raise unwritable(Path(error.filename or config.run.output), error) from error
    finally:
        trainer.scalars.close()
        close_log()
    ranks.close()
    return trainer.history


def _open_output(config: Config, trainer: Trainer, resumed: Resumed | None) -> None:
    """Bring the output folder to where the run begins."""
    folder = Path(config.run.output)
    log_bytes: int | None = 0
    if resumed is not None:
        log_bytes = resumed.content["log_bytes"] if is_inside(resumed.path, folder) else None
        if config.run.resume != "auto":  # for which all that went further is damaged
            set_aside_later(resumed.path, trainer.epoch - 1, folder)
        restore_best(resumed.path, trainer.stopping.best_epoch, folder)
    open_log(folder / "train.log", log_bytes)
    write_text(folder / "config.toml", config.to_toml())
    trainer.tidy_output()
    trainer.scalars.open(folder / "tensorboard", trainer.step)


def _resumed_lines(config: Config, trainer: Trainer, resumed: Resumed | None) -> list[str]:
    if resumed is None:
        return []
    place = f", batch {trainer.position}" if trainer.position else ""
    lines = [f"Resumed from {resumed.path}: continuing at epoch index {trainer.epoch}{place}"]
    lines += [f"Note: {change}" for change in changed_options(resumed.content, config)]
    if (
        resumed.content["config"]["epochs"] != config.training.epochs
        and config.training.final_rate < 1
    ):
        lines.append("Note: the learning rate follows the new number of --epochs")
    then, now = resumed.content["progress"]["ranks"], trainer.ranks.size
    if then != now:
        lines.append(f"Note: {then} ranks then, {now} now: sums are rounded and dropout drawn anew")
    return lines
