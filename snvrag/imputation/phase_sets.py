"""One phasing from several: the phase of most draws, and the sets of sites in which it is sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Where the phase between two neighbouring heterozygotes is less sure, a phase set ends.
_LEAST_POSTERIOR = 0.9


def bits_at(rows: NDArray[np.uint64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (n, c) bool: some columns of n packed rows."""
    words = rows[:, columns >> 6] >> (columns & 63).astype(np.uint64)
    bits: NDArray[np.bool_] = words & np.uint64(1) != 0
    return bits


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
    linked : (h,) bool
        False for heterozygotes whose phase is unsure to both neighbours, which are sure to each
        other: they are in no phase set but their own, and say nothing of the sites around.
    """

    site: NDArray[np.int64]
    position: NDArray[np.int64]
    swapped: NDArray[np.bool_]
    phase_set: NDArray[np.int64]
    linked: NDArray[np.bool_]

    @classmethod
    def of_draws(
        cls, site: NDArray[np.int64], position: NDArray[np.int64], draws: NDArray[np.bool_]
    ) -> Phase:
        """Return the phase that most of (D, h) phasings have, from one heterozygote to the next.

        ``draws`` are like ``swapped``. At a tie the order of the file is kept.
        """
        linked = _linked(draws)
        kept = np.flatnonzero(linked)
        changed = _changed(draws[:, kept])
        swapped, phase_set = np.zeros(position.size, bool), position.copy()
        if kept.size:
            swapped[kept[1:]] = np.cumsum(changed > 0.5) % 2 == 1
            begins = np.concatenate([[True], _posterior(changed) < _LEAST_POSTERIOR])
            first = np.maximum.accumulate(np.where(begins, np.arange(kept.size), 0))
            phase_set[kept] = position[kept[first]]
        # The others have the order that more draws have beside both neighbours.
        alone = np.flatnonzero(~linked)
        after = np.searchsorted(kept, alone)
        votes = sum(
            (draws[:, alone] ^ draws[:, beside] ^ swapped[beside]).mean(axis=0)
            for beside in (kept[after - 1], kept[after])
        )
        swapped[alone] = votes > 1
        return cls(site, position, swapped, phase_set, linked)

    @classmethod
    def of_file(cls, site: NDArray[np.int64], position: NDArray[np.int64]) -> Phase:
        """Return the phase of the file."""
        zeros = np.zeros(position.size, np.int64)
        return cls(site, position, zeros != 0, zeros, zeros == 0)

    def swaps(
        self, draws: NDArray[np.bool_], site: NDArray[np.int64], position: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return (D, n) bool: whether a draw's haplotypes have the other order than this phase.

        That of a heterozygote is its own, that of another site is the order at the nearest
        heterozygote that is linked. ``site`` and ``position`` (n,) are of the sites asked for.
        """
        if self.position.size == 0:
            return np.zeros((draws.shape[0], position.size), bool)
        return (draws ^ self.swapped)[:, self._nearest(site, position)]

    def phase_set_at(
        self, site: NDArray[np.int64], position: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return (n,) int64: the phase set of a heterozygote, or of the nearest linked one, or 0.

        The arguments are those of `swaps`.
        """
        if self.position.size == 0:
            return np.zeros(position.size, np.int64)
        return self.phase_set[self._nearest(site, position)]

    def _nearest(self, site: NDArray[np.int64], position: NDArray[np.int64]) -> NDArray[np.int64]:
        linked = np.flatnonzero(self.linked)
        places = self.position[linked]
        nearest = linked[np.searchsorted((places[1:] + places[:-1]) / 2, position)]
        own = np.searchsorted(self.site[:-1], site)
        return np.where(self.site[own] == site, own, nearest)

    def continuing(self, before: Phase | None, start: int) -> Phase:
        """Return this phase in the order and the phase set of one that overlaps with it.

        They are joined at the last heterozygote that is linked in both, if there is one. The sites
        of the earlier phase are counted from site ``start`` of this chunk.
        """
        if before is None:
            return self
        here, there = np.flatnonzero(self.linked), np.flatnonzero(before.linked)
        mine, theirs = np.intersect1d(
            self.site[here] - start, before.site[there], assume_unique=True, return_indices=True
        )[1:]
        if mine.size == 0:
            return self
        last, last_before = here[mine[-1]], there[theirs[-1]]
        swapped = self.swapped ^ (self.swapped[last] ^ before.swapped[last_before])
        joined = self.phase_set == self.phase_set[last]
        phase_set = np.where(joined, before.phase_set[last_before], self.phase_set)
        return Phase(self.site, self.position, swapped, phase_set, self.linked)

    def until(self, stop: int) -> Phase:
        """Return that of the heterozygotes before a site of the chunk; it counts from there."""
        end = int(np.searchsorted(self.site, stop))
        return Phase(
            self.site[:end] - stop,
            self.position[:end],
            self.swapped[:end],
            self.phase_set[:end],
            self.linked[:end],
        )


def _changed(draws: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return, for each heterozygote but the first, the share of draws that swap before it."""
    changed: NDArray[np.float64] = (draws[:, 1:] ^ draws[:, :-1]).mean(axis=0)
    return changed


def _posterior(changed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of the more probable phase."""
    return np.maximum(changed, 1 - changed)


def _linked(draws: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (h,) bool: False where both neighbours are unsure, and sure to each other.

    Neighbours are those that are linked themselves: it is repeated until nothing changes.
    """
    linked = np.ones(draws.shape[1], bool)
    while True:
        kept = np.flatnonzero(linked)
        unsure = _posterior(_changed(draws[:, kept])) < _LEAST_POSTERIOR
        around = (draws[:, kept[2:]] ^ draws[:, kept[:-2]]).mean(axis=0)
        alone = unsure[1:] & unsure[:-1] & (_posterior(around) >= _LEAST_POSTERIOR)
        # Of two neighbours only the first, since the second gets another neighbour.
        alone[1:] &= ~alone[:-1]
        if not alone.any():
            return linked
        linked[kept[1:-1][alone]] = False
