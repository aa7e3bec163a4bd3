"""Retrieved states are those of the slow twin, and of answers known otherwise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import frozen, pack, random_alleles
from mosaic_problem import MosaicProblem
from snvrag.kernels import States, oracle_states, retrieve_states

SEEDS = st.integers(0, 10**6)


class Problem(MosaicProblem):
    """The kernel's and the twin's answer, as lists [query][block]."""

    def __init__(self, num_haplotypes, num_sites, num_queries=3, **changes):
        super().__init__(num_haplotypes, num_sites, num_queries, **changes)
        self.position_cm = self.cumulative_rho
        self.options = {"neighbours": 4, "step": 5, "within_cm": 0.2}
        self.unphased = None

    def arguments(self, **changes):
        good = super().arguments(**self.options)
        del good["cumulative_rho"], good["mismatch"]
        good["unphased"] = None if self.unphased is None else pack(self.unphased)
        return {**good, "position_cm": self.position_cm, **changes}

    def run(self, **changes):
        return retrieve_states(**self.arguments(**changes))

    def lists(self, **changes):
        return as_lists(self.run(**changes))

    def check(self):
        got = self.run(threads=1)
        assert [a.dtype for a in got] == [np.int64, np.int64, np.int32]
        none = np.zeros_like(self.queries)
        starts, expected = oracle_states.retrieve_states(
            self.queries,
            self.panel,
            self.observed,
            self.position_cm,
            exclude=self.excluded(),
            missing=none if self.missing is None else self.missing,
            unphased=self.unphased,
            **self.options,
        )
        assert got.block_starts.tolist() == starts
        groups = len(self.queries) // self.options.get("group_size", 1)
        assert got.offsets.shape == (groups, len(starts) + 1)
        assert as_lists(got) == expected
        return expected


def as_lists(states: States) -> list[list[list[int]]]:
    """Return the states [query][block], after a check that they are laid out as they should be."""
    ends = states.offsets[:, -1]
    assert (np.diff(states.offsets, axis=1) >= 0).all()
    assert states.offsets[:, 0].tolist() == [0, *ends[:-1]][: len(ends)]
    assert len(states.haplotypes) == (ends[-1] if len(ends) else 0)
    return [
        [states.haplotypes[a:b].tolist() for a, b in itertools.pairwise(row)]
        for row in states.offsets
    ]


def same(got: States, expected: States) -> bool:
    return all(map(np.array_equal, got, expected))


def random_bits(share, *shape, seed=0):
    """Return ones in this share of places."""
    return (np.random.default_rng(seed).random(shape) < share).astype(np.int8)


def untied(num_haplotypes=60, num_sites=81, num_queries=3, seed=0):
    """Return a problem of one block in whose middle no two haplotypes are equal to either side."""
    problem = Problem(num_haplotypes, num_sites, num_queries, share=1.1)
    problem.panel = random_alleles(num_haplotypes, num_sites, seed)
    problem.queries = random_alleles(num_queries, num_sites, seed + 1)
    problem.options["step"] = num_sites
    return problem


# --- against the twin -----------------------------------------------------------------------------


@pytest.mark.parametrize("num_sites", [1, 2, 63, 64, 65, 129])
def test_sizes_at_the_edges(num_sites):
    for num_haplotypes in [1, 2, 8, 9, 63, 64, 65]:
        problem = Problem(num_haplotypes, num_sites, 4, share=1.1)
        problem.check()
        problem.unphased = np.ones((2, num_sites), np.int8)
        problem.options["group_size"] = 2
        problem.check()


@pytest.mark.parametrize("num_sites", [0, 1, 2, 70])
@pytest.mark.parametrize("which", ["none", "first", "middle", "last"])
def test_few_observed_sites(num_sites, which):
    problem = Problem(67, num_sites)
    last = max(0, num_sites - 1)
    places = {"first": [0], "middle": [num_sites // 2], "last": [last]}
    problem.observed[:] = np.isin(np.arange(num_sites), places.get(which, []))
    problem.exclude = np.array([[0, 66], [3, -1], [-1, -1]])
    states = problem.check()
    if not problem.observed.any():
        assert [len(query) for query in states] == [1, 1, 1]
        assert [len(query[0]) for query in states] == [65, 66, 67]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_problems(data):
    random_problem(data, 3).check()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_problems_without_phase(data):
    problem = random_problem(data, 4)
    problem.unphased = data.draw(bits_of_shares((2, problem.queries.shape[1])))
    if data.draw(st.booleans()):  # many different alleles, and many matches equally short
        problem.queries = random_bits(0.5, *problem.queries.shape, seed=data.draw(SEEDS))
    problem.options["group_size"] = data.draw(st.sampled_from([1, 2, 4]))
    problem.check()


def random_problem(data, num_queries):
    def draw(*values):
        return data.draw(st.sampled_from(values))

    num_sites = draw(3, 20, 65, 90)
    problem = Problem(
        draw(2, 10, 33, 65, 80),
        num_sites,
        num_queries,
        share=draw(0.3, 1.1),
        seed=data.draw(st.integers(0, 99)),
    )
    problem.options["neighbours"] = draw(1, 2, 5, 40)
    problem.options["step"] = draw(1, 2, 7, 8, 64, 100)
    problem.options["within_cm"] = draw(0.0, 0.05, 0.5, 100.0)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    size = len(problem.panel)
    if data.draw(st.booleans()):
        problem.exclude = np.stack([random.permutation(size)[:1] for _ in range(num_queries)])
    if data.draw(st.booleans()):  # some queries have few haplotypes left
        problem.exclude = np.full((num_queries, size), -1)
        num_excluded = size - min(size, draw(1, 2, 4))
        problem.exclude[draw(0, 1, -1), :num_excluded] = random.permutation(size)[:num_excluded]
    if data.draw(st.booleans()):
        problem.missing = data.draw(bits_of_shares((num_queries, num_sites)))
    if data.draw(st.booleans()):  # many haplotypes are equal
        problem.panel = problem.panel[random.integers(0, min(3, size), size)]
    return problem


@st.composite
def bits_of_shares(draw, shape):
    return random_bits(draw(st.sampled_from([0.1, 0.7, 1])), *shape, seed=draw(st.integers(0, 99)))


def test_no_query():
    none = np.zeros((0, 2), np.uint64)
    got = Problem(40, 70, share=1.1).run(queries=none, missing=none)
    assert got.block_starts.tolist() == list(range(0, 70, 5))
    assert got.offsets.shape == (0, 15)
    assert got.haplotypes.shape == (0,)


@pytest.mark.parametrize("group_size", [1, 2])
def test_threads_and_other_samples_change_nothing(group_size):
    """Groups of threads are split between samples, not within them."""
    problem = Problem(130, 200, 38)
    problem.missing = random_bits(0.2, 38, 200, seed=1)
    problem.unphased = random_bits(0.6, 19, 200, seed=2)
    problem.exclude = np.arange(76).reshape(38, 2)
    problem.options["group_size"] = group_size
    one = problem.run(threads=1)
    for threads in (2, 3, 4, 6, 8, 14, 64, None):
        assert same(problem.run(threads=threads), one)
    expected = as_lists(one)
    for sample in range(19):
        row = slice(2 * sample, 2 * sample + 2)
        changed = {
            "queries": pack(problem.queries[row]),
            "missing": pack(problem.missing[row]),
            "exclude": problem.exclude[row],
            "unphased": pack(problem.unphased[sample : sample + 1]),
        }
        of_sample = slice(row.start // group_size, row.stop // group_size)
        assert problem.lists(**changed) == expected[of_sample]


def test_threads_and_other_queries_change_nothing():
    problem = Problem(130, 200, 40)
    problem.missing = random_bits(0.2, 40, 200, seed=1)
    problem.exclude = np.arange(80).reshape(40, 2)
    one = problem.run(threads=1)
    for threads in (2, 3, 4, 8, 64, None):
        assert same(problem.run(threads=threads), one)
    expected = as_lists(one)
    for q in range(40):
        row = slice(q, q + 1)
        queries, missing = pack(problem.queries[row]), pack(problem.missing[row])
        changed = {"queries": queries, "missing": missing, "exclude": problem.exclude[row]}
        assert problem.lists(**changed) == [expected[q]]


def test_layouts():
    problem = Problem(70, 66)
    expected = problem.run()
    bits = pack(problem.panel.T)
    wide = np.full((66, 5), ~np.uint64(0))
    wide[:, 1:3] = bits
    for view in (wide[:, 1:3], bits[::-1].copy()[::-1], bits.repeat(2, 0)[::2]):
        assert same(problem.run(site_bits=view), expected)
    read_only = {
        "queries": frozen(pack(problem.queries)),
        "site_bits": frozen(bits),
        "observed": frozen(problem.observed),
        "position_cm": frozen(problem.position_cm),
        "exclude": frozen(np.full((3, 1), -1)),
        "missing": frozen(np.zeros((3, 2), np.uint64)),
    }
    assert same(problem.run(**read_only), expected)
    of_samples = {name: read_only[name][:2] for name in ("queries", "exclude", "missing")}
    unphased = frozen(~np.zeros((1, 2), np.uint64))
    got = problem.run(**{**read_only, **of_samples}, unphased=unphased)
    assert same(got, problem.run(**of_samples, unphased=unphased.copy()))


# --- known answers --------------------------------------------------------------------------------


def test_by_hand():
    """Of five haplotypes, each direction's longest match at the middle of each of three blocks."""
    alleles = [
        "000 110 011",
        "110 000 000",  # to the left of the second block
        "001 001 110",  # to its right
        "111 011 001",
        "010 111 111",
    ]
    problem = Problem(5, 9, 1, share=1.1)
    problem.panel = np.array([list(row.replace(" ", "")) for row in alleles]).astype(np.int8)
    problem.queries = np.array([list("110001110")]).astype(np.int8)
    problem.position_cm = np.arange(9) * 1.0
    problem.options = {"neighbours": 1, "step": 3, "within_cm": 0.0}
    # Ending at sites 1, 4 and 7: haplotypes 3 (which ties with 1: the order is 0, 3, 1, 4, 2), 1
    # and 2; beginning there: 1, 2 and 2. Those of an adjacent block are states as well.
    assert problem.check() == [[[1, 2, 3], [1, 2, 3], [1, 2]]]


