"""The Li-Stephens model: a haplotype as an imperfect mosaic of a panel's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _core


def li_stephens_dosage(
    queries: NDArray[np.uint64],
    site_bits: NDArray[np.uint64],
    *,
    num_haplotypes: int,
    observed: NDArray[np.bool_],
    switches: NDArray[np.float64],
    error: float,
    exclude: NDArray[np.int64] | None = None,
    missing: NDArray[np.uint64] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return the probability of ALT at every site, by the Li-Stephens model over a whole panel.

    A query copies one haplotype of the panel at a time. From one observed site to the next another
    one, any with equal probability, is chosen with probability ``1 - exp(-switches between)``; an
    allele differs from the copied one with probability ``error``. The posterior of the copied
    haplotype at the observed sites (forward-backward algorithm) weighs the panel's alleles;
    between two observed sites it is interpolated linearly in ``switches``, outside them it is that
    of the nearest (as Minimac and Beagle do).

    Parameters
    ----------
    queries : (Q, ceil(S / 64)) uint64
        Packed haplotypes (`pack_haplotypes`), rows adjacent. Bits at sites that are not observed
        are ignored.
    site_bits : (S, ceil(H / 64)) uint64
        The panel, rows of sites: bit j of word w is haplotype 64 * w + j; bits behind the last
        haplotype are 0. ``pack_haplotypes(alleles.T)`` of (H, S) alleles is that.
    num_haplotypes : int
        H, from 1.
    observed : (S,) bool
        True where the queries' alleles count.
    switches : (S,) float64
        Expected number of switches from the first site on, ascending: ``4 Ne d / H`` for a genetic
        distance of ``d`` morgans and an effective population size Ne.
    error : float
        Above 0, at most 0.5; below 1e-12 it counts as 1e-12.
    exclude : (Q, E) int64, optional
        Haplotypes that a query does not copy from, -1 for none. One must be left.
    missing : (Q, ceil(S / 64)) uint64, optional
        Ones at observed sites whose allele one query lacks.
    threads : int, optional
        By default as many as the work is worth, at most one a core.

    Returns
    -------
    (Q, S) float32
        At observed sites too it is the copied allele's probability, not the allele seen. A query
        without an observed site gets the frequency in the haplotypes that it may copy from.

    Raises
    ------
    TypeError
        For a wrong type, dtype or layout.
    ValueError
        For a wrong shape or range, and for ``switches`` that descend.

    Notes
    -----
    Cost: O(Q S H), 64 haplotypes in some tens of instructions; memory 8 sqrt(observed) bytes a
    haplotype and thread. Instruction sets add in different orders: answers agree to about 1e-5,
    and are the same for any number of threads. Ctrl-C ends a long call.
    Source: Li and Stephens, Genetics 165:2213, 2003; Howie et al., PLoS Genetics 5:e1000529, 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from snvrag.kernels import li_stephens_dosage, pack_haplotypes
    >>> panel = np.array([[0, 0, 0, 0], [1, 1, 1, 1]], np.int8)
    >>> query = np.array([[1, 0, 0, 1]], np.int8)  # the first and the last site are observed
    >>> li_stephens_dosage(
    ...     pack_haplotypes(query),
    ...     pack_haplotypes(panel.T),
    ...     num_haplotypes=2,
    ...     observed=np.array([True, False, False, True]),
    ...     switches=np.array([0.0, 0.1, 0.2, 0.3]),
    ...     error=0.01,
    ... ).round(3)
    array([[0.998, 0.998, 0.998, 0.998]], dtype=float32)
    """
    return _core.copying_dosage(
        site_bits, num_haplotypes, queries, observed, switches, error, exclude, missing, threads
    )
