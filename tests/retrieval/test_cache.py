"""The cache serves masks, never stale ones, and keeps its budget."""

from __future__ import annotations

import numpy as np
import pytest

import helpers
from snvrag.kernels import HammingIndex
from snvrag.retrieval.cache import IndexCache

SITES = helpers.mosaic_haplotypes(20, 64, seed=2)
# Of equal size, as an index is as large as its observed sites are many.
OBSERVED = [np.random.default_rng(w).permutation(64) < 40 for w in range(4)]


def build(observed: np.ndarray) -> list[HammingIndex]:
    return [HammingIndex(helpers.pack(SITES), num_sites=64, observed=observed)]


def get(cache: IndexCache, mask_seed: int, window: int, observed=None) -> list[HammingIndex]:
    seen = OBSERVED[window] if observed is None else observed
    return cache.get(mask_seed, window, seen, lambda: build(seen))


@pytest.fixture
def cache():
    made = IndexCache(float("inf"))
    made.begin_epoch(0)
    return made


def counts(cache: IndexCache) -> tuple[int, int, int]:
    statistics = cache.statistics
    return statistics.num_builds, statistics.num_hits, statistics.num_dropped


def test_an_index_is_built_once_an_epoch(cache):
    made = [get(cache, 0, window) for window in (0, 1, 2, 1, 0)]
    assert counts(cache) == (3, 2, 0)
    assert made[3] is made[1]
    assert made[4] is made[0]
    assert cache.statistics.build_seconds >= cache.statistics.first_build_seconds > 0
    size = cache.num_bytes
    cache.begin_epoch(0)
    assert counts(cache) == (0, 0, 0)
    assert cache.num_bytes == size > 0
    get(cache, 0, 1)  # as that of validation, which is the same every time
    assert counts(cache) == (0, 1, 0)
    cache.begin_epoch(1)
    assert counts(cache) == (0, 0, 3)
    assert (cache.num_bytes, len(cache)) == (0, 0)
    get(cache, 1, 0)
    assert counts(cache)[:2] == (1, 0)


def test_least_recently_used_leave_at_the_budget(cache):
    get(cache, 0, 0)
    small = IndexCache(2 * cache.num_bytes)

    def builds(window: int) -> int:
        before = small.statistics.num_builds
        get(small, 0, window)
        assert small.num_bytes <= small.budget_bytes
        return small.statistics.num_builds - before

    # 0 leaves when 2 comes; 2 leaves when 0 comes, as 1 was used after it, and so on.
    assert [builds(w) for w in (0, 1, 2, 1, 0, 1, 2, 0)] == [1, 1, 1, 0, 1, 0, 1, 1]
    small = IndexCache(1)  # holds one all the same
    for window in (0, 1, 0, 0):
        get(small, 0, window)
        assert len(small) == 1
    assert counts(small) == (3, 1, 0)


def test_another_mask_of_the_same_window_rebuilds(cache):
    """Training and validation targets may lack different sites: the mask itself decides."""
    first = get(cache, 0, 1)
    size = cache.num_bytes
    second = get(cache, 0, 1, OBSERVED[2])
    assert counts(cache) == (2, 0, 0)
    queries = helpers.pack(SITES[:3])
    assert (first[0].search(queries, 5).indices != second[0].search(queries, 5).indices).any()
    get(cache, 0, 1)
    assert counts(cache) == (3, 0, 0)
    assert (cache.num_bytes, len(cache)) == (size, 1)