def test_a_choice_holds_in_its_block_the_adjacent_and_those_that_are_near():
    """Only one haplotype matches in the middle block, at 0 cM, where it alone is chosen."""
    problem = Problem(40, 90, 1, share=1.1)
    problem.panel[:], problem.queries[:] = 0, 1
    problem.panel[20:, ::2] = 1
    problem.panel[7, 40:50] = 1
    problem.position_cm = np.arange(-45, 45) * 1.0
    problem.options = {"neighbours": 1, "step": 10, "within_cm": 0.0}
    for within_cm, first, last in ((0, 3, 5), (14, 3, 5), (15, 3, 6), (16, 2, 6), (25, 2, 7)):
        problem.options["within_cm"] = float(within_cm)
        is_state = [7 in block for block in problem.check()[0]]
        assert is_state == [first <= block <= last for block in range(9)], within_cm


def test_the_copied_haplotype_is_a_state_wherever_it_is_copied():
    problem = Problem(300, 400, 1, share=0.5)
    problem.panel = random_alleles(300, 400)
    problem.queries = np.concatenate([problem.panel[8, :200], problem.panel[31, 200:]])[None]
    problem.options["neighbours"] = 1
    blocks = problem.lists()[0]
    half = len(blocks) // 2
    assert all(8 in block for block in blocks[: half - 2])
    assert all(31 in block for block in blocks[half + 2 :])


