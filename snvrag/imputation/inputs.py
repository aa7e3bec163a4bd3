"""The panel and the target of an imputation, matched at the same chromosome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.matching import MatchedBlock, MatchSummary, match_blocks
from ..io.reading import HaplotypeReader, open_haplotypes, open_target
from ..io.records import DroppedSite, UnphasedGenotypeError
from .options import ImputeOptions

# Read on each side of a region, so that its ends are predicted as within the chromosome: some
# thousand sites, and 1 cM, about the length of haplotypes that are shared.
_FLANK_BP = 1_000_000
# Bytes of the panel that are held in memory; of a larger one, the typed sites and as many others.
_HELD_BYTES = 256 << 20


@dataclass(frozen=True)
class Inputs:
    """A panel and a target, open at the same chromosome. Each can be read once."""

    options: ImputeOptions
    panel: HaplotypeReader
    target: HaplotypeReader

    @classmethod
    def open(
        cls, options: ImputeOptions, on_dropped: Callable[[DroppedSite], None] | None = None
    ) -> Inputs:
        """Open both files at the region, or else at the panel's chromosome.

        ``on_dropped`` is called with every record of the target that is dropped. Raises InputError
        if a file cannot be read or is refused, or if the chromosomes differ.
        """
        region = None if options.place is None else options.place.with_flanks(_FLANK_BP).text
        panel = open_haplotypes(options.panel, region=region)
        with _hint_at_unphased():
            target = open_target(
                options.target,
                panel.chrom,
                region=region,
                missing="keep",
                unphased="hide" if options.allow_unphased else "refuse",
                on_drop=on_dropped,
            )
        return cls(options, panel, target)

    @property
    def range_bp(self) -> tuple[int, int]:
        """First and last position that are read."""
        region = self.options.place
        if region is None:
            return 0, 2**62
        wide = region.with_flanks(_FLANK_BP)
        return wide.first, wide.last

    def matched(self, summary: MatchSummary) -> Iterator[MatchedBlock]:
        """Yield the sites of the panel, matched with the target; counts go to ``summary``."""
        target = self.target
        with _hint_at_unphased():
            yield from match_blocks(
                self.panel.blocks(), target.blocks(), target.ploidy, target.chrom, summary
            )


class MatchedSites:
    """All sites of a panel, matched with a target: read once, and again where memory is short.

    Parameters
    ----------
    inputs : Inputs
    summary : MatchSummary
        Counts of the sites are added to it.
    on_block : callable
        Called with the number of sites of each block that has been read.

    Attributes
    ----------
    inputs : Inputs
    typed_position, typed_alleles : (T,) int64, (T, 2) str
        The sites that are typed, and at which the panel has both alleles.

    Raises
    ------
    InputError
        If a file cannot be read or is refused; if no site is typed, or none is in the region.
    """

    def __init__(
        self, inputs: Inputs, summary: MatchSummary, on_block: Callable[[int], object]
    ) -> None:
        self.inputs = inputs
        self._held = _HeldSites(int(inputs.panel.ploidy.sum()))
        position, alleles = [], []
        for block in inputs.matched(summary):
            self._held.add(block)
            chosen = block.typed & self._held.polymorphic(block)
            position.append(block.position[chosen])
            alleles.append(block.alleles[chosen])
            on_block(block.num_sites)
        self._require_sites(summary)
        self.typed_position: NDArray[np.int64] = np.concatenate(position)
        self.typed_alleles: NDArray[np.str_] = np.concatenate(alleles)

    def blocks(self) -> Iterator[MatchedBlock]:
        """Yield all sites in order."""
        if self._held.is_whole:
            yield from self._held.blocks
        else:
            yield from Inputs.open(self.inputs.options).matched(MatchSummary())

    def to_learn_from(self) -> MatchedBlock:
        """Return the sites with both alleles that rates and head are learned from.

        Of a panel that is not held in memory these are the typed sites, and every second, fourth,
        ... of the others. They depend on the panel and on which sites are typed, on nothing else.
        """
        blocks = [b.select(np.flatnonzero(self._held.polymorphic(b))) for b in self._held.blocks]
        return MatchedBlock.concat(blocks)

    def _require_sites(self, summary: MatchSummary) -> None:
        options = self.inputs.options
        if not summary.num_panel_sites:
            problem = f"must have a biallelic SNV of {options.panel}, got {options.region}"
            raise InputError(problem, argument="region")
        if not self._held.has_typed:
            raise InputError(
                f"no site in common with the panel {options.panel} on chromosome "
                f"{self.inputs.panel.chrom}: are both of the same genome build?",
                argument="target",
                path=options.target,
            )


class _HeldSites:
    """Sites in memory: all of them, or, of a large panel, the typed ones and some of the others."""

    def __init__(self, num_haplotypes: int) -> None:
        self.blocks: list[MatchedBlock] = []
        self.has_typed = False
        self._num_haplotypes = num_haplotypes
        # One of so many polymorphic sites that are not typed is held, by its number among them.
        self._stride = 1
        self._numbers: list[NDArray[np.int64]] = []
        self._num_hidden = self._num_bytes = 0

    @property
    def is_whole(self) -> bool:
        """Whether all sites are held."""
        return self._stride == 1

    def polymorphic(self, block: MatchedBlock) -> NDArray[np.bool_]:
        """Return at which sites of a block the panel has both alleles."""
        return (block.alt_count > 0) & (block.alt_count < self._num_haplotypes)

    def add(self, block: MatchedBlock) -> None:
        """Hold a block, or some of its sites."""
        hidden = self.polymorphic(block) & ~block.typed
        number = np.where(hidden, self._num_hidden + np.cumsum(hidden) - 1, -1)
        self._num_hidden += int(np.count_nonzero(hidden))
        self.has_typed |= bool(block.typed.any())
        self._append(block, number)
        while self._num_bytes > _HELD_BYTES and self._stride < 1 << 30:
            self._stride *= 2
            held = list(zip(self.blocks, self._numbers, strict=True))
            self.blocks, self._numbers, self._num_bytes = [], [], 0
            for other, numbers in held:
                self._append(other, numbers)

    def _append(self, block: MatchedBlock, number: NDArray[np.int64]) -> None:
        if not self.is_whole:
            chosen = (number >= 0) & (number % self._stride == 0)
            rows = np.flatnonzero(chosen | (block.typed & self.polymorphic(block)))
            block, number = block.select(rows), number[rows]
        self.blocks.append(block)
        self._numbers.append(number)
        self._num_bytes += block.site_bits.nbytes


@contextmanager
def _hint_at_unphased() -> Iterator[None]:
    """Add to the error for unphased genotypes that imputation can hide them."""
    try:
        yield
    except UnphasedGenotypeError as error:
        raise InputError(
            f"{error.message}, or allow unphased genotypes, which are then imputed", path=error.path
        ) from error
