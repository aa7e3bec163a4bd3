"""Runs that are killed at random moments and continued end as the run that nobody killed.

Weights, optimizer, random states, metrics.csv and the result lines of the log are compared bit for
bit, on the CPU. Where a kill comes is drawn from a seed that is printed with a failing test, and
decides nothing about whether it passes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

# Log lines on the machine and on interruptions begin with these; all others are the same in every
# run of the same configuration on a CPU.
RUN_LINES = (
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
# What the clock and the number of interruptions decide.
DIFFERS = {"config", "log_bytes", "timing", "seconds", "train_seconds", "waited_seconds"}
# Dropout draws from torch's generator, and accumulation leaves the last group of an epoch short.
LIVELY = ["--dropout", "0.2", "--accumulation", "2", "--batch-size", "7", "--flank", "5"]
ALWAYS = ["--save-every-minutes", "1e-9"]  # after every step


class Parent:
    """Runs trainings, and kills them at the n-th event of a kind."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.arguments, self.printed = arguments, folder / "printed"
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forking_parent.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, output, *options, kind="none", kill_at=0, signal_number=signal.SIGKILL) -> int:
        """Return the exit code; what was printed is in `printed`."""
        self.printed.unlink(missing_ok=True)
        request = {
            "arguments": [*self.arguments, "--output", str(output), "--resume", "auto", *options],
            "printed": str(self.printed),
            "kind": kind,
            "kill_at": kill_at,
            "signal": int(signal_number),
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def arguments(tiny_arguments):
    return [*tiny_arguments, *LIVELY]


@pytest.fixture(scope="module")
def parent(arguments, tmp_path_factory):
    made = Parent(arguments, tmp_path_factory.mktemp("parent"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def straight(parent, tmp_path_factory):
    """The folder of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert parent.run(folder) == 0, parent.printed.read_text()
    return folder


def flat(value, place="") -> dict[str, object]:
    """Return every number of a checkpoint by its place, tensors as bytes."""
    if isinstance(value, torch.Tensor):
        return {place: (value.dtype, value.shape, value.numpy().tobytes())}
    if isinstance(value, dict):
        items = [(name, inner) for name, inner in value.items() if name not in DIFFERS]
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    else:
        return {place: repr(value)}
    return {k: v for name, inner in items for k, v in flat(inner, f"{place}.{name}").items()}


def check_same(one: Path, other: Path) -> None:
    """Compare two output folders bit for bit."""
    names = sorted(path.name for path in one.iterdir())
    assert sorted(path.name for path in other.iterdir()) == names
    for name in names:
        if name.startswith("rag_bert.model."):
            contents = [flat(torch.load(folder / name)) for folder in (one, other)]
            differing = [k for k in contents[0] if contents[0][k] != contents[1].get(k)]
            assert differing == [], name
            assert len(contents[0]) == len(contents[1])
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    logs = [
        [
            line
            for line in (folder / "train.log").read_text().splitlines()
            if not line.startswith(RUN_LINES)
        ]
        for folder in (one, other)
    ]
    assert logs[0] == logs[1]
    assert [line for line in logs[0] if line.startswith("Epoch ")] == [
        "Epoch 1/3", "Epoch 2/3", "Epoch 3/3",
    ]  # fmt: skip
    timing = (other / "timing.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in timing] == ["epoch", "0", "1", "2"]


@pytest.mark.parametrize(
    ("kind", "last", "kills", "options", "seed"),
    [
        # between two steps, with nothing but the epochs' checkpoints, and with one after every step
        ("step", 9, 3, [], 1),
        ("step", 4, 5, ALWAYS, 2),
        # while a checkpoint is written, which takes some 1,500 writes
        ("payload", 4000, 7, ALWAYS, 3),
        # before a line of the log, a flush to the disk, a renaming, a link
        ("file", 60, 3, [], 4),
        ("file", 60, 7, ALWAYS, 5),
        # in validation, which is done again
        ("validation", 8, 2, ALWAYS, 9),
        ("step", 9, 3, ["--workers", "2"], 6),
    ],
)
def test_killed_and_resumed(parent, straight, tmp_path, kind, last, kills, options, seed):
    dice = random.Random(seed)
    killed = 0
    for attempt in range(99):
        folder = tmp_path / str(attempt)
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            kill_at = dice.randint(1, last) if killed < kills else 0
            code = parent.run(folder, *options, kind=kind, kill_at=kill_at)
            print(f"seed {seed}: {kind} {kill_at}: exit code {code}")
            assert code in (0, -signal.SIGKILL), parent.printed.read_text()
            killed += code != 0
        check_same(straight, folder)
        if killed == kills:
            return


def test_stopped_by_signals(parent, straight, tmp_path):
    """SIGTERM and Ctrl-C save and end, SIGUSR1 saves and goes on, at whatever step they come."""
    seed = 7
    dice = random.Random(seed)
    folder = tmp_path / "run"
    for number, expected in [
        (signal.SIGTERM, 143), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGTERM, 143),
        (signal.SIGUSR1, 0),
    ]:  # fmt: skip
        step = dice.randint(1, 4)
        code = parent.run(folder, kind="step", kill_at=step, signal_number=number)
        printed = parent.printed.read_text()
        print(f"seed {seed}: {number.name} in step {step}: exit code {code}")
        assert code == expected, printed
        assert "Traceback" not in printed
        assert f"Saved {folder}/rag_bert.model.step" in printed
        if expected:
            assert (folder / "rag_bert.model.step").exists()
            last = printed.splitlines()[-1]
            assert last.startswith(f"snvrag.train: stopped by {number.name}, state saved: ")
    check_same(straight, folder)


@pytest.mark.parametrize(("kind", "left"), [("validation", "step"), ("end", "ep0")])
def test_stopped_after_the_last_step_of_an_epoch(parent, straight, tmp_path, kind, left):
    """Nothing is trained twice: what is saved is the whole epoch, validated or not yet."""
    folder = tmp_path / "run"
    assert parent.run(folder, kind=kind, kill_at=1, signal_number=signal.SIGTERM) == 143
    content = torch.load(folder / f"rag_bert.model.{left}")
    assert (content["epoch"], content["epoch_position"]) == ((-1, 12) if left == "step" else (0, 0))
    assert (folder / "rag_bert.model.step").exists() == (left == "step")
    assert parent.run(folder) == 0
    check_same(straight, folder)


def test_killed_by_the_clock_on_the_command_line(straight, arguments, tmp_path):
    """A real process with spawned workers, some time after its first line of an epoch."""
    seed = 8
    delay = random.Random(seed).uniform(0, 3)
    folder = tmp_path / "run"
    command = [
        sys.executable, "-m", "snvrag.train", *arguments, *ALWAYS, "--output", str(folder),
        "--resume", "auto", "--workers", "2", "--start-method", "spawn",
    ]  # fmt: skip
    options = {
        "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True,
        "env": {**os.environ, "OMP_NUM_THREADS": "1"},
    }  # fmt: skip
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("Epoch 1/3") for line in lines)
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the workers, which hold the pipe open
    print(f"seed {seed}: killed after {delay:.2f} s: exit code {process.returncode}")
    again = subprocess.run(command, check=False, **options)
    assert again.returncode == 0, again.stdout
    check_same(straight, folder)
