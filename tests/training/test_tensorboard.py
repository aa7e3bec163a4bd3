"""Curves: each step once, whatever happened; nothing without TensorBoard."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from snvrag.train import main
from snvrag.training import trainer
from snvrag.training.tensorboard import Scalars


@pytest.fixture(autouse=True, scope="module")
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Board:
    """What TensorBoard would show: a writer that begins at a step takes back what lies beyond."""

    def __init__(self) -> None:
        self.curves: dict[str, dict[int, float]] = {}
        self.written_twice: list[tuple[str, int]] = []
        self.folders: set[str] = set()
        self.open = 0

    def writer(self, folder, purge_step):
        board = self
        self.folders.add(folder)
        self.open += 1
        for curve in self.curves.values():
            for step in [step for step in curve if step >= purge_step]:
                del curve[step]

        class Writer:
            def add_scalar(self, name, value, step):
                curve = board.curves.setdefault(name, {})
                if step in curve:
                    board.written_twice.append((name, step))
                curve[step] = value

            def flush(self):
                pass

            def close(self):
                board.open -= 1

        return Writer()


@pytest.fixture
def board(monkeypatch):
    made = Board()
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = made.writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return made


OPTIONS = ["--batch-size", "7", "--log-every", "4", "--epochs", "2", "--resume", "auto"]
CLOCK = {"seconds", "data_share"}


def test_curves(board, tmp_path, tiny_arguments):
    assert main([*tiny_arguments, *OPTIONS, "--output", str(tmp_path)]) == 0
    assert board.folders == {str(tmp_path / "tensorboard")}
    assert board.open == 0
    assert list(board.curves["loss"]) == [4, 8, 12, 16, 20, 24]
    assert set(board.curves) >= {"loss", "recall", "rate", "train_loss", "val_loss", "f1_overall"}
    assert list(board.curves["val_loss"]) == [12, 24]
    assert board.curves["train_loss"][24] == board.curves["loss"][24]


@pytest.mark.parametrize("stop_at", [5, 15])
def test_an_interrupted_run_has_the_same_curves(
    board, tmp_path, tiny_arguments, monkeypatch, stop_at
):
    arguments = [*tiny_arguments, *OPTIONS]
    assert main([*arguments, "--output", str(tmp_path / "straight")]) == 0
    straight, board.curves = board.curves, {}
    step, taken = trainer.optimizer_step, []

    def stop(*values):
        step(*values)
        taken.append(None)
        if len(taken) == stop_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "optimizer_step", stop)
        assert main([*arguments, "--output", str(tmp_path / "run")]) == 130
    assert main([*arguments, "--output", str(tmp_path / "run")]) == 0
    assert board.written_twice == []
    assert set(board.curves) == set(straight)
    for name in set(straight) - CLOCK:
        assert repr(board.curves[name]) == repr(straight[name]), name  # NaN is NaN


def test_without_tensorboard(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    scalars = Scalars()
    assert not scalars.open(tmp_path, 0)
    scalars.write(1, {"loss": 1.0})
    scalars.flush()
    scalars.close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_itself(tmp_path):
    pytest.importorskip("tensorboard")
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    for first, last in ((0, 5), (3, 6)):
        scalars = Scalars()
        assert scalars.open(tmp_path, first)
        for step in range(first + 1, last + 1):
            scalars.write(step, {"loss": float(10 * last + step)})
        scalars.close()
    events = event_accumulator.EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in events] == [
        (1, 51), (2, 52), (3, 53), (4, 64), (5, 65), (6, 66),
    ]  # fmt: skip
