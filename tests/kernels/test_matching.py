"""Features of a neighbour: `_core.match_features` against a walk from every site."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snvrag import _core
from snvrag.kernels import oracle, pack_haplotypes

SIZES = [1, 2, 63, 64, 65, 127, 128, 129, 300, 1020]


def features(
    queries: np.ndarray,
    neighbours: np.ndarray,
    observed: np.ndarray,
    position: np.ndarray,
    decay_sites: float,
) -> np.ndarray:
    """Call the kernel with (Q, L) queries and (Q, K, L) neighbours."""
    num_sites = queries.shape[1]
    return _core.match_features(
        pack_haplotypes(queries),
        pack_haplotypes(neighbours.reshape(-1, num_sites)),
        num_sites,
        pack_haplotypes(observed[None]),
        position,
        decay_sites,
    )


def pairs(num_sites: int, seed: int = 0, *, differ: float = 0.1) -> tuple[Any, ...]:
    random = np.random.default_rng(seed)
    queries = random.integers(0, 2, (2, num_sites), np.int8)
    flips = random.random((2, 3, num_sites)) < differ
    neighbours = queries[:, None, :] ^ flips.astype(np.int8)
    observed = random.random(num_sites) < 0.5
    position = np.cumsum(random.integers(0, 5_000, num_sites)) + 1_000_000
    return queries, neighbours, observed, position


def assert_near(got: np.ndarray, expected: np.ndarray) -> None:
    """Counts and sums to float32's rounding; logarithms of kb, which are approximate, to 1e-3."""
    assert got.dtype == np.float32
    assert got.shape == expected.shape
    np.testing.assert_allclose(got[..., :2, :], expected[..., :2, :], rtol=1e-6, atol=0)
    np.testing.assert_allclose(got[..., 2:4, :], expected[..., 2:4, :], rtol=0, atol=1e-3)
    np.testing.assert_allclose(got[..., 4:, :], expected[..., 4:, :], rtol=1e-4, atol=1e-6)


def expect(queries: Any, neighbours: Any, observed: Any, position: Any, decay: float) -> np.ndarray:
    every = zip(queries, neighbours, strict=True)
    return np.array(
        [
            [oracle.match_features(q, row, observed, position, decay) for row in rows]
            for q, rows in every
        ]
    )


def test_oracle_on_a_case_made_by_hand():
    #            0  1  2  3  4  5
    query = np.array([0, 0, 0, 0, 0, 0], np.int8)
    other = np.array([0, 1, 0, 1, 1, 0], np.int8)
    observed = np.array([1, 1, 1, 0, 1, 1], bool)  # so 1 and 4 are mismatches, 3 is not
    position = np.array([0, 1000, 3000, 4000, 9000, 9500])
    e = np.exp(-1 / 2)
    expected = np.array(
        [
            np.log1p([1, 0, 1, 1, 0, 1]),
            np.log1p([1, 0, 1, 0, 0, 1]),
            np.log1p([0, 0, 2, 3, 0, 0.5]),
            np.log1p([1, 0, 6, 5, 0, 0]),
            # decays by one observed site at 2, 4 and 5, and by none at the hidden 3
            [0, 1, e, e, 1 + e**2, e + e**3],
            [e + e**3, 1 + e**2, e, 1, 1, 0],
        ]
    )
    got = oracle.match_features(query, other, observed, position, 2.0)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert_near(features(query[None], other[None, None], observed, position, 2.0)[0, 0], expected)


@pytest.mark.parametrize("num_sites", SIZES)
@pytest.mark.parametrize(("decay_sites", "differ"), [(0.5, 1.0), (10.0, 0.05), (1e6, 0.0)])
def test_every_size(num_sites, decay_sites, differ):
    queries, neighbours, some, position = pairs(num_sites, differ=differ)
    for observed in (some, np.zeros_like(some), np.ones_like(some)):
        given_pairs = (queries, neighbours[:, :2], observed, position)
        got = features(*given_pairs, decay_sites)
        assert got.shape == (2, 2, 6, num_sites)
        assert_near(got, expect(*given_pairs, decay_sites))


