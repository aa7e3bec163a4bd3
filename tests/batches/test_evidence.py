"""Batches of evidence: the kernel's answer at the hidden sites, with what is scored there."""

from __future__ import annotations

import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch

import helpers
import panel_files
from snvrag.batches.dataset import Targets, WindowDataset
from snvrag.batches.evidence import EvidenceDataset
from snvrag.batches.keys import Key
from snvrag.batches.masks import MaskConfig
from snvrag.kernels import EVIDENCE, Rates, li_stephens_evidence
from snvrag.li_stephens import states as states_module
from snvrag.li_stephens.states import states_of
from snvrag.panel.windows import Windows

NUM_SITES = 203
ALLELES = helpers.mosaic_haplotypes(60, NUM_SITES, seed=9)
PANEL = panel_files.make_panel(ALLELES[:48])
WINDOWS = Windows.split(NUM_SITES, 50)
POSITION_CM = PANEL.position * 1e-6
RATES = Rates(np.arange(NUM_SITES) * 0.02, 0.01, np.zeros(0))


def others(lacking: bool) -> Targets:
    """Six samples of another file, one of them of the panel, without some sites."""
    present = np.random.default_rng(0).random(NUM_SITES) < 0.7
    missing = np.random.default_rng(1).random((12, NUM_SITES)) < 0.3
    rows = ALLELES[48:] * present * (~missing if lacking else 1)
    return Targets(
        panel_files.make_panel(rows, prefix="t"),
        present,
        np.array([-1, 3, -1, -1, 0, -1]),
        np.zeros(6, np.int64),
        helpers.pack(missing.T) if lacking else None,
    )


def dataset_of(targets: Targets, **options) -> EvidenceDataset:
    return EvidenceDataset(PANEL, targets, WINDOWS, MaskConfig(), RATES, POSITION_CM, **options)


def all_keys(mask_seed: int, *samples: int) -> list[Key]:
    return [Key(mask_seed, w, sample) for sample in samples for w in range(len(WINDOWS))]


def expected_hidden(mask_seed: int) -> np.ndarray:
    pairs = zip(WINDOWS.starts, WINDOWS.stops, strict=True)
    rate = MaskConfig().rate(mask_seed)
    masks = [
        helpers.mask_formula(PANEL.af[a:b], mask_seed, w, rate) for w, (a, b) in enumerate(pairs)
    ]
    return np.concatenate(masks)


TARGETS = {
    "own": helpers.own_targets(PANEL),
    "others": others(False),
    "others that lack alleles": others(True),
}


@pytest.mark.parametrize("most", [1000, 40], ids=["all states", "retrieved"])
@pytest.mark.parametrize("kind", TARGETS)
def test_a_batch_is_the_kernels_answer_for_each_sample(monkeypatch, kind, most):
    monkeypatch.setattr(states_module, "ALL_HAPLOTYPES", most)
    targets = TARGETS[kind]
    batch = dataset_of(targets).__getitems__(all_keys(1, 1, 4))
    hidden = expected_hidden(1)
    sites = np.flatnonzero(hidden & targets.present)
    np.testing.assert_array_equal(batch.sites, sites)
    assert batch.evidence.shape == (2, 2, sites.size, len(EVIDENCE))
    for b, sample in enumerate((1, 4)):
        own = int(targets.panel_sample[sample])
        rows = targets.haplotypes.sample_alleles(np.array([sample]), 0, NUM_SITES)[0]
        missing = None
        if targets.missing_bits is not None:
            missing = helpers.pack(
                helpers.unpack(targets.missing_bits, 12)[:, 2 * sample :][:, :2].T
            )
        observed = targets.present & ~hidden
        without = {
            "observed": observed,
            "exclude": np.full((2, 2), -1) if own < 0 else np.array([[2 * own, 2 * own + 1]] * 2),
            "missing": missing,
        }
        states = states_of(
            helpers.pack(rows),
            PANEL.site_bits,
            num_haplotypes=48,
            position_cm=POSITION_CM,
            **without,
        )
        expected = li_stephens_evidence(
            helpers.pack(rows),
            helpers.pack(ALLELES[:48]),
            sites=sites,
            alt_count=PANEL.alt_count[sites],
            cumulative_rho=RATES.cumulative_rho,
            mismatch=RATES.mismatch,
            states=states,
            **without,
        )
        np.testing.assert_array_equal(batch.evidence[b], expected)
        np.testing.assert_array_equal(batch.alleles[b], rows[:, sites])
    np.testing.assert_array_equal(batch.panel_af, PANEL.af[sites].astype(np.float32))
    np.testing.assert_array_equal(batch.alt_is_minor, PANEL.alt_count[sites] <= 24)


