"""Runs trainings in this process, and reads and compares what they have written."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from snvrag.config.command_line import parse
from snvrag.train import main
from snvrag.training import trainer as trainer_module
from snvrag.training.options import Config
from snvrag.training.run_data import RunData, load_run_data
from snvrag.training.trainer import Trainer

# Dropout draws from torch's generator, and accumulation leaves the last group of an epoch short:
# both must be the same in a resumed run.
LIVELY = ["--dropout", "0.2", "--accumulation", "2", "--batch-size", "7", "--flank", "5"]
# Values of a checkpoint that the clock decides, and the length of the log, whose lines have times.
_BY_CLOCK = {"seconds", "train_seconds", "waited_seconds", "data_share", "log_bytes"}
# Lines of the log that depend on the machine or on interruptions begin with these.
_RUN_LINES = (
    "snvrag ",
    "Baselines...",
    "Training...",
    "Validation...",
    "[Batch ",
    "JIT cache: ",
    "Time: ",
    "Memory: ",
    "Saved ",
    "Resumed ",
    "Note: ",
    "Warning: ",
    "Plot: ",
    "No plot: ",
)


# --- running --------------------------------------------------------------------------------------


class Printed(NamedTuple):
    out: str
    err: str

    def lines(self, start: str) -> list[str]:
        """Return the lines of standard output with a prefix."""
        return [line for line in self.out.splitlines() if line.startswith(start)]


def ended_train(arguments: list[str]) -> tuple[Any, Printed]:
    """Run the command line, and return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code: Any = main(arguments)
        except SystemExit as ended:
            code = ended.code
    return code, Printed(out.getvalue(), err.getvalue())


def run_train(arguments: list[str], code: int = 0) -> Printed:
    """Run the command line, check its exit code, and return what it printed."""
    got, printed = ended_train(arguments)
    assert got == code, printed.err + printed.out
    return printed


def configure(arguments: list[str]) -> Config:
    """Return the options of a command line."""
    return parse("train", Config, "", arguments)[0]


def make_trainer(arguments: list[str], data: RunData | None = None) -> Trainer:
    """Return a trainer of a command line's options, before its first step."""
    config = configure(arguments)
    torch.set_num_threads(config.run.threads or 1)
    return Trainer(config, load_run_data(config) if data is None else data)


@contextmanager
def interrupted_at(step: int) -> Iterator[None]:
    """Raise KeyboardInterrupt after an optimizer step, as a second Ctrl-C does."""
    take, taken = trainer_module.optimizer_step, []

    def stop(*arguments: Any) -> None:
        take(*arguments)
        taken.append(None)
        if len(taken) == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "optimizer_step", stop)
        yield


def python_environment() -> dict[str, str]:
    """Return the environment of a Python process with one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


# --- reading --------------------------------------------------------------------------------------


def checkpoint(folder: Path, name: str) -> dict[str, Any]:
    """Return the content of a checkpoint of a folder, by the end of its name."""
    return torch.load(folder / f"rag_bert.model.{name}", weights_only=True)


def checkpoint_names(folder: Path) -> list[str]:
    """Return the ends of the names of a folder's checkpoints, sorted."""
    return sorted(p.name.removeprefix("rag_bert.model.") for p in folder.glob("rag_bert.model.*"))


def rows(folder: Path, name: str = "metrics.csv") -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with open(folder / name, newline="") as stream:
        return list(csv.DictReader(stream))


def result_lines(text: str) -> list[str]:
    """Return the lines of a log that are the same in every run of a configuration on a CPU."""
    return [line for line in text.splitlines() if not line.startswith(_RUN_LINES)]


def weights(trainer: Trainer) -> torch.Tensor:
    """Return a copy of all parameters in one vector."""
    return torch.cat([p.detach().flatten() for p in trainer.network.parameters()])


# --- comparing ------------------------------------------------------------------------------------


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, object]]:
    """Yield every value of a checkpoint by its place, tensors as bytes."""
    if isinstance(value, torch.Tensor):
        yield place, (value.dtype, value.shape, value.numpy().tobytes())
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in _BY_CLOCK:
                yield from _flat(inner, f"{place}.{name}")
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from _flat(inner, f"{place}[{i}]")
    else:
        yield place, repr(value)  # NaN is NaN


def assert_same_checkpoint(
    one: dict[str, Any], other: dict[str, Any], *, but: tuple[str, ...] = ("config",)
) -> None:
    """Compare two checkpoints bit for bit, but for what the clock decides."""
    flat, other_flat = (
        dict(_flat({k: v for k, v in c.items() if k not in but})) for c in (one, other)
    )
    assert [k for k in flat | other_flat if flat.get(k) != other_flat.get(k)] == []
