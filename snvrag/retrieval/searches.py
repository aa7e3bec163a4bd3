"""Searches in a window: on the CPU, and on a device that holds the panel."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import _core
from ..batches.batch import PAD, Batch, Neighbours
from ..batches.device import DeviceHaplotypes, gather_alleles
from ..kernels import HammingIndex
from ..panel.panel import Panel
from .device_features import match_features
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


@dataclass(frozen=True)
class Queries:
    """The 2 n haplotypes of a batch's n samples over one window, as arrays of NumPy or tensors.

    Attributes
    ----------
    rows : slice
        Rows of the batch.
    origin : int
        First site that the window is read with.
    alleles : (2 * n, L) uint8
    observed : (L,) bool
        Sites that are not hidden, L without padding.
    exclude : (2 * n, 2) int64
        Haplotypes of the panel that a query must not retrieve, -1 for none.
    """

    rows: slice
    origin: int
    alleles: Any
    observed: Any
    exclude: Any

    def within(self, segment: Segment) -> slice:
        """Return the sites that count for a segment, as places in the window."""
        return slice(segment.flanked_start - self.origin, segment.flanked_stop - self.origin)

    def own(self, segment: Segment) -> slice:
        """Return the segment's own sites, as places in the window."""
        return slice(segment.start - self.origin, segment.stop - self.origin)


class Search(Protocol):
    """What retrieval does where the panel is."""

    def queries(self, batch: Batch, n: int, origin: int, num_sites: int) -> Queries:
        """Return the queries of the n-th window of a batch."""

    def same(self, a: Any, b: Any) -> bool:
        """Return whether two masks are equal, as far as that is known without waiting."""

    def index(self, queries: Queries, segment: Segment) -> HammingIndex:
        """Build the index of a segment."""

    def nearest(
        self, queries: Queries, segment: Segment, index: HammingIndex, weights: Tensor | None
    ) -> Any:
        """Return the (2 * n, k) indices of the nearest haplotypes; weights are of the window."""

    def read(self, found: Neighbours, queries: Queries, segment: Segment, nearest: Any) -> None:
        """Fill in the alleles and features of a segment's own sites."""

    def clock(self, *, wait: bool) -> float:
        """Return a time in seconds; on a device, after its work if ``wait``."""


class HostSearch:
    """Searches on the CPU."""

    def __init__(
        self, panel: Panel, config: RetrievalConfig, num_features: int, threads: int | None
    ) -> None:
        self._panel, self._config, self._threads = panel, config, threads
        self._num_features = num_features

    def queries(self, batch: Batch, n: int, origin: int, num_sites: int) -> Queries:
        """Return views of the batch."""
        rows = slice(int(batch.row_starts[n]), int(batch.row_starts[n + 1]))
        alleles: NDArray[np.uint8] = batch.alleles.numpy()[rows]
        own = self._panel.own_haplotypes(batch.panel_sample.numpy()[rows])
        return Queries(
            rows,
            origin,
            alleles.reshape(2 * len(alleles), -1),
            ~batch.hidden.numpy()[n, :num_sites],
            own.repeat(2, axis=0),
        )

    def same(self, a: Any, b: Any) -> bool:
        """Compare masks."""
        return np.array_equal(a, b)

    def index(self, queries: Queries, segment: Segment) -> HammingIndex:
        """Build the index of a segment."""
        return HammingIndex.from_sites(
            self._panel.site_bits[segment.flanked],
            num_haplotypes=self._panel.num_haplotypes,
            observed=queries.observed[queries.within(segment)],
        )

    def nearest(
        self, queries: Queries, segment: Segment, index: HammingIndex, weights: Tensor | None
    ) -> NDArray[np.int64]:
        """Search by bits."""
        seen = queries.within(segment)
        return index.search(
            _core.pack_rows(queries.alleles[:, seen]),
            self._config.k,
            exclude=queries.exclude,
            weights=None if weights is None else weights.numpy()[seen],
            threads=self._threads,
        ).indices

    def read(self, found: Neighbours, queries: Queries, segment: Segment, nearest: Any) -> None:
        """Copy from the panel's bits."""
        sites, haplotypes = queries.own(segment), nearest.ravel()
        rows = found.alleles.numpy()[queries.rows].reshape(haplotypes.size, -1)
        _core.gather_alleles(
            self._panel.site_bits, segment.start, segment.stop, haplotypes, rows[:, sites]
        )
        if not self._num_features:
            return
        seen = queries.within(segment)
        num_seen = seen.stop - seen.start
        features = _core.match_features(
            _core.pack_rows(queries.alleles[:, seen]),
            self._panel.haplotype_bits(haplotypes, segment.flanked_start, segment.flanked_stop),
            num_seen,
            _core.pack_rows(queries.observed[None, seen]),
            self._panel.position[segment.flanked],
            self._config.decay_sites,
        ).reshape(-1, 2, self._config.k, self._num_features, num_seen)
        kept = features[..., sites.start - seen.start : sites.stop - seen.start]
        found.features.numpy()[queries.rows, ..., sites] = kept

    def clock(self, *, wait: bool) -> float:
        """Return the host's time."""
        del wait
        return time.perf_counter()


