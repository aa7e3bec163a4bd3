"""Cut a panel that is read as a stream into chunks, to bound memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..io.matching import MatchedBlock
from ..panel.windows import WindowConfig, Windows

# Polymorphic sites of a chunk, and bytes of its panel and of its dosages: the smallest decides.
CHUNK_SITES = 16_384
_PANEL_BYTES = 256 << 20
_DOSAGE_BYTES = 256 << 20
# A chunk with few polymorphic sites ends at so many times its length, or at these bytes of panel.
_MOST_CHUNKS = 8
_MOST_PANEL_BYTES = 1 << 30


@dataclass(frozen=True)
class WindowPlan:
    """How the polymorphic sites of a chromosome are cut into windows, and these put into chunks.

    Attributes
    ----------
    size : int
        Sites that a window predicts.
    flank : int
        Sites that a window reads on each side, so that none is predicted near an edge.
    windows_per_chunk : int
        Windows that are held in memory, and predicted, together.
    """

    size: int
    flank: int
    windows_per_chunk: int

    @classmethod
    def of(cls, windows: WindowConfig, num_haplotypes: int, num_targets: int) -> WindowPlan:
        """Return windows that are read no longer than those that a network was trained on.

        Half of that length goes to the flanks, or more where training gave them more. Chunks of a
        large panel or for many targets are shorter.

        ``windows`` are the options of the run that trained the network; ``num_haplotypes`` is that
        of the panel.
        """
        length = windows.window_size + 2 * windows.flank
        flank = max(length // 4, windows.flank)
        size = length - 2 * flank
        num_sites = min(
            CHUNK_SITES,
            _PANEL_BYTES // _site_bytes(num_haplotypes),
            _DOSAGE_BYTES // (4 * num_targets),
        )
        return cls(size, flank, max(1, num_sites // size))


@dataclass(frozen=True)
class Chunk:
    """Consecutive sites of a panel, of which those of the flanks are read and not written.

    Attributes
    ----------
    sites : MatchedBlock
        n sites.
    polymorphic : (n,) bool
        Sites at which the panel has both alleles. Only these are predicted, as in training.
    start, stop : int
        The half-open range of ``sites`` that is written.
    windows : Windows
        Ranges of the polymorphic sites alone; there may be no window.
    """

    sites: MatchedBlock
    polymorphic: NDArray[np.bool_]
    start: int
    stop: int
    windows: Windows

    def written(self) -> list[tuple[int, int]]:
        """Return the half-open range of sites that each window writes.

        It has the window's own sites and the monomorphic ones between them. Without a window it is
        one range, of the whole chunk.
        """
        rows = np.flatnonzero(self.polymorphic)
        cuts = [self.start, *rows[self.windows.starts[1:]].tolist(), self.stop]
        return list(pairwise(cuts))

    def within(self, first_bp: int, last_bp: int) -> Chunk | None:
        """Return the chunk that writes only the positions from ``first_bp`` to ``last_bp``.

        Windows without such a site are left out; the others read the same sites as before. None if
        nothing is left to write.
        """
        position = self.sites.position[self.start : self.stop]
        start = self.start + int(np.searchsorted(position, first_bp, side="left"))
        stop = self.start + int(np.searchsorted(position, last_bp, side="right"))
        if start >= stop:
            return None
        low, high = (int(np.count_nonzero(self.polymorphic[:site])) for site in (start, stop))
        windows = self.windows
        kept = (windows.starts < high) & (windows.stops > low)
        trimmed = Windows(
            np.maximum(windows.starts[kept], low),
            np.minimum(windows.stops[kept], high),
            windows.flanked_starts[kept],
            windows.flanked_stops[kept],
        )
        return replace(self, start=start, stop=stop, windows=trimmed)


def cut_chunks(
    blocks: Iterable[MatchedBlock], num_haplotypes: int, plan: WindowPlan
) -> Iterator[Chunk]:
    """Gather blocks into chunks, with the flanks that their windows need.

    Windows begin at multiples of ``plan.size`` polymorphic sites, whatever the blocks and chunks.

    Notes
    -----
    Memory: a chunk with its flanks. Where nearly all sites are monomorphic, a chunk and its last
    window end early, at 8 times a chunk's sites or at 1 GiB of the panel.
    """
    gathered = _Gathered(num_haplotypes, plan)
    for block in blocks:
        gathered.add(block)
        while (count := gathered.num_ready()) is not None:
            yield gathered.take(count)
    if gathered.num_sites:
        yield gathered.take(gathered.num_polymorphic)


class _Gathered:
    """Sites that were read and not yet written, and the flank before them."""

    def __init__(self, num_haplotypes: int, plan: WindowPlan) -> None:
        self.num_sites = 0
        self.num_polymorphic = 0
        self._blocks: list[MatchedBlock] = []
        self._num_flank_sites = 0
        self._num_flank_polymorphic = 0
        self._num_haplotypes = num_haplotypes
        self._plan = plan
        self._chunk_size = plan.size * plan.windows_per_chunk
        length = self._chunk_size + plan.flank
        affordable = _MOST_PANEL_BYTES // _site_bytes(num_haplotypes)
        self._most_sites = max(length, min(_MOST_CHUNKS * length, affordable))

    def add(self, block: MatchedBlock) -> None:
        """Append the sites of a block."""
        self._blocks.append(block)
        self.num_sites += block.num_sites
        self.num_polymorphic += int(np.count_nonzero(self._polymorphic(block)))

    def num_ready(self) -> int | None:
        """Return how many polymorphic sites the next chunk writes; None if more must be read."""
        flank = self._plan.flank
        if self.num_polymorphic >= self._chunk_size + flank:
            return self._chunk_size
        if self.num_sites >= self._most_sites:
            return self.num_polymorphic - (flank if self.num_polymorphic > flank else 0)
        return None

    def take(self, count: int) -> Chunk:
        """Return the next polymorphic sites, with all monomorphic ones before and between them."""
        plan = self._plan
        sites = MatchedBlock.concat(self._blocks)
        polymorphic = self._polymorphic(sites)
        # In polymorphic sites until rows[...] turns them into sites.
        rows = np.append(np.flatnonzero(polymorphic), sites.num_sites)
        start = self._num_flank_polymorphic
        stop = start + count
        flanked_stop = min(stop + plan.flank, rows.size - 1)
        next_flank = max(stop - plan.flank, 0)
        starts = np.arange(start, stop, plan.size)
        stops = np.minimum(starts + plan.size, stop)
        windows = Windows(
            starts,
            stops,
            np.maximum(starts - plan.flank, 0),
            np.minimum(stops + plan.flank, flanked_stop),
        )
        end = int(rows[stop])
        read = max(end, int(rows[flanked_stop]))
        chunk = Chunk(sites.slice(0, read), polymorphic[:read], self._num_flank_sites, end, windows)
        first = min(int(rows[next_flank]), end)
        # A copy, since a view would keep the chunk's memory alive.
        self._blocks = [sites.slice(first, sites.num_sites).copy()]
        self.num_sites = sites.num_sites - end
        self.num_polymorphic = rows.size - 1 - stop
        self._num_flank_sites = end - first
        self._num_flank_polymorphic = stop - next_flank
        return chunk

    def _polymorphic(self, sites: MatchedBlock) -> NDArray[np.bool_]:
        count = sites.alt_count
        return (count > 0) & (count < self._num_haplotypes)


def _site_bytes(num_haplotypes: int) -> int:
    return 8 * -(-num_haplotypes // 64)
