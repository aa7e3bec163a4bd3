"""Targets: how the sites of a target file meet those of a reference panel, as both stream by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..io.records import DroppedSite
from ..kernels import align_sites
from ..panel.regions import Region
from ..panel.site_block import SiteBlock

_COMPLEMENT = np.zeros(128, "U1")
for _base, _other in zip("ACGT", "TGCA", strict=True):
    _COMPLEMENT[ord(_base)] = _other


class Outcome(IntEnum):
    """What becomes of a target's site; the first two are kept."""

    MATCHED = 0
    SWAPPED = 1
    NOT_IN_PANEL = 2
    OTHER_ALLELES = 3
    AMBIGUOUS = 4
    OTHER_STRAND = 5
    DUPLICATE = 6

    @property
    def text(self) -> str:
        """What tables say."""
        return _TEXTS[self]


_TEXTS = {
    Outcome.MATCHED: "matched",
    Outcome.SWAPPED: "matched with REF and ALT swapped (flipped)",
    Outcome.NOT_IN_PANEL: "position not in the panel",
    Outcome.OTHER_ALLELES: "other alleles than the panel's",
    Outcome.AMBIGUOUS: "strand-ambiguous (A/T or C/G) with REF and ALT swapped",
    Outcome.OTHER_STRAND: "on the other strand (complementary alleles)",
    Outcome.DUPLICATE: "duplicate of another site",
}


@dataclass
class MatchSummary:
    """What became of the sites of a target.

    Attributes
    ----------
    outcomes : Counter
        Sites by `Outcome`.
    num_panel_sites, num_typed_sites : int
        Sites of the panel, and those of them that the target has.
    num_missing : int
        Alleles that the target lacks at typed sites; they are imputed.
    on_dropped : callable, optional
        Called with every `DroppedSite`, in order.
    region : Region, optional
        Only positions in it count.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    num_panel_sites: int = 0
    num_typed_sites: int = 0
    num_missing: int = 0
    on_dropped: Callable[[DroppedSite], None] | None = None
    region: Region | None = None

    def part(self, position: NDArray[np.int64]) -> slice:
        """Return which of ascending positions count."""
        if self.region is None:
            return slice(0, position.size)
        first = np.searchsorted(position, self.region.first, side="left")
        return slice(int(first), int(np.searchsorted(position, self.region.last, side="right")))

    def lines(self) -> list[str]:
        """Return the table at the end, line by line."""
        rows = [(outcome.text, self.outcomes[outcome]) for outcome in Outcome]
        rows = [row for i, row in enumerate(rows) if row[1] or i == Outcome.MATCHED]
        num_imputed = self.num_panel_sites - self.num_typed_sites
        rows += [
            ("sites of the panel: typed", self.num_typed_sites),
            ("sites of the panel: imputed", num_imputed),
            ("missing alleles at typed sites, imputed", self.num_missing),
        ]
        width = max(len(str(count)) for _, count in rows)
        return [f"  {count:>{width}}  {text}" for text, count in rows]


@dataclass(frozen=True)
class MatchedBlock:
    """Consecutive sites of a panel, with what a target of T diploid samples says there.

    Attributes
    ----------
    panel : SiteBlock
        n sites of the panel.
    typed : (n,) bool
        Sites that the target has.
    target_bits : (n, ceil(2 * T / 64)) uint64
        Alleles of the target, 0 where it says nothing; sample i has the bits 2 * i and 2 * i + 1.
        A haploid sample has its one allele in both.
    missing_bits : (n, ceil(2 * T / 64)) uint64
        Alleles that are missing at typed sites.
    """

    panel: SiteBlock
    typed: NDArray[np.bool_]
    target_bits: NDArray[np.uint64]
    missing_bits: NDArray[np.uint64]


def match_sites(
    position: NDArray[np.int64],
    alleles: NDArray[np.str_],
    panel_position: NDArray[np.int64],
    panel_alleles: NDArray[np.str_],
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return, for each SNV of a target, its site in the panel and what becomes of it.

    Parameters
    ----------
    position, panel_position : (n,) and (P,) int64
        1-based, ascending; equal ones may repeat.
    alleles, panel_alleles : (n, 2) and (P, 2) str
        REF and ALT, one of ACGT each.

    Returns
    -------
    index : (n,) int64
        Site of the panel, or -1 where the target's is dropped.
    outcome : (n,) int8
        `Outcome`. Alleles as in the panel come before swapped ones, then the first in the file
        wins; the others that meet the same site are duplicates. A swapped A/T or C/G site could as
        well be on the other strand, and is dropped.

    Notes
    -----
    Cost: five passes over both.
    """
    alleles = np.ascontiguousarray(alleles, dtype="U1")
    complement = _COMPLEMENT[alleles.view(np.uint32)]

    def meet(pairs: NDArray[np.str_]) -> NDArray[np.int64]:
        return align_sites(position, panel_position, np.ascontiguousarray(pairs), panel_alleles)

    index = meet(alleles)
    swapped = meet(alleles[:, ::-1])
    other_strand = (meet(complement) >= 0) | (meet(complement[:, ::-1]) >= 0)
    ambiguous = complement[:, 0] == alleles[:, 1]
    known = np.isin(position, panel_position)

    outcome = np.select(
        [index >= 0, (swapped >= 0) & ambiguous, swapped >= 0, other_strand, known],
        [
            Outcome.MATCHED,
            Outcome.AMBIGUOUS,
            Outcome.SWAPPED,
            Outcome.OTHER_STRAND,
            Outcome.OTHER_ALLELES,
        ],
        Outcome.NOT_IN_PANEL,
    ).astype(np.int8)
    index = np.where(outcome == Outcome.SWAPPED, swapped, index)
    kept = np.flatnonzero(outcome <= Outcome.SWAPPED)
    kept = kept[np.argsort(outcome[kept], kind="stable")]
    first = np.unique(index[kept], return_index=True)[1]
    duplicate = np.delete(kept, first)
    index[duplicate] = -1
    outcome[duplicate] = Outcome.DUPLICATE
    return index, outcome


