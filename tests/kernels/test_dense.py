"""Dense search against a slow twin, at every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers import assert_same, frozen
from snvrag.kernels import TopK, oracle, topk_l2

DIMENSIONS = [0, 1, 15, 16, 17, 1024, 1025, 3000]


def test_oracle_of_dense_search_on_a_case_made_by_hand():
    database = np.array([[3, 4], [0, 0], [0, 1], [1, 0]], np.float32)
    distances, indices = oracle.topk_l2(np.zeros((1, 2), np.float32), database, 4)
    assert distances.tolist() == [[0, 1, 1, 25]]
    assert indices.tolist() == [[1, 2, 3, 0]]


def assert_near(got: TopK, queries: np.ndarray, database: np.ndarray, expected: Any) -> None:
    """Compare with float64: distances to 2e-6, and each index by its own distance."""
    distances, indices = got
    assert distances.dtype == np.float32
    assert indices.dtype == np.int64
    assert distances.shape == indices.shape == expected[0].shape
    np.testing.assert_allclose(distances, expected[0], rtol=2e-6, atol=0)
    chosen = database[indices].astype(np.float64) - queries[:, None, :]
    np.testing.assert_allclose(distances, (chosen**2).sum(axis=2), rtol=2e-6, atol=0)
    assert all(len(set(row)) == len(row) for row in indices.tolist())
    for row, places in zip(distances, indices, strict=True):
        assert (np.lexsort((places, row)) == np.arange(len(row))).all()


@pytest.mark.parametrize("num_dimensions", DIMENSIONS)
def test_dense_of_every_size(simd_level, num_dimensions):
    for num_rows in [1, 3, 31, 32, 33, 70]:
        random = np.random.default_rng(0)
        database = random.normal(size=(num_rows, num_dimensions)).astype(np.float32)
        queries = random.normal(size=(5, num_dimensions)).astype(np.float32)
        for k in {1, min(8, num_rows), num_rows}:
            expected = oracle.topk_l2(queries, database, k)
            first = topk_l2(queries, database, k)
            assert_near(first, queries, database, expected)
            for threads in (1, 2, 4):  # not only near: the number of threads changes no bit
                assert_same(topk_l2(queries, database, k, threads=threads), first, dtype="f4")


@pytest.mark.parametrize("num_queries", [0, 1, 2, 3, 4, 5, 9])
def test_dense_of_any_number_of_queries(simd_level, num_queries):
    random = np.random.default_rng(0)
    database = random.normal(size=(101, 40)).astype(np.float32)
    queries = random.normal(size=(num_queries, 40)).astype(np.float32)
    got = topk_l2(queries, database, 6)
    none = np.zeros((0, 6)), np.zeros((0, 6))
    expected = oracle.topk_l2(queries, database, 6) if num_queries else none
    assert_near(got, queries, database, expected)
    assert (got.indices == expected[1]).all()


@pytest.mark.parametrize("num_dimensions", DIMENSIONS)
def test_equal_rows_are_at_exactly_zero(simd_level, num_dimensions):
    random = np.random.default_rng(0)
    database = (1e3 * random.normal(size=(70, num_dimensions))).astype(np.float32)
    database[50] = database[20]
    for threads in [1, 2, 4]:
        got = topk_l2(database[[20, 33]], database, 2, threads=threads)
        assert got.distances[0].tolist() == [0, 0]
        assert got.distances[1, 0] == 0
        assert got.indices[0].tolist() == ([20, 50] if num_dimensions else [0, 1])
        assert got.indices[1, 0] == (33 if num_dimensions else 0)


@pytest.mark.parametrize("k", [1, 8, 64, 500])
def test_dense_ties_go_to_the_lowest_index(simd_level, k):
    # Whole numbers: the float32 sums are exact, so the answer is ==.
    database = np.random.default_rng(0).integers(0, 2, (500, 19)).astype(np.float32)
    database[:, 3:] = 0
    queries = np.zeros((3, 19), np.float32)
    queries[1, :3] = 1
    expected = oracle.topk_l2(queries, database, k)
    for threads in [1, 2, 4]:
        assert_same(topk_l2(queries, database, k, threads=threads), expected, dtype="f4")


def test_dense_input_of_any_layout(simd_level):
    random = np.random.default_rng(0)
    database = random.integers(-3, 4, (50, 33)).astype(np.float32)
    queries = random.integers(-3, 4, (6, 33)).astype(np.float32)
    expected = oracle.topk_l2(queries, database, 9)
    wide = np.full((100, 40), np.nan, np.float32)
    wide[::2, 3:36] = database
    for layout in (database, frozen(database), wide[::2, 3:36], database[::-1].copy()[::-1]):
        for some in (queries, frozen(queries), np.repeat(queries, 2, axis=0)[::2]):
            assert_same(topk_l2(some, layout, 9), expected, dtype="f4")


@pytest.mark.parametrize("num_dimensions", [1, 16, 17, 1025])
def test_a_distance_that_is_not_a_number_is_refused(simd_level, num_dimensions):
    clean = np.ones((70, num_dimensions), np.float32)
    queries, infinite = clean[:3].copy(), clean.copy()
    queries[2, -1], infinite[0, 0] = np.nan, np.inf
    for threads in [1, 2, 4]:
        for row in (0, 31, 32, 69):
            for dimension in {0, num_dimensions - 1}:
                database = clean.copy()
                database[row, dimension] = np.nan
                text = rf"^database must be finite, got nan at \({row}, {dimension}\)$"
                with pytest.raises(ValueError, match=text):
                    topk_l2(clean[:3], database, 1, threads=threads)
                # One that failed leaves nothing behind.
                assert topk_l2(clean[:1], clean, 1, threads=threads).indices.tolist() == [[0]]
        with pytest.raises(ValueError, match=r"^queries must be finite, got nan at \(2, "):
            topk_l2(queries, clean, 1, threads=threads)
        with pytest.raises(ValueError, match=r"^queries and database must be finite, got inf"):
            topk_l2(infinite[:1], infinite, 1, threads=threads)


# --- rows so long that they are rejected before their end -----------------------------------------

LENGTHS = [16_383, 16_384, 16_385, 20_000, 33_000]


def families(num_rows: int, num_dimensions: int, seed: int = 0) -> np.ndarray:
    """Return integers, with exact sums: every sixth row is a copy with a few changes."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-4, 5, (num_rows, num_dimensions)).astype(np.float32)
    rows[::6] = rows[0]
    for row in rows[6::6]:
        row[rng.integers(0, num_dimensions, 50)] += 1
    return rows


