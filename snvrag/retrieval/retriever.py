"""Retrieval: the nearest reference haplotypes of each query, from indexes built just in time."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from .. import _core
from ..batches.batch import NUM_MATCH_FEATURES, PAD, Batch, Neighbours
from ..kernels import HammingIndex, TopK
from ..panel.panel import Panel
from ..panel.windows import Windows
from .options import RetrievalConfig


@dataclass(frozen=True)
class _Segment:
    """Sites [start, stop) of a panel, retrieved by their surroundings [first, last)."""

    start: int
    stop: int
    first: int
    last: int


@dataclass
class _Entry:
    """What the cache holds of one window under one mask: an index a segment."""

    mask_seed: int
    observed: NDArray[np.bool_]
    indexes: list[HammingIndex]

    @property
    def num_bytes(self) -> int:
        return sum(index.num_bytes for index in self.indexes) + self.observed.nbytes


@dataclass
class CacheStatistics:
    """Counts since the mask_seed began."""

    num_builds: int = 0
    num_hits: int = 0
    num_dropped: int = 0
    build_seconds: float = 0.0
    search_seconds: float = 0.0
    first_build_seconds: float = 0.0
    first_search_seconds: float = 0.0


class Retriever:
    """Exact top-k retrieval from a panel, by a cache of indexes that are built when first touched.

    Parameters
    ----------
    panel : Panel
        The reference panel.
    windows : Windows
    config : RetrievalConfig
    with_features : bool
        Whether match features are wanted: most of the time and memory where K is large.
    threads : int, optional
        Threads of a search.
    """

    def __init__(
        self,
        panel: Panel,
        windows: Windows,
        config: RetrievalConfig,
        *,
        with_features: bool = True,
        threads: int | None = None,
    ) -> None:
        self.panel = panel
        self.windows = windows
        self.config = config
        self.num_features = NUM_MATCH_FEATURES if with_features else 0
        self.threads = threads
        self.statistics = CacheStatistics()
        self._entries: OrderedDict[tuple[int, int], _Entry] = OrderedDict()
        self._num_bytes = 0
        # G, the most segments that a window has.
        self.num_segments = max(len(self._segments(window)) for window in range(len(windows)))

    @property
    def num_bytes(self) -> int:
        """Memory of the indexes held, in bytes."""
        return self._num_bytes

    def begin_epoch(self, mask_seed: int) -> None:
        """Drop the indexes of other masks and start the counts anew."""
        stale = [key for key, entry in self._entries.items() if entry.mask_seed != mask_seed]
        for key in stale:
            self._drop(key)
        self.statistics = CacheStatistics(num_dropped=len(stale))

    def retrieve(self, batch: Batch) -> Neighbours:
        """Return the neighbours of every haplotype of a batch.

        The index of a window is built from the mask that the batch itself carries: query and panel
        are masked alike by construction. Haplotypes of the query's own sample are left out.
        """
        alleles = batch.alleles.numpy()
        num_samples, _, length = alleles.shape
        segments = self.num_segments
        out_alleles = np.full((num_samples, 2, self.config.k, length), PAD, np.uint8)
        features = np.zeros((num_samples, 2, self.config.k, self.num_features, length), np.float32)
        indices = np.full((num_samples, 2, segments, self.config.k), -1, np.int64)
        distances = np.full((num_samples, 2, segments, self.config.k), -1, np.int32)
        rows = batch.window_row.numpy()
        own = batch.panel_sample.numpy()
        for n, window in enumerate(batch.windows.tolist()):
            mine = np.flatnonzero(rows == n)
            first = int(self.windows.flanked_starts[window])
            stop = int(self.windows.flanked_stops[window])
            hidden = batch.hidden[n].numpy()[: stop - first]
            entry = self._entry(batch.mask_seed, window, ~hidden)
            exclude = self.panel.own_haplotypes(own[mine]).repeat(2, axis=0)
            queries = np.ascontiguousarray(alleles[mine]).reshape(2 * mine.size, length)
            for g, (segment, index) in enumerate(
                zip(self._segments(window), entry.indexes, strict=True)
            ):
                a, b = segment.first - first, segment.last - first
                bits = _core.pack_rows(queries[:, a:b])
                found = self._search(index, bits, exclude)
                near = self.panel.haplotype_bits(
                    found.indices.reshape(-1), segment.first, segment.last
                )
                shape = (mine.size, 2, self.config.k, b - a)
                near_alleles = _core.unpack_rows(near, b - a).reshape(shape)
                keep = slice(segment.start - segment.first, segment.stop - segment.first)
                sites = slice(segment.start - first, segment.stop - first)
                out_alleles[mine, :, :, sites] = near_alleles[..., keep]
                indices[mine, :, g] = found.indices.reshape(mine.size, 2, self.config.k)
                distances[mine, :, g] = found.distances.reshape(mine.size, 2, self.config.k)
                if self.num_features:
                    near_features = _core.match_features(
                        bits,
                        near,
                        b - a,
                        _core.pack_rows(entry.observed[None, a:b]),
                        self.panel.position[segment.first : segment.last],
                        self.config.decay_sites,
                    ).reshape(mine.size, 2, self.config.k, self.num_features, b - a)
                    features[mine, ..., sites] = near_features[..., keep]
        return Neighbours(
            torch.from_numpy(out_alleles),
            torch.from_numpy(features),
            torch.from_numpy(indices),
            torch.from_numpy(distances),
        )

    def _search(
        self, index: HammingIndex, queries: NDArray[np.uint64], exclude: NDArray[np.int64]
    ) -> TopK:
        start = time.perf_counter()
        found = index.search(queries, self.config.k, exclude=exclude, threads=self.threads)
        seconds = time.perf_counter() - start
        if self.statistics.search_seconds == 0:
            self.statistics.first_search_seconds = seconds
        self.statistics.search_seconds += seconds
        return found

    def window_indexes(
        self, mask_seed: int, window: int, observed: NDArray[np.bool_]
    ) -> list[HammingIndex]:
        """Return the indexes of a window's segments under a mask, from the cache or built now.

        Parameters
        ----------
        mask_seed : int
            Seed of the mask.
        window : int
        observed : (first length,) bool
            True where a site counts, over the sites that the window is read with.
        """
        return self._entry(mask_seed, window, observed).indexes

    def _entry(self, mask_seed: int, window: int, observed: NDArray[np.bool_]) -> _Entry:
        key = (mask_seed, window)
        entry = self._entries.get(key)
        if entry is not None and np.array_equal(entry.observed, observed):
            self._entries.move_to_end(key)
            self.statistics.num_hits += 1
            return entry
        if entry is not None:
            self._drop(key)
        start = time.perf_counter()
        first = int(self.windows.flanked_starts[window])
        entry = _Entry(
            mask_seed,
            observed,
            [
                HammingIndex.from_sites(
                    self.panel.site_bits[segment.first : segment.last],
                    num_haplotypes=self.panel.num_haplotypes,
                    observed=observed[segment.first - first : segment.last - first],
                )
                for segment in self._segments(window)
            ],
        )
        seconds = time.perf_counter() - start
        if self.statistics.num_builds == 0:
            self.statistics.first_build_seconds = seconds
        self.statistics.build_seconds += seconds
        self.statistics.num_builds += 1
        self._entries[key] = entry
        self._num_bytes += entry.num_bytes
        while self._num_bytes > self.config.cache_mb * 2**20 and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))
        return entry

    def _drop(self, key: tuple[int, int]) -> None:
        self._num_bytes -= self._entries.pop(key).num_bytes

    def _segments(self, window: int) -> list[_Segment]:
        windows = self.windows
        start, stop = int(windows.starts[window]), int(windows.stops[window])
        first, last = int(windows.flanked_starts[window]), int(windows.flanked_stops[window])
        if self.config.segment_size <= 0:
            return [_Segment(first, last, first, last)]
        count = -(-(stop - start) // self.config.segment_size)
        cuts = [start + (stop - start) * i // count for i in range(count + 1)]
        cuts[0], cuts[-1] = first, last
        return [
            _Segment(
                a,
                b,
                max(first, a - self.config.segment_flank),
                min(last, b + self.config.segment_flank),
            )
            for a, b in pairwise(cuts)
        ]
