"""Searches in a window: on the CPU, and on a device that holds the panel."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import _core
from ..batches.batch import PAD, Batch, Neighbours
from ..batches.device import DeviceHaplotypes, gather_alleles
from ..kernels import HammingIndex
from ..panel.panel import Panel
from .options import RetrievalConfig


@dataclass(frozen=True)
class Queries:
    """The 2 n haplotypes of a batch's n samples over one window, as arrays of NumPy or tensors.

    Attributes
    ----------
    rows : slice
        Rows of the batch.
    sites : slice
        Those that the window is read with.
    alleles : (2 * n, L) uint8
    observed : (L,) bool
        Sites that are not hidden, L without padding.
    exclude : (2 * n, 2) int64
        Haplotypes of the panel that a query must not retrieve, -1 for none.
    """

    rows: slice
    sites: slice
    alleles: Any
    observed: Any
    exclude: Any

    @property
    def num_sites(self) -> int:
        """L without padding."""
        return int(self.sites.stop - self.sites.start)


class Search(Protocol):
    """What retrieval does where the panel is."""

    def queries(self, batch: Batch, n: int, sites: slice) -> Queries:
        """Return the queries of the n-th window of a batch."""

    def same(self, a: Any, b: Any) -> bool:
        """Return whether two masks are equal, as far as that is known without waiting."""

    def index(self, queries: Queries) -> HammingIndex:
        """Build the index of a window."""

    def nearest(self, queries: Queries, index: HammingIndex, weights: Tensor | None) -> Any:
        """Return the (2 * n, k) indices of the nearest haplotypes."""

    def read(self, found: Neighbours, queries: Queries, nearest: Any) -> None:
        """Fill in the alleles of a window."""

    def clock(self, *, wait: bool) -> float:
        """Return a time in seconds; on a device, after its work if ``wait``."""


class HostSearch:
    """Searches on the CPU."""

    def __init__(self, panel: Panel, config: RetrievalConfig, threads: int | None) -> None:
        self._panel, self._config, self._threads = panel, config, threads

    def queries(self, batch: Batch, n: int, sites: slice) -> Queries:
        """Return views of the batch."""
        rows = slice(int(batch.row_starts[n]), int(batch.row_starts[n + 1]))
        alleles: NDArray[np.uint8] = batch.alleles.numpy()[rows]
        own = self._panel.own_haplotypes(batch.panel_sample.numpy()[rows])
        return Queries(
            rows,
            sites,
            alleles.reshape(2 * len(alleles), -1),
            ~batch.hidden.numpy()[n, : sites.stop - sites.start],
            own.repeat(2, axis=0),
        )

    def same(self, a: Any, b: Any) -> bool:
        """Compare masks."""
        return np.array_equal(a, b)

    def index(self, queries: Queries) -> HammingIndex:
        """Build the index of a window."""
        return HammingIndex.from_sites(
            self._panel.site_bits[queries.sites],
            num_haplotypes=self._panel.num_haplotypes,
            observed=queries.observed,
        )

    def nearest(
        self, queries: Queries, index: HammingIndex, weights: Tensor | None
    ) -> NDArray[np.int64]:
        """Search by bits."""
        num_sites = queries.num_sites
        return index.search(
            _core.pack_rows(queries.alleles[:, :num_sites]),
            self._config.k,
            exclude=queries.exclude,
            weights=None if weights is None else weights.numpy()[:num_sites],
            threads=self._threads,
        ).indices

    def read(self, found: Neighbours, queries: Queries, nearest: Any) -> None:
        """Copy from the panel's bits."""
        sites, haplotypes = queries.sites, nearest.ravel()
        rows = found.alleles.numpy()[queries.rows].reshape(haplotypes.size, -1)
        _core.gather_alleles(
            self._panel.site_bits,
            sites.start,
            sites.stop,
            haplotypes,
            rows[:, : queries.num_sites],
        )

    def clock(self, *, wait: bool) -> float:
        """Return the host's time."""
        del wait
        return time.perf_counter()


class DeviceSearch:
    """Searches on a device, from bits that stay there; nothing waits for it but `clock`."""

    def __init__(self, resident: DeviceHaplotypes, config: RetrievalConfig) -> None:
        self._resident, self._config = resident, config

    def queries(self, batch: Batch, n: int, sites: slice) -> Queries:
        """Return views of the batch."""
        rows = slice(int(batch.row_starts[n]), int(batch.row_starts[n + 1]))
        own = self._resident.pairs[batch.panel_sample[rows]]
        return Queries(
            rows,
            sites,
            batch.alleles[rows].flatten(0, 1),
            ~batch.hidden[n, : sites.stop - sites.start],
            own.repeat_interleave(2, 0),
        )

    def same(self, a: Any, b: Any) -> bool:
        """Return True: a comparison would wait, and the key stands for the mask."""
        del a, b
        return True

    def index(self, queries: Queries) -> HammingIndex:
        """Build the index of a window, with the capacity for all its sites."""
        bits: Any = self._resident.site_bits[queries.sites]
        return HammingIndex.from_sites(
            bits,
            num_haplotypes=self._resident.panel.num_haplotypes,
            observed=queries.observed.contiguous(),
        )

    def nearest(self, queries: Queries, index: HammingIndex, weights: Tensor | None) -> Tensor:
        """Search by bits."""
        num_sites = queries.num_sites
        bits: Any = pack_alleles(queries.alleles[:, :num_sites])
        of_sites: Any = None if weights is None else weights[:num_sites].float().contiguous()
        found = index.search(bits, self._config.k, exclude=queries.exclude, weights=of_sites)
        nearest: Any = found.indices
        return nearest  # type: ignore[no-any-return]

    def read(self, found: Neighbours, queries: Queries, nearest: Any) -> None:
        """Copy from the panel's bits."""
        bits = self._resident.site_bits[queries.sites]
        near = gather_alleles(bits, nearest.flatten()).reshape(*nearest.shape, -1)
        found.alleles[queries.rows].flatten(0, 1)[..., : queries.num_sites] = near

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


def blank_neighbours(batch: Batch, k: int) -> Neighbours:
    """Return padding where a window is shorter than the batch; otherwise nothing is set."""
    num_samples, length, device = batch.num_samples, batch.alleles.shape[-1], batch.alleles.device
    shape = (num_samples, 2, k, length)
    if batch.is_padded:
        return Neighbours(torch.full(shape, PAD, dtype=torch.uint8, device=device))
    return Neighbours(torch.empty(shape, dtype=torch.uint8, device=device))
