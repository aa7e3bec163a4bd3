"""Train an imputation model: ``python -m snvrag.train``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from . import report
from .config import Config, parse_arguments
from .errors import InputError
from .files import unwritable, write_text
from .output import is_inside, prepare_output, restore_best, set_aside_later
from .plan import plan_lines
from .report import log
from .resume import Resumed, changed_options, check_resumable, find_checkpoint
from .signals import Stopped
from .sources import fingerprint, load_sources
from .trainer import Trainer


def train(config: Config) -> list[dict[str, Any]]:
    """Run a whole training as configured; return the metrics of every epoch.

    Raises
    ------
    InputError
        For what the user can mend: files, options, a full disk.
    Stopped
        When SIGTERM or SIGINT ended it, after a checkpoint was saved.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    resumed, warnings = find_checkpoint(config)
    sources = load_sources(config)
    trainer = Trainer(config, sources)
    if resumed is not None:
        check_resumable(resumed.path, resumed.content, config, fingerprint(sources))
        trainer.restore(resumed.content)
    if config.dry_run:
        for line in [*(f"Warning: {warning}" for warning in warnings),
                     *_resumed_lines(config, trainer, resumed), *plan_lines(trainer)]:  # fmt: skip
            print(line)
        return []
    prepare_output(config, resumed.path if resumed else None)
    try:
        _open_output(config, trainer, resumed)
        for warning in warnings:
            log.info("Warning: %s", warning)
        for line in _resumed_lines(config, trainer, resumed):
            log.info("%s", line)
        if resumed is None:
            for line in (*sources.report, trainer.size_line()):
                log.info("%s", line)
        trainer.fit()
    except OSError as error:
        raise unwritable(Path(error.filename or config.output), error) from error
    finally:
        trainer.scalars.close()
        report.close_log()
    return trainer.history


def _open_output(config: Config, trainer: Trainer, resumed: Resumed | None) -> None:
    """Bring the output folder to where the run begins."""
    folder = Path(config.output)
    log_bytes: int | None = 0
    if resumed is not None:
        log_bytes = resumed.content["log_bytes"] if is_inside(resumed.path, folder) else None
        if config.resume != "auto":  # for which all that went further is damaged
            set_aside_later(resumed.path, trainer.epoch - 1, folder)
        restore_best(resumed.path, trainer.stopping.best_epoch, folder)
    report.open_log(folder / "train.log", log_bytes)
    write_text(folder / "config.toml", config.to_toml())
    trainer.tidy_output()
    trainer.scalars.open(folder / "tensorboard", trainer.step)


def _resumed_lines(config: Config, trainer: Trainer, resumed: Resumed | None) -> list[str]:
    if resumed is None:
        return []
    place = f", batch {trainer.position}" if trainer.position else ""
    lines = [f"Resumed from {resumed.path}: continuing at epoch index {trainer.epoch}{place}"]
    lines += [f"Note: {change}" for change in changed_options(resumed.content, config)]
    if resumed.content["config"]["epochs"] != config.epochs and config.final_rate < 1:
        lines.append("Note: the learning rate follows the new number of --epochs")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        train(parse_arguments(arguments))
    except InputError as error:
        print(f"snvrag.train: error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(
            f"snvrag.train: stopped by {stopped}, state saved: continue with --resume auto",
            file=sys.stderr,
        )
        return stopped.exit_code
    except KeyboardInterrupt:
        print(
            "snvrag.train: interrupted: continue with --resume auto from the newest checkpoint",
            file=sys.stderr,
        )
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