class DeviceSearch:
    """Searches on a device, from bits that stay there; nothing waits for it but `clock`."""

    def __init__(
        self, resident: DeviceHaplotypes, config: RetrievalConfig, num_features: int
    ) -> None:
        self._resident, self._config = resident, config
        self._num_features = num_features

    def queries(self, batch: Batch, n: int, origin: int, num_sites: int) -> Queries:
        """Return views of the batch."""
        rows = slice(int(batch.row_starts[n]), int(batch.row_starts[n + 1]))
        own = self._resident.pairs[batch.panel_sample[rows]]
        return Queries(
            rows,
            origin,
            batch.alleles[rows].flatten(0, 1),
            ~batch.hidden[n, :num_sites],
            own.repeat_interleave(2, 0),
        )

    def same(self, a: Any, b: Any) -> bool:
        """Return True: a comparison would wait, and the key stands for the mask."""
        del a, b
        return True

    def index(self, queries: Queries, segment: Segment) -> HammingIndex:
        """Build the index of a segment, with the capacity for all its sites."""
        bits: Any = self._resident.site_bits[segment.flanked]
        return HammingIndex.from_sites(
            bits,
            num_haplotypes=self._resident.panel.num_haplotypes,
            observed=queries.observed[queries.within(segment)].contiguous(),
        )

    def nearest(
        self, queries: Queries, segment: Segment, index: HammingIndex, weights: Tensor | None
    ) -> Tensor:
        """Search by bits."""
        seen = queries.within(segment)
        bits: Any = pack_alleles(queries.alleles[:, seen])
        of_sites: Any = None if weights is None else weights[seen].float().contiguous()
        found = index.search(bits, self._config.k, exclude=queries.exclude, weights=of_sites)
        nearest: Any = found.indices
        return nearest  # type: ignore[no-any-return]

    def read(self, found: Neighbours, queries: Queries, segment: Segment, nearest: Any) -> None:
        """Copy from the panel's bits."""
        sites, seen = queries.own(segment), queries.within(segment)
        bits = self._resident.site_bits[segment.flanked]
        near = gather_alleles(bits, nearest.flatten()).reshape(*nearest.shape, -1)
        kept = slice(sites.start - seen.start, sites.stop - seen.start)
        alleles = found.alleles[queries.rows].flatten(0, 1)
        alleles[..., sites] = near[..., kept]
        if self._num_features:
            features = match_features(
                queries.alleles[:, seen],
                near,
                queries.observed[seen],
                self._resident.position[segment.flanked],
                self._config.decay_sites,
            )
            found.features[queries.rows].flatten(0, 1)[..., sites] = features[..., kept]

    def clock(self, *, wait: bool) -> float:
        """Return the host's time, after the work of the device if ``wait``."""
        if wait and self._resident.device.type == "cuda":
            torch.cuda.current_stream(self._resident.device).synchronize()
        return time.perf_counter()


def pack_alleles(alleles: Tensor) -> Tensor:
    """Return (n, ceil(L / 64)) int64 of (n, L) uint8: bit j of word w is site 64 * w + j."""
    length = alleles.shape[1]
    padded = torch.nn.functional.pad(alleles, (0, -length % 64))
    place = torch.arange(64, device=alleles.device)
    words: Tensor = (padded.reshape(len(alleles), -1, 64).long() << place).sum(-1)
    return words


def blank_neighbours(batch: Batch, k: int, num_features: int) -> Neighbours:
    """Return padding where a window is shorter than the batch; otherwise nothing is set."""
    num_samples, length, device = batch.num_samples, batch.alleles.shape[-1], batch.alleles.device
    shape = (num_samples, 2, k, length)
    of_features = (num_samples, 2, k, num_features, length)
    if batch.is_padded:
        return Neighbours(
            torch.full(shape, PAD, dtype=torch.uint8, device=device),
            torch.zeros(of_features, device=device),
        )
    return Neighbours(
        torch.empty(shape, dtype=torch.uint8, device=device),
        torch.empty(of_features, device=device),
    )
