"""Genetic positions between and past the points of a map."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from snvrag.panel.genetic_map import GeneticMap


def test_linear_within_the_map_and_one_cm_a_mb_beyond():
    genetic = GeneticMap(np.array([1_000_000, 1_000_100, 2_000_000]), np.array([5.0, 5.5, 7.0]))
    places = np.array([0, 500_000, 1_000_000, 1_000_025, 1_000_100, 2_000_000, 4_000_000])
    expected = [4.0, 4.5, 5.0, 5.125, 5.5, 7.0, 9.0]
    np.testing.assert_allclose(genetic.at(places), expected, rtol=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 10**8), st.floats(0, 300)), min_size=2, max_size=20),
    st.lists(st.integers(0, 3 * 10**8), min_size=1, max_size=50).map(sorted),
)
def test_it_never_descends(points, places):
    position, cm = (np.sort(np.array(column)) for column in zip(*points, strict=True))
    genetic = GeneticMap(position.astype(np.int64), cm)
    got = genetic.at(np.array(places, np.int64))
    assert (np.diff(got) >= -1e-9).all()
