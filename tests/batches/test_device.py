"""Batches made on a device are those of the CPU, and making them waits for nothing."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

import helpers
import panel_files
from emulated_cuda import DeviceReads
from snvrag.batches import device as device_module
from snvrag.batches.dataset import Targets, WindowDataset
from snvrag.batches.device import DeviceDataset, DeviceHaplotypes
from snvrag.batches.keys import Key
from snvrag.batches.masks import MaskConfig
from snvrag.errors import InputError
from snvrag.panel.windows import Windows

NUM_SITES = 150
ALLELES = helpers.mosaic_haplotypes(44, NUM_SITES, seed=4)
# Sample 0 is its population's only one.
POPULATIONS = ["alone", *["a", "b", "b"] * 5]
PLOIDY = np.array([2, 1, 2, 2] * 4)


def panel_of(haploid: bool):
    if not haploid:
        return panel_files.make_panel(ALLELES[:32], populations=POPULATIONS)
    return panel_files.make_panel(ALLELES[: PLOIDY.sum()], populations=POPULATIONS, ploidy=PLOIDY)


def own_targets(panel) -> Targets:
    return helpers.own_targets(panel)


def others(panel) -> Targets:
    """Six samples, two of which the panel has by name, without some sites and some alleles."""
    random = np.random.default_rng(0)
    present, missing = random.random(NUM_SITES) < 0.7, random.random((12, NUM_SITES)) < 0.2
    haplotypes = panel_files.make_panel(np.where(missing, 0, ALLELES[32:] * present), prefix="t")
    return Targets(
        haplotypes,
        present,
        np.array([-1, 3, -1, 0, -1, -1]),
        np.array([1, 1, 2, 0, 2, 1]),
        helpers.pack(missing.T),
    )


def assert_equal(got, expected) -> None:
    for item in fields(expected):
        one, other = getattr(got, item.name), getattr(expected, item.name)
        if isinstance(other, torch.Tensor):
            assert (one.dtype, one.shape) == (other.dtype, other.shape), item.name
            assert torch.equal(one.cpu(), other), item.name
        else:
            np.testing.assert_array_equal(one, other, err_msg=item.name)


@pytest.mark.parametrize("make_targets", [own_targets, others])
@pytest.mark.parametrize("haploid", [False, True])
@pytest.mark.parametrize("generator", ["philox", "mt19937"])
def test_batches_are_those_of_the_host(device, make_targets, haploid, generator):
    panel = panel_of(haploid)
    targets = make_targets(panel)
    resident = DeviceHaplotypes(panel, device)
    for size, flank in ((40, 0), (40, 13), (150, 0), (1, 2)):
        windows = Windows.split(NUM_SITES, size, flank)
        dataset = WindowDataset(panel, targets, windows, MaskConfig(mask_generator=generator))
        on_device = DeviceDataset(dataset, resident)
        random = np.random.default_rng(size)
        keys = sorted(
            Key(3, int(random.integers(len(windows))), int(random.integers(6))) for _ in range(7)
        )
        expected = dataset.__getitems__(keys)
        assert expected.scored.any() or size == 1
        with DeviceReads() as reads:
            got = on_device.__getitems__(keys)
        assert reads.seen == []
        assert_equal(got, expected)
    assert_equal(on_device.__getitems__([]), dataset.__getitems__([]))


def test_too_little_memory_for_the_panel(device, monkeypatch):
    def full(*_arguments):
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(device_module, "upload", full)
    with pytest.raises(InputError, match="must have memory for 0 MB of haplotypes, got c"):
        DeviceHaplotypes(panel_of(False), device)