def test_a_mismatch_is_at_exactly_zero():
    # "A mismatch at s itself gives 0 for features 0 to 3": csrc/include/snvrag/matching.hpp.
    queries, neighbours, observed, position = pairs(200, differ=0.2)
    got = features(queries, neighbours, observed, position, 5.0)
    mismatch = (queries[:, None] != neighbours) & observed
    assert mismatch.any()
    for feature in range(4):
        assert (got[:, :, feature][mismatch] == 0).all(), feature


def test_the_ends_of_the_window_stand_for_a_mismatch_in_kb():
    position = np.array([10_000, 11_000, 14_000, 20_000])
    same = np.zeros((1, 4), np.int8)
    got = features(same, same[None], np.ones(4, bool), position, 5.0)[0, 0]
    np.testing.assert_allclose(got[0], np.log1p([1, 2, 3, 4]), rtol=1e-6)
    np.testing.assert_allclose(got[1], np.log1p([4, 3, 2, 1]), rtol=1e-6)
    np.testing.assert_allclose(got[2], np.log1p([0, 1, 4, 10]), atol=2e-4)
    np.testing.assert_allclose(got[3], np.log1p([10, 9, 6, 0]), atol=2e-4)
    assert (got[4:] == 0).all()


@pytest.mark.parametrize("gap_bp", [1, 10, 999, 1_000, 123_456, 50_000_000])
def test_the_logarithm_is_good_to_1e_4_and_to_1e_3_in_a_wide_window(gap_bp):
    same = np.zeros((1, 2), np.int8)
    for start in (0, 1, 249_000_000):
        position = np.array([start, start + gap_bp])
        got = features(same, same[None], np.ones(2, bool), position, 5.0)[0, 0]
        assert got[2, 1] == pytest.approx(np.log1p(gap_bp / 1000), abs=1e-4)
        assert got[3, 0] == pytest.approx(np.log1p(gap_bp / 1000), abs=1e-4)
    # A sparse chip: 100 Mb in one window, and two close sites at its far end.
    position = np.array([0, 100_000_000, 100_000_000 + gap_bp])
    query, other = np.zeros((1, 3), np.int8), np.array([[[0, 1, 0]]], np.int8)
    got = features(query, other, np.ones(3, bool), position, 5.0)[0, 0]
    assert got[2, 2] == pytest.approx(np.log1p(gap_bp / 1000), abs=1e-3)


@given(
    num_sites=st.integers(1, 140),
    seed=st.integers(0, 99),
    differ=st.sampled_from([0.0, 0.03, 0.5]),
    decay_sites=st.sampled_from([1.0, 8.0]),
)
def test_reading_from_the_other_end_swaps_left_and_right(num_sites, seed, differ, decay_sites):
    queries, neighbours, observed, position = pairs(num_sites, seed, differ=differ)
    got = features(queries, neighbours, observed, position, decay_sites)
    reversed_pairs = features(
        np.ascontiguousarray(queries[:, ::-1]),
        np.ascontiguousarray(neighbours[:, :, ::-1]),
        observed[::-1],
        (position[0] + position[-1] - position)[::-1].copy(),
        decay_sites,
    )[..., ::-1]
    np.testing.assert_allclose(got[:, :, ::2], reversed_pairs[:, :, 1::2], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(got[:, :, 1::2], reversed_pairs[:, :, ::2], rtol=1e-5, atol=1e-3)


def test_every_pair_stands_alone_and_hidden_alleles_do_not_count():
    queries, neighbours, observed, position = pairs(200)
    got = features(queries, neighbours, observed, position, 5.0)
    noise = np.random.default_rng(1).integers(0, 2, neighbours.shape, np.int8)
    changed = features(queries, neighbours ^ (noise * ~observed), observed, position, 5.0)
    assert (got == changed).all()
    for q, i in np.ndindex(2, 3):
        pair = queries[q : q + 1], neighbours[q : q + 1, i : i + 1]
        assert (features(*pair, observed, position, 5.0)[0, 0] == got[q, i]).all()


def test_nothing_to_do():
    for rows, expected in ((0, (0, 0, 6, 130)), (2, (2, 0, 6, 130))):
        queries, none, observed = (np.zeros((n, 3), np.uint64) for n in (rows, 0, 1))
        got = _core.match_features(queries, none, 130, observed, np.arange(130), 1.0)
        assert got.shape == expected
    empty = np.zeros((2, 0), np.uint64)
    got = _core.match_features(empty, empty, 0, empty[:1], np.arange(0), 1.0)
    assert got.shape == (2, 1, 6, 0)
