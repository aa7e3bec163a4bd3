"""Training with the panel on a device: the same results, without the host's batches or searches."""

from __future__ import annotations

import pytest
import torch

from emulated_cuda import DeviceReads
from snvrag.batches.dataset import WindowDataset
from snvrag.retrieval.searches import HostSearch
from training_runs import make_trainer

CASES = {
    "V18's": ["--mask-generator", "mt19937"],
    "dense": ["--retrieval", "dense", "--flank", "5"],
    "in workers": ["--workers", "2"],
}


def refuse(*_arguments: object) -> None:
    raise AssertionError("the host has made a batch, or searched")


@pytest.fixture
def make(tiny_arguments, tmp_path):
    def build(name: str, *options: str):
        folder = tmp_path / name
        folder.mkdir()
        arguments = [
            *tiny_arguments,
            "--output",
            str(folder),
            "--epochs",
            "2",
        ]
        return make_trainer([*arguments, *options])

    return build


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_metrics_are_those_of_the_host(monkeypatch, request, make, options):
    on_host = make("host", "--device", "cpu", *options)
    on_host.fit()
    device = request.getfixturevalue("device")
    monkeypatch.setattr(HostSearch, "nearest", refuse)
    monkeypatch.setattr(WindowDataset, "__getitems__", refuse)
    monkeypatch.setattr("snvrag.training.trainer.evaluate_baselines", lambda *_: {})
    monkeypatch.setattr("snvrag.training.tables.log_summary", lambda *_: None)
    trainer = make("device", "--device", device.type, "--amp", "no", *options)
    trainer.fit()
    for got, expected in zip(trainer.history, on_host.history, strict=True):
        rounding = 0 if device.type == "cpu" else 1e-3
        assert got == pytest.approx(expected, rel=rounding, nan_ok=True)
    statistics = trainer.train_loader.retriever.statistics
    assert statistics.num_builds == len(trainer.windows)
    assert statistics.num_hits > 0


def test_a_step_with_its_data_reads_nothing_from_the_device(request, make):
    """Masks, batches, indexes, searches, gathering and the step itself never wait."""
    device = request.getfixturevalue("device")
    trainer = make("device", "--device", device.type, *CASES["V18's"])
    trainer.optimizer = torch.optim.Adam(trainer.network.parameters(), fused=True)
    trainer.reads_late = True
    trainer.network.train()
    groups = trainer.train_loader.groups(0, 2)
    trainer.take_step(next(groups))  # an epoch's first build and search are waited for
    with DeviceReads() as reads:
        trainer.take_step(next(groups))
    assert reads.seen == []
