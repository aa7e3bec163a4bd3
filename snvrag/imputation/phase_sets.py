"""One phasing from several: the phase of most draws, and the sets of sites in which it is sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_POSTERIOR = 0.9
"""Where the phase between two neighbouring heterozygotes is less sure, a phase set ends."""


@dataclass(frozen=True)
class Phase:
    """The phase of a sample's h heterozygotes, in order of position.

    Attributes
    ----------
    site : (h,) int64
        Sites of the chunk.
    position : (h,) int64
    swapped : (h,) bool
        True where the first haplotype has the file's second allele.
    phase_set : (h,) int64
        Position of the first heterozygote of the phase set, 0 where the file's phase is kept.
    """

    site: NDArray[np.int64]
    position: NDArray[np.int64]
    swapped: NDArray[np.bool_]
    phase_set: NDArray[np.int64]

    @classmethod
    def of_draws(
        cls, site: NDArray[np.int64], position: NDArray[np.int64], draws: NDArray[np.bool_]
    ) -> Phase:
        """Return the phase that most of (D, h) phasings have, from one heterozygote to the next.

        ``draws`` are like ``swapped``. At a tie the file's order is kept.
        """
        changed = (draws[:, 1:] ^ draws[:, :-1]).mean(axis=0)
        swapped = np.concatenate([[False], np.cumsum(changed > 0.5) % 2 == 1])[: position.size]
        begins = np.concatenate([[True], np.maximum(changed, 1 - changed) < LEAST_POSTERIOR])
        begins = begins[: position.size]
        first = np.maximum.accumulate(np.where(begins, np.arange(position.size), 0))
        return cls(site, position, swapped, position[first])

    @classmethod
    def of_file(cls, site: NDArray[np.int64], position: NDArray[np.int64]) -> Phase:
        """Return the phase of the file."""
        zeros = np.zeros(position.size, np.int64)
        return cls(site, position, zeros != 0, zeros)

    def nearest(self, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the nearest heterozygote of each position, of which there must be one."""
        return np.searchsorted((self.position[1:] + self.position[:-1]) / 2, position)

    def swaps(self, draws: NDArray[np.bool_], position: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (D, n) bool: whether a draw's haplotypes have the other order than this phase."""
        if self.position.size == 0:
            return np.zeros((draws.shape[0], position.size), bool)
        return (draws ^ self.swapped)[:, self.nearest(position)]

    def phase_set_at(self, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (n,) int64: the phase set of the nearest heterozygote, 0 without one."""
        if self.position.size == 0:
            return np.zeros(position.size, np.int64)
        return self.phase_set[self.nearest(position)]

    def continuing(self, before: Phase | None) -> Phase:
        """Return this phase in the order and the phase set of one that overlaps with it.

        They are joined at the last heterozygote of the earlier phase.
        """
        if before is None or before.position.size == 0:
            return self
        last = int(np.searchsorted(self.position, before.position[-1]))
        if last == self.position.size or self.position[last] != before.position[-1]:
            return self
        swapped = self.swapped ^ (self.swapped[last] ^ before.swapped[-1])
        joined = self.phase_set == self.phase_set[last]
        phase_set = np.where(joined, before.phase_set[-1], self.phase_set)
        return Phase(self.site, self.position, swapped, phase_set)

    def until(self, stop: int) -> Phase:
        """Return that of the heterozygotes before a site of the chunk."""
        end = int(np.searchsorted(self.site, stop))
        return Phase(self.site[:end], self.position[:end], self.swapped[:end], self.phase_set[:end])