def match_blocks(
    panel_blocks: Iterable[SiteBlock],
    target_blocks: Iterable[SiteBlock],
    ploidy: NDArray[np.int64],
    chrom: str,
    summary: MatchSummary,
) -> Iterator[MatchedBlock]:
    """Yield the panel, block by block, with what the target says at its sites.

    Parameters
    ----------
    panel_blocks, target_blocks : iterable of SiteBlock
        Of one chromosome, positions ascending across blocks. Of both, only blocks that overlap are
        held at once.
    ploidy : (T,) integer
        1 or 2, of the target's samples.
    chrom : str
        The target's name of the chromosome, for the summary.
    summary : MatchSummary
        Is filled as the blocks pass by; complete after the last.
    """
    num_words = (2 * ploidy.size + 63) // 64
    layout = _Layout(ploidy)
    stream = _Stream(whole_positions(target_blocks))
    for block in whole_positions(panel_blocks):
        n = block.position.size
        typed = np.zeros(n, bool)
        target_bits = np.zeros((n, num_words), np.uint64)
        missing_bits = np.zeros((n, num_words), np.uint64)
        for piece in stream.until(int(block.position[-1])):
            index, outcome = match_sites(
                piece.position, piece.alleles, block.position, block.alleles
            )
            kept = np.flatnonzero(index >= 0)
            sites = index[kept]
            bits, missing = layout.alleles(piece, kept, outcome[kept] == Outcome.SWAPPED)
            typed[sites] = True
            target_bits[sites] = layout.diploid(bits)
            missing_bits[sites] = layout.diploid(missing)
            counted = summary.part(piece.position[kept])
            summary.num_missing += int(np.bitwise_count(missing[counted]).sum())
            _count(summary, piece, outcome, chrom)
        counted = summary.part(block.position)
        summary.num_panel_sites += typed[counted].size
        summary.num_typed_sites += int(typed[counted].sum())
        yield MatchedBlock(block, typed, target_bits, missing_bits)
    for piece in stream.rest():
        _count(summary, piece, np.full(piece.position.size, Outcome.NOT_IN_PANEL, np.int8), chrom)


