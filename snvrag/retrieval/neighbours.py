"""Retrieval: the nearest reference haplotypes of each query, by indexes built just in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..batches.batch import Batch, Neighbours
from ..batches.device import DeviceHaplotypes
from ..kernels import HammingIndex
from ..panel.panel import Panel
from ..panel.windows import Windows
from .cache import CacheStatistics, IndexCache
from .options import RetrievalConfig
from .searches import DeviceSearch, HostSearch, Queries, Search, blank_neighbours

SiteWeights = Callable[[Tensor], Tensor]
"""Weights of sites in the search, (N, L) from the ALT frequencies of N windows in the panel."""


class Retriever:
    """Exact top-k retrieval from a panel, by a cache of indexes that are built when first touched.

    The neighbours of a batch on the CPU are found there. With ``resident``, the haplotypes of the
    panel on a device, batches are on that device, and so is all of the work.

    Parameters
    ----------
    panel, windows, config
        Masks of one mask_seed must be those of one dataset: on a device they are not compared.
    threads : int, optional
        Of a search on the CPU.
    cache : IndexCache, optional
        One that is shared; by default one of its own, with the budget of ``config``.
    resident : DeviceHaplotypes, optional
    site_weights : callable, optional
        By default all sites have the same weight. It is called for every batch, so that weights
        that are being learned are those of the moment: what is cached, the bits of the panel, does
        not depend on them.
    """

    def __init__(
        self,
        panel: Panel,
        windows: Windows,
        config: RetrievalConfig,
        *,
        threads: int | None = None,
        cache: IndexCache | None = None,
        resident: DeviceHaplotypes | None = None,
        site_weights: SiteWeights | None = None,
    ) -> None:
        self.panel, self.windows, self.config = panel, windows, config
        self.threads = threads
        self.cache = IndexCache(config.cache_mb * 2**20) if cache is None else cache
        self.statistics = CacheStatistics()
        self._site_weights = site_weights
        # Of its entries in the cache; an id would be that of another retriever one day.
        self._owner = object()
        self._search: Search
        if resident is None:
            self._search = HostSearch(panel, config, threads)
        else:
            self._search = DeviceSearch(resident, config)

    @property
    def num_bytes(self) -> int:
        """Memory of the indexes in the cache, in bytes."""
        return self.cache.num_bytes

    def begin_epoch(self, mask_seed: int) -> None:
        """Drop the indexes of other masks and start the counts anew."""
        self.statistics = CacheStatistics(num_dropped=self.cache.drop_stale(self._owner, mask_seed))

    @torch.no_grad()
    def retrieve(self, batch: Batch) -> Neighbours:
        """Return the neighbours of every haplotype of a batch, where the batch is.

        The index of a window is built from the mask that the batch itself carries: query and panel
        are masked alike by construction. Haplotypes of the query's own sample are left out.
        """
        neighbours = blank_neighbours(batch, self.config.k)
        for queries, nearest in self.search(batch):
            self._search.read(neighbours, queries, nearest)
        return neighbours

    def search(self, batch: Batch) -> Iterator[tuple[Queries, Any]]:
        """Yield the (Q, k) indices of the nearest haplotypes, of each window in turn.

        They are an array of NumPy, or a tensor on the device.
        """
        weights = None if self._site_weights is None else self._site_weights(batch.panel_af)
        for n, window in enumerate(batch.windows.tolist()):
            start, stop = self.windows.flanked_starts[window], self.windows.flanked_stops[window]
            queries = self._search.queries(batch, n, slice(int(start), int(stop)))
            index = self._index(batch.mask_seed, window, queries)
            of_sites = None if weights is None else weights[n]
            wait = self.statistics.search_seconds == 0
            began = self._search.clock(wait=wait)
            nearest = self._search.nearest(queries, index, of_sites)
            self.statistics.add_search(self._search.clock(wait=wait) - began)
            yield queries, nearest

    def _index(self, mask_seed: int, window: int, queries: Queries) -> HammingIndex:
        """Return the index of a window, from the cache or built now."""
        key = (self._owner, mask_seed, window)
        index = self.cache.find(key, queries.observed, self._search.same)
        if index is not None:
            self.statistics.num_hits += 1
            return index
        wait = self.statistics.num_builds == 0
        start = self._search.clock(wait=wait)
        index = self._search.index(queries)
        self.statistics.add_build(self._search.clock(wait=wait) - start)
        self.cache.add(key, queries.observed, index)
        return index
