"""Dense search over so many dimensions that rows are given up before their end."""

from __future__ import annotations

import numpy as np
import pytest

from snvrag.kernels import oracle, topk_l2

LENGTHS = [16_383, 16_384, 16_385, 20_000, 33_000]


def families(num_rows: int, num_dimensions: int, seed: int = 0) -> np.ndarray:
    """Whole numbers, so that sums are exact: every sixth row is a copy with a few changes."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-4, 5, (num_rows, num_dimensions)).astype(np.float32)
    rows[::6] = rows[0]
    for row in rows[6::6]:
        row[rng.integers(0, num_dimensions, 50)] += 1
    return rows


@pytest.mark.parametrize("num_dimensions", LENGTHS)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_answer_is_the_oracles(simd_level, num_dimensions, threads):
    database = families(330, num_dimensions)
    queries = database[[0, 12, 5]] + np.float32(1) * (np.arange(num_dimensions) % 5000 == 0)
    exclude = np.array([[0, -1], [12, 18], [5, 5]])
    for k in (1, 8, 40):
        distances, indices = oracle.topk_l2(queries, database, k, exclude=exclude)
        got = topk_l2(queries, database, k, exclude=exclude, threads=threads)
        np.testing.assert_array_equal(got.indices, indices)
        np.testing.assert_array_equal(got.distances, distances)


def test_ties_go_to_the_lowest_index(simd_level):
    database = np.tile(families(2, 17_000), (150, 1))
    got = topk_l2(database[:2], database, 20)
    assert got.indices.tolist() == [list(range(0, 40, 2)), list(range(1, 41, 2))]
    assert (got.distances == 0).all()


@pytest.mark.parametrize("place", [(0, 0), (3, 16_000), (299, 19_999), (150, 8_000)])
def test_a_nan_is_found_in_a_row_that_is_given_up(simd_level, place):
    # Only the first rows are near: of all groups of rows but theirs, no query sees the end.
    database = np.full((300, 20_000), 100, np.float32)
    database[:5] = 0
    queries = np.zeros((2, 20_000), np.float32)
    assert topk_l2(queries, database, 5).indices.tolist() == [[0, 1, 2, 3, 4]] * 2
    database[place] = np.nan
    with pytest.raises(ValueError, match=rf"database must be finite, got nan at \({place[0]}, "):
        topk_l2(queries, database, 5)


def test_a_nan_is_found_behind_the_end_of_what_a_query_looks_at(simd_level):
    database = np.full((300, 20_000), 100, np.float32)
    queries = np.zeros((2, 20_000), np.float32)
    queries[1, 19_999] = np.nan
    with pytest.raises(ValueError, match=r"queries must be finite, got nan at \(1, 19999\)"):
        topk_l2(queries, database, 5)
