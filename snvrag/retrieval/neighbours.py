"""Retrieval: the nearest reference haplotypes of each query, by indexes built just in time."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .. import _core
from ..batches.batch import NUM_MATCH_FEATURES, PAD, Batch, Neighbours, slice_bits
from ..kernels import HammingIndex
from ..panel.panel import Panel
from ..panel.windows import Windows
from .cache import CacheStatistics, IndexCache
from .options import RetrievalConfig


class Segment(NamedTuple):
    """Sites [start, stop) of a panel, retrieved by [flanked_start, flanked_stop)."""

    start: int
    stop: int
    flanked_start: int
    flanked_stop: int

    @property
    def flanked(self) -> slice:
        """The sites that count in the search."""
        return slice(self.flanked_start, self.flanked_stop)


class Retriever:
    """Exact top-k retrieval from a panel, by a cache of indexes that are built when first touched.

    Match features, the dominant cost for large K, are computed only ``with_features``; ``threads``
    are those of a search.
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
        self.panel, self.windows, self.config = panel, windows, config
        self.num_features = NUM_MATCH_FEATURES if with_features else 0
        self.threads = threads
        self.cache = IndexCache(config.cache_mb * 2**20)

    @property
    def num_bytes(self) -> int:
        """Memory of the indexes held, in bytes."""
        return self.cache.num_bytes

    @property
    def statistics(self) -> CacheStatistics:
        """Counts since the epoch began."""
        return self.cache.statistics

    def begin_epoch(self, mask_seed: int) -> None:
        """Drop the indexes of other masks and start the counts anew."""
        self.cache.begin_epoch(mask_seed)

    def retrieve(self, batch: Batch) -> Neighbours:
        """Return the neighbours of every haplotype of a batch.

        The index of a window is built from the mask that the batch itself carries: query and panel
        are masked alike by construction. Haplotypes of the query's own sample are left out.
        """
        k = self.config.k
        num_samples, length = batch.num_samples, batch.alleles.shape[-1]
        alleles = np.full((num_samples, 2, k, length), PAD, np.uint8)
        features = np.zeros((num_samples, 2, k, self.num_features, length), np.float32)
        window_row = batch.window_row.numpy()
        query_bits = batch.query_bits.numpy().view(np.uint64)
        own = batch.panel_sample.numpy()
        for n, window in enumerate(batch.windows.tolist()):
            rows = np.flatnonzero(window_row == n)
            origin = int(self.windows.flanked_starts[window])
            num_sites = int(self.windows.flanked_stops[window]) - origin
            observed = ~batch.hidden[n, :num_sites].numpy()
            segments = self.segments(window)
            indexes = self._indexes(batch.mask_seed, window, observed, segments)
            exclude = self.panel.own_haplotypes(own[rows]).repeat(2, axis=0)
            queries = query_bits[rows].reshape(2 * rows.size, -1)
            for segment, index in zip(segments, indexes, strict=True):
                seen = slice(segment.flanked_start - origin, segment.flanked_stop - origin)
                sites = slice(segment.start - origin, segment.stop - origin)
                keep = slice(sites.start - seen.start, sites.stop - seen.start)
                bits = slice_bits(queries, seen.start, seen.stop)
                near = self._search(index, bits, exclude, segment)
                shape = (rows.size, 2, k, seen.stop - seen.start)
                near_alleles = _core.unpack_rows(near, shape[-1]).reshape(shape)
                alleles[rows, :, :, sites] = near_alleles[..., keep]
                if self.num_features:
                    near_features = _core.match_features(
                        bits,
                        near,
                        shape[-1],
                        _core.pack_rows(observed[None, seen]),
                        self.panel.position[segment.flanked],
                        self.config.decay_sites,
                    ).reshape(*shape[:3], self.num_features, shape[-1])
                    features[rows, ..., sites] = near_features[..., keep]
        return Neighbours(torch.from_numpy(alleles), torch.from_numpy(features))

    def segments(self, window: int) -> list[Segment]:
        """Return the fewest segments of a window, of equal length; the outer ones have its flanks.

        A segment's own flanks are cut at the sites that the window is read with.
        """
        windows, size, flank = self.windows, self.config.segment_size, self.config.segment_flank
        start, stop = int(windows.starts[window]), int(windows.stops[window])
        first, last = int(windows.flanked_starts[window]), int(windows.flanked_stops[window])
        count = -(-(stop - start) // size) if size else 1
        cuts = [start + (stop - start) * i // count for i in range(count + 1)]
        cuts[0], cuts[-1] = first, last
        return [
            Segment(a, b, max(first, a - flank), min(last, b + flank)) for a, b in pairwise(cuts)
        ]

    def _indexes(
        self, mask_seed: int, window: int, observed: NDArray[np.bool_], segments: list[Segment]
    ) -> list[HammingIndex]:
        """Return an index for each segment, from the cache or built now."""
        origin = int(self.windows.flanked_starts[window])

        def build() -> list[HammingIndex]:
            return [
                HammingIndex.from_sites(
                    self.panel.site_bits[part.flanked],
                    num_haplotypes=self.panel.num_haplotypes,
                    observed=observed[part.flanked_start - origin : part.flanked_stop - origin],
                )
                for part in segments
            ]

        return self.cache.get(mask_seed, window, observed, build)

    def _search(
        self,
        index: HammingIndex,
        queries: NDArray[np.uint64],
        exclude: NDArray[np.int64],
        segment: Segment,
    ) -> NDArray[np.uint64]:
        """Return the bits of the k nearest of each query, over a segment and its flanks."""
        start = time.perf_counter()
        found = index.search(queries, self.config.k, exclude=exclude, threads=self.threads)
        self.statistics.add_search(time.perf_counter() - start)
        return self.panel.haplotype_bits(
            found.indices.ravel(), segment.flanked_start, segment.flanked_stop
        )
