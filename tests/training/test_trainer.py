"""The trainer between two steps, and before the first."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from snvrag.io.checkpoint import load_checkpoint
from snvrag.li_stephens.model import LiStephensModel
from snvrag.training.distributed import Ranks
from snvrag.training.options import parse_arguments
from snvrag.training.run_data import load_run_data
from snvrag.training.signals import Requests, TrainingInterrupted
from snvrag.training.trainer import Trainer


@pytest.fixture
def trainer(tiny_arguments, tmp_path):
    config = parse_arguments([*tiny_arguments, "--output", str(tmp_path)])
    return Trainer(config, load_run_data(config))


class LateRequests(Requests):
    """A signal that comes right after somebody has looked whether there is one."""

    def __init__(self) -> None:
        self.comes = False
        super().__init__()
        self.comes = True

    @property
    def save(self) -> bool:
        seen, self._save = self._save, self._save or self.comes
        return seen

    @save.setter
    def save(self, value: bool) -> None:
        self._save = value


def test_a_signal_that_comes_late_is_answered_a_step_later(trainer, tmp_path):
    trainer.requests = LateRequests()
    trainer._answer_requests()
    assert list(tmp_path.iterdir()) == []
    trainer.requests.comes = False
    trainer._answer_requests()
    assert [path.name for path in tmp_path.iterdir()] == ["rag_bert.model.step"]
    (tmp_path / "rag_bert.model.step").unlink()
    trainer._answer_requests()
    assert list(tmp_path.iterdir()) == []


def test_a_signal_before_the_first_step(trainer, tmp_path, monkeypatch):
    """While baselines are made: it is noted, and answered after the first step."""
    evaluate = trainer._evaluate_baselines

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        return evaluate()

    monkeypatch.setattr(trainer, "_evaluate_baselines", interrupted)
    with pytest.raises((TrainingInterrupted, KeyboardInterrupt)) as ended:
        trainer.fit()
    assert ended.type is TrainingInterrupted
    assert load_checkpoint(tmp_path / "rag_bert.model.step")["step"] == 1


def test_baselines_ask_no_li_stephens_model(trainer, monkeypatch):
    """It would take as long as that of a whole validation, at every start."""

    def fail(*_, **__):
        raise AssertionError("asked")

    monkeypatch.setattr(LiStephensModel, "dosage", fail)
    with pytest.raises(AssertionError, match="asked"):
        next(trainer.val_loader.epoch(2024))
    results = trainer._evaluate_baselines()
    assert results["nearest haplotype"]["f1_overall"] > 0


def test_validation_has_one_shape_at_every_rank(tiny_arguments, monkeypatch):
    """So that a compiled layer is compiled once for it, though its batches are not cut."""
    config = parse_arguments([*tiny_arguments, "--batch-size", "7"])
    sources = load_run_data(config)
    monkeypatch.setattr(Ranks, "add_up", lambda *_: None)
    monkeypatch.setattr(Ranks, "largest", lambda _, *values: list(values))
    for parts, rows in ((1, 14), (2, 8)):
        trainer = Trainer(config, sources, Ranks(0, 2))
        trainer.config = replace(config, compile=True)
        trainer.pieces.parts = parts
        trainer.network.static_rows = 8  # as training has left it
        seen = set()
        trainer.network.blocks[0].register_forward_pre_hook(
            lambda _, arguments, seen=seen: seen.add(arguments[0].shape[0])
        )
        trainer._validate()
        assert seen == {rows}
