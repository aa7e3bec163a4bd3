"""Evidence of the Li-Stephens model at hidden sites, of which a head makes a probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _core
from . import _checks
from .states import States

# Everything is about the minor allele. The first is the model's own answer.
EVIDENCE = (
    "log_odds",
    "forward_odds",
    "backward_odds",
    "unswitched_odds",
    "switch_odds",
    "difference",
    "concentration",
    "carrier_concentration",
    "other_concentration",
    "carrier_length_before",
    "carrier_length_behind",
    "other_length_before",
    "other_length_behind",
    "largest_carrier",
    "longest_carrier",
    "longest",
    "minor_count",
    "carrier_count",
    "rho_before",
    "rho_behind",
)


def li_stephens_evidence(  # a parameter for each fact of the model, all but the arrays by keyword
    queries: NDArray[np.uint64],
    haplotype_bits: NDArray[np.uint64],
    *,
    observed: NDArray[np.bool_],
    sites: NDArray[np.int64],
    alt_count: NDArray[np.int64],
    cumulative_rho: NDArray[np.float64],
    mismatch: float,
    states: States | None = None,
    exclude: NDArray[np.int64] | None = None,
    missing: NDArray[np.uint64] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return the evidence of the Li-Stephens model about the minor allele of each wanted site.

    The model is that of `li_stephens_dosage`, with the ``states`` of each query in the place of
    the whole panel: a draw takes one of those of the next block, evenly, and a state that the next
    block lacks is drawn anew. Between two observed sites the posterior is exact; before the first
    and past the last it is that of this site.

    Parameters
    ----------
    queries : (Q, ceil(S / 64)) uint64
        Packed haplotypes (`pack_haplotypes`), without gaps between rows. Bits at sites that are
        not observed are ignored.
    haplotype_bits : (H, ceil(S / 64)) uint64
        The panel, packed by haplotype.
    observed : (S,) bool
        True where the queries' alleles count.
    sites : (N,) int64
        The sites wanted, ascending. At an observed one, the query's own allele counts, too.
    alt_count : (N,) int64
        Haplotypes of the panel with ALT at each of them. The minor allele is ALT where at most
        half have it.
    cumulative_rho : (S,) float64
        Expected number of switches from the first site to each site, ascending.
    mismatch : float
        Probability that an allele differs from the copied one, above 0 and at most 0.5; values
        below 1e-12 count as 1e-12.
    states : States, optional
        What a query may copy from, as `retrieve_states` returns it for these queries and observed
        sites; by default, all haplotypes that are not excluded.
    exclude : (Q, E) int64, optional
        Haplotypes, as a rule the query's own, that are not counted as carriers of the minor
        allele, and that are no states where ``states`` is not given; -1 for none.
    missing : (Q, ceil(S / 64)) uint64, optional
        1 at observed sites whose allele this query lacks.
    threads : int, optional
        Number of threads; by default chosen by the amount of work, at most one for each core.

    Returns
    -------
    (Q, N, E) float32
        Columns are named by ``EVIDENCE``; all but ``difference`` are natural logarithms, and odds
        are those of probabilities from 1e-5 to 1 - 1e-5. The *neighbours* of a site are the last
        observed site before it, and the first that is at it or behind. The states are those of the
        neighbour behind, or, past the last observed site, of that one; *carriers* have the minor
        allele, and *others* have not. *Shares* are the states' posterior where half of the switches
        between the neighbours are expected; where a neighbour lacks, it is that of the other.
        The *length* of a state is how far it matches the query, on either side: the switches
        expected from the neighbour to the nearest observed site, of which the neighbour is the
        first, at which it differs or is no state; else, to the outermost observed site. A
        missing allele does not differ. Without a neighbour, the length is 0.

        - log_odds: of the minor allele; forward_odds and backward_odds: by the alleles before the
          site alone, and by those behind, its own included;
        - unswitched_odds: of the minor allele, given that no state is drawn between the neighbours;
          switch_odds: that one is drawn; difference: of the probabilities, at the two neighbours,
          that a carrier is copied, absolute;
        - concentration: 1e-6 more than the sum of squared shares; carrier_concentration and
          other_concentration: than that of carriers or others, over their sum squared;
        - carrier_length_before, carrier_length_behind, other_length_before, other_length_behind:
          one more than the mean by shares; sums of shares, here and above, count as at least 1e-6;
        - largest_carrier: log-odds of the largest share of a carrier; longest_carrier and longest:
          one more than the greatest length, on both sides together, of a carrier and of a state;
        - minor_count: one more than the carriers in the panel, without those excluded;
          carrier_count: than those of the states;
        - rho_before, rho_behind: 1e-4 more than the switches expected from the neighbour before to
          the site, and on to the one behind; 1e-4 where a neighbour lacks.

    Raises
    ------
    TypeError, ValueError
        For a wrong type, dtype or layout; for a wrong shape or range, for values of
        ``cumulative_rho`` that descend, and for states of other queries.

    Notes
    -----
    Cost for each query: some 40 vector instructions for each observed site and 16 states, the bits
    of each state once, and a few instructions for each site and carrier among its states. Memory
    of a thread: one bit for each site and state, and 8 bytes for each block and state. Answers do
    not depend on the number of threads, nor on the other queries and sites; those of different
    instruction sets agree to about 1e-3, but shares, as in largest_carrier, to 1e-6 of 1. Between
    observed sites, a draw has a probability of at least 1e-7. Ctrl-C ends a long call.
    Source of the model: Li and Stephens, Genetics 165:2213, 2003.

    Examples
    --------
    >>> from snvrag.kernels import li_stephens_evidence, pack_haplotypes
    >>> panel = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], np.int8)
    >>> query = np.array([[1, 0, 0, 1]], np.int8)  # the first and the last site are observed
    >>> evidence = li_stephens_evidence(
    ...     pack_haplotypes(query),
    ...     pack_haplotypes(panel),
    ...     observed=np.array([True, False, False, True]),
    ...     sites=np.array([1, 2]),
    ...     alt_count=np.array([1, 1]),
    ...     cumulative_rho=np.array([0.0, 0.1, 0.2, 0.3]),
    ...     mismatch=0.01,
    ... )
    >>> (1 / (1 + np.exp(-evidence[0, :, 0]))).round(2)  # probability of the minor allele
    array([0.99, 0.99], dtype=float32)
    """
    _checks.check_haplotypes(haplotype_bits, exclude)
    return _core.li_stephens_evidence(
        queries,
        haplotype_bits,
        observed,
        sites,
        alt_count,
        _checks.ascending("cumulative_rho", cumulative_rho),
        _checks.mismatch(mismatch),
        states,
        exclude,
        missing,
        threads,
    )
