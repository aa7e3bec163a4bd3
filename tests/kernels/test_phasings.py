"""Draws have the twin's probabilities at every instruction set, and what is known otherwise."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import frozen, level, pack, unpack
from mosaic_problem import MosaicProblem
from snvrag import _core
from snvrag.kernels import States, oracle_li_stephens, oracle_phasings, sample_phasings

# Relative, of a log-likelihood; sums of float32 over pairs of up to a hundred states.
TOLERANCE = 1e-5
SEEDS = st.integers(0, 10**6)
FILES = ("unphased", "phased", "mixed")


class Problem(MosaicProblem):
    """Samples of two haplotypes each; the kernel's and the twin's answers."""

    def __init__(self, num_states, num_sites, num_samples=2, *, file="mixed", **options):
        super().__init__(num_states, num_sites, 2 * num_samples, **{"share": 0.8, **options})
        self.random = np.random.default_rng([num_states, num_sites])
        self.keys = np.arange(num_samples, dtype=np.uint64) + 5
        self.unphased = self.random.random((num_samples, num_sites)) < 0.5
        if file != "mixed":
            self.unphased[:] = file == "unphased"
        self.switch_error = 0.1
        self.missing = np.zeros_like(self.queries)

    def lose(self, share):
        self.missing = (self.random.random(self.queries.shape) < share).astype(np.int8)

    def choose_states(self, step=3, share=0.6):
        """Give each sample random states, others in every block."""
        starts = np.arange(0, max(1, self.observed.sum()), step)
        rows, offsets, num_samples = [], [0], len(self.keys)
        for _ in range(num_samples * len(starts)):
            chosen = self.random.random(len(self.panel)) < share
            chosen[self.random.integers(len(self.panel))] = True
            rows.append(np.flatnonzero(chosen))
            offsets.append(offsets[-1] + len(rows[-1]))
        begin = np.arange(num_samples)[:, None] * len(starts) + np.arange(len(starts) + 1)
        self.states = States(starts, np.array(offsets)[begin], np.concatenate(rows, dtype=np.int32))

    def run(self, **changes):
        good = self.arguments_over_states(
            keys=self.keys,
            unphased=pack(self.unphased),
            switch_error=self.switch_error,
            draws=3,
            threads=1,
        )
        return sample_phasings(**{**good, **changes})

    def samples(self):
        """Return what the twin takes, for each sample."""
        sites = np.flatnonzero(self.observed).tolist()
        result = []
        for i, unphased in enumerate(self.unphased):
            states = self.states_of(i, len(sites))
            one, other = (
                oracle_li_stephens.Model(
                    self.queries[row],
                    self.panel,
                    self.missing[row],
                    sites,
                    self.cumulative_rho,
                    self.mismatch,
                    states,
                )
                for row in (2 * i, 2 * i + 1)
            )
            result.append(oracle_phasings.Sample(one, other, unphased, self.switch_error))
        return result

    def expected(self):
        return [oracle_phasings.phases(sample) for sample in self.samples()]

    def orders(self, got, sample):
        """Return (D, T) bits of a sample's draws at the observed sites."""
        bits = unpack(got.swapped[sample], len(self.observed)).astype(bool)
        assert not bits[:, ~self.observed].any()
        return bits[:, self.observed]

    def check_likelihood(self, expected=None):
        got = self.run()
        assert got.log_likelihood.dtype == np.float64
        exact = [phases.log_likelihood for phases in expected or self.expected()]
        np.testing.assert_allclose(got.log_likelihood, exact, rtol=TOLERANCE, atol=1e-6)
        return got

    def check_draws(self, expected, draws=3000):
        """Compare frequencies of swaps with their probabilities; keys are fixed, so no luck."""
        got = self.run(draws=draws)
        for i, phases in enumerate(expected):
            orders = self.orders(got, i)
            is_other = np.ones(orders.shape[1], bool)
            is_other[phases.heterozygotes] = False
            assert not orders[:, is_other].any()
            orders = orders[:, phases.heterozygotes]
            assert not orders[:, :1].any()
            swaps = (orders[:, 1:] != orders[:, :-1]).sum(axis=0)
            assert_counts(swaps, phases.swaps, draws)


