"""Chunks: how a panel that streams by is cut for imputation, so that memory does not grow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..panel.windows import Windows
from .matching import MatchedBlock
from .trained import Model

# Polymorphic sites that are predicted together, and the bytes that they may take.
CHUNK_SITES = 16_384
_PANEL_BYTES = 256 << 20
_DOSAGE_BYTES = 256 << 20
# Sites waiting to be written at the most, in chunks: where nearly all are monomorphic.
_MOST_CHUNKS = 8
# Where the Li-Stephens models of training saw a whole panel.
_FAR = 4096


@dataclass(frozen=True)
class WindowPlan:
    """How the polymorphic sites of a chromosome are cut.

    Attributes
    ----------
    size : int
        Sites that a window predicts.
    flank : int
        Sites that it reads on each side beyond them, so that none is predicted near an edge.
    windows_per_chunk : int
        Windows that are held, and predicted, together.
    reach : int
        Sites that a chunk reads on each side, at least the flank: what counts in its Li-Stephens
        models.
    """

    size: int
    flank: int
    windows_per_chunk: int
    reach: int

    @classmethod
    def of(cls, model: Model, num_haplotypes: int, num_targets: int) -> WindowPlan:
        """Return windows that are read no longer than those that a network was trained on.

        Half of that length goes to the flanks, or more where training gave them more. A chunk of a
        large panel or of many targets is the shorter.
        """
        length = model.windows.window_size + 2 * model.windows.flank
        flank = max(length // 4, model.windows.flank)
        size = length - 2 * flank
        sites = min(
            CHUNK_SITES,
            _PANEL_BYTES // (8 * -(-num_haplotypes // 64)),
            _DOSAGE_BYTES // (4 * num_targets),
        )
        reach = flank
        if model.li_stephens.li_stephens:
            reach += (
                model.li_stephens.li_stephens_flank
                if model.li_stephens.li_stephens_flank >= 0
                else _FAR
            )
        return cls(size, flank, max(1, sites // size), reach)


@dataclass(frozen=True)
class Sites:
    """n consecutive sites of a panel, with what T target samples say there.

    Attributes
    ----------
    position : (n,) int64
    alleles : (n, 2) str
    ids : list of str
    polymorphic : (n,) bool
        Sites at which the panel has both alleles. The network sees these alone, as in training.
    is_alt : (n,) bool
        Sites at which the panel has ALT alone.
    panel_bits : (p, W) uint64
        Alleles of the panel at the p polymorphic sites.
    typed, target_bits, missing_bits
        As in `MatchedBlock`.
    """

    position: NDArray[np.int64]
    alleles: NDArray[np.str_]
    ids: list[str]
    polymorphic: NDArray[np.bool_]
    is_alt: NDArray[np.bool_]
    panel_bits: NDArray[np.uint64]
    typed: NDArray[np.bool_]
    target_bits: NDArray[np.uint64]
    missing_bits: NDArray[np.uint64]

    @classmethod
    def of(cls, block: MatchedBlock, num_haplotypes: int) -> Sites:
        """Take over a block; the panel's alleles are kept where they differ."""
        panel = block.panel
        count = np.bitwise_count(panel.site_bits).sum(axis=1, dtype=np.int64)
        polymorphic = (count > 0) & (count < num_haplotypes)
        return cls(
            panel.position,
            panel.alleles,
            panel.ids,
            polymorphic,
            count == num_haplotypes,
            panel.site_bits[polymorphic],
            block.typed,
            block.target_bits,
            block.missing_bits,
        )

    @property
    def num_sites(self) -> int:
        """The number of sites."""
        return int(self.position.size)

    @property
    def num_polymorphic(self) -> int:
        """The number of sites at which the panel has both alleles."""
        return int(self.panel_bits.shape[0])

    def part(self, start: int, stop: int) -> Sites:
        """Return the sites [start, stop), copied: a view would keep all the others alive."""
        first = int(np.count_nonzero(self.polymorphic[:start]))
        last = first + int(np.count_nonzero(self.polymorphic[start:stop]))
        return Sites(
            self.position[start:stop].copy(),
            self.alleles[start:stop].copy(),
            self.ids[start:stop],
            self.polymorphic[start:stop].copy(),
            self.is_alt[start:stop].copy(),
            self.panel_bits[first:last].copy(),
            self.typed[start:stop].copy(),
            self.target_bits[start:stop].copy(),
            self.missing_bits[start:stop].copy(),
        )


