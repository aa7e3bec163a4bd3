"""A slow, readable twin of `sample_phasings`, in double precision; for tests alone."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .oracle_li_stephens import Doubles, Model, transition


class Sample(NamedTuple):
    """The models of a sample's two haplotypes, with the same states, and what the file says of
    phase: sites where it says nothing, and how often it is wrong.
    """

    first: Model
    second: Model
    unphased: NDArray[np.bool_]
    switch_error: float

    def differs(self, rank: int) -> bool:
        """Return whether there are two alleles, of which one may be missing, that differ."""
        site = self.first.sites[rank]
        lacks = [bool(model.missing[site]) for model in (self.first, self.second)]
        return lacks[0] != lacks[1] or (
            not lacks[0] and self.first.query[site] != self.second.query[site]
        )

    def has_phase(self, rank: int) -> bool:
        """Return whether the alleles differ and the file says which haplotype has which."""
        return self.differs(rank) and not self.unphased[self.first.sites[rank]]

    def is_phased_heterozygote(self, rank: int) -> bool:
        """Return whether the phase here may be wrong: both alleles are known."""
        site = self.first.sites[rank]
        return self.has_phase(rank) and not (self.first.missing[site] or self.second.missing[site])

    def may_swap(self, rank: int) -> bool:
        """Return whether the file may have swapped since a phased heterozygote before."""
        return self.is_phased_heterozygote(rank) and any(
            self.is_phased_heterozygote(r) for r in range(rank)
        )


class Phases(NamedTuple):
    """Exact answers about a sample.

    ``heterozygotes`` are the M ranks of sites of different alleles; ``swaps`` is (M - 1,): the
    probability that a draw has them in another order, relative to the file's, than the next ones.
    """

    log_likelihood: float
    heterozygotes: list[int]
    swaps: Doubles


def emission(sample: Sample, rank: int, is_swapped: bool) -> Doubles:
    """Return the (2, K, K) probability of the alleles, in one order of a draw's haplotypes.

    Axes: whether the draw has the file's order or the other, and what its two haplotypes copy.
    Sites whose alleles do not differ have one order alone, with all of the probability.
    """
    models = [sample.first, sample.second]
    if not sample.differs(rank):
        one = np.multiply.outer(models[0].emission(rank), models[1].emission(rank))
        return np.stack([one, one]) * (not is_swapped)
    if is_swapped:
        models.reverse()
    here = np.multiply.outer(models[0].emission(rank), models[1].emission(rank))
    if sample.has_phase(rank):
        return np.stack([here * (not is_swapped), here * is_swapped])
    return np.stack([here, here]) / 2


def moved(sample: Sample, rank: int, before: Doubles) -> Doubles:
    """Take (2, K, K) probabilities from an observed site to the next, of ``rank``."""
    states = sample.first.states
    step = transition(states[rank - 1], states[rank], sample.first.jump(rank))
    error = sample.switch_error if sample.may_swap(rank) else 0.0
    return np.asarray(step.T @ ((1 - error) * before + error * before[::-1]) @ step)


def moved_back(sample: Sample, rank: int, behind: Doubles) -> Doubles:
    """Do the same from ``rank`` to the site before it."""
    states = sample.first.states
    step = transition(states[rank - 1], states[rank], sample.first.jump(rank))
    error = sample.switch_error if sample.may_swap(rank) else 0.0
    earlier = step @ behind @ step.T
    return np.asarray((1 - error) * earlier + error * earlier[::-1])


def phases(sample: Sample) -> Phases:
    """Run forward-backward over the order of the haplotypes and the pair of states."""
    num_observed = len(sample.first.sites)
    priors, factors = [], []
    here = np.full((2,) + 2 * (len(sample.first.states[0]),), 0.5)
    here /= len(sample.first.states[0]) ** 2
    for rank in range(num_observed):
        priors.append(moved(sample, rank, here) if rank else here)
        here = priors[rank] * sum(emission(sample, rank, swapped) for swapped in (False, True))
        factors.append(here.sum())
        here = here / factors[rank]
    behind = [np.ones_like(here)]  # of the alleles past each site
    for rank in range(num_observed - 1, 0, -1):
        both = sum(emission(sample, rank, swapped) for swapped in (False, True))
        behind.insert(0, moved_back(sample, rank, behind[0] * both / factors[rank]))
    heterozygotes = [rank for rank in range(num_observed) if sample.differs(rank)]
    swaps = []
    for rank, next_one in itertools.pairwise(heterozygotes):
        shares = {}
        for order, next_order in itertools.product((False, True), repeat=2):
            path = priors[rank] * emission(sample, rank, order)
            for between in range(rank + 1, next_one):
                path = moved(sample, between, path) * emission(sample, between, False)
            path = moved(sample, next_one, path) * emission(sample, next_one, next_order)
            shares[order, next_order] = (path * behind[next_one]).sum()
        swaps.append((shares[False, True] + shares[True, False]) / sum(shares.values()))
    return Phases(math.fsum(map(math.log, factors)), heterozygotes, np.array(swaps))
