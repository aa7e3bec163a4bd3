"""One phase of many draws: its order, its phase sets, and how it goes on over a cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from snvrag.imputation.phase_sets import Phase


def _draws(*counted: tuple[int, str]) -> NDArray[np.bool_]:
    """Return draws of 0 and 1, each so many times."""
    rows = [[bit == "1" for bit in bits] for count, bits in counted for _ in range(count)]
    return np.array(rows, bool)


def _phase(draws: NDArray[np.bool_]) -> Phase:
    """Return the phase of heterozygotes at sites 0, 1, ... and positions 10, 20, ..."""
    site = np.arange(draws.shape[1])
    return Phase.of_draws(site, 10 * site + 10, draws)


@pytest.mark.parametrize(
    ("draws", "swapped", "phase_set", "linked"),
    [
        ([(4, "")], "", [], ""),
        ([(3, "0"), (1, "1")], "0", [10], "1"),
        ([(10, "01")], "01", [10, 10], "11"),
        # At a tie the order of the file; at nine of ten the set goes on, below it ends.
        ([(5, "00"), (5, "01")], "00", [10, 20], "11"),
        ([(1, "00"), (9, "01")], "01", [10, 10], "11"),
        ([(2, "00"), (8, "01")], "01", [10, 20], "11"),
        # Steps count, not places: the second set is sure in itself, and swapped as often as not.
        ([(4, "0001"), (6, "0110")], "0110", [10, 20, 20, 20], "1111"),
        # One that is unsure to both neighbours, which are sure to each other, is left out, ...
        ([(4, "000"), (6, "010")], "010", [10, 20, 10], "101"),
        ([(4, "001"), (6, "011")], "011", [10, 20, 10], "101"),
        # ... but not where the set ends anyway; of two neighbours the first, again and again.
        ([(3, "000"), (3, "010"), (2, "011"), (2, "001")], "000", [10, 20, 30], "111"),
        ([(5, "0000"), (5, "0101")], "0000", [10, 20, 10, 40], "1011"),
        ([(5, "000000"), (5, "010101")], "000000", [10, 20, 10, 40, 10, 60], "101011"),
        # The first and the last have one neighbour.
        ([(5, "0100"), (5, "0011")], "0011", [10, 20, 20, 20], "1111"),
    ],
)
def test_known_answers(draws: Any, swapped: str, phase_set: list[int], linked: str) -> None:
    phase = _phase(_draws(*draws))
    assert phase.swapped.tolist() == [bit == "1" for bit in swapped]
    assert phase.phase_set.tolist() == phase_set
    assert phase.linked.tolist() == [bit == "1" for bit in linked]


@st.composite
def _any_draws(make: Any) -> NDArray[np.bool_]:
    random = np.random.default_rng(make(st.integers(0, 10**6)))
    num_draws, num_sites = make(st.integers(1, 12)), make(st.integers(0, 12))
    sure = random.random(num_sites) < make(st.sampled_from([0.0, 0.5, 0.9]))
    common, others = random.random(num_sites) < 0.5, random.random((num_draws, num_sites)) < 0.5
    result: NDArray[np.bool_] = np.where(sure, common, others)
    return result


@given(draws=_any_draws(), seed=st.integers(0, 99))
def test_what_holds_of_every_phase(draws: NDArray[np.bool_], seed: int) -> None:
    phase = _phase(draws)
    # Draws have no order of their own, and which haplotype is the first one is a name.
    flips = np.random.default_rng(seed).random((len(draws), 1)) < 0.5
    for same in (draws[::-1], draws ^ flips):
        other = _phase(same)
        assert (other.swapped == phase.swapped).all()
        assert (other.phase_set == phase.phase_set).all()
        assert (other.linked == phase.linked).all()
    # A set is named by its first site, and has every neighbour as most draws have it.
    for name in np.unique(phase.phase_set):
        members = np.flatnonzero(phase.phase_set == name)
        assert phase.position[members[0]] == name
        steps = draws[:, members[1:]] ^ draws[:, members[:-1]]
        agree = steps == (phase.swapped[members[1:]] ^ phase.swapped[members[:-1]])
        assert (agree.mean(axis=0) >= 0.9).all()
    linked = np.flatnonzero(phase.linked)
    assert set(linked[[0, -1]] if draws.shape[1] else []) <= {0, draws.shape[1] - 1}
    # Draws that are all alike are the answer, but for the order of the two haplotypes.
    if draws.shape[1]:
        alike = _phase(np.repeat(draws[:1], 5, axis=0))
        assert (alike.swapped == draws[0] ^ draws[0, 0]).all()
        assert (alike.phase_set == 10).all()


def test_sites_between_have_what_the_nearest_linked_one_has() -> None:
    """The second heterozygote, at 20, is in a set of its own; the third, at 30, begins another."""
    phase = _phase(_draws((5, "0000"), (5, "0100")))
    phase = Phase(
        phase.site, phase.position, phase.swapped, np.array([10, 20, 30, 30]), phase.linked
    )
    assert phase.linked.tolist() == [True, False, True, True]
    position = np.array([1, 10, 19, 20, 21, 29, 35, 36, 40, 99])
    site = np.full(position.size, 99)
    sets = phase.phase_set_at(site, position).tolist()
    assert sets == [10, 10, 10, 10, 30, 30, 30, 30, 30, 30]
    draws = _draws((1, "0001"), (1, "1100"))
    swaps = phase.swaps(draws, site, position).astype(int).tolist()
    assert swaps == [[0, 0, 0, 0, 0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]]
    # A heterozygote has its own, also of two at one position.
    own = np.arange(4)
    assert phase.phase_set_at(own, np.full(4, 25)).tolist() == [10, 20, 30, 30]
    assert (phase.swaps(draws, own, np.full(4, 25)) == draws ^ phase.swapped).all()
    none = _phase(np.zeros((2, 0), bool))
    assert not none.phase_set_at(site, position).any()
    assert not none.swaps(draws[:, :0], site, position).any()


def _of(sites: str, swapped: str, phase_set: list[int], linked: str = "1111") -> Phase:
    site = np.array([int(s) for s in sites], int)
    bits = [np.array([b == "1" for b in row[: site.size]], bool) for row in (swapped, linked)]
    return Phase(site, 10 * site, bits[0], np.array(phase_set, int), bits[1])


def test_a_phase_goes_on_over_a_cut() -> None:
    """The chunk before is cut at its site 5, which is site 2 of this one."""
    before = _of("0346", "0010", [0, 30, 30, 30]).until(5)
    assert before.site.tolist() == [-5, -2, -1]
    here = _of("0136", "1001", [0, 0, 0, 60])  # the sites 3, 4, 6 and 9 of the one before
    joined = here.continuing(before, 2)
    assert joined.swapped.tolist() == [False, True, True, False]
    assert joined.phase_set.tolist() == [30, 30, 30, 60]
    assert joined.site is here.site
    # Joined at the last one that is linked in both.
    lonely = _of("0136", "1101", [0, 10, 0, 60], "1011").continuing(before, 2)
    assert lonely.swapped.tolist() == [False, False, True, False]
    assert lonely.phase_set.tolist() == [30, 10, 30, 60]
    # Nothing in common, and nothing before.
    for other in (before.until(-5), _of("", "", [])):
        assert here.continuing(other, 2) is here
    assert here.continuing(before, 0) is here
    assert here.continuing(None, 2) is here
    # Where the file has the phase, all go on in the order before, and in its set.
    filed = Phase.of_file(here.site, here.position).continuing(before, 2)
    assert filed.swapped.all()
    assert filed.phase_set.tolist() == [30] * 4
