"""Batches as records: their rows, and what they show the network."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

import helpers
import panel_files
from snvrag.batches.batch import Neighbours
from snvrag.batches.dataset import WindowDataset
from snvrag.batches.keys import Key
from snvrag.batches.masks import MaskConfig
from snvrag.panel.windows import Windows


@pytest.fixture(scope="module")
def dataset():
    panel = panel_files.make_panel(
        helpers.mosaic_haplotypes(12, 100, seed=1), populations=[*"abbaba"]
    )
    windows = Windows.split(100, 30, 7)
    return WindowDataset(panel, helpers.own_targets(panel), windows, MaskConfig())


KEYS = [Key(3, window, sample) for sample, window in enumerate([0, 1, 2, 2, 3])]


def test_rows_of_a_batch(dataset):
    """Every sample with the windows, masks and frequencies that it had."""
    batch = dataset.__getitems__(KEYS)
    part = batch.rows(1, 4)
    assert part.num_samples == 3
    assert part.num_scored == sum(int(batch.scored[b].sum()) for b in range(1, 4))
    for b in range(3):
        alone = dataset[KEYS[b + 1]]
        n = int(part.window_row[b])
        assert part.windows[n] == alone.windows[0]
        assert part.row_starts[n] <= b < part.row_starts[n + 1]
        for name in ("hidden", "panel_af", "relative_position"):
            assert torch.equal(getattr(part, name)[n], getattr(alone, name)[0]), name
        for name in (
            "tokens",
            "panel_sample",
            "alleles",
            "scored",
            "af",
            "population_af",
            "genotype_frequency",
        ):
            assert torch.equal(getattr(part, name)[b], getattr(alone, name)[0]), name


def test_moving_keeps_every_tensor(dataset):
    batch = dataset.__getitems__(KEYS)
    batch.missing = torch.zeros_like(batch.alleles, dtype=torch.bool)
    near = Neighbours(torch.ones(5, 2, 3, 30))
    for record in (batch, near):
        moved = record.to(torch.device("cpu"))
        assert type(moved) is type(record)
        for item in fields(record):
            one, other = getattr(record, item.name), getattr(moved, item.name)
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one is other
    assert near.rows(1, 3).alleles.shape == (2, 2, 3, 30)


def test_types_and_shapes(dataset):
    batch = dataset[Key(1, 2, 3)]
    length, floats = dataset.windows.length, torch.float32
    expected = {
        **dict.fromkeys(("window_row", "panel_sample"), (torch.int64, (1,))),
        **dict.fromkeys(("panel_af", "relative_position", "af"), (floats, (1, length))),
        **dict.fromkeys(("hidden", "scored"), (torch.bool, (1, length))),
        "alleles": (torch.uint8, (1, 2, length)),
        "genotype_frequency": (floats, (1, length, 3)),
    }
    given = {item.name: getattr(batch, item.name) for item in fields(batch)}
    tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    assert {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()} == expected
    assert batch.missing is None
    assert (batch.windows.tolist(), batch.row_starts.tolist()) == ([2], [0, 1])


def test_without_keys(dataset):
    batch = dataset.__getitems__([])
    assert (batch.num_samples, batch.num_scored, batch.mask_seed) == (0, 0, -1)
    assert batch.tokens.shape == (0, 2, dataset.windows.length)
    assert not batch.is_padded
