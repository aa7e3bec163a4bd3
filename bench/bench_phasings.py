"""Phasings of one sample over 400 states and 100 observed sites, on one thread.

The baseline is the forward algorithm over ordered pairs of states in Numba, with fast-math, which
gives the likelihood and draws nothing. Log-likelihoods are compared to 1e-4.

Limit, with K states in 16 lanes: for each observed site and vector of pairs, a load, two additions
and two multiplications for the new value, a store, and two additions for the sums over rows and
columns. Of a sample without phase only pairs i <= j are needed: 5,000 vectors a site at K = 400,
so 4 million instructions for 100 sites, 0.9 ms at two a cycle and 2.2 GHz.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from mosaics import Founders
from numpy.typing import NDArray

from snvrag.kernels import pack_haplotypes, sample_phasings, unpack_haplotypes

NUM_STATES, NUM_SITES, MISMATCH, SWITCH_RHO = 400, 100, 1e-3, 0.02
NUMBA, LIKELIHOOD, DRAWS = "numba, forward, no draw", "snvrag, 1 draw", "snvrag, 128 draws"


class Problem:
    """A sample without phase and the states that it copies from."""

    def __init__(self) -> None:
        bits = Founders(NUM_SITES, seed=0).descendants(NUM_STATES + 2, seed=0)
        alleles = unpack_haplotypes(bits, NUM_SITES)
        self.states, self.sample = alleles[2:], alleles[:2]

    def solve(self, name: str) -> float:
        """Return the log-likelihood."""
        if name == NUMBA:
            hit, miss = 1 - MISMATCH, MISMATCH
            either, same = hit * miss, (hit**2 + miss**2) / 2
            emission = [
                [hit**2, either, miss**2],
                [either, same, either],
                [miss**2, either, hit**2],
            ]
            return float(
                with_numba(
                    self.states.T.copy(),
                    self.sample.sum(0),
                    np.float32(emission),
                    -np.expm1(-SWITCH_RHO),
                )
            )
        phasings = sample_phasings(
            pack_haplotypes(self.sample),
            pack_haplotypes(self.states),
            observed=np.ones(NUM_SITES, bool),
            cumulative_rho=np.arange(NUM_SITES) * SWITCH_RHO,
            mismatch=MISMATCH,
            states=None,
            keys=np.zeros(1, np.uint64),
            unphased=pack_haplotypes(np.ones((1, NUM_SITES), np.int8)),
            draws=128 if name == DRAWS else 1,
            threads=1,
        )
        return float(phasings.log_likelihood[0])


@numba.njit(fastmath=True, cache=False)
def with_numba(
    states: NDArray[np.int8],
    genotype: NDArray[np.int64],
    emission: NDArray[np.float32],
    switch: float,
) -> float:
    """Return the log-likelihood of genotypes 0, 1, 2; ``states`` is (sites, states).

    ``emission`` (3, 3) is by the number of ALT alleles in a pair, and by the genotype.
    """
    num_sites, k = states.shape
    table = np.full((k, k), np.float32(1 / (k * k)))
    after = np.empty_like(table)
    rows, columns = np.empty(k, np.float32), np.empty(k, np.float32)
    total, logarithm = np.float32(1), 0.0
    stay, jump = np.float32(1 - switch), np.float32(switch / k)
    for s in range(num_sites):
        a, b = (stay, jump) if s else (np.float32(1), np.float32(0))
        rows[:] = 0
        columns[:] = 0
        for i in range(k):
            for j in range(k):
                rows[i] += table[i, j]
                columns[j] += table[i, j]
        new = np.float32(0)
        for i in range(k):
            for j in range(k):
                value = a * a * table[i, j] + a * b * (rows[i] + columns[j]) + b * b * total
                value *= emission[states[s, i] + states[s, j], genotype[s]]
                after[i, j] = value
                new += value
        logarithm += np.log(new)
        for i in range(k):
            for j in range(k):
                table[i, j] = after[i, j] / new
        total = np.float32(1)
    return logarithm


@pytest.mark.benchmark(group="phasings of a sample, 400 states, 100 observed sites")
@pytest.mark.parametrize("name", [NUMBA, LIKELIHOOD, DRAWS])
def test_phasings(name: str, timed: Any) -> None:
    problem = Problem()
    np.testing.assert_allclose(problem.solve(name), problem.solve(LIKELIHOOD), rtol=1e-4)
    timed(name, lambda: problem.solve(name), rounds=9)
