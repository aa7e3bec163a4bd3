"""The rates that are learned are the twin's at every instruction set, and near the truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import frozen, level, pack
from mosaic_problem import MosaicProblem
from snvrag import _core
from snvrag.kernels import States, estimate_rates, oracle_li_stephens

# Relative, of an expected number or a rate; sums of float32 over a few hundred haplotypes and
# sites. Switches where nothing is between two sites have a least probability of 1e-7.
TOLERANCE = 3e-4
LEAST = 1e-6


class Problem(MosaicProblem):
    """The kernels' and the twins' answers."""

    def events(self, **changes):
        return _core.li_stephens_events(**self.arguments_over_states(**{"threads": 1, **changes}))

    def expected_events(self):
        each = map(oracle_li_stephens.li_stephens_events, self.models())
        switches, mismatches, num_alleles, log_likelihood = zip(*each, strict=True)
        return sum(switches), sum(mismatches), sum(num_alleles), log_likelihood

    def check_events(self):
        got, expected = self.events(), self.expected_events()
        assert got[2] == expected[2]
        for i in (0, 1, 3):
            np.testing.assert_allclose(got[i], expected[i], rtol=TOLERANCE, atol=LEAST)
        return got

    def learn(self, **changes):
        return estimate_rates(
            **self.arguments_over_states(**{"iterations": 3, "prior": 0, **changes})
        )

    def check(self, iterations=3, prior=0.0):
        got = self.learn(iterations=iterations, prior=prior)
        expected = oracle_li_stephens.estimate_rates(
            self.models(), self.cumulative_rho, self.mismatch, iterations=iterations, prior=prior
        )
        assert got.cumulative_rho.dtype == np.float64
        assert (np.diff(got.cumulative_rho) >= 0).all()
        steps = (np.diff(rho) for rho in (got.cumulative_rho, expected[0]))
        np.testing.assert_allclose(*steps, rtol=4 * TOLERANCE, atol=4 * LEAST)
        np.testing.assert_allclose(got.mismatch, expected[1], rtol=4 * TOLERANCE)
        np.testing.assert_allclose(got.log_likelihood, expected[2], rtol=TOLERANCE, atol=LEAST)
        return got


# --- against the twins ----------------------------------------------------------------------------


@pytest.mark.parametrize("num_sites", [1, 63, 64, 65, 129, 300])
def test_sizes_at_the_edges(simd_level, num_sites):
    for num_haplotypes in [1, 2, 63, 64, 65, 127, 129]:
        Problem(num_haplotypes, num_sites).check_events()


@pytest.mark.parametrize("step", [1, 3, 64])
def test_states_that_change(simd_level, step):
    for neighbours in (1, 2, 40):
        problem = Problem(129, 140)
        problem.exclude = np.array([[0, 1], [65, -1], [-1, -1]])
        problem.retrieve(neighbours=neighbours, step=step)
        problem.check_events()
    problem.missing = (np.random.default_rng(1).random((3, 140)) < 0.3).astype(np.int8)
    problem.retrieve(step=step)
    problem.check_events()
    problem.check(prior=2.5)


@pytest.mark.parametrize("prior", [0, 2.5, 1e6])
def test_rates(simd_level, prior):
    problem = Problem(65, 130, 5)
    got = problem.check(prior=prior)
    if prior == 1e6:
        np.testing.assert_allclose(got.cumulative_rho, problem.cumulative_rho, rtol=1e-3)
        assert got.mismatch == pytest.approx(problem.mismatch, rel=1e-3)


@pytest.mark.parametrize("num_sites", [1, 2, 70])
@pytest.mark.parametrize("which", ["none", "first", "last", "first and last"])
def test_few_observed_sites(simd_level, num_sites, which):
    problem = Problem(67, num_sites)
    places = {"first": [0], "last": [num_sites - 1], "first and last": [0, num_sites - 1]}
    problem.observed[:] = np.isin(np.arange(num_sites), places.get(which, []))
    problem.check_events()
    got = problem.check()
    if problem.observed.sum() < 2:
        np.testing.assert_allclose(got.cumulative_rho, problem.cumulative_rho)
    if which == "none":
        assert got.mismatch == problem.mismatch
        assert got.log_likelihood.tolist() == [0, 0, 0]


@pytest.mark.parametrize("num_sites", [0, 70])
def test_no_query(simd_level, num_sites):
    problem = Problem(5, num_sites)
    nothing = np.zeros((0, -(-num_sites // 64)), np.uint64)
    for exclude in (None, np.zeros((0, 2), np.int64)):
        got = problem.learn(queries=nothing, missing=nothing, exclude=exclude)
        assert np.array_equal(got.cumulative_rho, problem.cumulative_rho)
        assert (got.mismatch, got.log_likelihood.tolist()) == (0.01, [0, 0, 0])
        assert not np.shares_memory(got.cumulative_rho, problem.cumulative_rho)


@pytest.mark.parametrize("what", ["pair", "nothing to it", "all but one"])
def test_excluded_haplotypes(simd_level, what):
    problem = Problem(66, 90)
    wanted = {
        "pair": [[0, 1], [1, -1], [65, 65]],
        "nothing to it": [[]] * 3,
        "all but one": [[h for h in range(66) if h != q] for q in range(3)],
    }[what]
    problem.exclude = np.array(wanted, np.int64).reshape(3, -1)
    problem.check_events()
    got = problem.check()
    if what == "all but one":  # every draw is of the same haplotype: nothing is to be learned
        problem_rho = problem.cumulative_rho
        np.testing.assert_allclose(got.cumulative_rho, problem_rho, rtol=1e-4)
        sites = problem.observed
        differ = problem.queries[:, sites] != problem.panel[:3, sites]
        assert got.mismatch == pytest.approx(differ.mean(), rel=1e-4)
    if what == "nothing to it":
        assert np.array_equal(got.cumulative_rho, problem.learn(exclude=None).cumulative_rho)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_missing_alleles(simd_level, share):
    problem = Problem(65, 130, 4)
    problem.missing = (np.random.default_rng(1).random((4, 130)) < share).astype(np.int8)
    problem.missing[1] = 1  # a query that lacks all
    problem.missing[2, :50] = problem.missing[2, 80:] = 1
    problem.check_events()
    got = problem.check()
    other = pack(problem.queries ^ problem.missing)
    again = problem.learn(queries=other, missing=pack(problem.missing & problem.observed))
    assert np.array_equal(got.cumulative_rho, again.cumulative_rho)
    problem.missing[:] = 1
    all_missing = problem.learn()
    np.testing.assert_allclose(all_missing.cumulative_rho, problem.cumulative_rho)
    assert all_missing.mismatch == problem.mismatch


@pytest.mark.parametrize("step", [0.0, 5e-324, 1e-300])
def test_sites_at_hardly_any_distance(simd_level, step):
    """Intervals of no distance are divided evenly, and learn from a least probability."""
    problem = Problem(40, 60, 5)
    problem.cumulative_rho = 3 * step * np.arange(60)
    got = problem.learn(iterations=60)
    assert np.isfinite(got.cumulative_rho).all()
    assert (np.diff(got.cumulative_rho) >= 0).all()
    flat = problem.learn(iterations=1).log_likelihood
    assert got.log_likelihood[-1] > flat[0] + 1


@pytest.mark.parametrize("mismatch", [0.5, 1e-4, 1e-6])
def test_an_error_of_any_size(simd_level, mismatch):
    problem = Problem(65, 130)
    problem.mismatch = mismatch
    problem.check_events()


def test_threads_change_no_bit(simd_level):
    """More queries than are worked on at once."""
    problem = Problem(66, 65, 140)
    one = problem.events()
    rates = problem.learn(threads=1)
    problem.retrieve()
    retrieved = problem.events()
    assert all(map(np.array_equal, retrieved, problem.events(threads=4)))
    problem.states = None
    for threads in (2, 4, 64):
        changed = problem.arguments_over_states(threads=threads)
        assert all(map(np.array_equal, one, _core.li_stephens_events(**changed)))
        again = problem.learn(threads=threads)
        assert np.array_equal(rates.cumulative_rho, again.cumulative_rho)
        assert rates.mismatch == again.mismatch
        assert np.array_equal(rates.log_likelihood, again.log_likelihood)
    problem.check_events()


def test_layouts(simd_level):
    problem = Problem(70, 66)
    expected = problem.learn()
    read_only = {
        "queries": frozen(pack(problem.queries)),
        "haplotype_bits": frozen(pack(problem.panel)),
        "observed": frozen(problem.observed),
        "cumulative_rho": frozen(problem.cumulative_rho),
        "exclude": frozen(np.full((3, 1), -1)),
        "missing": frozen(np.zeros((3, 2), np.uint64)),
    }
    wide = np.full((70, 5), ~np.uint64(0))
    wide[:, 1:3] = pack(problem.panel)
    for changes in (read_only, {"haplotype_bits": wide[:, 1:3]}):
        assert np.array_equal(problem.learn(**changes).cumulative_rho, expected.cumulative_rho)


# --- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("has_states", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_events_by_counting_every_path(simd_level, seed, has_states):
    """Sum over all paths of three haplotypes at four sites, with and without a draw between."""
    problem = Problem(3, 4, 1, share=1.1, seed=seed)
    problem.panel = np.array([[0, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0]], np.int8)
    problem.queries = np.array([[0, 1, seed % 2, 1]], np.int8)
    problem.cumulative_rho = np.array([0.0, 0.3, 0.4, 1.1])
    problem.mismatch = e = 0.1
    states = [[0, 1, 2]] * 4
    if has_states:
        states = [[0, 1], [0, 1], [1, 2], [0, 1, 2]]
        offsets = np.array([[0, 2, 4, 7]])
        problem.states = States(
            np.array([0, 2, 3]), offsets, np.array([0, 1, 1, 2, 0, 1, 2], np.int32)
        )
    jumps = -np.expm1(-np.diff(problem.cumulative_rho))
    total, mismatches, draws = 0.0, 0.0, np.zeros(3)
    for path in itertools.product(*states):
        for drawn in itertools.product([False, True], repeat=3):
            differs = problem.panel[path, range(4)] != problem.queries[0]
            probability = np.where(differs, e, 1 - e).prod() / len(states[0])
            for i, is_drawn in enumerate(drawn):
                even = 1 / len(states[i + 1])
                stays = float(path[i] == path[i + 1]) if path[i] in states[i + 1] else even
                probability *= jumps[i] * even if is_drawn else (1 - jumps[i]) * stays
            total += probability
            mismatches += probability * differs.sum()
            draws += probability * np.array(drawn)
    got = problem.check_events()
    np.testing.assert_allclose(got[0], draws / total, rtol=1e-5)
    assert got[1] == pytest.approx(mismatches / total, rel=1e-5)
    assert (got[2], got[3][0]) == (4, pytest.approx(math.log(total), rel=1e-5))


def mosaics_of_known_rates():
    """Return a problem whose queries draw anew ten times as often in the right half, the draws of
    each interval between two sites, and the share of alleles that differ.
    """
    random = np.random.default_rng(5)
    problem = Problem(40, 400, 80, share=1.1)
    problem.panel = random.integers(0, 2, (40, 400)).astype(np.int8)
    draw = random.random((80, 400)) < np.where(np.arange(400) < 200, 0.002, 0.02)
    draw[:, 0] = True
    start = np.maximum.accumulate(np.where(draw, np.arange(400), 0), axis=1)
    copied = np.take_along_axis(random.integers(0, 40, (80, 400)), start, axis=1)
    errors = random.random((80, 400)) < 0.01
    problem.queries = (problem.panel[copied, np.arange(400)] ^ errors).astype(np.int8)
    problem.cumulative_rho = 0.006 * np.arange(400)
    problem.mismatch = 0.05
    return problem, draw[:, 1:].sum(0), errors.mean()


def test_mosaics_of_known_rates(simd_level):
    problem, draws, errors = mosaics_of_known_rates()
    got = problem.learn(iterations=15)
    steps = np.diff(got.cumulative_rho)
    for half in (slice(0, 199), slice(199, 399)):
        assert steps[half].sum() == pytest.approx(draws[half].sum() / 80, rel=0.1)
    assert got.mismatch == pytest.approx(errors, rel=0.1)
    assert np.corrcoef(np.convolve(steps, np.ones(9)), np.convolve(draws, np.ones(9)))[0, 1] > 0.95


def test_a_copy_of_a_haplotype_does_not_switch(simd_level):
    random = np.random.default_rng(2)
    problem = Problem(40, 300, 5, share=1.1)
    problem.panel = random.integers(0, 2, (40, 300)).astype(np.int8)
    problem.queries = problem.panel[:5]
    got = problem.learn(iterations=10)
    assert got.cumulative_rho[-1] - got.cumulative_rho[0] < 0.3
    assert got.cumulative_rho[-1] - got.cumulative_rho[0] < 0.02 * problem.cumulative_rho[-1]
    assert got.mismatch == 1e-6


def test_rates_that_have_a_limit(simd_level):
    problem = Problem(40, 60, 5, share=1.1)
    problem.panel[:] = 0
    problem.queries[:] = 1
    assert problem.learn().mismatch == 0.5
    problem.cumulative_rho = np.arange(60) * 1e6  # a draw is sure
    steps = np.diff(problem.learn(prior=1).cumulative_rho)
    assert np.isfinite(steps).all()
    assert (steps > 10).all()


def test_sites_that_are_not_observed_divide_an_interval(simd_level):
    problem = Problem(40, 12, 5)
    problem.observed[:] = np.isin(np.arange(12), [2, 6, 9])
    given = np.array([5, 6, 6.5, 6.6, 6.6, 6.9, 7.5, 7.5, 7.5, 7.5, 8, 9.0])
    problem.cumulative_rho = given
    got = problem.learn(prior=2)
    learned = got.cumulative_rho
    np.testing.assert_allclose(learned[:3], given[:3])
    np.testing.assert_allclose(learned[10:] - learned[9], given[10:] - given[9])
    first, second = learned[6] - learned[2], learned[9] - learned[6]
    assert abs(first - 1) > 0.01
    assert second > 0
    np.testing.assert_allclose(learned[2:7] - learned[2], (given[2:7] - given[2]) * first)
    np.testing.assert_allclose(np.diff(learned[6:10]), second / 3)
    # The model's answer is that of the learned rho between observed sites.
    once = problem.learn(iterations=1)
    events = problem.events(cumulative_rho=once.cumulative_rho, mismatch=once.mismatch)
    assert events[3].sum() == pytest.approx(problem.learn(iterations=2).log_likelihood[1])


# --- what must hold -------------------------------------------------------------------------------

SIZES = st.tuples(st.integers(2, 70), st.integers(1, 80), st.integers(0, 10**6))


@given(SIZES, st.sampled_from(_core.simd_levels()))
def test_the_likelihood_never_falls_without_prior(sizes, name):
    problem = Problem(*sizes[:2], seed=sizes[2])
    problem.missing = (np.random.default_rng(sizes[2]).random((3, sizes[1])) < 0.2).astype(np.int8)
    with level(name):
        log_likelihood = problem.learn(iterations=12).log_likelihood
    scale = 1 + np.abs(log_likelihood).max()
    assert (np.diff(log_likelihood) > -1e-5 * scale).all()


@given(SIZES)
def test_left_and_right_and_ref_and_alt_are_alike(sizes):
    problem = Problem(*sizes[:2], seed=sizes[2])
    before = problem.learn()
    problem.panel, problem.queries = 1 - problem.panel[:, ::-1], 1 - problem.queries[:, ::-1]
    problem.observed = problem.observed[::-1].copy()
    problem.cumulative_rho = problem.cumulative_rho[-1] - problem.cumulative_rho[::-1]
    after = problem.learn()
    steps = np.diff(before.cumulative_rho), np.diff(after.cumulative_rho)[::-1]
    np.testing.assert_allclose(*steps, rtol=5e-3, atol=1e-5)
    assert after.mismatch == pytest.approx(before.mismatch, rel=5e-3)


@given(SIZES)
def test_excluded_haplotypes_are_as_if_not_there(sizes):
    problem = Problem(*sizes[:2], seed=sizes[2])
    out = np.random.default_rng(sizes[2]).permutation(sizes[0])[: sizes[0] // 2]
    problem.exclude = np.tile(out, (3, 1)).astype(np.int64)
    with_them = problem.learn()
    problem.panel, problem.exclude = np.delete(problem.panel, out, 0), None
    without = problem.learn()
    np.testing.assert_allclose(with_them.cumulative_rho, without.cumulative_rho, rtol=5e-3)
    assert with_them.mismatch == pytest.approx(without.mismatch, rel=5e-3)
