"""The haploid Li-Stephens models of a panel: a haplotype as a mosaic of the panel's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config.options import Options, option
from ..kernels import li_stephens_dosage
from ..panel.genetic_map import GeneticMap
from ..panel.panel import Panel
from .rates import map_rho


@dataclass(frozen=True, kw_only=True)
class LiStephensConfig(Options):
    """Which Li-Stephens models there are."""

    title = "Li-Stephens models"
    moved_from = "retrieval"

    li_stephens: bool = option(
        True,
        "give the network the probabilities of Li-Stephens models over the whole panel",
        v18=False,
    )
    ne: tuple[float, ...] = option(
        (100_000.0,), "effective population sizes, one for each Li-Stephens model", above=0
    )
    mismatch: float = option(
        0.0,
        "probability that an allele differs from the copied one's; 0: 2 / haplotypes of the panel",
        least=0,
        most=0.5,
        formerly="copy_error",
    )
    li_stephens_flank: int = option(
        1020,
        "sites on each side of a window that the Li-Stephens models read; -1: the whole panel",
        least=-1,
        formerly="copy_flank",
    )

    @property
    def num_models(self) -> int:
        """C, the number of models."""
        return len(self.ne) if self.li_stephens else 0


class LiStephensModel:
    """Probabilities of ALT by the Li-Stephens model, one for each of C effective population sizes.

    A haplotype is a mosaic of the panel's: from one observed site to the next, ``d`` morgans away,
    another haplotype is copied with probability ``1 - exp(-4 Ne d / H)``, and a copied allele
    differs with probability ``config.mismatch`` (Li and Stephens, Genetics 165, 2003; the scale by
    H as in Howie et al., PLoS Genetics 5, 2009). Distances are the mean of the genetic map's and of
    1 cM a Mb; without a map, the latter.
    """

    def __init__(
        self,
        panel: Panel,
        config: LiStephensConfig,
        *,
        genetic_map: GeneticMap | None = None,
        threads: int | None = None,
    ) -> None:
        self.panel, self.config = panel, config
        self._mismatch = config.mismatch or min(0.5, 2 / panel.num_haplotypes)
        self._threads = threads
        self._cumulative_rho = [
            map_rho(panel.position, panel.num_haplotypes, genetic_map, size) for size in config.ne
        ]

    @property
    def num_models(self) -> int:
        """C."""
        return len(self._cumulative_rho)

    def thread_bytes(self, num_observed: int) -> int:
        """Return about how much memory a thread works in, by the sites that are observed."""
        rounded = 64 * -(-self.panel.num_haplotypes // 64)
        return 8 * math.ceil(math.sqrt(num_observed)) * rounded

    def with_flank(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of sites that counts for the window [start, stop)."""
        flank = self.config.li_stephens_flank
        if flank < 0:
            return 0, self.panel.num_sites
        return max(0, start - flank), min(self.panel.num_sites, stop + flank)

    def dosage(
        self,
        queries: NDArray[np.uint64],
        start: int,
        stop: int,
        observed: NDArray[np.bool_],
        exclude: NDArray[np.int64],
        missing: NDArray[np.uint64] | None = None,
    ) -> NDArray[np.float32]:
        """Return (Q, C, n) probabilities of ALT over the n sites of [start, stop).

        The arguments are those of `li_stephens_dosage` over these sites.
        """
        models = [
            li_stephens_dosage(
                queries,
                self.panel.site_bits[start:stop],
                num_haplotypes=self.panel.num_haplotypes,
                observed=observed,
                cumulative_rho=cumulative_rho[start:stop],
                mismatch=self._mismatch,
                exclude=exclude,
                missing=missing,
                threads=self._threads,
            )
            for cumulative_rho in self._cumulative_rho
        ]
        return np.stack(models, axis=1)