def assert_counts(counts, probabilities, draws):
    """Check binomial counts to 5 standard deviations; one of a few thousand may be by 4.5."""
    deviation = np.sqrt(probabilities * (1 - probabilities) * draws)
    assert (np.abs(counts - probabilities * draws) <= 5 * deviation + 2).all()


# --- against the twin -----------------------------------------------------------------------------


@functools.cache
def of_size(num_states, num_sites, file, has_states):
    problem = Problem(num_states, num_sites, file=file)
    problem.lose(0.1)
    if has_states:
        problem.choose_states()
    return problem, problem.expected()


@pytest.mark.parametrize("has_states", [False, True])
@pytest.mark.parametrize("file", FILES)
def test_sizes_at_the_edges(simd_level, file, has_states):
    for num_states in (1, 2, 15, 16, 17, 31, 63, 64, 65):
        problem, expected = of_size(num_states, 13, file, has_states)
        problem.check_likelihood(expected)
    for num_sites in (1, 2, 3, 63, 64, 65, 90, 129):
        problem, expected = of_size(9, num_sites, file, has_states)
        problem.check_likelihood(expected)


@pytest.mark.parametrize("has_states", [False, True])
@pytest.mark.parametrize("file", FILES)
def test_swaps_are_drawn_by_their_probability(simd_level, file, has_states):
    for num_states, num_sites in ((1, 20), (2, 20), (6, 60), (17, 40), (40, 90)):
        problem, expected = of_size(num_states, num_sites, file, has_states)
        problem.check_draws(expected)


@pytest.mark.parametrize("switch_error", [0.0, 0.01, 0.5, 1.0])
def test_phase_is_evidence(simd_level, switch_error):
    problem = Problem(8, 40)
    problem.switch_error = switch_error
    problem.choose_states(step=10)
    expected = problem.expected()
    problem.check_likelihood(expected)
    problem.check_draws(expected)


@pytest.mark.parametrize("mismatch", [0.5, 1e-4, 1e-8])
def test_an_error_of_any_size(simd_level, mismatch):
    problem = Problem(20, 60)
    problem.mismatch = mismatch
    problem.check_likelihood()
    problem.choose_states()
    expected = problem.expected()
    problem.check_likelihood(expected)
    problem.check_draws(expected, 1000)


@pytest.mark.parametrize("step", [1e-4, 1.0, 20.0])
def test_sites_at_any_distance(simd_level, step):
    problem = Problem(12, 50, step=step)
    problem.check_draws(problem.expected(), 1000)
    problem.choose_states()
    expected = problem.expected()
    problem.check_likelihood(expected)
    problem.check_draws(expected, 1000)


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_missing_alleles(simd_level, share):
    problem = Problem(20, 70, 3)
    problem.lose(share)
    problem.choose_states()
    expected = problem.expected()
    got = problem.check_likelihood(expected)
    problem.check_draws(expected, 1000)
    changed = {"queries": pack(problem.queries ^ problem.missing)}
    assert_same(got, problem.run(**changed))
    if share == 1:
        assert np.abs(got.log_likelihood).max() < 1e-5


@given(st.data())
def test_random_problems(data):
    def draw(*values):
        return data.draw(st.sampled_from(values))

    options = {"file": draw(*FILES), "share": draw(0.1, 0.7, 1.1), "seed": data.draw(SEEDS)}
    problem = Problem(draw(1, 2, 10, 16, 33), draw(1, 5, 40, 70), draw(1, 3), **options)
    problem.switch_error = draw(0.0, 0.03, 0.9)
    if data.draw(st.booleans()):
        problem.lose(draw(0.1, 0.6))
    if data.draw(st.booleans()):
        problem.choose_states(draw(1, 4, 40), draw(0.1, 0.9))
    with level(draw(*_core.simd_levels())):
        problem.check_likelihood()


