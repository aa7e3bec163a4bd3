"""Li-Stephens probabilities of ALT in one window, for 4 queries and the whole panel, on one thread.

The baselines are forward-backward algorithms in float32, a query at a time: in NumPy, with each
step vectorised over the haplotypes, and in Numba, with fast-math and the emission chosen by a byte.
Answers are compared to 1e-4.

Limits, a query, with n observed of L sites and H haplotypes in 16 lanes: the forward pass computed
twice (4 instructions a vector and observed site each), the backward pass once (8), and two masked
additions for each site. At L = 1,020, 40% observed and H = 5,008: 4.5 million vector instructions,
1 ms at two a cycle and 2.2 GHz. Memory is no limit: the working set fits the second-level cache.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from mosaics import Window
from numpy.typing import NDArray

from snvrag.kernels import li_stephens_dosage, pack_haplotypes

NUM_QUERIES = 4
MISMATCH = 4e-4
NUMPY, NUMBA, OURS = "numpy, a query at a time", "numba, fast-math", "snvrag"


class Problem:
    """A window's panel and queries, and what the baselines need of the model.

    ``before`` and ``after`` are, for each site, the indices in ``sites`` of the observed sites
    around it; ``share`` is the weight of the latter when their posteriors are interpolated, and
    ``switch`` the probability of a switch between an observed site and the next.
    """

    def __init__(self, window: Window) -> None:
        self.window = window
        self.query_bits = window.query_bits[:NUM_QUERIES]
        self.queries = window.queries[:NUM_QUERIES]
        self.alleles = np.ascontiguousarray(window.haplotypes.T)
        self.site_bits = pack_haplotypes(self.alleles)
        self.sites = np.flatnonzero(window.observed)
        self.cumulative_rho = np.linspace(0, 10, window.num_sites)
        at_sites = self.cumulative_rho[self.sites]
        self.switch = -np.expm1(-np.diff(at_sites)).astype(np.float32)
        after = np.searchsorted(self.sites, np.arange(window.num_sites))
        self.before = np.clip(after - 1, 0, None)
        self.after = np.clip(after, None, len(self.sites) - 1)
        span = at_sites[self.after] - at_sites[self.before]
        share = (self.cumulative_rho - at_sites[self.before]) / np.where(span > 0, span, 1)
        self.share = np.where(span > 0, share, 0.5).clip(0, 1).astype(np.float32)

    def solve(self, name: str) -> NDArray[np.float32]:
        """Return the (Q, L) probabilities of ALT."""
        if name == NUMPY:
            return with_numpy(self)
        if name == NUMBA:
            out = np.empty(self.queries.shape, np.float32)
            observed = self.alleles[self.sites], self.queries[:, self.sites]
            around = self.before, self.after, self.share
            with_numba(*observed, self.switch, self.alleles, *around, out)
            return out
        return li_stephens_dosage(
            self.query_bits,
            self.site_bits,
            num_haplotypes=self.window.num_haplotypes,
            observed=self.window.observed,
            cumulative_rho=self.cumulative_rho,
            mismatch=MISMATCH,
            threads=1,
        )


def with_numpy(problem: Problem) -> NDArray[np.float32]:
    """Compute each step of a query over all haplotypes at once."""
    alleles, switch = problem.alleles.astype(np.float32), problem.switch
    observed = problem.alleles[problem.sites]
    num_states = np.float32(alleles.shape[1])
    out = np.empty(problem.queries.shape, np.float32)
    for q, query in enumerate(problem.queries):
        emission = np.where(observed == query[problem.sites, None], 1 - MISMATCH, MISMATCH)
        emission = emission.astype(np.float32)
        posterior = np.empty_like(emission)
        posterior[0] = state = emission[0] / emission[0].sum()
        for i in range(1, len(emission)):
            state = (state * (1 - switch[i - 1]) + switch[i - 1] / num_states) * emission[i]
            state /= state.sum()
            posterior[i] = state
        backward = np.ones_like(state)
        for i in range(len(emission) - 2, -1, -1):
            backward *= emission[i + 1]
            backward = backward * ((1 - switch[i]) / backward.mean()) + switch[i]
            posterior[i] *= backward
            posterior[i] /= posterior[i].sum()
        before = np.einsum("sh,sh->s", posterior[problem.before], alleles)
        after = np.einsum("sh,sh->s", posterior[problem.after], alleles)
        out[q] = (1 - problem.share) * before + problem.share * after
    return out


@numba.njit(fastmath=True, cache=False)
def with_numba(observed, queries, switch, alleles, before, after, share, out):  # type: ignore[no-untyped-def]
    """Fill ``out``; ``observed`` and ``queries`` have the observed sites only.

    Eight arrays, since Numba does not take a `Problem`.
    """
    num_observed, num_states = observed.shape
    one, zero = np.float32(1), np.float32(0)
    ratio = np.float32(MISMATCH / (1 - MISMATCH))
    uniform = np.float32(1 / num_states)
    state = np.empty((num_observed, num_states), np.float32)
    backward = np.empty(num_states, np.float32)
    for q in range(len(queries)):
        total = one
        for i in range(num_observed):
            stay = (one - switch[i - 1]) / total if i > 0 else zero
            jump = switch[i - 1] * uniform if i > 0 else uniform
            total = zero
            for h in range(num_states):
                value = jump + (state[i - 1, h] * stay if i > 0 else zero)
                value *= one if observed[i, h] == queries[q, i] else ratio
                state[i, h] = value
                total += value
        backward[:] = 0
        mean = one
        for i in range(num_observed - 1, -1, -1):
            jump = switch[i] if i + 1 < num_observed else one
            stay = (one - jump) / mean
            total, mean = zero, zero
            for h in range(num_states):
                here = backward[h] * stay + jump
                state[i, h] *= here
                total += state[i, h]
                here *= one if observed[i, h] == queries[q, i] else ratio
                backward[h] = here
                mean += here * uniform
            for h in range(num_states):
                state[i, h] /= total
        for s in range(len(alleles)):
            total = zero
            for h in range(num_states):
                value = (one - share[s]) * state[before[s], h] + share[s] * state[after[s], h]
                total += value if alleles[s, h] else zero
            out[q, s] = total


@pytest.fixture(scope="module")
def problem(window: Window) -> Problem:
    return Problem(window)


@pytest.mark.benchmark(group="Li-Stephens probabilities, 4 queries, H = 5,008, 1,020 sites")
@pytest.mark.parametrize("name", [NUMPY, NUMBA, OURS])
def test_li_stephens(name: str, timed: Any, problem: Problem) -> None:
    np.testing.assert_allclose(problem.solve(name), problem.solve(OURS), rtol=0, atol=1e-4)
    timed(name, lambda: problem.solve(name), rounds=5)
