"""The just-in-time cache of search indexes: built when first asked for, dropped at a budget."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels import HammingIndex


@dataclass
class CacheStatistics:
    """Counts since an epoch began."""

    num_builds: int = 0
    num_hits: int = 0
    num_dropped: int = 0
    build_seconds: float = 0.0
    search_seconds: float = 0.0
    first_build_seconds: float = 0.0
    first_search_seconds: float = 0.0

    def add_build(self, seconds: float) -> None:
        """Count the building of a window's indexes."""
        if self.num_builds == 0:
            self.first_build_seconds = seconds
        self.num_builds += 1
        self.build_seconds += seconds

    def add_search(self, seconds: float) -> None:
        """Count a search."""
        if self.search_seconds == 0:
            self.first_search_seconds = seconds
        self.search_seconds += seconds


@dataclass
class _Entry:
    observed: NDArray[np.bool_]
    indexes: list[HammingIndex]

    @property
    def num_bytes(self) -> int:
        return sum(index.num_bytes for index in self.indexes) + self.observed.nbytes


class IndexCache:
    """The search indexes of windows, by (mask_seed, window), within a budget of memory.

    The mask itself decides whether an entry serves: targets may lack different sites under one
    mask_seed. At the budget, the least recently used leave; one entry always stays.
    """

    def __init__(self, budget_bytes: float) -> None:
        self.budget_bytes = budget_bytes
        self.statistics = CacheStatistics()
        self.num_bytes = 0
        self._entries: OrderedDict[tuple[int, int], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def begin_epoch(self, mask_seed: int) -> None:
        """Drop the indexes of other masks and start the counts anew."""
        stale = [key for key in self._entries if key[0] != mask_seed]
        for key in stale:
            self._drop(key)
        self.statistics = CacheStatistics(num_dropped=len(stale))

    def get(
        self,
        mask_seed: int,
        window: int,
        observed: NDArray[np.bool_],
        build: Callable[[], list[HammingIndex]],
    ) -> list[HammingIndex]:
        """Return the indexes of a window under a mask, built now if there are none.

        ``observed`` is True where a site counts, over the sites that the window is read with.
        """
        key = (mask_seed, window)
        if entry := self._entries.get(key):
            if np.array_equal(entry.observed, observed):
                self._entries.move_to_end(key)
                self.statistics.num_hits += 1
                return entry.indexes
            self._drop(key)
        start = time.perf_counter()
        entry = _Entry(observed, build())
        self.statistics.add_build(time.perf_counter() - start)
        self._entries[key] = entry
        self.num_bytes += entry.num_bytes
        while self.num_bytes > self.budget_bytes and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))
        return entry.indexes

    def _drop(self, key: tuple[int, int]) -> None:
        self.num_bytes -= self._entries.pop(key).num_bytes
