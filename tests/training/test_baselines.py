"""The baselines are what their names say, at the sites at which a model is scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import mosaic_haplotypes, own_targets
from panel_files import make_panel
from snvrag.batches.dataset import Targets, WindowDataset
from snvrag.batches.evidence import EvidenceDataset
from snvrag.batches.keys import VALIDATION_SEED, Key
from snvrag.training import baselines
from snvrag.training.metrics import Metrics
from snvrag.training.networks import given_rates
from snvrag.training.run_data import RunData
from training_runs import make_trainer

NUM_SITES = 120
ALLELES = mosaic_haplotypes(60, NUM_SITES, seed=31)
SMALL = ["--width", "8", "--heads", "2", "--layers", "1", "--threads", "1"]


def evaluated(data: RunData, *arguments: str):
    """Return the baselines of a run, and its trainer."""
    trainer = make_trainer([*arguments, *SMALL], data)
    parts = (trainer.config, trainer.data, trainer.windows, trainer.val_loader, trainer.runner)
    return baselines.evaluate_baselines(*parts), trainer


@pytest.mark.parametrize("preset", ["small", "v18"])
@pytest.mark.parametrize("own", [True, False])
def test_against_baselines_by_hand(own, preset):
    reference, others = ALLELES[:48], ALLELES[48:]
    panel = make_panel(reference)
    present = np.arange(NUM_SITES) % 5 != 0
    targets = (
        own_targets(panel)
        if own
        else Targets(make_panel(others * present), present, np.full(6, -1), np.zeros(6, np.int64))
    )
    truth = reference if own else others
    options = ("--preset", preset, "--window-size", "50", "--flank", "15")
    got, trainer = evaluated(RunData(panel, targets, targets), *options)

    windows = trainer.windows
    rates, masks = given_rates(trainer.data), trainer.config.masks.validation()
    dataset = WindowDataset(panel, targets, windows, masks)
    expected = {name: Metrics(torch.device("cpu")) for name in list(got)[:3]}
    evidence = EvidenceDataset(panel, targets, windows, masks, rates, panel.position * 1e-6)
    model = np.zeros((targets.haplotypes.num_samples, 2, NUM_SITES), np.float32)
    for sample in range(len(model)):
        keys = [Key(VALIDATION_SEED, window, sample) for window in range(len(windows))]
        batch = evidence.__getitems__(keys)
        sign = torch.where(batch.alt_is_minor, 1, -1)
        model[sample][:, batch.sites] = (sign * batch.evidence[0, ..., 0]).sigmoid()
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
            answers = {
                "allele frequency alone": af.expand(1, 2, -1),
                "nearest haplotype": torch.from_numpy(copied)[None],
                "Li-Stephens model alone": torch.from_numpy(model[[sample], :, start:stop]),
            }
            alleles = torch.from_numpy(query.astype(np.uint8))[None]
            for name, metrics in expected.items():
                metrics.update(answers[name], alleles, batch.scored[:, sites], af)
    for name, metrics in expected.items():
        assert got[name] == pytest.approx(metrics.compute(), rel=1e-4, nan_ok=True), name
    f1 = [got[name]["f1_overall"] for name in expected]
    assert f1 == sorted(f1)
    _, untrained = trainer._validate()
    row = "untrained network" if preset == "v18" else "Li-Stephens model alone"
    assert list(got)[-1] == row
    assert got[row] == pytest.approx(untrained, rel=0, abs=0, nan_ok=True)


def test_no_random_number_is_drawn():
    """So that a run trains as it would without baselines."""
    panel = make_panel(ALLELES)
    targets = own_targets(panel)
    options = ("--window-size", "60", "--dropout", "0.5", "--seed", "3")
    trainer = make_trainer([*options, *SMALL], RunData(panel, targets, targets))
    before = torch.get_rng_state()
    evaluated(trainer.data, *options)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_frequency_calls_alt_above_one_half():
    alleles = ALLELES[:, np.ptp(ALLELES, axis=0) > 0]
    num_sites = alleles.shape[1]
    panel = make_panel(alleles)
    targets = Targets(panel, np.ones(num_sites, bool), np.full(30, -1), np.zeros(30, np.int64))
    options = ("--window-size", str(num_sites), "--val-rate", "1", "--rare-rate", "1")
    result, _ = evaluated(RunData(panel, targets, targets), *options)
    called = np.broadcast_to(alleles.mean(0) > 0.5, alleles.shape)
    frequency = result["allele frequency alone"]
    assert frequency["recall_overall"] == pytest.approx(called[alleles == 1].mean())
    assert frequency["precision_overall"] == pytest.approx(alleles[called].mean())
    assert frequency["recall_rare_alt"] == 0
