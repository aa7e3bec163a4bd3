"""The Li-Stephens models of a panel, against the formula in double precision."""

from __future__ import annotations

import numpy as np
import pytest

import helpers
import panel_files
from snvrag.kernels import oracle_li_stephens
from snvrag.li_stephens.model import LiStephensConfig, LiStephensModel
from snvrag.panel.genetic_map import GeneticMap

NUM_SITES = 90
ALLELES = helpers.mosaic_haplotypes(40, NUM_SITES, seed=4)
PANEL = panel_files.make_panel(ALLELES, position=10_000 + 3_000 * np.arange(NUM_SITES))
NOBODY = np.full((8, 1), -1)


def model(*ne: float, mismatch: float = 0.01, flank: int = 0, panel=PANEL, **options):
    config = LiStephensConfig(ne=ne, mismatch=mismatch, li_stephens_flank=flank)
    return LiStephensModel(panel, config, **options)


def test_sites_that_count_for_a_window():
    for flank, window, expected in (
        (0, (10, 20), (10, 20)),
        (5, (10, 20), (5, 25)),
        (5, (3, 88), (0, 90)),
        (1000, (10, 20), (0, 90)),
        (-1, (10, 20), (0, 90)),
    ):
        assert model(1e4, flank=flank).with_flank(*window) == expected


def test_number_of_models():
    assert model(1e4, 1e6).num_models == LiStephensConfig(ne=(1e4, 1e6)).num_models == 2
    assert LiStephensConfig(ne=(1e4, 1e6), li_stephens=False).num_models == 0


@pytest.mark.parametrize("with_map", [False, True])
@pytest.mark.parametrize(("start", "stop"), [(0, NUM_SITES), (10, 75), (40, 41)])
def test_dosage_is_that_of_the_formula(with_map, start, stop):
    """Rho is 4 Ne d / H over d morgans, for each Ne; the default mismatch is 2 / H."""
    genetic = GeneticMap(np.array([0, 100_000, 150_000]), np.array([1.0, 1.2, 3.0]))
    mismatch, ne = (0.02 if with_map else 0.0), (1e4, 1e6)
    made = model(*ne, mismatch=mismatch, genetic_map=genetic if with_map else None)
    observed = np.random.default_rng(0).random(stop - start) < 0.4
    queries, own = ALLELES[[3, 8], start:stop], np.array([[2, 3], [-1, -1]])
    missing = np.zeros((2, stop - start), np.int8)
    missing[0, ::4] = 1
    got = made.dosage(helpers.pack(queries), start, stop, observed, own, helpers.pack(missing))
    assert got.dtype == np.float32
    assert got.shape == (2, 2, stop - start)
    bp = PANEL.position[start:stop]
    morgans = bp * 1e-8  # even, or by halves of that and of the map
    if with_map:
        morgans = (morgans + genetic.at(bp) / 100) / 2
    for q, exclude in enumerate(((2, 3), ())):
        for c, size in enumerate(ne):
            expected = oracle_li_stephens.li_stephens_dosage(
                queries[q],
                ALLELES[:, start:stop],
                observed & (missing[q] == 0),
                4 * size * morgans / 40,
                mismatch or 2 / 40,
                exclude,
            )
            np.testing.assert_allclose(got[q, c], expected, rtol=0, atol=1e-4)


def test_whole_panel_sees_what_a_window_does_not():
    """The observed sites far from a window tell who is copied within."""
    alleles = np.random.default_rng(0).integers(0, 2, (40, NUM_SITES)).astype(np.int8)
    panel = panel_files.make_panel(alleles)
    query = alleles[5:6]
    observed = np.arange(NUM_SITES) >= 60  # none in the window
    answers = {}
    for flank in (0, 42, -1):
        made = model(100.0, mismatch=0.001, flank=flank, panel=panel)
        first, last = made.with_flank(0, 20)
        bits = helpers.pack(query[:, first:last])
        dosage = made.dosage(bits, first, last, observed[first:last], NOBODY[:1])
        answers[flank] = dosage[0, 0, :20]
    np.testing.assert_allclose(answers[0], alleles.mean(0)[:20], rtol=0, atol=1e-5)
    distance = {flank: np.abs(answer - query[0, :20]).mean() for flank, answer in answers.items()}
    assert distance[-1] < 0.01
    assert min(distance[0], distance[42]) > 0.2


def test_threads_change_nothing():
    observed = np.arange(NUM_SITES) % 3 == 0
    given = (helpers.pack(ALLELES[:8]), 0, NUM_SITES, observed, NOBODY)
    one, four = (model(1e5, threads=n).dosage(*given) for n in (1, 4))
    assert np.array_equal(one, four)
