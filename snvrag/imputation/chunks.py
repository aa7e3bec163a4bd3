"""Cut a panel that is read as a stream into chunks, to bound memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..io.matching import MatchedBlock
from ..li_stephens.rates import map_cm
from ..panel.genetic_map import GeneticMap

# Bytes of a chunk's panel, and of what is predicted: for each sample at a site the dosages of two
# haplotypes, the probability of two ALT alleles and the phase set.
_PANEL_BYTES = 256 << 20
_PREDICTED_BYTES, _GENOTYPE_BYTES = 1 << 30, 10
# A chunk with few polymorphic sites, and a flank with few typed ones, ends after so many sites, or
# at these bytes of panel.
_MOST_SITES = 1 << 20
_MOST_PANEL_BYTES = 1 << 30


@dataclass(frozen=True)
class ChunkPlan:
    """Length of a chunk, and of its flanks: as far as all of three lengths are reached.

    Attributes
    ----------
    num_sites : int
        Polymorphic sites that a chunk writes.
    flank_sites, flank_typed : int
        Polymorphic sites, and those of them that are typed, that it reads on each side.
    flank_cm : float
        Genetic distance that it reads on each side.
    """

    num_sites: int
    flank_sites: int = 0
    flank_typed: int = 0
    flank_cm: float = 0.0


def affordable_sites(most: int, num_haplotypes: int, num_targets: int) -> int:
    """Return the polymorphic sites of a chunk: fewer for a large panel or many targets."""
    of_panel = _PANEL_BYTES // _site_bytes(num_haplotypes)
    return min(most, of_panel, _PREDICTED_BYTES // (_GENOTYPE_BYTES * num_targets))


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
    """

    sites: MatchedBlock
    polymorphic: NDArray[np.bool_]
    start: int
    stop: int

    def within(self, first_bp: int, last_bp: int) -> Chunk | None:
        """Return the chunk that writes only the positions from ``first_bp`` to ``last_bp``.

        It reads the same sites. None if nothing is left to write.
        """
        position = self.sites.position[self.start : self.stop]
        start = self.start + int(np.searchsorted(position, first_bp, side="left"))
        stop = self.start + int(np.searchsorted(position, last_bp, side="right"))
        return replace(self, start=start, stop=stop) if start < stop else None

    @cached_property
    def num_polymorphic(self) -> NDArray[np.int64]:
        """(n + 1,) int64: number of polymorphic sites before each site, and in all."""
        return _counts(self.polymorphic)


def cut_chunks(
    blocks: Iterable[MatchedBlock],
    num_haplotypes: int,
    plan: ChunkPlan,
    genetic_map: GeneticMap | None = None,
) -> Iterator[Chunk]:
    """Gather blocks into chunks with flanks.

    Chunks begin at multiples of ``plan.num_sites`` polymorphic sites, whatever the blocks.

    Notes
    -----
    Memory: a chunk with its flanks. Where nearly all sites are monomorphic, a chunk ends early, and
    where few are typed, so does its flank: at a million sites or at 1 GiB of the panel.
    """
    gathered = _Gathered(num_haplotypes, plan, genetic_map)
    for block in blocks:
        gathered.add(block)
        while (cut := gathered.next_cut(at_end=False)) is not None:
            yield gathered.take(cut)
    while (cut := gathered.next_cut(at_end=True)) is not None:
        yield gathered.take(cut)


class _Cut(NamedTuple):
    """Where a chunk and its flank end among the gathered sites, and where the next one begins."""

    end: int
    read: int
    next_first: int


