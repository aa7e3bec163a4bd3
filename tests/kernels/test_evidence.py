"""The evidence is the slow twin's at every instruction set, and what is known otherwise."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import frozen, level, pack
from mosaic_problem import MosaicProblem
from snvrag import _core
from snvrag.kernels import (
    EVIDENCE,
    States,
    li_stephens_dosage,
    li_stephens_evidence,
    oracle_li_stephens,
)

# Of logarithms; sums of float32 over a hundred states and sites.
TOLERANCE = 2e-3
COLUMN = {name: i for i, name in enumerate(EVIDENCE)}


class Problem(MosaicProblem):
    """The kernel's and the twin's answer, by default at all sites."""

    def __init__(self, num_haplotypes, num_sites, num_queries=2, **options):
        super().__init__(num_haplotypes, num_sites, num_queries, **options)
        # Also rare alleles, and those that nobody, one and all but one have.
        self.panel[:, ::3] &= self.panel[::-1, ::3]
        self.panel[:, 1::3] |= self.panel[::-1, 1::3]
        self.panel[1:, ::7] = 0
        self.panel[:1, 5::7] = 0
        self.panel[1:, 5::7] = 1
        self.wanted = np.arange(num_sites)

    def run(self, **changes):
        counts = self.panel.sum(axis=0, dtype=np.int64)
        good = self.arguments_over_states(sites=self.wanted, alt_count=counts[self.wanted])
        return li_stephens_evidence(**{**good, **changes})

    def expected(self):
        return np.array(
            [
                oracle_li_stephens.li_stephens_evidence(model, self.wanted.tolist(), exclude)
                for model, exclude in zip(self.models(), self.excluded(), strict=True)
            ]
        )

    def check(self, expected=None):
        got = self.run(threads=1)
        assert got.dtype == np.float32
        assert_near(got, self.expected() if expected is None else expected)
        return got


def assert_near(got, expected, tolerance=TOLERANCE):
    got, expected = got.copy(), expected.copy()
    assert got.shape == expected.shape
    for name, i in COLUMN.items():
        if name == "largest_carrier":  # its complement is the difference of two float32
            got[..., i], expected[..., i] = probability(got[..., i]), probability(expected[..., i])
        np.testing.assert_allclose(got[..., i], expected[..., i], 0, tolerance, err_msg=name)


def probability(odds):
    return 1 / (1 + np.exp(-odds))


def same(got, expected):
    return np.array_equal(got.view(np.uint32), expected.view(np.uint32))


# --- against the twin -----------------------------------------------------------------------------


@functools.cache
def of_size(num_haplotypes, num_sites, has_states):
    problem = Problem(num_haplotypes, num_sites)
    if has_states:
        problem.retrieve()
    return problem, problem.expected()


@pytest.mark.parametrize("has_states", [False, True])
@pytest.mark.parametrize("num_sites", [1, 2, 63, 64, 65, 129])
def test_sizes_at_the_edges(simd_level, num_sites, has_states):
    for num_haplotypes in [1, 2, 63, 64, 65, 129]:
        problem, expected = of_size(num_haplotypes, num_sites, has_states)
        problem.check(expected)


@functools.cache
def of_few_observed(num_sites, which, has_states):
    problem = Problem(67, num_sites)
    last = num_sites - 1
    places = {"first": [0], "last": [last], "first and last": [0, last], "all": range(num_sites)}
    problem.observed[:] = np.isin(np.arange(num_sites), list(places.get(which, [])))
    problem.exclude = np.array([[0, 66], [3, -1]])
    if has_states:
        problem.retrieve()
    return problem, problem.expected()


@pytest.mark.parametrize("has_states", [False, True])
@pytest.mark.parametrize("which", ["none", "first", "last", "first and last", "all"])
def test_few_observed_sites(simd_level, which, has_states):
    for num_sites in (1, 2, 150):
        problem, expected = of_few_observed(num_sites, which, has_states)
        problem.check(expected)


@pytest.mark.parametrize("has_states", [False, True])
def test_excluded_haplotypes(simd_level, has_states):
    problem = Problem(66, 90, 3)
    problem.exclude = np.array([[0, 1], [65, -1], [4, 4]])
    if has_states:
        problem.retrieve()
    problem.check()


def test_all_but_one_excluded(simd_level):
    problem = Problem(66, 90)
    problem.exclude = np.array([[h for h in range(66) if h != q] for q in range(2)])
    got = problem.check()
    minor = problem.panel == (2 * problem.panel.sum(axis=0) <= 66)
    certain = (got[..., COLUMN["log_odds"]] > 0) == minor[:2]
    assert certain.all()
    np.testing.assert_allclose(
        got[..., COLUMN["minor_count"]], np.log1p(1.0 * minor[:2]), atol=1e-6
    )


@pytest.mark.parametrize("has_states", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_missing_alleles(simd_level, share, has_states):
    problem = Problem(65, 130, 3)
    problem.missing = (np.random.default_rng(1).random((3, 130)) < share).astype(np.int8)
    problem.missing[1] = 1  # a query that lacks all
    problem.missing[2, :50] = problem.missing[2, 80:] = 1
    if has_states:
        problem.retrieve()
    got = problem.check()
    other = pack(problem.queries ^ problem.missing)
    assert same(problem.run(queries=other, missing=pack(problem.missing & problem.observed)), got)


@pytest.mark.parametrize("mismatch", [0.5, 1e-4, 1e-8])
def test_an_error_of_any_size(simd_level, mismatch):
    problem = Problem(65, 100)
    problem.mismatch = mismatch
    problem.check()
    problem.retrieve()
    problem.check()


@pytest.mark.parametrize("step", [0.0, 1e-4, 20.0])
def test_sites_at_any_distance(simd_level, step):
    problem = Problem(40, 90, step=step)
    problem.observed[60:80] = problem.observed[0] = True
    problem.retrieve()
    for states in (problem.states, None):
        problem.states = states
        got = problem.run()
        expected = problem.expected()
        if step == 0:  # a draw has a least probability between neighbours, but none is sure
            assert np.isfinite(got).all()
        else:
            assert_near(got, expected)


@given(st.data())
def test_random_problems(data):
    def draw(*values):
        return data.draw(st.sampled_from(values))

    num_sites = draw(3, 20, 65, 90)
    problem = Problem(
        draw(2, 10, 33, 65, 80), num_sites, share=draw(0.1, 0.5, 1.1), seed=data.draw(SEEDS)
    )
    random = np.random.default_rng(data.draw(SEEDS))
    if data.draw(st.booleans()):
        problem.exclude = np.stack([random.permutation(len(problem.panel))[:1] for _ in range(2)])
    if data.draw(st.booleans()):
        problem.missing = (random.random((2, num_sites)) < draw(0.1, 0.7)).astype(np.int8)
    if data.draw(st.booleans()):
        problem.retrieve(neighbours=draw(1, 2, 5, 40), step=draw(1, 2, 7, 64))
    problem.wanted = np.flatnonzero(random.random(num_sites) < draw(0.2, 1))
    with level(draw(*_core.simd_levels())):
        problem.check()


SEEDS = st.integers(0, 10**6)

# --- known answers --------------------------------------------------------------------------------


def path_sums(problem, site, states):
    """Sum over all paths through all sites, with and without a draw between: the probabilities of
    ALT at a site, and of a draw between its observed neighbours.

    ``states`` are those at each site: a hidden site has those of the next observed one.
    """
    size = len(problem.cumulative_rho)
    jumps = -np.expm1(-np.diff(problem.cumulative_rho))
    seen = np.flatnonzero(problem.observed)
    left, right = seen[seen < site].max(), seen[seen >= site].min()
    total = alt = drawn_here = 0.0
    for path in itertools.product(*states):
        for draws in itertools.product([False, True], repeat=size - 1):
            weight = 1 / len(states[0])
            for i, is_drawn in enumerate(draws):
                if is_drawn:
                    weight *= jumps[i] / len(states[i + 1])
                elif path[i] in states[i + 1]:
                    weight *= (1 - jumps[i]) * (path[i] == path[i + 1])
                else:
                    weight *= (1 - jumps[i]) / len(states[i + 1])
            differs = (problem.panel[path, range(size)] != problem.queries[0])[seen]
            weight *= np.where(differs, problem.mismatch, 1 - problem.mismatch).prod()
            total += weight
            alt += weight * problem.panel[path[site], site]
            drawn_here += weight * any(draws[left:right])
    return alt / total, drawn_here / total


@pytest.mark.parametrize("has_states", [False, True])
def test_by_counting_every_path(simd_level, has_states):
    """Four haplotypes at five sites, two of them hidden; at site 3, the states change."""
    problem = Problem(4, 5, 1)
    problem.panel = np.array(
        [[0, 0, 1, 1, 0], [1, 0, 0, 1, 0], [0, 1, 1, 0, 1], [1, 0, 0, 0, 1]], np.int8
    )
    problem.queries = np.array([[0, 0, 1, 0, 1]], np.int8)
    problem.observed = np.array([True, False, True, False, True])
    problem.cumulative_rho = np.array([0.0, 0.3, 0.4, 1.1, 1.3])
    problem.mismatch = 0.1
    states = [[0, 1, 2, 3]] * 5
    if has_states:
        states = [[0, 1, 2]] * 3 + [[1, 2, 3]] * 2
        problem.states = States(
            np.array([0, 2]), np.array([[0, 3, 6]]), np.array([0, 1, 2, 1, 2, 3], np.int32)
        )
    got = problem.check()[0]
    for site in (1, 2, 3, 4):
        alt, drawn = path_sums(problem, site, states)
        minor = alt if 2 * problem.panel[:, site].sum() <= 4 else 1 - alt
        assert probability(got[site, COLUMN["log_odds"]]) == pytest.approx(minor, abs=1e-5)
        assert probability(got[site, COLUMN["switch_odds"]]) == pytest.approx(drawn, abs=1e-5)


def test_a_query_that_copies_one_haplotype(simd_level):
    """What its only carrier is, and how long the matches are, is known."""
    random = np.random.default_rng(3)
    problem = Problem(100, 200, 1)
    problem.panel = random.integers(0, 2, (100, 200)).astype(np.int8)
    problem.panel[:, 101] = np.arange(100) == 17
    problem.queries = problem.panel[17:18].copy()
    problem.observed[:] = True
    problem.observed[101] = False
    problem.cumulative_rho = 0.01 * np.arange(200)
    problem.queries[0, 60] ^= 1
    problem.queries[0, 130] ^= 1
    at = dict(zip(EVIDENCE, problem.check()[0, 101], strict=True))
    assert at["log_odds"] > 5
    assert at["largest_carrier"] > 5
    assert at["carrier_length_before"] == pytest.approx(np.log(1 + 0.40), abs=1e-4)
    assert at["carrier_length_behind"] == pytest.approx(np.log(1 + 0.28), abs=1e-4)
    assert at["longest_carrier"] == at["longest"] == pytest.approx(np.log(1.68), abs=1e-4)
    assert at["minor_count"] == at["carrier_count"] == pytest.approx(np.log(2))
    assert at["carrier_concentration"] == pytest.approx(0, abs=1e-3)
    assert at["rho_before"] == at["rho_behind"] == pytest.approx(np.log(0.0101))


@pytest.mark.parametrize(("carrier", "before", "behind"), [(0, 3, 3), (1, 3, 2), (2, 2, 3)])
def test_lengths_end_where_a_haplotype_is_no_state(simd_level, carrier, before, behind):
    problem = Problem(3, 9, 1)
    problem.panel[:], problem.queries[:] = 0, 0
    problem.panel[carrier, 4] = 1
    problem.observed = np.arange(9) != 4
    problem.cumulative_rho = np.arange(9) * 1.0
    rows = [[0, 1], [0, 1, 2], [0, 1, 2], [0, 2]]  # of two observed sites each
    offsets = np.cumsum([0, *map(len, rows)])[None]
    problem.states = States(np.array([0, 2, 4, 6]), offsets, np.concatenate(rows).astype(np.int32))
    at = dict(zip(EVIDENCE, problem.check()[0, 4], strict=True))
    assert at["carrier_length_before"] == pytest.approx(np.log1p(before))
    assert at["carrier_length_behind"] == pytest.approx(np.log1p(behind))
    assert at["longest_carrier"] == pytest.approx(np.log1p(before + behind))


@pytest.mark.parametrize("alt", [2, 3, 4])
def test_the_minor_allele_is_alt_where_at_most_half_have_it(simd_level, alt):
    problem = Problem(6, 5, 1)
    problem.panel[:, 2] = np.arange(6) < alt
    count = alt if alt <= 3 else 6 - alt
    got = problem.check()[0, 2]
    assert got[COLUMN["carrier_count"]] == pytest.approx(np.log1p(count))
    problem.exclude = np.array([[0]])
    assert problem.check()[0, 2, COLUMN["minor_count"]] == pytest.approx(
        np.log1p(count - (alt <= 3))
    )


@pytest.mark.parametrize("share", [0.7, 1.1])
def test_the_answer_is_the_dosage_where_intervals_are_short(simd_level, share):
    problem = Problem(130, 200, 4, share=share, step=0.002)
    alt = li_stephens_dosage(**problem.arguments())
    is_alt = 2 * problem.panel.sum(axis=0) <= 130
    minor = np.where(is_alt, alt, 1 - alt)
    got = probability(problem.run()[..., COLUMN["log_odds"]])
    assert np.abs(minor - 0.5).max() > 0.49
    np.testing.assert_allclose(got, minor, atol=2e-5 if share > 1 else 1e-2)


# --- what must not matter -------------------------------------------------------------------------

SIZES = st.tuples(st.integers(2, 70), st.integers(1, 80), SEEDS, st.booleans())


def of_sizes(sizes):
    problem = Problem(*sizes[:2], seed=sizes[2])
    if sizes[3]:
        problem.retrieve()
    return problem


@given(SIZES)
def test_ref_and_alt_are_alike(sizes):
    problem = of_sizes(sizes)
    # Without ties, in which ALT is the minor allele.
    problem.wanted = np.flatnonzero(2 * problem.panel.sum(axis=0) != len(problem.panel))
    before = problem.run()
    problem.panel, problem.queries = 1 - problem.panel, 1 - problem.queries
    assert same(problem.run(), before)


@given(SIZES)
def test_the_order_of_haplotypes_does_not_matter(sizes):
    problem = of_sizes(sizes)
    before = problem.run()
    order = np.random.default_rng(sizes[2]).permutation(len(problem.panel))
    problem.panel = problem.panel[order]
    if problem.states is not None:
        place = np.argsort(order)[problem.states.haplotypes].astype(np.int32)
        for a, b in itertools.pairwise(problem.states.offsets.ravel()):
            place[a:b].sort()
        problem.states = problem.states._replace(haplotypes=place)
    assert_near(problem.run(), before)


@given(SIZES)
def test_left_and_right_are_alike(sizes):
    """At hidden sites, with states that do not change."""
    problem = Problem(*sizes[:2], seed=sizes[2])
    problem.wanted = np.flatnonzero(~problem.observed)
    before = problem.run()
    last = sizes[1] - 1
    problem.panel, problem.queries = problem.panel[:, ::-1].copy(), problem.queries[:, ::-1].copy()
    problem.observed = problem.observed[::-1].copy()
    problem.cumulative_rho = problem.cumulative_rho[last] - problem.cumulative_rho[::-1]
    problem.wanted = last - problem.wanted[::-1]
    other = {"before": "behind", "behind": "before", "forward": "backward", "backward": "forward"}
    words = [[other.get(word, word) for word in name.split("_")] for name in EVIDENCE]
    mirrored = [COLUMN["_".join(name)] for name in words]
    assert_near(problem.run()[:, ::-1][..., mirrored], before)


@given(SIZES)
def test_excluded_haplotypes_are_as_if_not_there(sizes):
    problem = Problem(*sizes[:2], seed=sizes[2])
    out = np.random.default_rng(sizes[2]).permutation(sizes[0])[: sizes[0] // 2]
    left = np.delete(problem.panel, out, 0)
    minor_before, minor_after = (2 * p.sum(axis=0) <= len(p) for p in (problem.panel, left))
    problem.wanted = np.flatnonzero(minor_before == minor_after)
    problem.exclude = np.tile(out, (2, 1)).astype(np.int64)
    with_them = problem.run()
    problem.panel, problem.exclude = left, None
    assert_near(with_them, problem.run())


@pytest.mark.parametrize("has_states", [False, True])
def test_threads_other_queries_and_other_sites_change_no_bit(simd_level, has_states):
    problem = Problem(66, 140, 40)
    problem.missing = (np.random.default_rng(1).random((40, 140)) < 0.2).astype(np.int8)
    problem.exclude = np.arange(80).reshape(40, 2) % 66
    if has_states:
        problem.retrieve()
    one = problem.run(threads=1)
    for threads in (2, 4, 64, None):
        assert same(problem.run(threads=threads), one)
    for wanted in ([], [0], [139], [3, 4, 77], problem.wanted[1::2]):
        problem.wanted = np.array(wanted, np.int64)
        assert same(problem.run(), one[:, wanted])
    problem.wanted = np.arange(140)
    for q in (0, 17, 39):
        row = slice(q, q + 1)
        changed = {"queries": pack(problem.queries[row]), "missing": pack(problem.missing[row])}
        states = problem.states and problem.states._replace(offsets=problem.states.offsets[row])
        got = problem.run(**changed, exclude=problem.exclude[row], states=states)
        assert same(got, one[row])


def test_no_query(simd_level):
    nothing = np.zeros((0, 2), np.uint64)
    got = Problem(5, 70).run(queries=nothing, missing=nothing)
    assert got.shape == (0, 70, len(EVIDENCE))


def test_no_site(simd_level):
    problem = Problem(5, 0)
    assert problem.run().shape == (2, 0, len(EVIDENCE))


def test_hidden_alleles_of_queries_and_bits_past_the_last_site_do_not_matter(simd_level):
    problem = Problem(70, 70)
    expected = problem.run()
    queries, bits = pack(problem.queries ^ ~problem.observed), pack(problem.panel)
    queries[:, 1] |= ~np.uint64(2**6 - 1)
    bits[:, 1] |= ~np.uint64(2**6 - 1)
    assert same(problem.run(queries=queries, haplotype_bits=bits), expected)


def test_layouts(simd_level):
    problem = Problem(70, 66)
    problem.retrieve()
    expected = problem.run()
    bits = pack(problem.panel)
    wide = np.full((70, 5), ~np.uint64(0))
    wide[:, 1:3] = bits
    for view in (wide[:, 1:3], bits[::-1].copy()[::-1], bits.repeat(2, 0)[::2]):
        assert same(problem.run(haplotype_bits=view), expected)
    read_only = {
        "queries": frozen(pack(problem.queries)),
        "haplotype_bits": frozen(bits),
        "observed": frozen(problem.observed),
        "cumulative_rho": frozen(problem.cumulative_rho),
        "exclude": frozen(np.full((2, 1), -1)),
        "missing": frozen(np.zeros((2, 2), np.uint64)),
        "sites": frozen(problem.wanted),
        "states": States(*map(frozen, problem.states)),
    }
    assert same(problem.run(**read_only), expected)
