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


class Owner:
    """A user of a cache, which counts what it builds."""

    def __init__(self, cache: IndexCache) -> None:
        self.cache = cache
        self.num_builds = 0

    def get(self, mask_seed: int, window: int, observed=None) -> HammingIndex:
        seen = OBSERVED[window] if observed is None else observed
        key = (id(self), mask_seed, window)
        found = self.cache.find(key, seen, np.array_equal)
        if found is None:
            self.num_builds += 1
            found = HammingIndex(helpers.pack(SITES), num_sites=64, observed=seen)
            self.cache.add(key, seen, found)
        return found

    def builds(self, mask_seed: int, *windows: int) -> list[int]:
        """Return how many indexes each window in turn had to be built."""
        counts = []
        for window in windows:
            before = self.num_builds
            self.get(mask_seed, window)
            counts.append(self.num_builds - before)
        return counts


@pytest.fixture
def owner():
    return Owner(IndexCache(float("inf")))


def test_an_index_is_built_once_an_epoch(owner):
    made = [owner.get(0, window) for window in (0, 1, 2, 1, 0)]
    assert owner.num_builds == 3
    assert made[3] is made[1]
    assert made[4] is made[0]
    size = owner.cache.num_bytes
    assert owner.cache.drop_stale(id(owner), 0) == 0
    assert owner.cache.num_bytes == size > 0
    assert owner.builds(0, 1) == [0]  # as that of validation, which is the same every time
    assert owner.cache.drop_stale(id(owner), 1) == 3
    assert (owner.cache.num_bytes, len(owner.cache)) == (0, 0)
    assert owner.builds(1, 0) == [1]


def test_owners_share_the_budget_and_nothing_else(owner):
    other = Owner(owner.cache)
    assert owner.builds(0, 0, 1) == [1, 1]
    assert other.builds(0, 0, 1) == [1, 1]
    assert owner.cache.drop_stale(id(other), 7) == 2
    assert owner.builds(0, 0, 1) == [0, 0]
    owner.cache.budget_bytes = owner.cache.num_bytes
    assert other.builds(0, 2) == [1]
    assert owner.builds(0, 1, 0) == [0, 1]


def test_least_recently_used_leave_at_the_budget(owner):
    owner.get(0, 0)
    small = Owner(IndexCache(2 * owner.cache.num_bytes))
    # 0 leaves when 2 comes; 2 leaves when 0 comes, as 1 was used after it, and so on.
    assert small.builds(0, 0, 1, 2, 1, 0, 1, 2, 0) == [1, 1, 1, 0, 1, 0, 1, 1]
    assert small.cache.num_bytes <= small.cache.budget_bytes
    tiny = Owner(IndexCache(1))  # holds one all the same
    assert tiny.builds(0, 0, 1, 0, 0) == [1, 1, 1, 0]
    assert len(tiny.cache) == 1


def test_another_mask_of_the_same_window_rebuilds(owner):
    """Targets may lack different sites under one mask_seed: the mask itself decides."""
    first = owner.get(0, 1)
    size = owner.cache.num_bytes
    second = owner.get(0, 1, OBSERVED[2])
    assert owner.num_builds == 2
    queries = helpers.pack(SITES[:3])
    assert (first.search(queries, 5).indices != second.search(queries, 5).indices).any()
    assert owner.builds(0, 1) == [1]
    assert (owner.cache.num_bytes, len(owner.cache)) == (size, 1)
