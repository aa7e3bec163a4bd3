"""The Li-Stephens kernel gives its twin's answer at every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import frozen, pack
from mosaic_problem import MosaicProblem
from snvrag.kernels import li_stephens_dosage, oracle_li_stephens

# Of a probability; sums of float32 over a few hundred haplotypes and sites.
TOLERANCE = 2e-5


class Problem(MosaicProblem):
    """The kernel's and the twin's answer."""

    def run(self, **changes):
        return li_stephens_dosage(**self.arguments(**changes))

    def expected(self):
        rows = []
        model = (self.cumulative_rho, self.mismatch)
        for q, (query, exclude) in enumerate(zip(self.queries, self.excluded(), strict=True)):
            seen = self.observed & (True if self.missing is None else self.missing[q] == 0)
            rows.append(
                oracle_li_stephens.li_stephens_dosage(query, self.panel, seen, *model, exclude)
            )
        return np.array(rows).reshape(len(self.queries), self.panel.shape[1])

    def check(self):
        got = self.run(threads=1)
        assert got.dtype == np.float32
        assert got.shape == self.queries.shape
        np.testing.assert_allclose(got, self.expected(), rtol=0, atol=TOLERANCE)
        return got


# --- against the twin -----------------------------------------------------------------------------


@pytest.mark.parametrize("num_sites", [1, 63, 64, 65, 129, 300])
def test_sizes_at_the_edges(simd_level, num_sites):
    for num_haplotypes in [1, 2, 63, 64, 65, 127, 129]:
        Problem(num_haplotypes, num_sites).check()


@pytest.mark.parametrize("num_sites", [0, 1, 2, 70])
@pytest.mark.parametrize("which", ["none", "first", "middle", "last", "all"])
def test_few_observed_sites(simd_level, num_sites, which):
    problem = Problem(67, num_sites)
    last = max(0, num_sites - 1)
    places = {"first": [0], "middle": [num_sites // 2], "last": [last], "all": range(num_sites)}
    problem.observed[:] = np.isin(np.arange(num_sites), list(places.get(which, [])))
    got = problem.check()
    if which == "none":
        frequency = np.broadcast_to(problem.panel.mean(0), got.shape)
        np.testing.assert_allclose(got, frequency, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("num_observed", [2, 3, 4, 5, 6, 7, 8, 12, 13, 99, 100, 101])
def test_every_length_of_the_last_block(simd_level, num_observed):
    Problem(5, num_observed, share=1.1).check()


def test_no_query(simd_level):
    problem = Problem(5, 70)
    assert problem.run(queries=np.zeros((0, 2), np.uint64)).shape == (0, 70)
    exclude = np.zeros((0, 2), np.int64)
    nothing = np.zeros((0, 2), np.uint64)
    assert problem.run(queries=nothing, exclude=exclude, missing=nothing).shape == (0, 70)


@pytest.mark.parametrize("num_haplotypes", [3, 64, 130])
@pytest.mark.parametrize("what", ["none", "pair", "nothing to it", "all but one"])
def test_excluded_haplotypes(simd_level, num_haplotypes, what):
    problem = Problem(num_haplotypes, 90)
    wanted = {
        "none": [[-1, -1]] * 3,
        "pair": [[0, 1], [1, -1], [num_haplotypes - 1, num_haplotypes - 1]],
        "nothing to it": [[]] * 3,
        "all but one": [[h for h in range(num_haplotypes) if h != q] for q in range(3)],
    }[what]
    problem.exclude = np.array(wanted, np.int64).reshape(3, -1)
    got = problem.check()
    if what == "all but one":
        np.testing.assert_allclose(got, problem.panel[:3], rtol=0, atol=TOLERANCE)
    if what in ("none", "nothing to it"):
        assert np.array_equal(got, problem.run(exclude=None, threads=1))


@pytest.mark.parametrize("mismatch", [0.01, 1e-6])
def test_an_excluded_haplotype_that_alone_agrees_counts_for_nothing(simd_level, mismatch):
    """A sample of the panel: its own haplotype agrees where no other does, site after site."""
    problem = Problem(66, 300, share=1.1)
    problem.mismatch = mismatch
    problem.queries = np.ones_like(problem.queries[:2])
    problem.panel[:] = 0
    problem.panel[:, ::5] = Problem(66, 60, seed=1).panel
    problem.panel[[7, 65]] = problem.queries
    problem.exclude = np.array([[7, 65], [65, 7]])
    got = problem.check()
    others = np.delete(problem.panel, [7, 65], 0)
    rest = np.arange(300) % 5 != 0
    assert not others[:, rest].any()
    assert (got[:, rest] < TOLERANCE).all()


@pytest.mark.parametrize("num_haplotypes", [1, 3, 63, 65, 100])
def test_padding_past_the_last_haplotype_counts_for_nothing(simd_level, num_haplotypes):
    """Its bits are REF, as is all of a query that no haplotype agrees with."""
    problem = Problem(num_haplotypes, 200, share=1.1)
    problem.panel[:] = 1
    problem.queries[:] = 0
    np.testing.assert_allclose(problem.check(), 1, rtol=0, atol=TOLERANCE)
    problem.panel[0, ::3] = 0
    problem.check()


def test_missing_alleles(simd_level):
    problem = Problem(65, 130)
    problem.missing = (np.random.default_rng(1).random((3, 130)) < 0.3).astype(np.int8)
    problem.missing[1] = 1  # a query that lacks all
    got = problem.check()
    frequency = problem.panel.mean(0)
    np.testing.assert_allclose(got[1], frequency, rtol=0, atol=TOLERANCE)
    # Alleles at sites that a query lacks, and marks at sites that are hidden anyway, are ignored.
    other = pack(problem.queries ^ problem.missing)
    marks = pack(problem.missing & problem.observed)
    assert np.array_equal(got, problem.run(queries=other, missing=marks))
    nothing = problem.run(missing=np.zeros((3, 3), np.uint64))
    assert np.array_equal(nothing, problem.run(missing=None))


def test_threads_and_other_queries_change_no_bit(simd_level):
    problem = Problem(130, 129, 9)
    one = problem.run(threads=1)
    for threads in (2, 4, 64, None):
        assert np.array_equal(one, problem.run(threads=threads))
    for q in range(9):
        alone = problem.run(queries=pack(problem.queries[q : q + 1]))
        assert np.array_equal(alone[0], one[q])


def test_layouts(simd_level):
    problem = Problem(70, 66)
    expected = problem.run()
    bits = pack(problem.panel.T)
    wide = np.full((66, 5), ~np.uint64(0))
    wide[:, 1:3] = bits
    assert np.array_equal(problem.run(site_bits=wide[:, 1:3]), expected)
    for view in (bits[::-1].copy()[::-1], bits.repeat(2, 0)[::2]):
        assert np.array_equal(problem.run(site_bits=view), expected)
    read_only = {
        "queries": frozen(pack(problem.queries)),
        "site_bits": frozen(bits),
        "observed": frozen(problem.observed),
        "cumulative_rho": frozen(problem.cumulative_rho),
        "exclude": frozen(np.full((3, 1), -1)),
        "missing": frozen(np.zeros((3, 2), np.uint64)),
    }
    assert np.array_equal(problem.run(**read_only), expected)


# --- known answers --------------------------------------------------------------------------------


def test_two_haplotypes_and_two_sites_by_hand(simd_level):
    """Haplotypes 00 and 11, the query 01, 0.5 switches between: four paths."""
    problem = Problem(2, 2, 1, share=1.1)
    problem.panel[:] = [[0, 0], [1, 1]]
    problem.queries[:] = [[0, 1]]
    problem.cumulative_rho[:] = [3.0, 3.5]
    problem.mismatch = e = 0.1
    jump = 1 - np.exp(-0.5)
    stay, change = 1 - jump / 2, jump / 2  # to itself and to the other
    paths = {
        (0, 0): (1 - e) * stay * e,
        (0, 1): (1 - e) * change * (1 - e),
        (1, 0): e * change * e,
        (1, 1): e * stay * (1 - e),
    }
    total = sum(paths.values())
    first = (paths[1, 0] + paths[1, 1]) / total
    second = (paths[0, 1] + paths[1, 1]) / total
    np.testing.assert_allclose(problem.check(), [[first, second]], rtol=1e-5)
    # A third of the way between them lies a hidden site at which haplotype 1 alone has ALT.
    problem.panel = np.array([[0, 0, 0], [1, 1, 1]], np.int8)
    problem.queries = np.array([[0, 0, 1]], np.int8)
    problem.observed = np.array([True, False, True])
    problem.cumulative_rho = np.array([3.0, 3.0 + 0.5 / 3, 3.5])
    between = first * 2 / 3 + second / 3
    np.testing.assert_allclose(problem.check(), [[first, between, second]], rtol=1e-5)


def test_a_mosaic_without_errors_is_followed(simd_level):
    problem = Problem(40, 300, 1, step=0.001)
    problem.panel = np.random.default_rng(0).integers(0, 2, (40, 300)).astype(np.int8)
    problem.queries = np.concatenate([problem.panel[8, :150], problem.panel[31, 150:]])[None]
    problem.observed[:] = np.arange(300) % 2 == 0
    got = problem.check()
    away = np.abs(np.arange(300) - 150) > 10
    np.testing.assert_allclose(got[0, away], problem.queries[0, away], atol=0.02)


# --- extremes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mismatch", [0.5, 0.1, 1e-4, 1e-6, 1e-12])
def test_an_error_of_any_size(simd_level, mismatch):
    problem = Problem(65, 130)
    problem.mismatch = mismatch
    got = problem.check()
    if mismatch == 0.5:
        frequency = np.broadcast_to(problem.panel.mean(0), (3, 130))
        np.testing.assert_allclose(got, frequency, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("mismatch", [1e-13, 1e-45, 1e-300])
def test_errors_too_small_for_float32_count_as_the_least(simd_level, mismatch):
    problem = Problem(65, 130)
    problem.panel[:, ::2] = 1 - problem.queries[0, ::2]  # agree nowhere with one query
    least = problem.run(mismatch=1e-12)
    assert np.isfinite(least).all()
    np.testing.assert_allclose(problem.run(mismatch=mismatch), least, rtol=0, atol=TOLERANCE)


def test_huge_switches_leave_each_site_to_itself(simd_level):
    """Every site draws anew: the frequency, weighed by what the site itself shows."""
    problem = Problem(65, 130, share=1.1)
    problem.cumulative_rho = np.arange(130) * 1e6
    frequency, mismatch = problem.panel.mean(0), problem.mismatch
    alt = frequency * np.where(problem.queries, 1 - mismatch, mismatch)
    ref = (1 - frequency) * np.where(problem.queries, mismatch, 1 - mismatch)
    np.testing.assert_allclose(problem.check(), alt / (alt + ref), rtol=0, atol=TOLERANCE)


def test_switches_between_some_sites_alone(simd_level):
    problem = Problem(65, 130)
    problem.cumulative_rho = np.floor(problem.cumulative_rho / 0.5) * 0.5
    np.testing.assert_allclose(problem.run(), problem.expected(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("step", [0.0, 1e-300, 1e-12])
def test_no_switch_between_sites(simd_level, step):
    """Distances of zero, as within one place of a map; other haplotypes stay in reach."""
    problem = Problem(65, 300, share=0.9)
    problem.cumulative_rho = step * np.arange(300)
    got = problem.run()
    assert np.isfinite(got).all()
    assert ((got >= 0) & (got <= 1)).all()
    # By the least probability of a switch, which the twin does not know.
    problem.cumulative_rho = 1e-7 * np.cumsum(problem.observed)
    between = problem.observed  # interpolation between observed sites differs by design
    np.testing.assert_allclose(got[:, between], problem.expected()[:, between], rtol=0, atol=1e-3)


@pytest.mark.parametrize("mismatch", [0.01, 1e-6])
def test_a_long_run_of_mismatches(simd_level, mismatch):
    """No haplotype matches at a thousand sites; after them, matches reveal the copied one again."""
    problem = Problem(33, 1200, 2, share=1.1, step=1e-4)
    problem.mismatch = mismatch
    problem.panel[:, 100:1100] = 1 - problem.queries[0, 100:1100]
    problem.check()


# --- what must not matter, and what must ----------------------------------------------------------

SIZES = st.tuples(st.integers(2, 70), st.integers(1, 80), st.integers(0, 10**6))


@given(SIZES, st.integers(2, 4))
def test_what_is_done_to_the_panel(sizes, times):
    """Its order does not matter, nor that it is there several times, nor which allele is REF."""
    problem = Problem(*sizes[:2], seed=sizes[2])
    before, panel = problem.run(), problem.panel
    order = np.random.default_rng(sizes[2]).permutation(sizes[0])
    for changed in (panel[order], np.tile(panel, (times, 1))):
        problem.panel = changed
        np.testing.assert_allclose(problem.run(), before, rtol=0, atol=TOLERANCE)
    problem.panel, problem.queries = 1 - panel, 1 - problem.queries
    np.testing.assert_allclose(problem.run(), 1 - before, rtol=0, atol=TOLERANCE)
    assert ((before >= 0) & (before <= 1)).all()


@given(SIZES)
def test_left_and_right_are_alike_and_hidden_alleles_do_not_matter(sizes):
    problem = Problem(*sizes[:2], seed=sizes[2])
    before = problem.run()
    problem.queries = np.where(problem.observed, problem.queries, 1 - problem.queries)
    assert np.array_equal(problem.run(), before)
    for name in ("panel", "queries"):
        setattr(problem, name, getattr(problem, name)[:, ::-1])
    problem.observed = problem.observed[::-1].copy()
    problem.cumulative_rho = problem.cumulative_rho[-1] - problem.cumulative_rho[::-1]
    np.testing.assert_allclose(problem.run()[:, ::-1], before, rtol=0, atol=TOLERANCE)


@given(SIZES)
def test_excluded_haplotypes_are_as_if_not_there(sizes):
    problem = Problem(*sizes[:2], seed=sizes[2])
    out = np.random.default_rng(sizes[2]).permutation(sizes[0])[: sizes[0] // 2]
    problem.exclude = np.tile(out, (3, 1)).astype(np.int64)
    with_them = problem.run()
    problem.panel, problem.exclude = np.delete(problem.panel, out, 0), None
    np.testing.assert_allclose(with_them, problem.run(), rtol=0, atol=TOLERANCE)


@given(SIZES, st.integers(1, 70))
def test_hidden_sites_added_at_the_ends_change_no_other(sizes, num):
    problem = Problem(*sizes[:2], seed=sizes[2])
    before = problem.run()
    sides = ((0, 0), (num, num))
    problem.panel, problem.queries = np.pad(problem.panel, sides), np.pad(problem.queries, sides)
    problem.observed = np.pad(problem.observed, num)
    problem.cumulative_rho = np.pad(problem.cumulative_rho, num, mode="edge")
    after = problem.run()
    np.testing.assert_allclose(after[:, num:-num], before, rtol=0, atol=TOLERANCE)
    assert not after[:, :num].any()


def test_bits_past_the_last_site_and_haplotype_do_not_matter(simd_level):
    problem = Problem(70, 70)
    expected = problem.run()
    queries, bits = pack(problem.queries), pack(problem.panel.T)
    queries[:, 1] |= ~np.uint64(2**6 - 1)
    bits[:, 1] |= ~np.uint64(2**6 - 1)
    assert np.array_equal(problem.run(queries=queries), expected)
    np.testing.assert_allclose(problem.run(site_bits=bits), expected, rtol=0, atol=TOLERANCE)
