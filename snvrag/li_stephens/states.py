"""The states of a query: all haplotypes of a small panel, the longest matches of a large one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..kernels import States, retrieve_states

# Up to so many haplotypes, all are states.
ALL_HAPLOTYPES = 512
# Chosen on held-out samples of parts of two panels of the 1000 Genomes Project, and of simulated
# ones of 1,100 to 50,000 haplotypes: the loss is that of all haplotypes, or within 3% of it.
_NEIGHBOURS, _WITHIN_CM = 64, 0.3
BLOCK_SITES = 8
"""Typed sites of a block of states."""


def states_of(  # a parameter for each fact, all but the arrays by keyword
    queries: NDArray[np.uint64],
    site_bits: NDArray[np.uint64],
    *,
    num_haplotypes: int,
    observed: NDArray[np.bool_],
    position_cm: NDArray[np.float64],
    exclude: NDArray[np.int64] | None = None,
    missing: NDArray[np.uint64] | None = None,
    threads: int | None = None,
) -> States | None:
    """Return what the queries may copy from; None for all haplotypes that are not excluded.

    The arguments are those of `retrieve_states`.
    """
    if num_haplotypes <= ALL_HAPLOTYPES:
        return None
    return retrieve_states(
        queries,
        site_bits,
        num_haplotypes=num_haplotypes,
        observed=observed,
        position_cm=position_cm,
        neighbours=_NEIGHBOURS,
        step=BLOCK_SITES,
        within_cm=_WITHIN_CM,
        exclude=exclude,
        missing=missing,
        threads=threads,
    )


def pair_states_of(  # a parameter for each fact, all but the arrays by keyword
    queries: NDArray[np.uint64],
    site_bits: NDArray[np.uint64],
    *,
    num_haplotypes: int,
    observed: NDArray[np.bool_],
    position_cm: NDArray[np.float64],
    neighbours: int,
    group_size: int,
    unphased: NDArray[np.uint64] | None = None,
    exclude: NDArray[np.int64] | None = None,
    missing: NDArray[np.uint64] | None = None,
    threads: int | None = None,
) -> States:
    """Return what both haplotypes of each sample may copy from.

    Their pairs are the square of them in number, so there are fewer ``neighbours``. The arguments
    are those of `retrieve_states`: a sample has ``group_size`` rows of ``queries``.
    """
    return retrieve_states(
        queries,
        site_bits,
        num_haplotypes=num_haplotypes,
        observed=observed,
        position_cm=position_cm,
        neighbours=neighbours,
        step=BLOCK_SITES,
        within_cm=_WITHIN_CM,
        group_size=group_size,
        unphased=unphased,
        exclude=exclude,
        missing=missing,
        threads=threads,
    )