def test_own_haplotypes_are_never_states():
    problem = Problem(60, 120, 1)
    problem.queries = problem.panel[:6].copy()
    problem.exclude = np.array([[0, 1], [0, 1], [2, 3], [2, 3], [4, 5], [4, 5]])
    for query, own in zip(problem.check(), problem.excluded(), strict=True):
        for block in query:
            assert block
            assert not {*own} & {*block}


@pytest.mark.parametrize("num_left", [1, 7, 8])
def test_of_few_haplotypes_all_are_states(num_left):
    problem = Problem(60, 50, 2)
    problem.exclude = np.stack([np.arange(60 - num_left), np.full(60 - num_left, -1)])
    states = problem.check()
    assert all(block == list(range(60 - num_left, 60)) for block in states[0])
    assert all(len(block) < 60 for block in states[1])


@pytest.mark.parametrize("num_haplotypes", [100, 1000, 1024])
def test_of_equal_haplotypes_those_taken_are_spread_over_the_panel(num_haplotypes):
    problem = Problem(num_haplotypes, 60, 1, share=1.1)
    problem.panel[:] = problem.queries
    problem.options["neighbours"] = 10
    got = problem.lists()[0]
    assert all(block == got[0] for block in got)
    assert len(got[0]) == 20
    gaps = np.diff([0, *got[0], num_haplotypes])
    assert gaps.max() < 3 * num_haplotypes / 20


