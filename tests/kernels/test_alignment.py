"""Site alignment against a dictionary."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import frozen
from snvrag.kernels import align_sites, alignment, oracle


@pytest.fixture(autouse=True, scope="module", params=["numpy", "numba"])
def _code(request):
    """Run every test with NumPy's code and with Numba's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "_NUMBA_PAYS", 0 if request.param == "numba" else 2**62)
        yield


SIZES = [0, 1, 2, 63, 64, 65, 127, 128, 129, 1020]
LETTERS = np.array(["A", "C", "G", "T"])


def sites(num_sites: int, seed: int, *, step: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Ascending positions, many of them equal, and (REF, ALT) of one letter."""
    random = np.random.default_rng(seed)
    position = np.sort(random.integers(1, 1 + max(1, num_sites * step // 2), num_sites))
    ref = random.integers(0, 4, num_sites)
    alt = (ref + random.integers(1, 4, num_sites)) % 4
    return position, LETTERS[np.stack([ref, alt], axis=1)]


# --- the oracle ----------------------------------------------------------------------------------


def test_oracle_on_cases_made_by_hand():
    position, panel = np.array([5, 10, 10, 30]), np.array([1, 5, 10, 10, 10, 40])
    alleles = np.array([["A", "C"], ["A", "G"], ["A", "T"], ["A", "C"]])
    panel_alleles = np.array(
        [["A", "C"], ["C", "A"], ["A", "C"], ["A", "G"], ["A", "G"], ["A", "C"]]
    )
    # 5 has REF and ALT swapped; of the two equal sites at 10 the first; A>T is not there.
    assert oracle.align_sites(position, panel, alleles, panel_alleles).tolist() == [-1, 3, -1, -1]
    assert align_sites(position, panel, alleles, panel_alleles).tolist() == [-1, 3, -1, -1]
    unique = np.array([1, 5, 10, 40])
    assert oracle.align_sites(position, unique).tolist() == [1, 2, 2, -1]
    assert align_sites(position, unique).tolist() == [1, 2, 2, -1]


# --- by position ---------------------------------------------------------------------------------


@pytest.mark.parametrize("num_sites", SIZES)
def test_by_position(num_sites):
    for num_panel in SIZES:
        position, _ = sites(num_sites, seed=1)
        panel = np.unique(sites(num_panel, seed=2)[0])
        got = align_sites(position, panel)
        assert got.dtype == np.int64
        assert got.shape == position.shape
        assert (got == oracle.align_sites(position, panel)).all()


def test_a_site_may_repeat_in_the_query_but_not_in_the_panel():
    assert align_sites(np.array([7, 7, 7]), np.array([3, 7])).tolist() == [1, 1, 1]
    # Where the panel repeats a position that is not asked for, nothing is ambiguous.
    assert align_sites(np.array([1, 4, 9]), np.array([4, 7, 7, 8, 8, 9])).tolist() == [-1, 0, 5]
    text = "alleles must be given where the panel has several sites at a position, got none, with"
    with pytest.raises(ValueError, match=f"^{text} position 7 at 1$"):
        align_sites(np.array([3, 7]), np.array([3, 7, 7]))
    with pytest.raises(ValueError, match=r"with position 3 at 0$"):
        align_sites(np.array([3, 7]), np.array([3, 3, 7, 7]))


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_positions_of_any_integer_type(dtype):
    position, panel = np.array([2, 3, 9], dtype), np.array([1, 3, 5, 9])
    assert align_sites(position, panel).tolist() == [-1, 1, 3]
    assert align_sites(panel, position).tolist() == [-1, 1, -1, 2]


def test_integers_of_two_types_are_compared_exactly():
    one, big = np.array([1]), np.array([2**53 + 1])  # as doubles, both would be equal
    assert align_sites(big, np.array([2**53], np.uint64)).tolist() == [-1]
    with pytest.raises(ValueError, match=r"^panel_position must be below 2\*\*63 .*, got"):
        align_sites(np.array([-1]), np.array([2**64 - 1], np.uint64))
    codes = np.array([[2**60 + 1, 0]])  # a code may be a 64-bit hash
    assert align_sites(one, one, codes, np.array([[2**60, 0]], np.uint64)).tolist() == [-1]


# --- by alleles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_sites", SIZES)
def test_by_alleles(num_sites):
    for num_panel in SIZES:
        position, alleles = sites(num_sites, seed=1, step=1)
        panel, panel_alleles = sites(num_panel, seed=2, step=1)
        got = align_sites(position, panel, alleles, panel_alleles)
        expected = oracle.align_sites(position, panel, alleles, panel_alleles)
        assert (got == expected).all()
        if min(num_sites, num_panel) > 60:
            assert (expected >= 0).any()
            assert (expected < 0).any()


def test_sites_at_one_position_are_told_apart_by_alleles():
    panel = np.array([100] * 8)
    panel_alleles = np.array([[r, a] for r in "AC" for a in "GTA"] + [["A", "G"], ["A", "T"]])
    order = [4, 0, 5, 2, 1, 3]
    asked = panel_alleles[[4, 6, 5, 2, 7, 3]]  # among equal sites of the panel, the first is taken
    assert align_sites(panel[:6], panel, asked, panel_alleles).tolist() == order
    swapped = panel_alleles[:2, ::-1]
    assert align_sites(panel[:2], panel, swapped, panel_alleles).tolist() == [-1, -1]


LONG = [["A", "AT"], ["AT", "A"], ["A", "<DEL>"], ["A", "ATTTTTTT"], ["A", "a"], ["A", ""]]

KINDS = {
    "U1": lambda a: a.astype("U1"),
    "U5": lambda a: a.astype("U5"),
    "object": lambda a: a.astype(object),
    "S1": lambda a: a.astype("S1"),
    "S4": lambda a: a.astype("S4"),
    "string": lambda a: a.astype(np.dtypes.StringDType()),
    "U1, swapped": lambda a: a.astype(">U1"),
    "U5, swapped": lambda a: a.astype(">U5"),
    "U1, Fortran order": lambda a: np.asfortranarray(a.astype("U1")),
    "U1, every other": lambda a: np.repeat(a.astype("U1"), 2, axis=0)[::2],
}
CODES = {
    "uint8": lambda a: np.searchsorted(LETTERS, a).astype(np.uint8),
    "int64": lambda a: np.searchsorted(LETTERS, a),
    "int64, columns apart": lambda a: np.repeat(np.searchsorted(LETTERS, a), 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("kinds", [KINDS, CODES])
def test_alleles_of_any_type(kinds):
    position, alleles = sites(200, seed=3, step=1)
    panel, panel_alleles = sites(150, seed=4, step=1)
    expected = oracle.align_sites(position, panel, alleles, panel_alleles)
    assert (expected >= 0).sum() > 10
    for left, right in itertools.product(kinds, repeat=2):
        got = align_sites(position, panel, kinds[left](alleles), kinds[right](panel_alleles))
        assert (got == expected).all(), (left, right)


@pytest.mark.parametrize("kind", ["U", "S", object])
def test_long_alleles_are_compared_whole_and_exactly(kind):
    panel_alleles = np.array(LONG).astype(kind)
    panel = np.full(len(LONG), 9)
    for i in range(len(LONG)):
        got = align_sites(panel[:1], panel, panel_alleles[i : i + 1], panel_alleles)
        assert got.tolist() == [i]
    # A truncated type on one side must not make "A" of "AT".
    cut = np.array([["A", "A"]], "U1")
    assert align_sites(panel[:1], panel, cut, panel_alleles).tolist() == [-1]


@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from("AC"), st.sampled_from("GT"))),
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from("AC"), st.sampled_from("GT"))),
)
def test_any_sites(asked, panel):
    def split(rows):
        rows = sorted(rows, key=lambda row: row[0])
        positions = np.array([row[0] for row in rows], np.int64)
        return positions, np.array([row[1:] for row in rows], "U1").reshape(-1, 2)

    position, alleles = split(asked)
    panel_position, panel_alleles = split(panel)
    got = align_sites(position, panel_position, alleles, panel_alleles)
    expected = oracle.align_sites(position, panel_position, alleles, panel_alleles)
    assert (got == expected).all()
    found = got >= 0
    assert (panel_position[got[found]] == position[found]).all()
    assert (panel_alleles[got[found]] == alleles[found]).all()


def test_read_only_and_strided_positions():
    position, _ = sites(129, seed=1)
    panel, kept = np.unique(sites(129, seed=2)[0]), position.copy()
    expected = oracle.align_sites(position, panel)
    assert (align_sites(frozen(position), frozen(panel)) == expected).all()
    assert (align_sites(np.repeat(position, 2)[::2], panel) == expected).all()
    assert (position == kept).all()


def test_real_sites(shared_data):
    cyvcf2 = pytest.importorskip("cyvcf2")
    reader = cyvcf2.VCF(str(shared_data / "kgp_chr1" / "panel.vcf.gz"))
    rows = [(v.POS, v.REF, ",".join(v.ALT)) for v in reader]
    reader.close()
    position = np.array([row[0] for row in rows])
    alleles = np.array([row[1:] for row in rows])
    chosen = np.arange(0, position.size, 3)
    asked = (position[chosen], position, alleles[chosen], alleles)
    got = align_sites(*asked)
    assert (got == oracle.align_sites(*asked)).all()
    assert (alleles[got] == alleles[chosen]).all()


@pytest.mark.parametrize("num_sites", [2, 65, 1020])
def test_the_first_descent_is_named(num_sites):
    position = np.arange(num_sites)
    for place in {1, num_sites // 2, num_sites - 1}:
        wrong = position.copy()
        wrong[place:] -= 2
        text = f"position must be ascending, got {place - 2} after {place - 1} at {place}"
        with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
            align_sites(wrong, position)
        with pytest.raises(ValueError, match="^panel_" + re.escape(text) + "$"):
            align_sites(position, wrong)
