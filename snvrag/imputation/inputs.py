"""The panel and the target of an imputation, matched at the same chromosome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.matching import MatchedBlock, MatchSummary, match_blocks
from ..io.reading import HaplotypeReader, open_haplotypes, open_target
from ..io.records import DroppedSite
from .options import ImputeOptions

# Read on each side of a region, so that its ends are predicted as within the chromosome: some
# thousand sites, and 1 cM, about the length of haplotypes that are shared.
_FLANK_BP = 1_000_000
# Bytes of panel and target that are held in memory, to be read once.
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
        target = open_target(
            options.target,
            panel.chrom,
            region=region,
            missing="keep",
            unphased="keep",
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
        yield from match_blocks(
            self.panel.blocks(), target.blocks(), target.ploidy, target.chrom, summary
        )


class MatchedSites:
    """All sites of a panel, matched with a target: held in memory if they are few.

    Parameters
    ----------
    inputs : Inputs
    summary : MatchSummary
        Counts of the sites are added to it.
    on_block : callable
        Called with the number of sites of each block when it is first read.

    Attributes
    ----------
    inputs : Inputs
    typed_position, typed_alleles : (T,) int64, (T, 2) str
        The sites that are typed, and at which the panel has both alleles; known once all blocks
        have been read.
    """

    def __init__(
        self, inputs: Inputs, summary: MatchSummary, on_block: Callable[[int], object]
    ) -> None:
        self.inputs = inputs
        self._summary, self._on_block = summary, on_block
        self._is_read = False
        self._held: list[MatchedBlock] | None = []
        self._typed: list[tuple[NDArray[np.int64], NDArray[np.str_]]] = []

    def blocks(self) -> Iterator[MatchedBlock]:
        """Yield all sites in order.

        The first call reads the files, and raises InputError if one cannot be read or is refused,
        and at the end if no site is typed, or none is in the region. Of a large panel a later call
        reads them again.
        """
        if not self._is_read:
            yield from self._read()
        elif self._held is not None:
            yield from self._held
        else:
            yield from Inputs.open(self.inputs.options).matched(MatchSummary())

    def read(self) -> None:
        """Read all blocks."""
        for _ in self.blocks():
            pass

    @property
    def typed_position(self) -> NDArray[np.int64]:
        """See the class."""
        return np.concatenate([position for position, _ in self._typed])

    @property
    def typed_alleles(self) -> NDArray[np.str_]:
        """See the class."""
        return np.concatenate([alleles for _, alleles in self._typed])

    def _read(self) -> Iterator[MatchedBlock]:
        num_haplotypes = int(self.inputs.panel.ploidy.sum())
        num_bytes, has_typed = 0, False
        for block in self.inputs.matched(self._summary):
            polymorphic = (block.alt_count > 0) & (block.alt_count < num_haplotypes)
            typed = np.flatnonzero(block.typed & polymorphic)
            self._typed.append((block.position[typed], block.alleles[typed]))
            has_typed |= bool(block.typed.any())
            num_bytes += block.site_bits.nbytes + 2 * block.target_bits.nbytes
            num_bytes += block.target_unphased_bits.nbytes
            if num_bytes > _HELD_BYTES:
                self._held = None
            if self._held is not None:
                self._held.append(block)
            self._on_block(block.num_sites)
            yield block
        self._require_sites(has_typed)
        self._is_read = True

    def _require_sites(self, has_typed: bool) -> None:
        options = self.inputs.options
        if not self._summary.num_panel_sites:
            problem = f"must have a biallelic SNV of {options.panel}, got {options.region}"
            raise InputError(problem, argument="region")
        if not has_typed:
            raise InputError(
                f"no site in common with the panel {options.panel} on chromosome "
                f"{self.inputs.panel.chrom}: are both of the same genome build?",
                argument="target",
                path=options.target,
            )
