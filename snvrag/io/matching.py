"""Match the sites of a target file with those of a reference panel, in a stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..kernels import align_sites
from ..panel.regions import Region
from ..panel.site_block import SiteBlock
from .records import DroppedSite

_FIRST = np.uint64(0x5555555555555555)
"""The bits of first alleles."""
_COMPLEMENT = np.zeros(128, "U1")
_COMPLEMENT[[ord(base) for base in "ACGT"]] = list("TGCA")


class Outcome(IntEnum):
    """How a target's site was matched; the first two are kept, the others dropped."""

    MATCHED = 0
    SWAPPED = 1
    NOT_IN_PANEL = 2
    OTHER_ALLELES = 3
    AMBIGUOUS = 4
    OTHER_STRAND = 5
    DUPLICATE = 6

    @property
    def text(self) -> str:
        """The outcome in words, for tables."""
        return _TEXTS[self]


_TEXTS = (
    "matched",
    "matched with REF and ALT swapped (flipped)",
    "position not in the panel",
    "other alleles than the panel's",
    "strand-ambiguous (A/T or C/G) with REF and ALT swapped",
    "on the other strand (complementary alleles)",
    "duplicate of another site",
)


@dataclass
class MatchSummary:
    """Counts of the sites of a target by outcome, and of the panel's sites.

    Attributes
    ----------
    outcomes : Counter
        Number of the target's sites by `Outcome`.
    num_panel_sites, num_typed_sites : int
        Number of the panel's sites, and of those that the target has.
    num_missing : int
        Number of alleles missing from the target at typed sites.
    on_dropped : callable, optional
        Called with every `DroppedSite`, in order of position.
    region : Region, optional
        Count only positions in this region.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    num_panel_sites: int = 0
    num_typed_sites: int = 0
    num_missing: int = 0
    on_dropped: Callable[[DroppedSite], None] | None = None
    region: Region | None = None

    def counted(self, position: NDArray[np.int64]) -> tuple[int, int]:
        """Return the half-open range of ascending positions that lies in the region."""
        if self.region is None:
            return 0, position.size
        start = int(np.searchsorted(position, self.region.first, side="left"))
        return start, max(start, int(np.searchsorted(position, self.region.last, side="right")))

    def count_target(self, block: SiteBlock, outcome: NDArray[np.int8], chrom: str) -> None:
        """Count sites of the target by `Outcome`, and report those that are dropped."""
        start, stop = self.counted(block.position)
        block, outcome = block.slice(start, stop), outcome[start:stop]
        for value, count in zip(*np.unique(outcome, return_counts=True), strict=True):
            self.outcomes[Outcome(value)] += int(count)
        if self.on_dropped is None:
            return
        for i in np.flatnonzero(outcome > Outcome.SWAPPED).tolist():
            ref, alt = block.alleles[i].tolist()
            reason = Outcome(outcome[i]).text
            self.on_dropped(DroppedSite(chrom, int(block.position[i]), ref, alt, reason))

    def lines(self) -> list[str]:
        """Return the counts as a table, line by line."""
        rows = [
            *((o.text, self.outcomes[o]) for o in Outcome if self.outcomes[o] or not o),
            ("sites of the panel: typed", self.num_typed_sites),
            ("sites of the panel: not typed", self.num_panel_sites - self.num_typed_sites),
        ]
        if self.num_missing:
            rows.append(("missing alleles at typed sites", self.num_missing))
        width = max(len(str(count)) for _, count in rows)
        return [f"  {count:>{width}}  {text}" for text, count in rows]


@dataclass(frozen=True, kw_only=True)
class MatchedBlock(SiteBlock):
    """Consecutive sites of a panel with the alleles of a target of T samples there.

    Attributes
    ----------
    alt_count : (n,) int64
        Number of ALT alleles in the panel.
    typed : (n,) bool
        True at sites that the target has.
    target_bits : (n, ceil(2 * T / 64)) uint64
        Alleles of the target, 0 where they are unknown; bits 2 * i and 2 * i + 1 are sample i. A
        haploid sample has its one allele in both. Two different alleles without a phase are in the
        order REF, ALT, missing, whatever that of the file.
    target_missing_bits : (n, ceil(2 * T / 64)) uint64
        1 where an allele is missing at a typed site.
    target_unphased_bits : (n, ceil(T / 64)) uint64
        1 where a genotype has no phase and its two alleles differ, as in `SiteBlock`.
    """

    alt_count: NDArray[np.int64]
    typed: NDArray[np.bool_]
    target_bits: NDArray[np.uint64]
    target_missing_bits: NDArray[np.uint64]
    target_unphased_bits: NDArray[np.uint64]


def match_sites(
    position: NDArray[np.int64],
    alleles: NDArray[np.str_],
    panel_position: NDArray[np.int64],
    panel_alleles: NDArray[np.str_],
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return, for each SNV of a target, its site in the panel and the outcome.

    Parameters
    ----------
    position, panel_position : (n,) and (P,) int64
        1-based, ascending; positions may repeat.
    alleles, panel_alleles : (n, 2) and (P, 2) str
        REF and ALT, one of ACGT each.

    Returns
    -------
    index : (n,) int64
        Site of the panel, or -1 where the target's is dropped.
    outcome : (n,) int8
        `Outcome`. Of several sites that match one site of the panel, one with the panel's order of
        alleles is kept before one with swapped alleles, then the first in the file; the others are
        duplicates. A swapped A/T or C/G site may as well be on the other strand, and is dropped.

    Notes
    -----
    Cost: that of `align_sites`, and four times more for the sites that do not match as they are.
    """
    index = align_sites(position, panel_position, alleles, panel_alleles)
    outcome = np.full(index.size, Outcome.MATCHED, np.int8)
    others = np.flatnonzero(index < 0)
    position, alleles = position[others], np.ascontiguousarray(alleles[others], "U1")
    complement = _COMPLEMENT[alleles.view(np.uint32)]

    def align(pairs: NDArray[np.str_]) -> NDArray[np.int64]:
        return align_sites(position, panel_position, pairs, panel_alleles)

    swapped = align(alleles[:, ::-1])
    other_strand = (align(complement) >= 0) | (align(complement[:, ::-1]) >= 0)
    ambiguous = complement[:, 0] == alleles[:, 1]
    first, stop = (np.searchsorted(panel_position, position, side) for side in ("left", "right"))
    outcome[others] = np.select(
        [(swapped >= 0) & ambiguous, swapped >= 0, other_strand, first < stop],
        [Outcome.AMBIGUOUS, Outcome.SWAPPED, Outcome.OTHER_STRAND, Outcome.OTHER_ALLELES],
        Outcome.NOT_IN_PANEL,
    )
    index[others] = np.where(outcome[others] == Outcome.SWAPPED, swapped, -1)
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
    """Yield the panel, block by block, with the alleles of the target at its sites.

    Parameters
    ----------
    panel_blocks, target_blocks : iterable of SiteBlock
        Of one chromosome, positions ascending across blocks.
    ploidy : (T,) int64
        Haplotypes of each target sample, 1 or 2.
    chrom : str
        The target's name of the chromosome, for the summary.
    summary : MatchSummary
        Updated with every block; complete after the last.

    Notes
    -----
    Memory: a block of the panel and the blocks of the target that overlap it.
    """
    num_words = (2 * ploidy.size + 63) // 64
    expander = _PloidyExpander(ploidy)
    target = _PeekableBlocks(keep_positions_together(target_blocks))
    for block in keep_positions_together(panel_blocks):
        n = block.num_sites
        typed = np.zeros(n, bool)
        target_bits = np.zeros((n, num_words), np.uint64)
        missing_bits = np.zeros((n, num_words), np.uint64)
        unphased_bits = np.zeros((n, (ploidy.size + 63) // 64), np.uint64)
        for piece in target.until(int(block.position[-1])):
            index, outcome = match_sites(
                piece.position, piece.alleles, block.position, block.alleles
            )
            kept = np.flatnonzero(index >= 0)
            sites = index[kept]
            bits, missing = expander.alleles(piece, kept, outcome[kept] == Outcome.SWAPPED)
            start, stop = summary.counted(piece.position[kept])
            summary.num_missing += int(np.bitwise_count(missing[start:stop]).sum())
            typed[sites] = True
            bits, missing = expander.diploid(bits), expander.diploid(missing)
            if piece.unphased_bits is not None:
                unphased = unphased_bits[sites] = piece.unphased_bits[kept]
                bits, missing = _in_order(bits, missing, unphased, ploidy.size)
            target_bits[sites], missing_bits[sites] = bits, missing
            summary.count_target(piece, outcome, chrom)
        start, stop = summary.counted(block.position)
        summary.num_panel_sites += stop - start
        summary.num_typed_sites += int(typed[start:stop].sum())
        yield MatchedBlock(
            **vars(block),
            alt_count=np.bitwise_count(block.site_bits).sum(axis=1, dtype=np.int64),
            typed=typed,
            target_bits=target_bits,
            target_missing_bits=missing_bits,
            target_unphased_bits=unphased_bits,
        )
    for piece in target.rest():
        summary.count_target(piece, np.full(piece.num_sites, Outcome.NOT_IN_PANEL, np.int8), chrom)


def exchanged_alleles(bits: NDArray[np.uint64], genotypes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return (n, W) bits with the two bits exchanged of some of T samples.

    ``genotypes`` (n, T) is 1 for those.
    """
    chosen = _core.pack_rows(np.repeat(genotypes, 2, axis=1))
    other = (bits >> np.uint64(1)) & _FIRST | (bits & _FIRST) << np.uint64(1)
    result: NDArray[np.uint64] = bits ^ ((bits ^ other) & chosen)
    return result


def _in_order(
    bits: NDArray[np.uint64],
    missing: NDArray[np.uint64],
    unphased: NDArray[np.uint64],
    num_samples: int,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return alleles and missing ones, those of unphased genotypes as `MatchedBlock` has them."""
    one = np.uint64(1)
    late = missing | (bits & ~(bits >> one) & ~(missing >> one))
    is_late = _core.unpack_rows(late, 2 * num_samples)[:, ::2].view(np.uint8)
    chosen = is_late & _core.unpack_rows(unphased, num_samples).view(np.uint8)
    return exchanged_alleles(bits, chosen), exchanged_alleles(missing, chosen)


def keep_positions_together(blocks: Iterable[SiteBlock]) -> Iterator[SiteBlock]:
    """Yield the same sites in blocks such that all sites of a position are in one block."""
    held: SiteBlock | None = None
    for block in blocks:
        if block.num_sites == 0:
            continue
        joined = block if held is None else SiteBlock.concat([held, block])
        cut = int(np.searchsorted(joined.position, joined.position[-1]))
        if cut:
            yield joined.slice(0, cut)
        held = joined.slice(cut, joined.num_sites)
    if held is not None:
        yield held


class _PeekableBlocks:
    """Blocks of a file that is read in step with another one."""

    def __init__(self, blocks: Iterable[SiteBlock]) -> None:
        self._blocks = iter(blocks)
        self._held: SiteBlock | None = None

    def until(self, last_position: int) -> Iterator[SiteBlock]:
        """Yield the remaining sites up to a position, inclusive."""
        for block in self.rest():
            cut = int(np.searchsorted(block.position, last_position, side="right"))
            if cut < block.num_sites:
                self._held = block.slice(cut, block.num_sites)
            if cut:
                yield block.slice(0, cut)
            if self._held is not None:
                return

    def rest(self) -> Iterator[SiteBlock]:
        """Yield all remaining sites."""
        if self._held is not None:
            held, self._held = self._held, None
            yield held
        for block in self._blocks:  # noqa: UP028 - "yield from" would close what `until` leaves
            yield block


class _PloidyExpander:
    """Turns a file's haplotypes, one or two a sample, into two a sample."""

    def __init__(self, ploidy: NDArray[np.int64]) -> None:
        self._num_haplotypes = int(ploidy.sum())
        first = np.cumsum(ploidy) - ploidy
        columns = np.stack([first, first + ploidy - 1], axis=1).ravel()
        self._columns = columns if columns.size != self._num_haplotypes else None
        self._all_ones = _core.pack_rows(np.ones((1, self._num_haplotypes), np.uint8))[0]

    def alleles(
        self, block: SiteBlock, sites: NDArray[np.int64], swapped: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the alleles at some sites, in the panel's order of alleles, and the missing ones.

        ``swapped`` is True for those of ``sites`` whose REF is the panel's ALT.
        """
        bits = block.site_bits[sites]
        bits[swapped] ^= self._all_ones
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
