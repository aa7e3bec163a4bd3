"""Train an imputation model: ``python -m snvrag.train``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from . import report
from .checkpoint import check_resumable, load_checkpoint, prepare_output, restore_best
from .config import Config, parse_arguments
from .distributed import Ranks, launched
from .errors import InputError, LostRankError, ToldInputError
from .report import log
from .sources import fingerprint, load_sources
from .trainer import Trainer


def train(config: Config) -> list[dict[str, Any]]:
    """Run a whole training as configured; return the metrics of every epoch."""
    if config.threads:
        torch.set_num_threads(config.threads)
    ranks = Ranks.start(config.rank_timeout)
    with ranks.together():
        content = load_checkpoint(config.resume) if config.resume else None
        sources = load_sources(config)
        trainer = Trainer(config, sources, ranks)
        first_epoch = 0
        if content is not None:
            check_resumable(config.resume, content, config, fingerprint(sources))
            first_epoch = trainer.restore(content)
    if ranks.size > 1:
        ranks.require_same("panel or samples", fingerprint(sources))
        ranks.require_same("position to start at", (first_epoch, trainer.step))
    with ranks.together():
        if ranks.is_writer:
            prepare_output(config)
    try:
        if ranks.is_writer:
            report.open_log(Path(config.output) / "train.log")
            text = json.dumps(config.to_dict(), indent=2) + "\n"
            (Path(config.output) / "config.json").write_text(text, encoding="utf-8")
            if content is not None:
                restore_best(config.resume, trainer.stopping.best_epoch, config.output)
        else:
            report.no_log()
        for line in sources.report:
            log.info("%s", line)
        windows = trainer.windows
        num_parameters = sum(p.numel() for p in trainer.network.parameters())
        log.info(
            "windows: %d of at most %d sites%s; network: %d parameters on %s",
            len(windows), config.window_size,
            f", flanks of {config.flank}" if config.flank else "", num_parameters, trainer.device,
        )  # fmt: skip
        if ranks.size > 1:
            log.info(
                "ranks: %d, each with its part of a batch of %d", ranks.size, config.batch_size
            )
        if content is not None:
            log.info("Resumed from %s: continuing at epoch index %d", config.resume, first_epoch)
            planned = content["config"]["epochs"]
            if planned != config.epochs and config.final_rate < 1:
                log.info(
                    "Note: --epochs was %d, is %d: the learning rate follows the new length",
                    planned, config.epochs,
                )  # fmt: skip
        trainer.fit(first_epoch)
    except OSError as error:
        place = error.filename or config.output
        raise InputError(f"{place}: cannot be written ({error.strerror or error})") from error
    finally:
        report.close_log()
    ranks.close()
    return trainer.history


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        # What is wrong with the arguments is so at every rank: the first says it.
        with redirect_stderr(StringIO()) if launched()[0] else nullcontext():
            config = parse_arguments(arguments)
    except InputError as error:
        return _fail(error) if not launched()[0] else 2
    try:
        train(config)
    except ToldInputError:
        return 2
    except InputError as error:
        return _fail(error)
    except LostRankError as error:
        _fail(error)
        return 1
    except KeyboardInterrupt:
        print(
            "snvrag.train: interrupted: continue with --resume and the newest checkpoint",
            file=sys.stderr,
        )
        return 130
    return 0


def _fail(error: Exception) -> int:
    print(f"snvrag.train: error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
