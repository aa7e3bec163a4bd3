"""All haplotypes of a small panel are states, and the longest matches of a large one."""

from __future__ import annotations

import numpy as np

from helpers import mosaic_haplotypes
from panel_files import make_panel
from snvrag.kernels import li_stephens_evidence
from snvrag.li_stephens import rates, states
from snvrag.li_stephens.rates import OwnHaplotypes, learn_rates, map_rho


def test_small_panels_need_no_retrieval(monkeypatch):
    panel = make_panel(mosaic_haplotypes(40, 64, seed=1))
    own = OwnHaplotypes.spread(panel, np.arange(3), 6)
    prior, every = map_rho(panel.position, 40), np.ones(64, bool)
    assert own.states(every, prior, 1) is None
    monkeypatch.setattr(states, "ALL_HAPLOTYPES", 39)
    found = own.states(every, prior, 1)
    assert found is not None
    assert found.offsets.shape[0] == 6
    for q in range(6):
        mine = found.haplotypes[found.offsets[q, 0] : found.offsets[q, -1]]
        assert not np.isin(mine, own.exclude[q]).any()


def test_where_all_haplotypes_are_neighbours_retrieval_changes_little(monkeypatch):
    panel = make_panel(mosaic_haplotypes(40, 160, seed=1))
    observed, prior = np.arange(160) % 2 == 0, map_rho(panel.position, 40)
    own, sites = OwnHaplotypes.spread(panel, np.arange(20), 40), np.arange(1, 160, 2)
    learned = learn_rates(panel, observed, prior, threads=1)
    expected = own.evidence(observed, sites, *learned, states=None, threads=1)
    monkeypatch.setattr(states, "ALL_HAPLOTYPES", 0)
    monkeypatch.setattr(rates, "ALL_HAPLOTYPES", 1000)
    found = own.states(observed, prior, 1)
    got = own.evidence(observed, sites, *learned, states=found, threads=1)
    np.testing.assert_allclose(got[..., 0], expected[..., 0], rtol=0, atol=0.05)
    again = learn_rates(panel, observed, prior, threads=1)
    np.testing.assert_allclose(again[0], learned[0], rtol=0.02)
    monkeypatch.setattr(states, "_NEIGHBOURS", 1)
    few = learn_rates(panel, observed, prior, threads=1)
    assert not np.allclose(few[0], learned[0], rtol=0.02)


def test_the_distances_of_the_states_are_those_of_the_prior(monkeypatch):
    panel = make_panel(mosaic_haplotypes(40, 160, seed=1))
    monkeypatch.setattr(states, "ALL_HAPLOTYPES", 0)
    monkeypatch.setattr(states, "_NEIGHBOURS", 2)
    own, every = OwnHaplotypes.spread(panel, np.arange(20), 40), np.ones(160, bool)
    near = own.states(every, map_rho(panel.position, 40), 1)
    far = own.states(every, map_rho(10_000 * panel.position, 40), 1)
    assert near is not None
    assert far is not None
    assert near.haplotypes.size > far.haplotypes.size


def test_evidence_is_that_of_the_kernel_without_the_own_sample():
    panel = make_panel(mosaic_haplotypes(20, 70, seed=2))
    observed, sites = np.arange(70) % 3 == 0, np.array([1, 2, 64])
    own, prior = OwnHaplotypes.spread(panel, np.array([4]), 2), map_rho(panel.position, 20)
    got = own.evidence(observed, sites, prior, 0.01, states=None, threads=1)
    rest = panel.select_samples([s for s in range(10) if s != 4])
    expected = li_stephens_evidence(
        own.bits,
        rest.haplotype_rows,
        observed=observed,
        sites=sites,
        alt_count=panel.alt_count[sites] - own.alleles(sites).sum(0),
        cumulative_rho=prior,
        mismatch=0.01,
    )
    both = (2 * panel.alt_count[sites] <= 20) == (2 * rest.alt_count[sites] <= 18)
    assert both.any()
    np.testing.assert_allclose(got[:, both], expected[:, both], rtol=1e-4, atol=1e-4)
