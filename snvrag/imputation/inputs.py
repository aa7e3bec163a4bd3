"""The panel and the target of an imputation, opened at the same chromosome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import InputError
from ..io.matching import MatchedBlock, MatchSummary, match_blocks
from ..io.reading import HaplotypeReader, open_haplotypes, open_target
from ..io.records import DroppedSite, UnphasedGenotypeError
from .options import ImputeOptions

# Read on each side of a region, so that its ends are predicted as within the chromosome: some
# thousand sites, and 1 cM, about the length of haplotypes that are shared.
_FLANK_BP = 1_000_000


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

    def matched(self, summary: MatchSummary) -> Iterator[MatchedBlock]:
        """Yield the sites of the panel, matched with the target; counts go to ``summary``."""
        target = self.target
        with _hint_at_unphased():
            yield from match_blocks(
                self.panel.blocks(), target.blocks(), target.ploidy, target.chrom, summary
            )

    def require_common_sites(self) -> None:
        """Refuse files without a site in common, before the work and not after it.

        Reads up to the first site of the region and the first common site.
        """
        region = self.options.place
        has_site, has_typed = region is None, False
        for block in self.matched(MatchSummary()):
            if region is not None:
                position = block.position
                has_site |= bool(((position >= region.first) & (position <= region.last)).any())
            has_typed |= bool(block.typed.any())
            if has_site and has_typed:
                return
        if not has_site:
            problem = f"must have a biallelic SNV of {self.options.panel}"
            raise InputError(f"{problem}, got {self.options.region}", argument="region")
        raise InputError(
            f"no site in common with the panel {self.options.panel} on chromosome "
            f"{self.panel.chrom}: are both of the same genome build?",
            argument="target",
            path=self.options.target,
        )


@contextmanager
def _hint_at_unphased() -> Iterator[None]:
    """Add to the error for unphased genotypes that imputation can hide them."""
    try:
        yield
    except UnphasedGenotypeError as error:
        raise InputError(
            f"{error.message}, or allow unphased genotypes, which are then imputed", path=error.path
        ) from error
