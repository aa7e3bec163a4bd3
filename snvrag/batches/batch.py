"""Batches: some samples over some windows, with what a network sees of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

REF, ALT, MASK, PAD = 0, 1, 2, 3
# Fields of a batch that have no row for each sample.
_SHARED = ("hidden", "panel_af", "relative_position", "alt_is_minor")

T = TypeVar("T", bound="_Tensors")


class _Tensors:
    """A dataclass of tensors, with a row for each sample unless named in `_SHARED`."""

    def to(self: T, device: torch.device) -> T:
        """Return them on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self: T, start: int, stop: int) -> T:
        """Return the samples ``start`` to ``stop`` only; what they share stays as it is."""
        return self._map(lambda tensor: tensor[start:stop], keep=_SHARED)

    @property
    def num_bytes(self) -> int:
        """Memory of all tensors, in bytes."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))

    def _map(self: T, change: Callable[[Tensor], Tensor], keep: tuple[str, ...] = ()) -> T:
        """Return a copy with all tensors changed, but for those to keep."""
        values = dict(vars(self))
        for name, value in values.items():
            if isinstance(value, Tensor) and name not in keep:
                values[name] = change(value)
        return type(self)(**values)


@dataclass
class Batch(_Tensors):
    """B samples, each over one of N windows of L sites (padded), as tensors on one device.

    Samples are in the order of their windows. What a program needs to know of a batch before it
    looks into it, ``windows`` and ``row_starts``, is on the host, wherever the tensors are.

    Attributes
    ----------
    mask_seed : int
        Seed of the masks.
    windows : (N,) int64
        Numbers of the windows in this batch, ascending, as a NumPy array.
    row_starts : (N + 1,) int64
        Window n is that of the samples ``row_starts[n]`` to ``row_starts[n + 1]``; NumPy as well.
    window_row : (B,) int64
        For each sample, its window's index in ``windows``.
    panel_sample : (B,) int64
        Sample of the reference panel that must not be retrieved, or -1.
    alleles : (B, 2, L) uint8
        The truth: 0 REF, 1 ALT, 3 past the window's end. Undefined at sites absent from the file.
    hidden : (N, L) bool
        True where the network may not look.
    scored : (B, L) bool
        True where a hidden allele is known, belongs to the window and not to its flanks, and is of
        a site at which the panel without the sample has both alleles. Without the sample, some of
        the panel's own sites have one allele left: that they are sites at all would give away the
        answer, and a target that is not in the panel never has such sites.
    panel_af : (N, L) float32
        ALT frequency in the reference panel, which guides the mask and makes a site rare or common.
    relative_position : (N, L) float32
        From 0 at the first site read to 1 at the last.
    af : (B, L) float32
        ALT frequency in the reference panel without the sample itself, if the panel has it:
        counting it would give away part of the answer, all of it at singletons.
    genotype_frequency : (B, L, 3) float32
        Frequency of 0, 1 and 2 ALT alleles in the sample's population, again without the sample.
        For the only sample of a population, it is that of the whole panel in Hardy-Weinberg
        proportions.
    is_padded : bool
        Whether a window is shorter than L.
    missing : (B, 2, L) bool, optional
        True where a single allele is unknown at a site that the file has. There ``alleles`` has
        the panel's commoner allele.
    """

    mask_seed: int
    windows: NDArray[np.int64]
    row_starts: NDArray[np.int64]
    window_row: Tensor
    panel_sample: Tensor
    alleles: Tensor
    hidden: Tensor
    scored: Tensor
    panel_af: Tensor
    relative_position: Tensor
    af: Tensor
    genotype_frequency: Tensor
    is_padded: bool
    missing: Tensor | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return int(self.alleles.shape[0])

    def rows(self, start: int, stop: int) -> Batch:
        """Return the samples ``start`` to ``stop`` only; windows stay, some without a sample."""
        row_starts = np.clip(self.row_starts, start, stop) - start
        return replace(super().rows(start, stop), row_starts=row_starts)

    @property
    def num_scored(self) -> Tensor:
        """() int64: scored sites over all samples, which the loss sums over."""
        return self.scored.sum()

    @property
    def strata_af(self) -> Tensor:
        """(B, L) float32: the frequency that makes a site rare or common."""
        return self.panel_af[self.window_row]

    @property
    def population_af(self) -> Tensor:
        """(B, L) float32: ALT frequency in the sample's population, without the sample."""
        return self.genotype_frequency[..., 2] + self.genotype_frequency[..., 1] / 2

    @property
    def tokens(self) -> Tensor:
        """(B, 2, L) int64: what the network sees."""
        hidden = self.hidden[self.window_row][:, None, :]
        if self.missing is not None:
            hidden = hidden | self.missing
        return self.alleles.long().masked_fill(hidden, MASK)


@dataclass
class Neighbours(_Tensors):
    """K retrieved haplotypes at every site of every query.

    Attributes
    ----------
    alleles : (B, 2, K, L) uint8
        Complete (unmasked) alleles; 3 past the window's end.
    """

    alleles: Tensor


class Work(NamedTuple):
    """What making a batch of evidence took.

    ``num_builds`` is 1 if its observed set was built for it, in ``build_seconds``, and 0 if it was
    held; ``cache_bytes`` is the memory of all that are held; ``evidence_seconds`` is the time of
    the Li-Stephens model.
    """

    num_builds: int
    build_seconds: float
    cache_bytes: int
    evidence_seconds: float


@dataclass
class EvidenceBatch(_Tensors):
    """B samples at the N hidden sites of their windows, as tensors on one device.

    Attributes
    ----------
    mask_seed : int
        Seed of the masks.
    sites : (N,) int64
        The sites, ascending, as a NumPy array.
    evidence : (B, 2, N, E) float32
        Evidence of the Li-Stephens model, all about the minor allele (`li_stephens_evidence`).
    alleles : (B, 2, N) uint8
        The truth: 0 REF, 1 ALT.
    scored : (B, N) bool
        As `Batch.scored`.
    panel_af : (N,) float32
        ALT frequency in the reference panel, which guides the mask and makes a site rare or common.
    alt_is_minor : (N,) bool
        Whether at most half of the reference panel's haplotypes have ALT.
    work : Work
    """

    mask_seed: int
    sites: NDArray[np.int64]
    evidence: Tensor
    alleles: Tensor
    scored: Tensor
    panel_af: Tensor
    alt_is_minor: Tensor
    work: Work

    @property
    def num_samples(self) -> int:
        """B."""
        return int(self.alleles.shape[0])

    @property
    def num_scored(self) -> Tensor:
        """() int64: scored sites over all samples, which the loss sums over."""
        return self.scored.sum()

    @property
    def strata_af(self) -> Tensor:
        """(B, N) float32: the frequency that makes a site rare or common."""
        return self.panel_af.expand(self.scored.shape)
