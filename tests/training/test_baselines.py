"""The baselines are what their names say, on the very sites that a model is scored on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snvrag.batches.dataset import Targets, WindowDataset
from snvrag.batches.keys import Key, KeySampler
from snvrag.batches.masks import MaskRule
from snvrag.panel.windows import Windows
from snvrag.training.baselines import evaluate_baselines
from snvrag.training.metrics import Metrics

NUM_SITES = 120


@pytest.fixture(scope="module")
def alleles(mosaic_haplotypes):
    return mosaic_haplotypes(60, NUM_SITES, seed=31)


@pytest.mark.parametrize("flank", [0, 15])
@pytest.mark.parametrize("own", [True, False])
def test_against_copying_by_hand(alleles, make_panel, flank, own):
    reference, others = alleles[:48], alleles[48:]
    panel = make_panel(reference)
    present = np.arange(NUM_SITES) % 5 != 0
    targets = (
        Targets(panel, np.ones(NUM_SITES, bool), np.arange(24), np.zeros(24, np.int64))
        if own
        else Targets(make_panel(others * present), present, np.full(6, -1), np.zeros(6, np.int64))
    )
    truth = reference if own else others
    num_samples = targets.haplotypes.num_samples
    windows = Windows.split(NUM_SITES, 50, flank)
    dataset = WindowDataset(panel, targets, windows, MaskRule((0.5,), 1))
    sampler = KeySampler(len(windows), num_samples, 7, seed=0, shuffle="none")
    sampler.epoch = 2024
    got = evaluate_baselines(panel, dataset, sampler)

    nearest, frequency = Metrics(torch.device("cpu")), Metrics(torch.device("cpu"))
    for window in range(len(windows)):
        first, last = windows.flanked_starts[window], windows.flanked_stops[window]
        batch = dataset[Key(2024, window, 0)]
        observed = ~batch.hidden[0].numpy()[: last - first]
        af = torch.from_numpy(panel.af[first:last].astype(np.float32))
        for sample in range(num_samples):
            scored = dataset[Key(2024, window, sample)].scored[0, : last - first]
            query = truth[2 * sample : 2 * sample + 2, first:last]
            copied = np.empty(query.shape, np.float32)
            for copy in range(2):
                distance = (
                    ((reference[:, first:last] != query[copy]) & observed).sum(1).astype(float)
                )
                if own:
                    distance[2 * sample : 2 * sample + 2] = np.inf
                copied[copy] = reference[np.argmin(distance), first:last]
            shape = (1, 2, last - first)
            alleles_here = torch.from_numpy(query.astype(np.uint8))[None]
            nearest.update(torch.from_numpy(copied)[None], alleles_here, scored[None], af[None])
            frequency.update(af.expand(shape), alleles_here, scored[None], af[None])
    for name, metrics in (("nearest haplotype", nearest), ("allele frequency", frequency)):
        expected = metrics.compute()
        assert got[name].keys() == expected.keys()
        for key, value in expected.items():
            assert got[name][key] == pytest.approx(value, rel=1e-9, nan_ok=True), (name, key)
    assert got["nearest haplotype"]["f1_overall"] > got["allele frequency"]["f1_overall"]


def test_the_frequency_calls_alt_above_one_half(alleles, make_panel):
    alleles = alleles[:, np.ptp(alleles, axis=0) > 0]
    num_sites = alleles.shape[1]
    panel = make_panel(alleles)
    targets = Targets(panel, np.ones(num_sites, bool), np.full(30, -1), np.zeros(30, np.int64))
    windows = Windows.split(num_sites, num_sites)
    dataset = WindowDataset(panel, targets, windows, MaskRule((1.0,), 1, rare_rate=1.0))
    sampler = KeySampler(1, 30, 64, seed=0, shuffle="none")
    result = evaluate_baselines(panel, dataset, sampler)["allele frequency"]
    called = np.broadcast_to(alleles.mean(0) > 0.5, alleles.shape)
    assert result["recall_overall"] == pytest.approx(called[alleles == 1].mean())
    assert result["precision_overall"] == pytest.approx(alleles[called].mean())
    assert result["recall_rare_alt"] == 0
