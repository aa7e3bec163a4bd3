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
import time
from pathlib import Path

import pytest

from training_runs import (
    LIVELY,
    assert_same_checkpoint,
    checkpoint,
    checkpoint_names,
    python_environment,
    result_lines,
)

ALWAYS = ["--save-every-minutes", "1e-9"]  # after every step


class Parent:
    """Runs trainings, and kills them at the n-th event of a kind."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.arguments, self.printed = arguments, folder / "printed"
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forking_parent.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=python_environment(),
        )

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


def check_same(one: Path, other: Path) -> None:
    """Compare two output folders bit for bit."""
    assert sorted(p.name for p in other.iterdir()) == sorted(p.name for p in one.iterdir())
    for name in checkpoint_names(one):
        assert_same_checkpoint(checkpoint(one, name), checkpoint(other, name))
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    logs = [result_lines((folder / "train.log").read_text()) for folder in (one, other)]
    assert logs[0] == logs[1]
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
        ("file", 60, 7, ALWAYS, 5),
        # in validation, which is done again, or in that of the untrained network
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
        (signal.SIGTERM, 143),
        (signal.SIGTERM, 143),
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGUSR1, 0),
    ]:
        step = dice.randint(1, 4)
        code = parent.run(folder, kind="step", kill_at=step, signal_number=number)
        printed = parent.printed.read_text()
        print(f"seed {seed}: {number.name} in step {step}: exit code {code}")
        assert code == expected, printed
        assert "Traceback" not in printed
        assert f"Saved {folder}/rag_bert.model.step" in printed
        if expected:
            assert "step" in checkpoint_names(folder)
            last = printed.splitlines()[-1]
            assert last.startswith(f"snvrag train: stopped by {number.name}, state saved: ")
    check_same(straight, folder)


@pytest.mark.parametrize(
    ("kind", "kill_at", "left", "done"),
    [
        ("validation", 2, "step", (-1, 0)),  # of the untrained network, in three batches
        ("validation", 4, "step", (-1, 12)),
        ("end", 1, "ep0", (0, 0)),
    ],
)
def test_stopped_outside_of_training(parent, straight, tmp_path, kind, kill_at, left, done):
    """Nothing is trained twice: what is saved is the whole epoch, validated or not yet."""
    folder = tmp_path / "run"
    assert parent.run(folder, kind=kind, kill_at=kill_at, signal_number=signal.SIGTERM) == 143
    content = checkpoint(folder, left)
    assert (content["epoch"], content["num_batches_done"]) == done
    assert bool(content["baselines"]) == (kill_at != 2)
    assert ("step" in checkpoint_names(folder)) == (left == "step")
    assert parent.run(folder) == 0
    check_same(straight, folder)


def test_killed_on_the_command_line(parent, straight, arguments, tmp_path):
    """A real process with spawned workers, at a moment that nothing in it decides."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "snvrag.train", *arguments, "--output", str(folder)]
    spawned = [*command, *ALWAYS, "--workers", "1", "--start-method", "spawn"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    options["env"] = python_environment()
    with subprocess.Popen(spawned, start_new_session=True, **options) as process:
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("Saved ") for line in lines)
        process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the workers, which hold the pipe open
    assert process.returncode == -signal.SIGKILL
    assert parent.run(folder) == 0, parent.printed.read_text()
    check_same(straight, folder)


# --- workers that fail ----------------------------------------------------------------------------


def test_a_worker_that_raises_ends_the_run(parent, tmp_path):
    start = time.monotonic()
    assert parent.run(tmp_path / "run", "--workers", "2", kind="raise") == 1
    assert parent.printed.read_text().splitlines()[-1] == (
        "snvrag train: error: a worker process has failed: ZeroDivisionError: in a worker"
    )
    assert time.monotonic() - start < 20


def test_a_worker_that_is_killed_ends_the_run(arguments, tmp_path):
    """At exit the interpreter waits for its children, of which the others ignore SIGTERM."""
    driver = (
        "import multiprocessing, os, signal, sys\n"
        "from snvrag.train import main\n"
        "from snvrag.training.trainer import Trainer\n"
        "take = Trainer.take_step\n"
        "def hurt(trainer, group):\n"
        "    take(trainer, group)\n"
        "    if trainer.step == 2:\n"
        "        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)\n"
        "Trainer.take_step = hurt\n"
        "sys.exit(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", driver, *arguments, "--output", tmp_path / "run", "--workers", "3"],
        env=python_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("snvrag train: error: worker process ")
    assert ended.stderr.endswith(" has ended with exit code -9\n")