def test_a_missing_allele_is_that_of_the_nearest_neighbour():
    """The query follows the haplotype it matched before, in each direction."""
    problem = Problem(200, 120, 1, share=1.1)
    problem.panel = random_alleles(200, 120)
    problem.queries = problem.panel[11:12].copy()
    problem.options["neighbours"] = 1
    problem.missing = (np.arange(120)[None] % 3 == 1).astype(np.int8)
    wrong = problem.queries ^ problem.missing
    got = problem.lists(queries=pack(wrong))
    assert all(11 in block for block in got[0])
    assert got == problem.lists()
    # Marks at sites that are hidden anyway do not matter.
    problem.observed = np.arange(120) % 2 == 0
    marks = pack(problem.missing | ~problem.observed)
    assert problem.lists(missing=marks) == problem.check()
    nothing = problem.run(missing=np.zeros((1, 2), np.uint64))
    assert same(nothing, problem.run(missing=None))


# --- without phase --------------------------------------------------------------------------------


def mosaics(num_sites=120, num_samples=2, seed=3):
    """Return a problem of random haplotypes, whose queries are the first of them."""
    problem = Problem(200, num_sites, 2 * num_samples, share=1.1)
    problem.panel = random_alleles(200, num_sites, seed)
    problem.queries = problem.panel[: 2 * num_samples].copy()
    problem.unphased = np.ones((num_samples, num_sites), np.int8)
    problem.options["neighbours"] = 1
    return problem


def test_unphased_alleles_are_phased_by_the_nearest_neighbours():
    """Both queries follow a haplotype each through sites without phase."""
    problem = mosaics()
    problem.unphased[:, :20], problem.unphased[:, -20:] = 0, 0
    swapped = problem.queries.reshape(2, 2, -1)[:, ::-1].reshape(4, -1)
    unknown = problem.unphased.repeat(2, 0) & random_bits(0.5, 2, 120).repeat(2, 0)
    problem.queries = np.where(unknown, swapped, problem.queries)
    got = problem.check()
    for query, blocks in enumerate(got):
        assert all(query in block for block in blocks)
    phased = problem.lists(unphased=None)
    assert sum(q in block for q, blocks in enumerate(phased) for block in blocks) < 80


def test_the_order_of_unphased_alleles_does_not_matter():
    problem = mosaics()
    problem.missing = random_bits(0.1, 4, 120)
    expected = problem.check()
    swapped = {
        name: pack(bits.reshape(2, 2, -1)[:, ::-1].reshape(4, -1))
        for name, bits in (("queries", problem.queries), ("missing", problem.missing))
    }
    assert problem.lists(**swapped) == expected