@pytest.mark.parametrize("kind", TARGETS)
def test_scored_are_the_sites_that_are_scored_over_windows(kind):
    """So that metrics are of the same alleles, whatever the network."""
    targets = TARGETS[kind]
    batch = dataset_of(targets).__getitems__(all_keys(2, 0, 3, 5))
    over_windows = WindowDataset(PANEL, targets, WINDOWS, MaskConfig())
    scored, alleles = np.zeros((3, NUM_SITES), bool), np.zeros((3, 2, NUM_SITES), np.uint8)
    for b, sample in enumerate((0, 3, 5)):
        for key in all_keys(2, sample):
            start, stop = int(WINDOWS.starts[key.window]), int(WINDOWS.stops[key.window])
            part = over_windows[key]
            scored[b, start:stop] = part.scored[0, : stop - start]
            alleles[b, :, start:stop] = part.alleles[0, :, : stop - start]
    got = np.zeros_like(scored)
    got[:, batch.sites] = batch.scored
    np.testing.assert_array_equal(got, scored)
    chosen = scored[:, batch.sites]
    expected = alleles[:, :, batch.sites].swapaxes(1, 2)[chosen]
    np.testing.assert_array_equal(batch.alleles.numpy().swapaxes(1, 2)[chosen], expected)
    assert kind != "own" or not scored[:, batch.sites].all()  # what the sample alone has


def test_a_haploid_sample_is_left_out_of_the_panel_once():
    panel = panel_files.make_panel(ALLELES[:45], ploidy=np.array([1, 2, 1] + [2] * 20 + [1]))
    windows = Windows.split(NUM_SITES, NUM_SITES)
    rule = MaskConfig(mask_rates=(1.0,), rare_rate=1.0)
    targets = helpers.own_targets(panel)
    keys = [Key(0, 0, sample) for sample in range(4)]
    batch = EvidenceDataset(panel, targets, windows, rule, RATES, POSITION_CM).__getitems__(keys)
    over_windows = WindowDataset(panel, targets, windows, rule).__getitems__(keys)
    assert torch.equal(batch.scored, over_windows.scored)
    assert torch.equal(batch.alleles, over_windows.alleles)


def test_windows_without_a_key_are_not_scored():
    """As where ranks share a sample: together they have what a single process has."""
    dataset, keys = dataset_of(TARGETS["own"]), all_keys(0, 2, 7)
    whole = dataset.__getitems__(keys)
    cut = [dataset.__getitems__(part) for part in (keys[:3], keys[3:])]
    assert sum(int(part.num_scored) for part in cut) == int(whole.num_scored)
    for part in cut:
        place = np.searchsorted(whole.sites, part.sites)
        samples = [0] if part is cut[0] else [0, 1]
        for b, sample in enumerate(samples):
            scored = part.scored[b].numpy()
            np.testing.assert_array_equal(
                part.evidence[b][:, scored], whole.evidence[sample][:, place[scored]]
            )


def test_the_same_keys_give_the_same_batch():
    """Whatever was asked before, in whichever process, with any number of threads."""
    dataset, keys = dataset_of(TARGETS["own"]), all_keys(4, 1, 5)
    first = dataset.__getitems__(keys)
    dataset.__getitems__(all_keys(0, 2))
    for other in (
        dataset,
        pickle.loads(pickle.dumps(dataset)),
        dataset_of(TARGETS["own"], threads=2),
    ):
        again = other.__getitems__(keys)
        for item in fields(first):
            if isinstance(getattr(first, item.name), torch.Tensor):
                assert torch.equal(getattr(first, item.name), getattr(again, item.name))


def test_what_samples_share_is_built_once_a_mask_seed():
    dataset = dataset_of(TARGETS["own"])
    builds = [dataset.__getitems__(all_keys(e, 3)).work.num_builds for e in (0, 0, 1, 1, 0)]
    assert builds == [1, 0, 1, 0, 1]
    assert dataset.drop_stale(0) == 0
    assert dataset.drop_stale(1) == 1
    assert dataset.__getitems__(all_keys(1, 3)).work.num_builds == 1


def test_rows_of_a_batch():
    batch = dataset_of(TARGETS["own"]).__getitems__(all_keys(0, 2, 5, 9))
    part = batch.rows(1, 3)
    assert part.num_samples == 2
    assert torch.equal(part.evidence, batch.evidence[1:])
    assert torch.equal(part.strata_af, batch.strata_af[1:])
    assert torch.equal(part.alt_is_minor, batch.alt_is_minor)


def test_without_keys_and_with_keys_that_do_not_go_together():
    dataset = dataset_of(TARGETS["own"])
    empty = dataset.__getitems__([])
    assert (empty.num_samples, empty.num_scored, empty.mask_seed) == (0, 0, -1)
    assert empty.evidence.shape == (0, 2, 0, len(EVIDENCE))
    for keys in ([Key(0, 0, 0), Key(1, 0, 0)], [Key(0, 0, 1), Key(0, 0, 0)]):
        with pytest.raises(ValueError, match="keys must be"):
            dataset.__getitems__(keys)


def test_other_rates_give_other_evidence():
    dataset = dataset_of(TARGETS["own"])
    before = dataset.__getitems__(all_keys(0, 2)).evidence
    dataset.rates = RATES._replace(mismatch=0.2)
    assert not torch.equal(dataset.__getitems__(all_keys(0, 2)).evidence, before)
