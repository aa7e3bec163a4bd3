"""Input of the Li-Stephens kernels: a panel of mosaics, and queries that copy it with errors."""

from __future__ import annotations

import numpy as np

from helpers import pack
from snvrag.kernels import States, oracle_li_stephens, retrieve_states


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
        self.states: States | None = None

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

    # --- of the kernels over states ---

    def arguments_over_states(self, **changes):
        """Return the arguments of a kernel over states, some of them changed."""
        arguments = self.arguments(haplotype_bits=pack(self.panel), states=self.states)
        del arguments["site_bits"], arguments["num_haplotypes"]
        return {**arguments, **changes}

    def retrieve(self, neighbours=2, step=3):
        """Give each query states that change often along the panel."""
        arguments = self.arguments(position_cm=self.cumulative_rho, neighbours=neighbours)
        del arguments["cumulative_rho"], arguments["mismatch"]
        self.states = retrieve_states(**arguments, step=step, within_cm=0.01)

    def models(self):
        """Return what the twins take, for each query."""
        sites = np.flatnonzero(self.observed).tolist()
        missing = np.zeros_like(self.queries) if self.missing is None else self.missing
        return [
            oracle_li_stephens.Model(
                query,
                self.panel,
                missing[q],
                sites,
                self.cumulative_rho,
                self.mismatch,
                self.states_of(q, len(sites)),
            )
            for q, query in enumerate(self.queries)
        ]

    def states_of(self, query, num_observed):
        """Return a query's states at each observed site; one list if there is none."""
        ranks = range(max(1, num_observed))
        if self.states is None:
            excluded = self.excluded()[query]
            return [[h for h in range(len(self.panel)) if h not in excluded] for _ in ranks]
        blocks = np.searchsorted(self.states.block_starts, ranks, side="right") - 1
        offsets, haplotypes = self.states.offsets[query], self.states.haplotypes
        return [haplotypes[offsets[b] : offsets[b + 1]].tolist() for b in blocks]