# --- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("has_states", [False, True])
@pytest.mark.parametrize("file", FILES)
def test_by_counting_every_phasing(simd_level, file, has_states):
    """A phasing's weight is the likelihood of both of its haplotypes, and of the file's phase."""
    problem = Problem(5, 14, 1, file=file, share=1.1)
    problem.queries[0, ::2] = problem.queries[1, ::2]  # seven sites may differ
    problem.queries[1, 1:11:2] = 1 - problem.queries[0, 1:11:2]
    problem.switch_error = 0.2
    if has_states:
        problem.choose_states()
    sample = problem.samples()[0]
    differ = np.flatnonzero(problem.queries[0] != problem.queries[1])
    phased = [i for i, site in enumerate(differ) if not problem.unphased[0, site]]
    weights = {}
    for orders in itertools.product([False, True], repeat=len(differ)):
        pair = problem.queries.copy()
        pair[:, differ] = np.where(orders, pair[::-1, differ], pair[:, differ])
        swaps = sum(orders[a] != orders[b] for a, b in itertools.pairwise(phased))
        kept = max(0, len(phased) - 1) - swaps
        weight = 0.2**swaps * 0.8**kept * 0.5 ** (len(differ) - len(phased))
        if phased:
            weight /= 2  # the first phased site's order is arbitrary
        for alleles, model in zip(pair, (sample.first, sample.second), strict=True):
            events = oracle_li_stephens.li_stephens_events(model._replace(query=alleles))
            weight *= np.exp(events[3])
        weights[orders] = weight
    got = problem.run(draws=20_000)
    total = sum(weights.values())
    assert got.log_likelihood[0] == pytest.approx(np.log(total), rel=1e-5)
    drawn, counts = np.unique(problem.orders(got, 0)[:, differ], axis=0, return_counts=True)
    found = dict(zip(map(tuple, drawn.tolist()), counts, strict=True))
    for orders, weight in weights.items():
        if not orders[0]:
            other = weights[tuple(not order for order in orders)]
            share = np.array((weight + other) / total)
            assert_counts(found.get(orders, 0), share, 20_000)
    assert len(found) > 4


def test_a_file_that_is_never_or_always_wrong(simd_level):
    problem = Problem(9, 80, file="phased")
    problem.choose_states()
    problem.switch_error = 0.0
    assert not problem.run().swapped.any()
    problem.switch_error = 1.0
    for i, phases in enumerate(problem.expected()):
        orders = problem.orders(problem.run(), i)[:, phases.heterozygotes]
        assert (orders == np.arange(orders.shape[1]) % 2).all()
        assert orders.shape[1] > 10


def test_a_file_that_is_wrong_half_the_time_says_nothing(simd_level):
    problem = Problem(20, 80, file="phased")
    problem.choose_states()
    problem.switch_error = 0.5
    unphased = problem.run(unphased=pack(np.ones_like(problem.unphased)))
    np.testing.assert_allclose(problem.run().log_likelihood, unphased.log_likelihood, rtol=1e-6)
    assert problem.run().swapped.any()


@pytest.mark.parametrize("seed", range(3))
def test_haplotypes_of_the_panel_are_found(simd_level, seed):
    """A sample of two haplotypes, one of which switches once, is phased as it was."""
    random = np.random.default_rng(seed)
    problem = Problem(60, 200, 1, file="unphased", share=1.1)
    problem.panel = random.integers(0, 2, (60, 200)).astype(np.int8)
    true = problem.panel[[3, 50]]
    true[:, 100:] = problem.panel[[7, 50], 100:]
    order = random.random(200) < 0.5
    problem.queries = np.where(order, true[::-1], true)
    problem.cumulative_rho, problem.mismatch = np.arange(200) * 1e-3, 1e-4
    orders = problem.orders(problem.run(draws=50), 0)
    differ = true[0] != true[1]
    wrong = np.diff((orders ^ order)[:, differ], axis=1)
    assert not wrong.any()
    assert differ.sum() > 80


