"""Retrieval of states: the haplotypes that a query may copy from, by the longest matches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from . import _checks

_MAX_INT32 = 2**31 - 1


class States(NamedTuple):
    """The haplotypes that each query may copy from, in each block of observed sites.

    Those of query q in block b are ``haplotypes[offsets[q, b]:offsets[q, b + 1]]``, ascending and
    without duplicates. The next query's begin where a query's end. If groups of queries share
    their states (``group_size``), Q is the number of groups.
    """

    block_starts: NDArray[np.int64]
    """(B,) rank, among the observed sites, of each block's first site; B is at least 1."""
    offsets: NDArray[np.int64]
    """(Q, B + 1) places in ``haplotypes``."""
    haplotypes: NDArray[np.int32]
    """(N,) rows of the panel."""


def retrieve_states(  # a parameter for each fact of the search, all but the arrays by keyword
    queries: NDArray[np.uint64],
    site_bits: NDArray[np.uint64],
    *,
    num_haplotypes: int,
    observed: NDArray[np.bool_],
    position_cm: NDArray[np.float64],
    neighbours: int = 16,
    step: int = 8,
    within_cm: float = 0.1,
    exclude: NDArray[np.int64] | None = None,
    missing: NDArray[np.uint64] | None = None,
    unphased: NDArray[np.uint64] | None = None,
    group_size: int = 1,
    threads: int | None = None,
) -> States:
    """Choose the haplotypes that each query may copy from, by the longest matches along the panel.

    Every ``step`` observed sites are a block; the last may be shorter. At a block's middle site, of
    rank ``start + length // 2``, a query chooses the ``neighbours`` haplotypes with the longest
    match over observed sites that ends there, the site included, and as many with the longest
    match that begins there. What is chosen there is a state in that block, in both adjacent ones,
    and in all blocks with an observed site at most ``within_cm`` from the middle site or on the
    way there.

    Parameters
    ----------
    queries : (Q, ceil(S / 64)) uint64
        Packed haplotypes (`pack_haplotypes`), without gaps between rows. Bits at sites that are
        not observed are ignored.
    site_bits : (S, ceil(H / 64)) uint64
        The panel, packed by site: bit j of word w of a row is haplotype 64 * w + j.
        ``pack_haplotypes(alleles.T)`` packs (H, S) alleles this way.
    num_haplotypes : int
        H, from 1 and below 2**31.
    observed : (S,) bool
        True where the queries' alleles count.
    position_cm : (S,) float64
        Positions on the genetic map in centimorgans, ascending.
    neighbours : int
        Haplotypes chosen at a middle site in each direction, from 1.
    step : int
        Observed sites of a block, from 1.
    within_cm : float
        How far from its middle site a choice holds, in centimorgans.
    exclude : (Q, E) int64, optional
        Haplotypes that a query must not copy from; -1 for none. One must be left.
    missing : (Q, ceil(S / 64)) uint64, optional
        1 at observed sites whose allele this query lacks. In each direction, the query then counts
        as having the allele of its nearest neighbour, which has the longest match up to the site
        before.
    unphased : (Q / 2, ceil(S / 64)) uint64, optional
        If given, queries 2 i and 2 i + 1 are the alleles of sample i, and bits of row i are 1 at
        sites where it is not known which of the two has which allele. They count at observed sites
        where the two have different alleles, or where just one of them is ``missing``. How such
        alleles are assigned is under Notes.
    group_size : int
        Consecutive queries that share their states, a divisor of Q: 2 for one set of states for
        each sample of two haplotypes.
    threads : int, optional
        Number of threads; by default chosen by the amount of work, at most one for each core.

    Returns
    -------
    States
        One row for each group of ``group_size`` queries, whose states are those that any of its
        queries has. A query that may copy from at most ``2 * neighbours`` haplotypes has them all
        in every block; its group then has all that any of its queries may copy from. Without an
        observed site there is one block, in which every query has all that it may copy from.

    Raises
    ------
    TypeError, ValueError
        For a wrong type, dtype or layout; for a wrong shape or range, and for values of
        ``position_cm`` that descend.

    Notes
    -----
    Order: forward, the panel is kept in the order of its alleles at a site, then at the observed
    site before it, and so on to the first; backward, the same from the last site. A query has a
    place in that order, to which its neighbours have the longest match. Ties: haplotypes whose
    match is equally long are on the same side of that place (there are two alleles), and the
    nearest are chosen. Haplotypes that are equal from the first (backward: last) site on tie
    throughout; they have an order that is spread evenly over the panel, ``i * stride % H``
    (backward its reverse), so that neither low indices nor the haplotypes of one population are
    preferred. The stride is the first from ``0.618 H`` on that shares no factor with H.

    Phase: where it is unknown, both queries of a sample take, in each direction, the allele of
    their nearest neighbour up to the site before, if that agrees with the genotype: the two
    alleles differ, or, where one is missing, one of them is the one known. If not, the query
    whose match is shorter takes the other allele; of two equally long ones, the second query.
    The two directions may differ in this, so that a query's states are near both haplotypes of its
    sample; ``group_size=2`` gives those of both queries.

    Queries do not influence one another, but for the two of a sample in ``unphased``. Answers do
    not depend on the number of threads.

    Cost: 1 to 2 ns for each observed site, haplotype and direction, whatever the number of
    queries, about 40 ns for each haplotype chosen, and about 50 ns for each allele filled in, in
    each direction (50,000 haplotypes, 138 observed sites and 200 queries: 25 ms). Memory:
    the bits of the observed sites, 8 bytes for each haplotype and thread, ``8 * neighbours`` bytes
    for each query and block, and twice the answer. Ctrl-C ends a long call.

    Source: Durbin, Bioinformatics 30:1266, 2014 (positional Burrows-Wheeler transform).

    Examples
    --------
    >>> from snvrag.kernels import pack_haplotypes, retrieve_states
    >>> panel = np.zeros((4, 6), np.int8)
    >>> panel[1, :3], panel[2, 3:], panel[3] = 1, 1, 1
    >>> query = np.array([[1, 1, 1, 0, 0, 0]], np.int8)
    >>> states = retrieve_states(
    ...     pack_haplotypes(query),
    ...     pack_haplotypes(panel.T),
    ...     num_haplotypes=4,
    ...     observed=np.ones(6, bool),
    ...     position_cm=np.arange(6) / 100,
    ...     neighbours=1,
    ...     step=3,
    ...     exclude=np.array([[1]]),  # which equals the query
    ... )
    >>> states.block_starts
    array([0, 3])
    >>> states.haplotypes[states.offsets[0, 0] : states.offsets[0, 1]]
    array([0, 3], dtype=int32)
    """
    num_haplotypes = _checks.whole_number("num_haplotypes", num_haplotypes, 1, _MAX_INT32)
    _checks.check_copied(exclude, num_haplotypes)
    return States(
        *_core.retrieve_states(
            queries,
            site_bits,
            num_haplotypes,
            observed,
            _checks.ascending("position_cm", position_cm),
            _checks.whole_number("neighbours", neighbours, 1, _MAX_INT32),
            _checks.whole_number("step", step, 1, _MAX_INT32),
            _checks.not_negative("within_cm", within_cm),
            exclude,
            missing,
            unphased,
            _checks.whole_number("group_size", group_size, 1, _MAX_INT32),
            threads,
        )
    )
