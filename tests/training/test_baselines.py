"""The baselines are what their names say, at the sites at which a model is scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import make_panel, mosaic_haplotypes, own_targets
from snvrag.batches.dataset import Targets, WindowDataset
from snvrag.batches.keys import VALIDATION_SEED, Key
from snvrag.batches.masks import MaskConfig
from snvrag.panel.windows import Windows
from snvrag.training.baselines import evaluate_baselines
from snvrag.training.metrics import Metrics
from snvrag.training.run_data import RunData

NUM_SITES = 120
ALLELES = mosaic_haplotypes(60, NUM_SITES, seed=31)
MASKS = MaskConfig(mask_rates=(0.5,), epochs_per_rate=1)


@pytest.mark.parametrize("own", [True, False])
def test_against_copying_by_hand(own):
    reference, others = ALLELES[:48], ALLELES[48:]
    panel = make_panel(reference)
    present = np.arange(NUM_SITES) % 5 != 0
    targets = (
        own_targets(panel)
        if own
        else Targets(make_panel(others * present), present, np.full(6, -1), np.zeros(6, np.int64))
    )
    truth = reference if own else others
    windows = Windows.split(NUM_SITES, 50, 15)
    got = evaluate_baselines(RunData(panel, targets, targets), windows, MASKS)

    dataset = WindowDataset(panel, targets, windows, MASKS)
    nearest, frequency = Metrics(torch.device("cpu")), Metrics(torch.device("cpu"))
    for window in range(len(windows)):
        start, stop = windows.flanked_starts[window], windows.flanked_stops[window]
        sites = slice(0, stop - start)
        af = torch.from_numpy(panel.af[start:stop].astype(np.float32))[None]
        for sample in range(targets.haplotypes.num_samples):
            batch = dataset[Key(VALIDATION_SEED, window, sample)]
            observed = ~batch.hidden[0, sites].numpy()
            query = truth[2 * sample : 2 * sample + 2, start:stop]
            differs = reference[None, :, start:stop] != query[:, None]
            distance = (differs & observed).sum(2).astype(float)
            if own:
                distance[:, 2 * sample : 2 * sample + 2] = np.inf
            copied = reference[distance.argmin(1), start:stop].astype(np.float32)
            alleles = torch.from_numpy(query.astype(np.uint8))[None]
            scored = batch.scored[:, sites]
            nearest.update(torch.from_numpy(copied)[None], alleles, scored, af)
            frequency.update(af.expand(1, 2, -1), alleles, scored, af)
    assert got["nearest haplotype"] == pytest.approx(nearest.compute(), rel=1e-9, nan_ok=True)
    assert got["allele frequency"] == pytest.approx(frequency.compute(), rel=1e-9, nan_ok=True)
    assert got["nearest haplotype"]["f1_overall"] > got["allele frequency"]["f1_overall"]


def test_the_frequency_calls_alt_above_one_half():
    alleles = ALLELES[:, np.ptp(ALLELES, axis=0) > 0]
    num_sites = alleles.shape[1]
    panel = make_panel(alleles)
    targets = Targets(panel, np.ones(num_sites, bool), np.full(30, -1), np.zeros(30, np.int64))
    windows = Windows.split(num_sites, num_sites)
    masks = MaskConfig(mask_rates=(1.0,), rare_rate=1.0)
    result = evaluate_baselines(RunData(panel, targets, targets), windows, masks)
    called = np.broadcast_to(alleles.mean(0) > 0.5, alleles.shape)
    frequency = result["allele frequency"]
    assert frequency["recall_overall"] == pytest.approx(called[alleles == 1].mean())
    assert frequency["precision_overall"] == pytest.approx(alleles[called].mean())
    assert frequency["recall_rare_alt"] == 0
