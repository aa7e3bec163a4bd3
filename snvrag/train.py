"""Train an imputation model: ``python -m snvrag.train``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from .config.command_line import run_main
from .training.options import Config

DESCRIPTION = (
    "Train a retrieval-augmented imputation model. Without arguments, on a small simulated panel "
    "that ships with the package."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    # What is wrong with the arguments is so at every rank: the first reports it.
    quiet = int(os.environ.get("RANK", "0")) > 0
    return run_main("train", Config, DESCRIPTION, _run, arguments, quiet=quiet)


def _run(config: Config) -> int:
    # torch takes seconds to load, which --help and wrong arguments need not wait for.
    from .training.run import train
    from .training.signals import TrainingInterrupted

    try:
        train(config)
    except TrainingInterrupted as interrupted:
        if int(os.environ.get("RANK", "0")) == 0:
            print(
                f"snvrag train: stopped by {interrupted}, state saved: continue with --resume auto",
                file=sys.stderr,
            )
        return interrupted.exit_code
    except KeyboardInterrupt:
        print(
            "snvrag train: interrupted: continue with --resume auto from the newest checkpoint",
            file=sys.stderr,
        )
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