@pytest.mark.parametrize("num_dimensions", LENGTHS)
@pytest.mark.parametrize("threads", [1, 3])
def test_long_rows(simd_level, num_dimensions, threads):
    database = families(330, num_dimensions)
    queries = database[[0, 12, 5]] + np.float32(1) * (np.arange(num_dimensions) % 5000 == 0)
    exclude = np.array([[0, -1], [12, 18], [5, 5]])
    for k in (1, 8, 40):
        expected = oracle.topk_l2(queries, database, k, exclude=exclude)
        got = topk_l2(queries, database, k, exclude=exclude, threads=threads)
        assert_same(got, expected, dtype="f4")


def test_ties_of_long_rows_go_to_the_lowest_index(simd_level):
    database = np.tile(families(2, 17_000), (150, 1))
    got = topk_l2(database[:2], database, 20)
    assert got.indices.tolist() == [list(range(0, 40, 2)), list(range(1, 41, 2))]
    assert (got.distances == 0).all()


@pytest.mark.parametrize("place", [(0, 0), (3, 16_000), (299, 19_999), (150, 8_000)])
def test_a_nan_is_found_in_a_row_that_is_rejected_early(simd_level, place):
    # Only the first rows are near: no query reads the last dimensions of other groups of rows.
    database = np.full((300, 20_000), 100, np.float32)
    database[:5] = 0
    queries = np.zeros((2, 20_000), np.float32)
    assert topk_l2(queries, database, 5).indices.tolist() == [[0, 1, 2, 3, 4]] * 2
    database[place] = np.nan
    with pytest.raises(ValueError, match=rf"database must be finite, got nan at \({place[0]}, "):
        topk_l2(queries, database, 5)
    database[place], queries[1, 19_999] = 100, np.nan
    with pytest.raises(ValueError, match=r"queries must be finite, got nan at \(1, 19999\)"):
        topk_l2(queries, database, 5)
