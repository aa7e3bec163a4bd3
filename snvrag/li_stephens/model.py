"""The haploid Li-Stephens model of a panel: a haplotype as a mosaic of the panel's."""

from __future__ import annotations

import numpy as np

from ..kernels import Rates
from ..panel.genetic_map import DEFAULT_CM_PER_MB, GeneticMap
from ..panel.panel import Panel

_NE = 100_000.0
# Share of a genetic map in the distances of the model, the rest being even along the chromosome. A
# map's cold spots are not as cold for every pair of haplotypes: on held-out samples half of it did
# better than all of it, and than none, at every frequency.
_MAP_SHARE = 0.5


def prior_rates(panel: Panel, genetic_map: GeneticMap | None = None) -> Rates:
    """Return the rates that are known without looking at haplotypes, where learning begins.

    From one site to the next, ``d`` morgans away, rho is ``4 Ne d / H`` (Howie et al., PLoS
    Genetics 5, 2009) with Ne = 100,000; distances are the mean of the genetic map's and of 1 cM a
    Mb, without a map the latter. A copied allele differs with probability ``2 / H``.
    """
    cm = panel.position * (DEFAULT_CM_PER_MB * 1e-6)
    if genetic_map is not None:
        cm = _MAP_SHARE * genetic_map.at(panel.position) + (1 - _MAP_SHARE) * cm
    cumulative_rho = 4 * _NE * (cm - cm[0]) / 100 / panel.num_haplotypes
    return Rates(cumulative_rho, min(0.5, 2 / panel.num_haplotypes), np.zeros(0))
