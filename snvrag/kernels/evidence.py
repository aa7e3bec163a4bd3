"""Evidence of the Li-Stephens model at hidden sites, of which a head makes a probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .li_stephens import li_stephens_dosage

# The first is the model's own answer: the log-odds of the minor allele.
EVIDENCE = ("log_odds", "log_minor_count")


def li_stephens_evidence(
    queries: NDArray[np.uint64],
    site_bits: NDArray[np.uint64],
    *,
    num_haplotypes: int,
    observed: NDArray[np.bool_],
    sites: NDArray[np.int64],
    cumulative_rho: NDArray[np.float64],
    mismatch: float,
    exclude: NDArray[np.int64] | None = None,
    missing: NDArray[np.uint64] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return (Q, N, E) float32: for each query and each of N ``sites``, the evidence of `EVIDENCE`.

    All of it is about the minor allele, ALT where at most half of the panel's haplotypes have it.
    ``sites`` is (N,) int64, ascending; the other arguments are those of `li_stephens_dosage`.
    """
    dosage = li_stephens_dosage(
        queries,
        site_bits,
        num_haplotypes=num_haplotypes,
        observed=observed,
        cumulative_rho=cumulative_rho,
        mismatch=mismatch,
        exclude=exclude,
        missing=missing,
        threads=threads,
    )[:, sites]
    count = np.bitwise_count(site_bits[sites]).sum(1).astype(np.float32)
    flip = 2 * count > num_haplotypes
    dosage = np.where(flip, 1 - dosage, dosage).clip(1e-6, 1 - 1e-6)
    minor = np.broadcast_to(np.where(flip, num_haplotypes - count, count), dosage.shape)
    return np.stack([np.log(dosage / (1 - dosage)), np.log1p(minor)], -1).astype(np.float32)