def test_alleles_that_nobody_has(simd_level):
    problem = Problem(20, 60, share=1.1)
    problem.panel[:], problem.queries[:] = 0, 1
    problem.mismatch = 1e-6
    problem.choose_states()
    got = problem.check_likelihood()
    assert not got.swapped.any()
    problem.queries[0] = 0
    expected = problem.expected()
    problem.check_likelihood(expected)
    problem.check_draws(expected, 1000)


def test_no_distance(simd_level):
    """A draw has a least probability: whatever the alleles, a path is left."""
    problem = Problem(20, 100, share=1.1)
    problem.cumulative_rho[:] = 0
    problem.mismatch = 1e-12
    problem.choose_states()
    for states in (problem.states, None):
        got = problem.run(states=states)
        assert np.isfinite(got.log_likelihood).all()
        assert (got.log_likelihood < 0).all()


# --- sizes ----------------------------------------------------------------------------------------


def test_nothing_to_phase(simd_level):
    problem = Problem(20, 70)
    problem.queries[1::2] = problem.queries[::2]
    problem.unphased[:] = True
    assert not problem.check_likelihood().swapped.any()
    problem.observed[:] = False
    got = problem.run()
    assert (got.swapped.shape, got.swapped.dtype) == ((2, 3, 2), np.uint64)
    assert not got.swapped.any()
    assert got.log_likelihood.tolist() == [0, 0]


