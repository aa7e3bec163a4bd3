"""Phasings of genotypes, drawn from the Li-Stephens model of pairs of haplotypes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from . import _checks
from .states import States

_MAX_INT32 = 2**31 - 1


class Phasings(NamedTuple):
    """What `sample_phasings` drew, and how likely the genotypes are."""

    swapped: NDArray[np.uint64]
    """(S, D, ceil(sites / 64)): 1 at the observed sites of two different alleles where the draw's
    first haplotype has the file's second allele, 0 elsewhere."""
    log_likelihood: NDArray[np.float64]
    """(S,) natural logarithm of the probability of each sample's observed alleles, over all
    pairs of paths; where the file has no phase, of the mean of both orders."""


def sample_phasings(  # a parameter for each fact of the model, all but the arrays by keyword
    queries: NDArray[np.uint64],
    haplotype_bits: NDArray[np.uint64],
    *,
    observed: NDArray[np.bool_],
    cumulative_rho: NDArray[np.float64],
    mismatch: float,
    states: States | None,
    keys: NDArray[np.uint64],
    first_rank: int = 0,
    unphased: NDArray[np.uint64] | None = None,
    switch_error: float = 0.0,
    exclude: NDArray[np.int64] | None = None,
    missing: NDArray[np.uint64] | None = None,
    draws: int = 8,
    threads: int | None = None,
) -> Phasings:
    """Draw phasings of samples from their posterior, given the genotypes at observed sites.

    The model is the diploid one of Li and Stephens: each of a sample's two haplotypes moves along
    the panel like a query of `li_stephens_evidence`, independently of the other, and the file's
    alleles are those of the copied haplotypes, but for mismatches. Where the file has no phase for
    two different alleles, both orders are as probable. Its phase elsewhere is evidence: from one
    phased heterozygote to the next it is wrong with probability ``switch_error``.

    Parameters
    ----------
    queries : (2 S, ceil(L / 64)) uint64
        Rows 2 i and 2 i + 1 are the alleles of sample i in the file's order, at L sites
        (`pack_haplotypes`), without gaps between rows. Bits at sites that are not observed are
        ignored.
    haplotype_bits : (H, ceil(L / 64)) uint64
        The panel, packed by haplotype.
    observed : (L,) bool
        True where the samples' alleles count.
    cumulative_rho : (L,) float64
        Expected number of switches from the first site to each site, ascending.
    mismatch : float
        Probability that an allele differs from the copied one, above 0 and at most 0.5; values
        below 1e-12 count as 1e-12.
    states : States or None
        What both haplotypes of a sample may copy from, with a row for each sample; None: all
        haplotypes that are not excluded.
    keys : (S,) uint64
        What each sample's draws are drawn from. The same key gives the same draws, whatever the
        threads, the other samples and the number of draws.
    first_rank : int
        Number of observed sites before the first, at which the draws' numbers begin: pieces that
        overlap, with the same keys, draw alike where they agree on the states.
    unphased : (S, ceil(L / 64)) uint64, optional
        1 where the file has no phase for a sample's genotype. Of equal alleles it does not count.
    switch_error : float
        Probability, from 0 to 1, that the file swaps a sample's haplotypes between two phased sites
        of two known, different alleles with no other such site between them.
    exclude : (S, E) int64, optional
        Haplotypes, as a rule the sample's own, that are no states where ``states`` is None; -1 for
        none.
    missing : (2 S, ceil(L / 64)) uint64, optional
        1 at observed sites whose allele a row of ``queries`` lacks. A missing allele differs from a
        known one. The draws do not fill it in.
    draws : int
        D, the phasings of each sample, from 1.
    threads : int, optional
        Number of threads; by default chosen by the amount of work, at most one for each core.

    Returns
    -------
    Phasings
        A draw is one of two haplotypes, whose order is meaningless: at a sample's first site of
        different alleles, the first haplotype has the file's first allele.

    Raises
    ------
    TypeError, ValueError
        For a wrong type, dtype or layout; for a wrong shape or range, for values of
        ``cumulative_rho`` that descend, and for states of other samples.

    Notes
    -----
    With F the probability of a pair of states and of the alleles up to a site, R and C its sums
    over the second and the first state, T the sum of both, K states and b the probability of a draw
    (a = 1 - b), the next site's F is ``emission * (a**2 F[i, j] + a b / K (R[i] + C[j]) +
    b**2 / K**2 T)``. Backward, a draw of a path chooses among these terms by their share, and then
    the state that was left. The random numbers are of Philox4x64-10, with counter (draw,
    ``first_rank`` + rank of the site, purpose, 0) and key (``keys[i]``, 0).

    Cost, AVX-512, one core: a sample of 100 observed sites and 400 states takes about 2 ms with 8
    draws, half of it where unphased throughout, and grows as the sites and as ``K**2``; 128 draws
    take some 0.6 ms more. Memory of a thread: ``4 K**2`` bytes, half where unphased throughout,
    for 64 observed sites, ``8 K`` for each, and 8 MiB (or ``512 K`` bytes if more) that the draws
    of a sample share. Log-likelihoods of different instruction sets agree to
    1e-5 of their size; draws have the same distribution, but are not the same. Ctrl-C ends a long
    call.
    Source: Li and Stephens, Genetics 165:2213, 2003; Li et al., Genet. Epidemiol. 34:816, 2010
    (MaCH, pairs of states); Salmon et al., SC 2011 (Philox).

    Examples
    --------
    >>> from snvrag.kernels import pack_haplotypes, sample_phasings, unpack_haplotypes
    >>> panel = np.array([[0, 0, 0, 0], [1, 1, 1, 1]], np.int8)
    >>> sample = np.array([[0, 1, 0, 0], [1, 0, 1, 1]], np.int8)  # the file swaps at site 1
    >>> phasings = sample_phasings(
    ...     pack_haplotypes(sample),
    ...     pack_haplotypes(panel),
    ...     observed=np.ones(4, bool),
    ...     cumulative_rho=np.arange(4) * 1e-3,
    ...     mismatch=1e-3,
    ...     states=None,
    ...     keys=np.array([7], np.uint64),
    ...     unphased=pack_haplotypes(np.ones((1, 4), np.int8)),
    ...     draws=1,
    ... )
    >>> unpack_haplotypes(phasings.swapped[0], 4)
    array([[0, 1, 0, 0]], dtype=int8)
    """
    _checks.check_haplotypes(haplotype_bits, exclude)
    return Phasings(
        *_core.sample_phasings(
            queries,
            haplotype_bits,
            observed,
            _checks.ascending("cumulative_rho", cumulative_rho),
            _checks.mismatch(mismatch),
            states,
            keys,
            _checks.whole_number("first_rank", first_rank, 0, _MAX_INT32),
            unphased,
            _checks.fraction("switch_error", switch_error),
            exclude,
            missing,
            _checks.whole_number("draws", draws, 1, _MAX_INT32),
            threads,
        )
    )