class _Gathered:
    """Sites that were read and not yet written, and the flank before them."""

    def __init__(
        self, num_haplotypes: int, plan: ChunkPlan, genetic_map: GeneticMap | None
    ) -> None:
        self._blocks: list[MatchedBlock] = []
        # Of the sites gathered, of those in the flank, and of the polymorphic ones not in it.
        self._num_sites = self._num_flank_sites = self._num_polymorphic = 0
        self._num_haplotypes = num_haplotypes
        self._plan = plan
        self._genetic_map = genetic_map
        length = plan.num_sites + plan.flank_sites
        affordable = _MOST_PANEL_BYTES // _site_bytes(num_haplotypes)
        self._most_sites = max(length, min(_MOST_SITES, affordable))

    def add(self, block: MatchedBlock) -> None:
        """Append the sites of a block."""
        self._blocks.append(block)
        self._num_sites += block.num_sites
        self._num_polymorphic += int(np.count_nonzero(self._is_polymorphic(block.alt_count)))

    def next_cut(self, *, at_end: bool) -> _Cut | None:
        """Return where the next chunk ends; None if more must be read, or none is left."""
        plan, first, num_sites = self._plan, self._num_flank_sites, self._num_sites
        is_full = num_sites - first >= self._most_sites
        is_long = self._num_polymorphic >= plan.num_sites + plan.flank_sites
        if not (is_full or is_long or (at_end and first < num_sites)):
            return None
        lengths = self._lengths()
        start = int(lengths.num_polymorphic[first])
        end = lengths.site_of(start + plan.num_sites)
        read = lengths.flank_stop(end)
        if read > num_sites and not (is_full or at_end):
            return None
        if end == num_sites and not at_end:
            # Few are polymorphic: all are written but the flank of what follows.
            flank = int(lengths.num_polymorphic[lengths.flank_start(end)])
            end = lengths.site_of(flank) if flank > start else end
        next_first = max(lengths.flank_start(end), end - self._most_sites)
        return _Cut(end, min(read, num_sites), next_first)

    def take(self, cut: _Cut) -> Chunk:
        """Return the next chunk, and let go of what the one after it does not read."""
        first, end = cut.next_first, cut.end
        sites = MatchedBlock.concat(self._blocks)
        polymorphic = self._is_polymorphic(sites.alt_count)
        read = sites.slice(0, cut.read)
        chunk = Chunk(read, polymorphic[: cut.read], self._num_flank_sites, end)
        # A copy, since a view would keep the chunk's memory alive.
        self._blocks = [sites.slice(first, sites.num_sites).copy()]
        self._num_sites = sites.num_sites - first
        self._num_flank_sites = end - first
        self._num_polymorphic = int(np.count_nonzero(polymorphic[end:]))
        return chunk

    def _lengths(self) -> _Lengths:
        """Return those of what is gathered, without a copy of its haplotypes."""
        polymorphic, typed, position = (
            np.concatenate(columns)
            for columns in zip(
                *((self._is_polymorphic(b.alt_count), b.typed, b.position) for b in self._blocks),
                strict=True,
            )
        )
        cm = map_cm(position, self._genetic_map)
        return _Lengths(self._plan, _counts(polymorphic), _counts(polymorphic & typed), cm)

    def _is_polymorphic(self, alt_count: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (alt_count > 0) & (alt_count < self._num_haplotypes)


@dataclass(frozen=True)
class _Lengths:
    """Where flanks begin and end among n sites.

    Attributes
    ----------
    num_polymorphic, num_typed : (n + 1,) int64
        Polymorphic sites, and those that are typed, before each site and in all.
    cm : (n,) float64
    """

    plan: ChunkPlan
    num_polymorphic: NDArray[np.int64]
    num_typed: NDArray[np.int64]
    cm: NDArray[np.float64]

    def site_of(self, number: int) -> int:
        """Return the polymorphic site of a number, counted from 0; n past the last."""
        site = int(np.searchsorted(self.num_polymorphic, number, side="right")) - 1
        return min(site, self.cm.size)

    def flank_stop(self, end: int) -> int:
        """Return where the flank ends after the sites before ``end``; n + 1 if it is too short."""
        plan, n = self.plan, self.cm.size
        needed_cm = self.cm[end - 1] + plan.flank_cm
        stops = [
            np.searchsorted(self.num_polymorphic, self.num_polymorphic[end] + plan.flank_sites),
            np.searchsorted(self.num_typed, self.num_typed[end] + plan.flank_typed),
            np.searchsorted(self.cm, needed_cm) + 1 if plan.flank_cm else 0,
        ]
        return max(end, min(n + 1, max(map(int, stops))))

    def flank_start(self, end: int) -> int:
        """Return where the flank before the site ``end`` begins; 0 if it is too short."""
        plan = self.plan
        at = min(end, self.cm.size - 1)
        starts = [
            np.searchsorted(
                self.num_polymorphic, self.num_polymorphic[end] - plan.flank_sites, side="right"
            ),
            np.searchsorted(self.num_typed, self.num_typed[end] - plan.flank_typed, side="right"),
            np.searchsorted(self.cm, self.cm[at] - plan.flank_cm, side="right")
            if plan.flank_cm
            else end + 1,
        ]
        return max(0, min(end, *(int(start) - 1 for start in starts)))


def _counts(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(chosen, dtype=np.int64)])


def _site_bytes(num_haplotypes: int) -> int:
    return 8 * -(-num_haplotypes // 64)
