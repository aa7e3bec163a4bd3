"""Curves: each step once, whatever happened; nothing without TensorBoard."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from snvrag.training.tensorboard import Scalars
from training_runs import interrupted_at, run_train

OPTIONS = ["--batch-size", "7", "--log-every", "4", "--epochs", "2", "--resume", "auto"]
CLOCK = {"seconds", "data_share"}


class Board:
    """What TensorBoard would show: a writer that begins at a step purges what lies beyond."""

    def __init__(self) -> None:
        self.curves: dict[str, dict[int, float]] = {}
        self.written_twice: list[tuple[str, int]] = []
        self.folders: set[str] = set()
        self.num_open = 0

    def writer(self, folder, purge_step):
        self.folders.add(folder)
        self.num_open += 1
        for curve in self.curves.values():
            for step in [step for step in curve if step >= purge_step]:
                del curve[step]
        return self

    def add_scalar(self, name, value, step):
        curve = self.curves.setdefault(name, {})
        if step in curve:
            self.written_twice.append((name, step))
        curve[step] = value

    def flush(self):
        pass

    def close(self):
        self.num_open -= 1


@pytest.fixture
def board(monkeypatch):
    made = Board()
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = made.writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return made


def test_an_interrupted_run_has_the_same_curves(board, tmp_path, tiny_arguments):
    arguments = [*tiny_arguments, *OPTIONS]
    run_train([*arguments, "--output", str(tmp_path / "straight")])
    assert board.folders == {str(tmp_path / "straight" / "tensorboard")}
    assert board.num_open == 0
    straight, board.curves = board.curves, {}
    assert list(straight["loss"]) == [4, 8, 12, 16, 20, 24]
    assert set(straight) >= {"loss", "recall", "rate", "train_loss", "val_loss", "f1_overall"}
    assert list(straight["val_loss"]) == [12, 24]
    assert straight["train_loss"][24] == straight["loss"][24]

    for stop_at in (5, 10):  # in the first epoch, and in the second
        with interrupted_at(stop_at):
            run_train([*arguments, "--output", str(tmp_path / "run")], code=130)
    run_train([*arguments, "--output", str(tmp_path / "run")])
    assert board.written_twice == []
    assert board.num_open == 0
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
    module = "tensorboard.backend.event_processing.event_accumulator"
    event_accumulator = pytest.importorskip(module)
    for first, last in ((0, 5), (3, 6)):
        scalars = Scalars()
        assert scalars.open(tmp_path, first)
        for step in range(first + 1, last + 1):
            scalars.write(step, {"loss": float(10 * last + step)})
        scalars.close()
    events = event_accumulator.EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in events] == [51, 52, 53, 64, 65, 66]
