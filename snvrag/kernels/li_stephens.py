"""The Li-Stephens model: a haplotype as an imperfect mosaic of the haplotypes of a panel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _core
from . import _checks


def li_stephens_dosage(  # a parameter for each fact of the model, all but the arrays by keyword
    queries: NDArray[np.uint64],
    site_bits: NDArray[np.uint64],
    *,
    num_haplotypes: int,
    observed: NDArray[np.bool_],
    cumulative_rho: NDArray[np.float64],
    mismatch: float,
    exclude: NDArray[np.int64] | None = None,
    missing: NDArray[np.uint64] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return the probability of ALT at every site, by the Li-Stephens model over a whole panel.

    A query copies one haplotype of the panel at a time. From one observed site to the next, the
    copied haplotype is drawn anew, uniformly, with probability ``1 - exp(-rho)``, where rho is the
    difference of ``cumulative_rho``; an allele differs from the copied one with probability
    ``mismatch``. The panel's alleles are weighted by the posterior of the copied haplotype at the
    observed sites (forward-backward algorithm). Between two observed sites the posterior is
    interpolated linearly in ``cumulative_rho``; before the first and after the last it is that of
    the nearest observed site (as in Minimac and Beagle).

    Parameters
    ----------
    queries : (Q, ceil(S / 64)) uint64
        Packed haplotypes (`pack_haplotypes`), without gaps between rows. Bits at sites that are
        not observed are ignored.
    site_bits : (S, ceil(H / 64)) uint64
        The panel, packed by site: bit j of word w of a row is haplotype 64 * w + j, and bits past
        the last haplotype are 0. ``pack_haplotypes(alleles.T)`` packs (H, S) alleles this way.
    num_haplotypes : int
        H, from 1.
    observed : (S,) bool
        True where the queries' alleles count.
    cumulative_rho : (S,) float64
        Expected number of switches from the first site to each site, ascending: ``4 Ne d / H`` for
        a genetic distance of ``d`` morgans and an effective population size Ne.
    mismatch : float
        Probability that an allele differs from the copied one, above 0 and at most 0.5; values
        below 1e-12 count as 1e-12.
    exclude : (Q, E) int64, optional
        Haplotypes that a query must not copy from; -1 for none. One must be left.
    missing : (Q, ceil(S / 64)) uint64, optional
        1 at observed sites whose allele this query lacks.
    threads : int, optional
        Number of threads; by default chosen by the amount of work, at most one for each core.

    Returns
    -------
    (Q, S) float32
        Probability that the copied allele is ALT, also at observed sites. A query without an
        observed site gets the ALT frequency of the haplotypes that it may copy from.

    Raises
    ------
    TypeError, ValueError
        For a wrong type, dtype or layout; for a wrong shape or range, and for values of
        ``cumulative_rho`` that descend.

    Notes
    -----
    Cost: O(Q S H), some tens of instructions for 64 haplotypes; memory: 8 sqrt(observed sites)
    bytes for each haplotype and thread. Answers do not depend on the number of threads; those of
    different instruction sets, which sum in different orders, agree to about 1e-5. Ctrl-C ends a
    long call.
    Source: Li and Stephens, Genetics 165:2213, 2003; Howie et al., PLoS Genetics 5:e1000529, 2009.

    Examples
    --------
    >>> from snvrag.kernels import li_stephens_dosage, pack_haplotypes
    >>> panel = np.array([[0, 0, 0, 0], [1, 1, 1, 1]], np.int8)
    >>> query = np.array([[1, 0, 0, 1]], np.int8)  # the first and the last site are observed
    >>> li_stephens_dosage(
    ...     pack_haplotypes(query),
    ...     pack_haplotypes(panel.T),
    ...     num_haplotypes=2,
    ...     observed=np.array([True, False, False, True]),
    ...     cumulative_rho=np.array([0.0, 0.1, 0.2, 0.3]),
    ...     mismatch=0.01,
    ... ).round(3)
    array([[0.998, 0.998, 0.998, 0.998]], dtype=float32)
    """
    num_haplotypes = _checks.whole_number(
        "num_haplotypes", num_haplotypes, 1, _checks.MAX_HAPLOTYPES
    )
    _checks.check_copied(exclude, num_haplotypes)
    return _core.li_stephens_dosage(
        queries,
        site_bits,
        num_haplotypes,
        observed,
        _checks.ascending("cumulative_rho", cumulative_rho),
        _checks.mismatch(mismatch),
        exclude,
        missing,
        threads,
    )
