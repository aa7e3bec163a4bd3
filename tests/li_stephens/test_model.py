"""The Li-Stephens models of a panel, by genetic maps."""

from __future__ import annotations

import numpy as np
import pytest

from snvrag.kernels import li_stephens_dosage, oracle, pack_haplotypes
from snvrag.li_stephens.model import LiStephensModel
from snvrag.panel.genetic_map import GeneticMap

NUM_SITES = 90


@pytest.fixture(scope="module")
def alleles(mosaic_haplotypes):
    return mosaic_haplotypes(40, NUM_SITES, seed=4)


@pytest.fixture(scope="module")
def panel(alleles, make_panel):
    return make_panel(alleles, position=10_000 + 3_000 * np.arange(NUM_SITES))


@pytest.mark.parametrize(
    ("flank", "window", "expected"),
    [
        (0, (10, 20), (10, 20)),
        (5, (10, 20), (5, 25)),
        (5, (3, 88), (0, 90)),
        (1000, (10, 20), (0, 90)),
        (-1, (10, 20), (0, 90)),
        (-1, (0, 90), (0, 90)),
    ],
)
def test_sites_that_count_for_a_window(panel, flank, window, expected):
    model = LiStephensModel(panel, ne=(1e4,), mismatch=0.01, flank=flank)
    assert model.with_flank(*window) == expected


@pytest.mark.parametrize("with_map", [False, True])
@pytest.mark.parametrize(("start", "stop"), [(0, NUM_SITES), (10, 75), (40, 41)])
def test_dosage_is_that_of_the_formula(panel, alleles, with_map, start, stop):
    """4 Ne d / H switches in d morgans, for each Ne; oracle in double precision."""
    error = 0.02 if with_map else 2 / 40  # by default 2 / H
    genetic = GeneticMap(np.array([0, 100_000, 150_000]), np.array([1.0, 1.2, 3.0]))
    ne = (1e4, 1e6)
    model = LiStephensModel(
        panel,
        ne=ne,
        mismatch=0.02 if with_map else 0.0,
        genetic_map=genetic if with_map else None,
        flank=0,
    )
    assert model.num_models == 2
    observed = np.random.default_rng(0).random(stop - start) < 0.4
    queries, own = alleles[[3, 8], start:stop], np.array([[2, 3], [-1, -1]])
    missing = np.zeros((2, stop - start), np.int8)
    missing[0, ::4] = 1
    got = model.dosage(
        pack_haplotypes(queries), start, stop, observed, own, pack_haplotypes(missing)
    )
    assert got.dtype == np.float32
    assert got.shape == (2, 2, stop - start)
    bp = panel.position[start:stop]
    morgans = bp * 1e-8  # even, or by halves of that and of the map
    if with_map:
        morgans = (morgans + genetic.at(bp) / 100) / 2
    for q, exclude in enumerate(((2, 3), ())):
        for c, size in enumerate(ne):
            expected = oracle.li_stephens_dosage(
                queries[q],
                alleles[:, start:stop],
                observed & (missing[q] == 0),
                4 * size * morgans / 40,
                error,
                exclude,
            )
            np.testing.assert_allclose(got[q, c], expected, rtol=0, atol=1e-4)


def test_whole_panel_sees_what_a_window_does_not(make_panel):
    """The observed sites far from a window tell who is copied within."""
    alleles = np.random.default_rng(0).integers(0, 2, (40, NUM_SITES)).astype(np.int8)
    panel = make_panel(alleles)
    query = alleles[5:6]
    observed = np.zeros(NUM_SITES, bool)
    observed[60:] = True  # none in the window
    exclude = np.full((1, 1), -1)
    frequency = alleles.mean(0)[:20]
    answers = {}
    for flank in (0, 42, -1):
        model = LiStephensModel(panel, ne=(100.0,), mismatch=0.001, flank=flank)
        first, last = model.with_flank(0, 20)
        bits = pack_haplotypes(query[:, first:last])
        answers[flank] = model.dosage(bits, first, last, observed[first:last], exclude)[0, 0, :20]
    np.testing.assert_allclose(answers[0], frequency, rtol=0, atol=1e-5)
    distance = {flank: np.abs(answer - query[0, :20]).mean() for flank, answer in answers.items()}
    assert distance[-1] < 0.01
    assert min(distance[0], distance[42]) > 0.2


def test_threads_change_nothing(panel, alleles):
    observed = np.arange(NUM_SITES) % 3 == 0
    exclude = np.full((8, 1), -1)
    given = (pack_haplotypes(alleles[:8]), 0, NUM_SITES, observed, exclude)
    one, four = (
        LiStephensModel(panel, ne=(1e5,), mismatch=0.01, flank=0, threads=n).dosage(*given)
        for n in (1, 4)
    )
    assert np.array_equal(one, four)
    direct = li_stephens_dosage(
        given[0],
        panel.site_bits,
        num_haplotypes=40,
        observed=observed,
        cumulative_rho=4e5 * (panel.position - panel.position[0]) * 1e-8 / 40,
        mismatch=0.01,
    )
    np.testing.assert_allclose(one[:, 0], direct, rtol=0, atol=1e-6)
