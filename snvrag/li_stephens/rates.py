"""Rates of the Li-Stephens model, learned on a panel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..kernels import Rates, estimate_rates
from ..panel.genetic_map import GeneticMap
from ..panel.panel import Panel
from .model import prior_rates


def learn_rates(
    panel: Panel,
    observed: NDArray[np.bool_],
    *,
    genetic_map: GeneticMap | None = None,
    threads: int | None = None,
) -> Rates:
    """Return the rates of the panel's own haplotypes, of which the observed sites count."""
    prior = prior_rates(panel, genetic_map)
    samples = np.unique(np.linspace(0, panel.num_samples - 1, 100).astype(np.int64))
    return estimate_rates(
        panel.haplotype_bits(panel.haplotypes_of(samples).ravel(), 0, panel.num_sites),
        panel.site_bits,
        num_haplotypes=panel.num_haplotypes,
        observed=observed,
        cumulative_rho=prior.cumulative_rho,
        mismatch=prior.mismatch,
        exclude=panel.own_haplotypes(samples).repeat(2, axis=0),
        threads=threads,
    )
