"""A batch: what the network is given of some samples and windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

REF, ALT, MASK, PAD = 0, 1, 2, 3


@dataclass
class Batch:
    """B samples, each over one of N windows of L sites (padded), as tensors on one device.

    Attributes
    ----------
    mask_seed : int
        Seed of the masks.
    windows : (N,) int64
        Numbers of the windows in this batch.
    window_row : (B,) int64
        For each sample, its window's place in ``windows``.
    sample : (B,) int64
    panel_sample : (B,) int64
        Sample of the reference panel that must not be retrieved, or -1.
    alleles : (B, 2, L) uint8
        The truth: 0 REF, 1 ALT, 3 behind the window's end. Unspecified where the file lacks it.
    hidden : (N, L) bool
        True where the network may not look.
    scored : (B, L) bool
        True where a hidden allele is known, belongs to the window and not to its flanks, and is of
        a site at which the panel without the sample has both alleles. Without it, some of the
        panel's own sites have one allele left: that they are sites at all would tell the answer,
        and a target that is not in the panel never has such.
    panel_af : (N, L) float32
        ALT frequency in the reference panel, which guides the mask and names a site rare or common.
    relative_position : (N, L) float32
        From 0 at the first site read to 1 at the last.
    af : (B, L) float32
        ALT frequency in the reference panel without the sample itself, if it is one of the panel's:
        counting it would tell the network a part of the answer, all of it at singletons.
    population_af : (B, L) float32
    genotype_frequency : (B, L, 3) float32
        Of the sample's population, again without the sample. A population of one sample has then
        none left, and the whole panel's frequency, in Hardy-Weinberg proportions, stands in.
    li_stephens : (B, 2, C, L) float32
        Probability of ALT by each of C Li-Stephens models, C being 0 where there is none.
    is_padded : bool
        Whether a window is shorter than L.
    missing : (B, 2, L) bool, optional
        True where a single allele is unknown at a site that is not hidden. What stands there in
        ``alleles`` is the panel's commoner one.
    """

    mask_seed: int
    windows: Tensor
    window_row: Tensor
    sample: Tensor
    panel_sample: Tensor
    alleles: Tensor
    hidden: Tensor
    scored: Tensor
    panel_af: Tensor
    relative_position: Tensor
    af: Tensor
    population_af: Tensor
    genotype_frequency: Tensor
    li_stephens: Tensor
    is_padded: bool
    missing: Tensor | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return int(self.alleles.shape[0])

    @property
    def num_scored(self) -> int:
        """Scored sites, over all samples: what the batch's loss is a sum of. Costs next to nothing
        on the CPU; on a GPU, reading it would wait for the device.
        """
        return int(self.scored.sum())

    @property
    def tokens(self) -> Tensor:
        """(B, 2, L) int64: what the network sees."""
        hidden = self.hidden[self.window_row][:, None, :]
        if self.missing is not None:
            hidden = hidden | self.missing
        return self.alleles.long().masked_fill(hidden, MASK)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, start: int, stop: int) -> Batch:
        """Return the batch of samples ``start`` to ``stop`` only; its windows stay as they are."""
        per_window = ("windows", "hidden", "panel_af", "relative_position")
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in values.items():
            if isinstance(value, Tensor) and name not in per_window:
                values[name] = value[start:stop]
        return Batch(**values)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (a data loader calls this)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in values.items():
            if isinstance(value, Tensor):
                values[name] = change(value)
        return Batch(**values)


NUM_MATCH_FEATURES = 6


@dataclass
class Neighbours:
    """K retrieved haplotypes at every site of every query, with their local match information.

    A window is retrieved in segments, each with a list of its own, so neighbour k of one site need
    not be that of another.

    Attributes
    ----------
    alleles : (B, 2, K, L) uint8
        Complete (unmasked) alleles; 3 behind the window's end.
    features : (B, 2, K, 6, L) float32
        How far query and neighbour agree around each site, over observed sites only (see
        ``csrc/include/snvrag/matching.hpp``); (B, 2, K, 0, L) from a retriever without features.
    indices : (B, 2, G, K) int64
        Haplotypes of the panel, for each of G segments.
    distances : (B, 2, G, K) int32
        Observed sites at which they differ, in the range searched for the segment.
    """

    alleles: Tensor
    features: Tensor
    indices: Tensor
    distances: Tensor

    def to(self, device: torch.device) -> Neighbours:
        """Return them on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, start: int, stop: int) -> Neighbours:
        """Return those of samples ``start`` to ``stop`` only."""
        return self._map(lambda tensor: tensor[start:stop])

    def pin_memory(self) -> Neighbours:
        """Return them in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Neighbours:
        return Neighbours(**{f.name: change(getattr(self, f.name)) for f in fields(self)})
