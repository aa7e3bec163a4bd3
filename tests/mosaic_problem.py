"""Input of the Li-Stephens kernels: a panel of mosaics, and queries that copy it with errors."""

from __future__ import annotations

import numpy as np

from helpers import pack


class MosaicProblem:
    """A panel of mosaics, and queries that copy it with errors."""

    def __init__(self, num_haplotypes, num_sites, num_queries=3, *, share=0.5, seed=0, step=0.05):
        random = np.random.default_rng([num_haplotypes, num_sites, seed])
        founders = random.integers(0, 2, (4, num_sites))
        segment = np.cumsum(random.random((num_haplotypes + num_queries, num_sites)) < 0.05, 1)
        alleles = founders[(segment + np.arange(len(segment))[:, None]) % 4, np.arange(num_sites)]
        alleles = (alleles ^ (random.random(alleles.shape) < 0.03)).astype(np.int8)
        self.panel, self.queries = alleles[:num_haplotypes], alleles[num_haplotypes:]
        self.observed = random.random(num_sites) < share
        self.cumulative_rho = np.cumsum(random.exponential(step, num_sites))
        self.mismatch = 0.01
        self.exclude = None
        self.missing = None

    def arguments(self, **changes):
        """Return the arguments of a kernel, some of them changed."""
        return {
            "queries": pack(self.queries),
            "site_bits": pack(self.panel.T),
            "num_haplotypes": len(self.panel),
            "observed": self.observed,
            "cumulative_rho": self.cumulative_rho,
            "mismatch": self.mismatch,
            "exclude": self.exclude,
            "missing": None if self.missing is None else pack(self.missing),
            **changes,
        }

    def excluded(self):
        """Return the excluded haplotypes of each query, as the twins take them."""
        if self.exclude is None:
            return [()] * len(self.queries)
        return [tuple(row) for row in self.exclude.tolist()]