# A genotype; the alleles and matches of the nearest neighbours; the alleles that are filled in.
FILLED = [
    ("01", (0, 1), (2, 3), (0, 1)),
    ("01", (1, 0), (2, 3), (1, 0)),
    ("01", (1, 0), (3, 3), (1, 0)),
    ("01", (0, 0), (3, 2), (0, 1)),
    ("01", (0, 0), (2, 3), (1, 0)),
    ("01", (1, 1), (3, 2), (1, 0)),
    ("01", (1, 1), (2, 3), (0, 1)),
    ("01", (1, 1), (3, 3), (1, 0)),
    ("01", (0, 0), (2, 2), (0, 1)),
    (".1", (0, 1), (3, 2), (0, 1)),
    (".1", (1, 0), (3, 2), (1, 0)),
    (".1", (1, 1), (3, 2), (1, 1)),
    (".1", (0, 0), (3, 2), (0, 1)),
    (".1", (0, 0), (2, 3), (1, 0)),
    (".1", (0, 0), (3, 3), (0, 1)),
    (".0", (1, 1), (2, 3), (0, 1)),
    (".0", (1, 1), (2, 2), (1, 0)),
    (".0", (0, 0), (2, 2), (0, 0)),
    ("..", (0, 0), (2, 3), (0, 0)),
    ("11", (0, 0), (2, 3), (1, 1)),
]


@pytest.mark.parametrize(("genotype", "alleles", "matches", "expected"), FILLED)
def test_alleles_without_phase_by_hand(genotype, alleles, matches, expected):
    """Alike in both directions: the sites left and right of the middle one mirror each other."""

    def mirrored(left, middle):
        return [int(a) for a in f"{left}{middle}{left[::-1]}"]

    left = [{3: "000", 2: "100"}[matches[0]], {3: "111", 2: "011"}[matches[1]], "001", "001"]
    problem = Problem(4, 7, 2, share=1.1)
    problem.panel = np.array([*map(mirrored, left, (*alleles, 0, 1))], np.int8)
    problem.position_cm = np.arange(7) * 1.0
    problem.options = {"neighbours": 1, "step": 7, "within_cm": 0.0}
    problem.unphased = np.array([[0, 0, 0, 1, 0, 0, 0]], np.int8)
    for order in (genotype, genotype[::-1]):
        held = [a.replace(".", "0") for a in order]
        problem.queries = np.array([*map(mirrored, ("000", "111"), held)], np.int8)
        problem.missing = np.zeros((2, 7), np.int8)
        problem.missing[:, 3] = [a == "." for a in order]
        got = problem.check()
        assert [{*problem.panel[blocks[0], 3].tolist()} for blocks in got] == [
            {a} for a in expected
        ]


@pytest.mark.parametrize("num_sites", [1, 70])
def test_the_first_site_without_phase(num_sites):
    """Both queries are then at one place; the first has its nearest neighbour's allele there."""
    problem = Problem(50, num_sites, 2, share=1.1)
    problem.panel = np.repeat(np.arange(50) % 2, num_sites).reshape(50, -1).astype(np.int8)
    problem.queries = problem.panel[:2].copy()
    problem.unphased = np.ones((1, num_sites), np.int8)
    problem.options["neighbours"] = 10
    # The order begins with haplotype 0 and ends with 19 (49 * 31 % 50): the first query has the
    # allele of even ones forward and that of odd ones backward, the second the others.
    for blocks in problem.check():
        assert [[sum(h % 2 == odd for h in block) for odd in (0, 1)] for block in blocks] == [
            [10, 10] for _ in blocks
        ]