@pytest.mark.parametrize("num_sites", [0, 70])
def test_no_sample(simd_level, num_sites):
    problem = Problem(5, num_sites)
    nothing = np.zeros((0, -(-num_sites // 64)), np.uint64)
    arrays = {"queries": nothing, "missing": nothing, "unphased": nothing, "keys": problem.keys[:0]}
    got = problem.run(**arrays)
    assert got.swapped.shape == (0, 3, nothing.shape[1])
    assert got.log_likelihood.shape == (0,)


def test_no_site(simd_level):
    got = Problem(5, 0).run()
    assert got.swapped.shape == (2, 3, 0)
    assert got.log_likelihood.tolist() == [0, 0]


def test_one_state_and_one_site(simd_level):
    """With m a mismatch, one allele of a heterozygote differs: m (1 - m), in either order."""
    for file in FILES:
        problem = Problem(1, 1, 1, file=file, share=1.1)
        problem.queries = np.array([[1], [0]], np.int8)
        got = problem.check_likelihood()
        assert got.log_likelihood[0] == pytest.approx(np.log(0.01 * 0.99), rel=1e-6)
        assert not got.swapped.any()


def test_excluded_haplotypes_are_as_if_not_there(simd_level):
    problem = Problem(66, 60, 2)
    problem.exclude = np.array([[0, 65], [64, -1]])
    got = problem.check_likelihood()
    for i, out in enumerate(([0, 65], [64])):
        panel = pack(np.delete(problem.panel, out, axis=0))
        rows = slice(2 * i, 2 * i + 2)
        alone = problem.run(
            queries=pack(problem.queries[rows]),
            missing=pack(problem.missing[rows]),
            unphased=pack(problem.unphased[i : i + 1]),
            keys=problem.keys[i : i + 1],
            haplotype_bits=panel,
            exclude=None,
        )
        assert np.array_equal(alone.swapped[0], got.swapped[i])
        assert alone.log_likelihood[0] == got.log_likelihood[i]
    problem.exclude = np.array([list(range(65)), list(range(1, 66))])
    problem.check_likelihood()


def test_states_that_do_not_change_are_all_haplotypes(simd_level):
    """However the observed sites are divided into blocks."""
    problem = Problem(20, 300)
    expected = problem.run(draws=20)
    num_observed = int(problem.observed.sum())
    for step in (1, 7, 100, 1000):
        starts = np.arange(0, num_observed, step)
        offsets = np.arange(2 * (len(starts) + 1)) * 20
        offsets = offsets.reshape(2, -1) - np.array([[0], [20]])
        copied = np.tile(np.arange(20, dtype=np.int32), 2 * len(starts))
        assert_same(problem.run(states=States(starts, offsets, copied), draws=20), expected)


# --- what must not matter -------------------------------------------------------------------------


def assert_same(got, expected):
    assert all(map(np.array_equal, got, expected))


def test_threads_other_samples_and_draws_change_no_bit(simd_level):
    problem = Problem(30, 90, 7)
    problem.lose(0.1)
    problem.choose_states()
    expected = problem.run(draws=9)
    for threads in (2, 3, 64):
        assert_same(problem.run(draws=9, threads=threads), expected)
    few = problem.run(draws=2)
    assert np.array_equal(few.swapped, expected.swapped[:, :2])
    for i in (0, 3, 6):
        rows = slice(2 * i, 2 * i + 2)
        alone = problem.run(
            queries=pack(problem.queries[rows]),
            missing=pack(problem.missing[rows]),
            unphased=pack(problem.unphased[i : i + 1]),
            keys=problem.keys[i : i + 1],
            states=problem.states._replace(offsets=problem.states.offsets[i : i + 1].copy()),
            draws=9,
        )
        assert np.array_equal(alone.swapped[0], expected.swapped[i])
        assert alone.log_likelihood[0] == expected.log_likelihood[i]
    other = problem.run(draws=9, keys=problem.keys + np.uint64(100))
    assert not np.array_equal(other.swapped, expected.swapped)


@pytest.mark.parametrize("file", FILES[:2])
def test_more_states_than_the_draws_of_a_sample_can_share(file):
    problem = Problem(1000, 100, 1, file=file)
    problem.choose_states(step=8, share=0.8)
    many = problem.run(draws=100)
    for draws in (1, 20):
        assert np.array_equal(problem.run(draws=draws).swapped, many.swapped[:, :draws])


def test_draws_are_not_the_same():
    problem = Problem(30, 90, 2, file="unphased")
    got = problem.run(draws=20)
    assert len(np.unique(got.swapped[0], axis=0)) > 10
    same_sample = {"keys": np.array([1, 1], np.uint64)}
    problem.queries[2:], problem.unphased[1] = problem.queries[:2], problem.unphased[0]
    got = problem.run(draws=20, **same_sample)
    assert np.array_equal(got.swapped[0], got.swapped[1])


@given(SEEDS)
def test_the_order_of_the_two_haplotypes_does_not_matter(seed):
    problem = Problem(10, 50, seed=seed)
    problem.lose(0.2)
    before = problem.run().log_likelihood
    order = np.arange(4) ^ 1
    problem.queries, problem.missing = problem.queries[order], problem.missing[order]
    np.testing.assert_allclose(problem.run().log_likelihood, before, rtol=TOLERANCE)


def test_bits_that_do_not_count(simd_level):
    problem = Problem(12, 70)
    problem.choose_states()
    expected = problem.run()
    hidden = ~problem.observed
    same = problem.queries[::2] == problem.queries[1::2]
    problem.unphased |= same | hidden
    problem.queries[:, hidden] ^= 1
    problem.missing[:, hidden] = 1
    assert_same(problem.run(), expected)
    assert_same(problem.run(missing=None), expected)
    nowhere = problem.run(unphased=np.zeros((2, 2), np.uint64))
    assert_same(problem.run(unphased=None), nowhere)


def test_layouts(simd_level):
    problem = Problem(70, 66)
    expected = problem.run()
    read_only = {
        "queries": frozen(pack(problem.queries)),
        "haplotype_bits": frozen(pack(problem.panel)),
        "observed": frozen(problem.observed),
        "cumulative_rho": frozen(problem.cumulative_rho),
        "keys": frozen(problem.keys),
        "unphased": frozen(pack(problem.unphased)),
        "exclude": frozen(np.full((2, 1), -1)),
        "missing": frozen(np.zeros((4, 2), np.uint64)),
    }
    wide = np.full((70, 5), ~np.uint64(0))
    wide[:, 1:3] = pack(problem.panel)
    for changes in (read_only, {"haplotype_bits": wide[:, 1:3]}):
        assert_same(problem.run(**changes), expected)
