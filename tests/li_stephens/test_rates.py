"""Rates learned from a panel: prior, expectation-maximisation, then scale and mismatch by loss."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import mosaic_haplotypes
from panel_files import make_panel
from snvrag.li_stephens.rates import (
    HiddenSites,
    OwnHaplotypes,
    choose_rates,
    given_mismatch,
    learn_rates,
    map_rho,
    rho_between,
)
from snvrag.panel.panel import Panel


def panel_of(num_haplotypes: int = 80, num_sites: int = 300) -> tuple[Panel, np.ndarray]:
    """Return mosaics of few founders, and every fourth site typed."""
    panel = make_panel(mosaic_haplotypes(num_haplotypes, num_sites, seed=1))
    return panel, np.arange(num_sites) % 4 == 0


def hidden_sites(panel: Panel, observed: np.ndarray, factor: float = 1.0) -> HiddenSites:
    prior = factor * map_rho(panel.position, panel.num_haplotypes)
    return HiddenSites(panel, observed, prior, prior)


def test_haplotypes_are_spread_evenly_and_know_their_sample():
    alleles = mosaic_haplotypes(9, 70, seed=2)
    panel = make_panel(alleles, ploidy=np.array([2, 1, 2, 2, 1, 1]))
    every = OwnHaplotypes.spread(panel, np.arange(6), 100)
    assert every.haplotypes.tolist() == list(range(9))
    assert every.sample.tolist() == [0, 0, 1, 2, 2, 3, 3, 4, 5]
    assert every.exclude[[0, 2, 4]].tolist() == [[0, 1], [2, 2], [3, 4]]
    sites = np.array([3, 64])
    assert np.array_equal(every.alleles(sites), alleles[:, sites])
    some = OwnHaplotypes.spread(panel, np.array([1, 3, 4, 5]), 3)
    assert some.haplotypes.tolist() == [2, 6, 8]


def test_only_sites_polymorphic_without_the_own_sample_are_scored():
    alleles = np.zeros((7, 4), np.int8)
    alleles[0, 0] = 1  # one haplotype's alone
    alleles[[0, 1], 1] = 1  # one sample's alone
    alleles[[0, 4], 2] = 1  # a diploid's and the haploid's
    alleles[1:, 3] = 1  # all but one
    panel = make_panel(alleles, ploidy=np.array([2, 2, 1, 2]))
    scored = OwnHaplotypes.spread(panel, np.arange(4), 10).scored(np.arange(4))
    assert scored[0].tolist() == [False, False, True, False]
    assert scored[2].tolist() == [True, True, True, True]
    assert scored[4].tolist() == [True, True, True, True]
    only = make_panel(alleles[[4, 5, 6]], ploidy=np.array([1, 2]))
    assert not OwnHaplotypes.spread(only, np.arange(2), 10).scored(np.array([2]))[0].any()


def test_rho_between_typed_sites_is_shared_out_as_given():
    prior = np.array([1.0, 2, 4, 4, 6, 7, 9])
    rho = rho_between(prior, np.array([1, 4, 5]), np.array([10.0, 18, 18]))
    assert rho.tolist() == [9, 10, 14, 14, 18, 18, 20]


def test_rates_are_learned_and_then_scaled_to_the_lowest_loss():
    panel, observed = panel_of()
    prior = map_rho(panel.position, panel.num_haplotypes) / 50
    learned, mismatch = learn_rates(panel, observed, prior, threads=1)
    assert np.ptp(learned) > 3 * np.ptp(prior)
    kept = np.arange(0, panel.num_samples, 4)
    hidden = HiddenSites(panel, observed, prior, learned)
    chosen = choose_rates([hidden], mismatch, kept, threads=1)
    losses = hidden.losses(kept, threads=1)
    given, count = losses(prior, given_mismatch(panel.num_haplotypes))
    assert chosen.is_learned
    assert chosen.loss < min(given, losses(learned, mismatch)[0]) / count
    best = losses(chosen.scale * learned, chosen.mismatch)[0]
    assert best / count == pytest.approx(chosen.loss)
    for factor in (2, 0.5):
        assert losses(chosen.scale * factor * learned, chosen.mismatch)[0] >= best


def test_the_rates_given_are_among_the_candidates():
    panel, observed = panel_of()
    prior = hidden_sites(panel, observed).prior
    spoiled = HiddenSites(panel, observed, prior, 0 * prior)
    chosen = choose_rates([spoiled], 0.5, np.arange(panel.num_samples), threads=1)
    assert not chosen.is_learned
    assert chosen.scale > 0


def test_the_number_of_threads_and_idle_regions_do_not_matter():
    panel, observed = panel_of()
    prior = map_rho(panel.position, panel.num_haplotypes)
    one, two = (learn_rates(panel, observed, prior, threads=threads) for threads in (1, 2))
    assert np.array_equal(one[0], two[0])
    assert one[1] == two[1]
    hidden, kept = hidden_sites(panel, observed), np.arange(8)
    typed = hidden_sites(panel.select_sites(np.flatnonzero(observed)), observed[observed])
    assert choose_rates([hidden, typed], 0.01, kept) == choose_rates([hidden], 0.01, kept)


@pytest.mark.parametrize("num_typed", [0, 1, 2, 5])
@pytest.mark.parametrize("num_haplotypes", [2, 4, 6])
def test_tiny_panels_and_few_typed_sites(num_haplotypes, num_typed):
    panel = make_panel(mosaic_haplotypes(num_haplotypes, 5, seed=3))
    observed = np.arange(5) < num_typed
    prior = map_rho(panel.position, num_haplotypes)
    learned, mismatch = learn_rates(panel, observed, prior)
    assert learned.shape == (5,)
    assert np.isfinite(learned).all()
    assert (np.diff(learned) >= 0).all()
    hidden = [HiddenSites(panel, observed, prior, learned)]
    samples = np.arange(panel.num_samples) if panel.num_samples > 1 else np.arange(0)
    chosen = choose_rates(hidden, mismatch, samples)
    assert 0 < chosen.mismatch <= 0.5
    assert chosen.scale > 0
    if num_haplotypes == 2 or num_typed == 0:
        assert np.array_equal(learned, prior)