def join_sites(parts: Sequence[Sites]) -> Sites:
    """Return consecutive sites as one."""
    if len(parts) == 1:
        return parts[0]
    return Sites(
        np.concatenate([part.position for part in parts]),
        np.concatenate([part.alleles for part in parts]),
        [name for part in parts for name in part.ids],
        np.concatenate([part.polymorphic for part in parts]),
        np.concatenate([part.is_alt for part in parts]),
        np.concatenate([part.panel_bits for part in parts]),
        np.concatenate([part.typed for part in parts]),
        np.concatenate([part.target_bits for part in parts]),
        np.concatenate([part.missing_bits for part in parts]),
    )


@dataclass(frozen=True)
class Chunk:
    """Sites of which some are to be written and the others, around them, only to be read.

    Attributes
    ----------
    sites : Sites
    start, stop : int
        The sites to be written.
    windows : Windows
        Over the polymorphic sites; may be none.
    """

    sites: Sites
    start: int
    stop: int
    windows: Windows

    def written(self) -> list[tuple[int, int]]:
        """Return the sites that each window writes: its own and the monomorphic between them.

        Without a window there is one range all the same.
        """
        rows = np.flatnonzero(self.sites.polymorphic)
        cuts = [self.start, *rows[self.windows.starts[1:]].tolist(), self.stop]
        return list(pairwise(cuts))

    def within(self, first: int, last: int) -> Chunk | None:
        """Return the chunk that writes no more than the positions from ``first`` to ``last``.

        Windows without such a site are left out, and the others are read as before. None if nothing
        is left to write.
        """
        position = self.sites.position[self.start : self.stop]
        start = self.start + int(np.searchsorted(position, first, side="left"))
        stop = self.start + int(np.searchsorted(position, last, side="right"))
        if start >= stop:
            return None
        low, high = (int(np.count_nonzero(self.sites.polymorphic[:site])) for site in (start, stop))
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
    """Gather blocks to chunks, with the flanks that their windows need.

    Windows begin at multiples of ``plan.size`` polymorphic sites, whatever the blocks and chunks.

    Parameters
    ----------
    blocks : iterable of MatchedBlock
    num_haplotypes : int
        Of the panel.
    plan : WindowPlan

    Notes
    -----
    Memory: a chunk and its flanks. Where nearly all sites are monomorphic, a chunk and its last
    window end early, at 8 chunks' sites.
    """
    held: list[Sites] = []
    written = 0  # sites held that are written, and how many of them are polymorphic
    left = 0
    own = plan.size * plan.windows_per_chunk
    most = _MOST_CHUNKS * (own + plan.reach)

    def take(count: int) -> Chunk:
        """Cut off the next polymorphic sites, with all before and between them."""
        nonlocal held, written, left
        sites = join_sites(held)
        rows = np.append(np.flatnonzero(sites.polymorphic), sites.num_sites)
        end = left + count
        read = min(end + plan.reach, sites.num_polymorphic)
        starts = np.arange(left, end, plan.size)
        stops = np.minimum(starts + plan.size, end)
        windows = Windows(
            starts,
            stops,
            np.maximum(starts - plan.flank, 0),
            np.minimum(stops + plan.flank, read),
        )
        stop = int(rows[end])
        chunk = Chunk(sites.part(0, max(stop, int(rows[read]))), written, stop, windows)
        keep = max(end - plan.reach, 0)
        first = min(int(rows[keep]), stop)
        held, written, left = [sites.part(first, sites.num_sites)], stop - first, end - keep
        return chunk

    for block in blocks:
        held.append(Sites.of(block, num_haplotypes))
        while True:
            beyond = sum(sites.num_polymorphic for sites in held) - left
            if beyond >= own + plan.reach:
                yield take(own)
            elif sum(sites.num_sites for sites in held) - written >= most:
                yield take(beyond - plan.reach if beyond > plan.reach else beyond)
            else:
                break
    if sum(sites.num_sites for sites in held) > written:
        yield take(sum(sites.num_polymorphic for sites in held) - left)
