"""The masks that reach the network are the contract's, however the workers were started."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import mask_formula, mosaic_haplotypes, own_targets
from panel_files import make_panel
from snvrag.batches.batch import MASK, Batch
from snvrag.batches.keys import VALIDATION_SEED
from snvrag.config.options import build
from snvrag.panel.windows import Windows
from snvrag.training.loaders import SampleLoader, WindowLoader
from snvrag.training.networks import given_rates
from snvrag.training.options import Config
from snvrag.training.run_data import RunData
from training_runs import make_trainer

EPOCHS = (0, 1, 2)
# Python 3.12 and later warn of every fork() of a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def curriculum(epoch: int) -> float:
    return (0.30, 0.40, 0.50, 0.60, 0.70, 0.80)[min(epoch // 2, 5)]


def masks(af: np.ndarray, windows: Windows, seed: int, rate: float) -> list[np.ndarray]:
    """Return the mask of every window by contract 4.1."""
    pairs = zip(windows.starts, windows.stops, strict=True)
    return [mask_formula(af[a:b], seed, window, rate) for window, (a, b) in enumerate(pairs)]


def check_tokens(batch: Batch, expected: list[np.ndarray]) -> set[int]:
    """Compare what the network sees with the masks of the batch's windows, and return those."""
    masked = (batch.tokens == MASK).numpy()
    windows = batch.windows[batch.window_row.numpy()].tolist()
    for row, window in zip(masked, windows, strict=True):
        length = expected[window].size
        np.testing.assert_array_equal(row[:, :length], np.stack([expected[window]] * 2))
        assert not row[:, length:].any()
    return set(windows)


def test_masks_of_v18_are_its_own():
    """Through what the preset makes, on sites that its windows do not divide."""
    num_sites, size = 2500, 1020
    panel = make_panel(mosaic_haplotypes(12, num_sites, seed=5))
    targets = own_targets(panel)
    small = ["--width", "8", "--layers", "1", "--heads", "1", "--threads", "1"]
    trainer = make_trainer(["--preset", "v18", *small], RunData(panel, targets, targets))
    for loader, seed, rate in (
        (trainer.train_loader, 0, 0.3),
        (trainer.train_loader, 7, 0.6),
        (trainer.val_loader, VALIDATION_SEED, 0.5),
    ):
        expected = []
        for window, start in enumerate(range(0, num_sites, size)):
            af = panel.af[start : start + size]
            u = np.random.RandomState(seed * 10_000 + window).random_sample(af.size)
            expected.append(u < np.where(af < 0.05, 0.7, rate))
        seen = [check_tokens(batch, expected) for batch, _ in loader.batches(seed)]
        assert set.union(*seen) == {0, 1, 2}


@pytest.mark.parametrize(("workers", "method"), [(0, "fork"), (3, "fork"), (2, "spawn")])
def test_masks_of_every_epoch(monkeypatch, workers, method):
    """Through the loader of a training, whose workers live on from epoch to epoch."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of spawned workers
    panel = make_panel(mosaic_haplotypes(12, 120, seed=5))
    targets = own_targets(panel)
    windows = Windows.split(120, 50)
    options = {"network": "transformer", "k": 2, "batch_size": 5, "threads": 1}
    config = build(Config, {**options, "workers": workers, "start_method": method})
    loader = WindowLoader(config, RunData(panel, targets, targets), windows, training=True)
    seen_pids = set()
    for epoch in (*EPOCHS, 0):  # and back again
        expected = masks(panel.af, windows, epoch, curriculum(epoch))
        seen = set()
        for batch, neighbours in loader.batches(epoch):
            assert batch.mask_seed == epoch
            seen |= check_tokens(batch, expected)
            assert neighbours.alleles.shape[0] == batch.num_samples
        assert seen == {0, 1, 2}
        seen_pids.add(frozenset(worker.pid for worker in loader.workers))
    assert len(seen_pids) == 1
    assert {len(pids) for pids in seen_pids} == {workers}
    loader.close()


@pytest.mark.parametrize(("workers", "method"), [(0, "fork"), (2, "fork"), (1, "spawn")])
def test_masks_of_every_epoch_reach_the_head(monkeypatch, workers, method):
    """The sites of a batch are the hidden ones of the epoch, and no others."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of spawned workers
    panel = make_panel(mosaic_haplotypes(12, 120, seed=5))
    data = RunData(panel, own_targets(panel), own_targets(panel))
    windows = Windows.split(120, 50)
    options = {"batch_size": 4, "workers": workers, "start_method": method}
    loader = SampleLoader(build(Config, options), data, windows, given_rates(data), training=True)
    for epoch in (*EPOCHS, 0):
        loader.begin_epoch(epoch)
        hidden = np.concatenate(masks(panel.af, windows, epoch, curriculum(epoch)))
        batches = [batch for (batch,) in loader.batches(epoch)]
        assert [batch.num_samples for batch in batches] == [4, 2]
        for batch in batches:
            assert batch.mask_seed == epoch
            np.testing.assert_array_equal(batch.sites, np.flatnonzero(hidden))
        counts = loader.statistics
        assert counts.num_builds + counts.num_hits == 2
        assert counts.num_builds == max(1, min(workers, 2))
        assert counts.search_seconds > 0
    loader.close()


def test_masks_of_a_whole_training(tmp_path, tiny_arguments):
    """Every forward pass: training masks by the epoch, validation masks always by 2024."""
    trainer = make_trainer([*tiny_arguments, "--output", str(tmp_path), "--workers", "1"])
    af, windows = trainer.data.panel.af, trainer.windows
    training = {e: masks(af, windows, e, curriculum(e)) for e in EPOCHS}
    validation = masks(af, windows, VALIDATION_SEED, 0.5)
    seen: list[tuple[bool, int]] = []

    def look(module: torch.nn.Module, arguments: tuple[Batch, object]) -> None:
        batch = arguments[0]
        check_tokens(batch, training[batch.mask_seed] if module.training else validation)
        seen.append((module.training, batch.mask_seed))

    trainer.network.register_forward_pre_hook(look)
    trainer.fit()
    order = list(dict.fromkeys(seen))
    assert order == [(False, 2024), (True, 0), (True, 1), (True, 2)]  # first untrained