def test_known_alleles_and_marks_that_do_not_count():
    """Where both alleles are equal, or missing, or hidden, a mark of unknown phase is as none."""
    problem = Problem(70, 90, 2)
    problem.missing = random_bits(0.3, 2, 90)
    problem.missing[1] = problem.missing[0]
    problem.unphased = random_bits(0.5, 1, 90, seed=1)
    marks = pack(problem.unphased | ~problem.observed)
    marks[:, 1] |= ~np.uint64(2**26 - 1)
    expected = problem.run()
    assert same(problem.run(unphased=marks), expected)
    counted = problem.unphased[0] & (problem.queries[0] ^ problem.queries[1]) & 1
    counted &= 1 - problem.missing[0]
    assert counted.any()
    assert same(problem.run(unphased=pack(counted[None])), expected)
    assert not same(problem.run(unphased=None), expected)
    # The alleles of a missing one do not matter.
    assert same(problem.run(queries=pack(problem.queries ^ problem.missing)), expected)
    nothing = problem.run(unphased=np.zeros((1, 2), np.uint64))
    assert same(nothing, problem.run(unphased=None))


# --- groups of queries ----------------------------------------------------------------------------


@pytest.mark.parametrize("group_size", [1, 2, 3, 6])
@pytest.mark.parametrize("with_few", [False, True])
def test_a_group_has_the_states_of_its_queries(group_size, with_few):
    problem = Problem(90, 80, 6)
    problem.missing = random_bits(0.2, 6, 80)
    problem.exclude = np.full((6, 85), -1)
    problem.exclude[:, 0] = np.arange(6)
    if with_few:
        problem.exclude[3] = np.arange(85)
    single = problem.lists()
    problem.options["group_size"] = group_size
    for group, blocks in enumerate(problem.check()):
        members = range(group_size * group, group_size * (group + 1))
        each = zip(*(single[q] for q in members), strict=True)
        expected = [sorted(set().union(*states)) for states in each]
        if with_few and 3 in members:
            allowed = [{*range(90)} - {*problem.exclude[q].tolist()} for q in members]
            expected = [sorted(set().union(*allowed))] * len(blocks)
        assert blocks == expected


# --- what must not matter -------------------------------------------------------------------------


@settings(deadline=None)
@given(SEEDS)
def test_the_order_of_haplotypes_that_do_not_tie_does_not_matter(seed):
    problem = untied(seed=seed)
    before = problem.lists()
    order = np.random.default_rng(seed).permutation(60)
    problem.panel = problem.panel[order]
    after = problem.lists()
    assert [[sorted(order[block]) for block in query] for query in after] == before
    assert len(before[0][0]) <= 8


@settings(deadline=None)
@given(SEEDS)
def test_left_and_right_and_the_alleles_are_alike(seed):
    problem = untied(seed=seed)
    before = problem.lists()
    mirrored = {"queries": pack(problem.queries[:, ::-1]), "site_bits": pack(problem.panel.T[::-1])}
    assert problem.lists(**mirrored) == before
    flipped = {"queries": pack(1 - problem.queries), "site_bits": pack(1 - problem.panel.T)}
    assert problem.lists(**flipped) == before


@settings(deadline=None)
@given(SEEDS)
def test_excluded_haplotypes_are_as_if_not_there(seed):
    problem = untied(seed=seed)
    out = np.sort(np.random.default_rng(seed).permutation(60)[:30])
    problem.exclude = np.tile(out, (3, 1))
    with_them = problem.lists()
    left = np.delete(np.arange(60), out)
    problem.panel, problem.exclude = problem.panel[left], None
    without = [[left[block].tolist() for block in query] for query in problem.lists()]
    assert with_them == without


def test_hidden_sites_and_bits_past_the_last_do_not_matter():
    problem = Problem(70, 70)
    expected = problem.run()
    hidden = ~problem.observed
    queries, bits = pack(problem.queries ^ hidden), pack((problem.panel ^ hidden).T)
    queries[:, 1] |= ~np.uint64(2**6 - 1)
    bits[:, 1] |= ~np.uint64(2**6 - 1)
    assert same(problem.run(queries=queries, site_bits=bits), expected)
