"""The just-in-time cache of search indexes: built when first asked for, dropped at a budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from ..kernels import HammingIndex


@dataclass
class CacheStatistics:
    """Counts of one retriever since its epoch began.

    On a GPU, seconds are those of the host, which does not wait, but for the first build and the
    first search.
    """

    num_builds: int = 0
    num_hits: int = 0
    num_dropped: int = 0
    build_seconds: float = 0.0
    search_seconds: float = 0.0
    first_build_seconds: float = 0.0
    first_search_seconds: float = 0.0

    def add_build(self, seconds: float) -> None:
        """Count the building of a window's index."""
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
    observed: Any
    index: HammingIndex


class IndexCache:
    """The search indexes of windows by (owner, mask_seed, window), within a budget of memory.

    Retrievers share a cache, so that the budget is that of the process; each is the owner of its
    entries. At the budget, the least recently used leave; one entry always stays.
    """

    def __init__(self, budget_bytes: float) -> None:
        self.budget_bytes = budget_bytes
        self.num_bytes = 0
        self._entries: OrderedDict[tuple[Hashable, int, int], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def drop_stale(self, owner: Hashable, mask_seed: int) -> int:
        """Drop the owner's indexes of other masks; return how many they were."""
        stale = [key for key in self._entries if key[0] == owner and key[1] != mask_seed]
        for key in stale:
            self._drop(key)
        return len(stale)

    def find(
        self, key: tuple[Hashable, int, int], observed: Any, same: Callable[[Any, Any], bool]
    ) -> HammingIndex | None:
        """Return the index of an owner's window under a mask, if it is held.

        ``observed`` is True where a site counts. The mask itself decides whether an entry serves,
        as far as ``same`` compares it: targets may lack different sites under one mask_seed.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not same(entry.observed, observed):
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.index

    def add(self, key: tuple[Hashable, int, int], observed: Any, index: HammingIndex) -> None:
        """Hold the index of an owner's window; the least recently used leave at the budget."""
        self._entries[key] = _Entry(observed, index)
        self.num_bytes += index.num_bytes
        while self.num_bytes > self.budget_bytes and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: tuple[Hashable, int, int]) -> None:
        self.num_bytes -= self._entries.pop(key).index.num_bytes