def whole_positions(blocks: Iterable[SiteBlock]) -> Iterator[SiteBlock]:
    """Yield the same sites in blocks that do not part sites of one position."""
    held: SiteBlock | None = None
    for block in blocks:
        if block.position.size == 0:
            continue
        joined = block if held is None else join_blocks([held, block])
        cut = int(np.searchsorted(joined.position, joined.position[-1]))
        if cut:
            yield cut_block(joined, 0, cut)
        held = cut_block(joined, cut, joined.position.size)
    if held is not None:
        yield held


def join_blocks(blocks: Sequence[SiteBlock]) -> SiteBlock:
    """Return the sites of consecutive blocks as one."""
    missing = [block.missing_bits for block in blocks]
    return SiteBlock(
        np.concatenate([block.position for block in blocks]),
        np.concatenate([block.alleles for block in blocks]),
        [name for block in blocks for name in block.ids],
        np.concatenate([block.site_bits for block in blocks]),
        None
        if all(bits is None for bits in missing)
        else np.concatenate(
            [
                np.zeros_like(block.site_bits) if bits is None else bits
                for block, bits in zip(blocks, missing, strict=True)
            ]
        ),
    )


def cut_block(block: SiteBlock, start: int, stop: int) -> SiteBlock:
    """Return the sites [start, stop) of a block, as views."""
    return SiteBlock(
        block.position[start:stop],
        block.alleles[start:stop],
        block.ids[start:stop],
        block.site_bits[start:stop],
        None if block.missing_bits is None else block.missing_bits[start:stop],
    )


class _Stream:
    """Blocks that are taken in step with another file."""

    def __init__(self, blocks: Iterable[SiteBlock]) -> None:
        self._blocks = iter(blocks)
        self._held: SiteBlock | None = None

    def until(self, last_position: int) -> Iterator[SiteBlock]:
        """Yield what is left of the sites up to a position, inclusive."""
        for block in self.rest():
            cut = int(np.searchsorted(block.position, last_position, side="right"))
            if cut < block.position.size:
                self._held = cut_block(block, cut, block.position.size)
            if cut:
                yield cut_block(block, 0, cut)
            if self._held is not None:
                return

    def rest(self) -> Iterator[SiteBlock]:
        """Yield all that is left."""
        if self._held is not None:
            held, self._held = self._held, None
            yield held
        yield from (block for block in self._blocks if block.position.size)


class _Layout:
    """From a file's haplotypes, one or two a sample, to two a sample."""

    def __init__(self, ploidy: NDArray[np.int64]) -> None:
        self._num_haplotypes = int(ploidy.sum())
        first = np.cumsum(ploidy) - ploidy
        columns = np.stack([first, first + ploidy - 1], axis=1).ravel()
        self._columns = columns if columns.size != self._num_haplotypes else None
        self._every = _core.pack_rows(np.ones((1, self._num_haplotypes), np.uint8))[0]

    def alleles(
        self, block: SiteBlock, sites: NDArray[np.int64], swapped: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the alleles (as the panel names them) and which are missing, at some sites."""
        bits = block.site_bits[sites]
        bits[swapped] ^= self._every
        if block.missing_bits is None:
            return bits, np.zeros_like(bits)
        missing = block.missing_bits[sites]
        return bits & ~missing, missing

    def diploid(self, bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Repeat the alleles of haploid samples."""
        if self._columns is None:
            return bits
        alleles = _core.unpack_rows(bits, self._num_haplotypes)
        return _core.pack_rows(np.ascontiguousarray(alleles[:, self._columns]))


def _count(summary: MatchSummary, block: SiteBlock, outcome: NDArray[np.int8], chrom: str) -> None:
    counted = summary.part(block.position)
    block, outcome = cut_block(block, counted.start, counted.stop), outcome[counted]
    for value, count in zip(*np.unique(outcome, return_counts=True), strict=True):
        summary.outcomes[Outcome(value)] += int(count)
    if summary.on_dropped is None:
        return
    for i in np.flatnonzero(outcome > Outcome.SWAPPED).tolist():
        ref, alt = block.alleles[i].tolist()
        reason = Outcome(outcome[i]).text
        summary.on_dropped(DroppedSite(chrom, int(block.position[i]), ref, alt, reason))
