"""Bits: packing, unpacking, transposition, columns, and genotypes to alleles."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import LEVELS, frozen, level, pack, random_alleles, unaligned
from snvrag import _core
from snvrag.kernels import oracle, pack_haplotypes, unpack_haplotypes

SIZES = [0, 1, 63, 64, 65, 127, 128, 129, 1020]
ROWS = [0, 1, 2, 63, 64, 65, 130]


# --- the oracle ----------------------------------------------------------------------------------


def test_oracle_on_cases_made_by_hand():
    alleles = np.zeros((3, 66), np.int8)
    alleles[0, [0, 2]] = 1
    alleles[1, [63, 64]] = 1
    alleles[2, 65] = 1
    expected = [[5, 0], [2**63, 1], [0, 2]]
    assert oracle.pack_haplotypes(alleles).tolist() == expected
    assert pack(alleles).tolist() == expected
    assert pack_haplotypes(alleles).tolist() == expected
    assert (oracle.unpack_haplotypes(np.array(expected, np.uint64), 66) == alleles).all()


# --- packing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_sites", SIZES)
def test_pack_and_unpack(simd_level, num_sites):
    for num_rows in ROWS:
        alleles = random_alleles(num_rows, num_sites)
        bits = pack_haplotypes(alleles)
        assert bits.dtype == np.uint64
        assert bits.shape == (num_rows, (num_sites + 63) // 64)
        back = unpack_haplotypes(bits, num_sites)
        assert back.dtype == np.int8
        assert back.shape == alleles.shape
        assert (back == alleles).all()
        transposed = _core.transpose_bits(bits, num_sites)
        assert transposed.dtype == np.uint64
        for got, expected in ((bits, pack(alleles)), (transposed, pack(alleles.T))):
            assert got.shape == expected.shape
            assert (got == expected).all()
        if num_rows < 3 and num_sites < 130:
            assert (oracle.pack_haplotypes(alleles) == bits).all()
            assert (oracle.unpack_haplotypes(bits, num_sites) == alleles).all()


@pytest.mark.parametrize("num_sites", SIZES)
def test_bits_past_the_last_site_are_zero(simd_level, num_sites):
    for order in "CF":
        bits = pack_haplotypes(np.ones((70, num_sites), np.int8, order=order))
        assert np.bitwise_count(bits).sum() == 70 * num_sites


@pytest.mark.parametrize("shape", [(1, 1), (3, 65), (65, 3), (64, 64), (129, 127), (70, 1020)])
def test_pack_any_layout(simd_level, shape):
    alleles = random_alleles(*shape)
    wide = np.ones((2 * shape[0], 3 * shape[1]), np.int8)
    wide[::2, ::3] = alleles
    rows = np.ones((2 * shape[0], shape[1]), np.int8)
    rows[::2] = alleles
    columns = np.ones((shape[0], 2 * shape[1]), np.int8, order="F")
    columns[:, ::2] = alleles
    tall = np.ones((2 * shape[0], shape[1]), np.int8, order="F")
    tall[: shape[0]] = alleles
    layouts = {
        "contiguous": alleles,
        "transposed": np.asfortranarray(alleles),
        "rows apart": rows[::2],
        "columns apart": wide[::2, ::3],
        "transposed, columns apart": columns[:, ::2],
        "transposed, rows of a longer one": tall[: shape[0]],
        "rows reversed": alleles[::-1].copy()[::-1],
        "columns reversed": alleles[:, ::-1].copy()[:, ::-1],
        "transposed, rows reversed": np.asfortranarray(alleles[::-1])[::-1],
        "read-only": frozen(alleles),
        "uint8": alleles.astype(np.uint8),
        "bool": alleles.astype(bool),
        "bool, transposed": np.asfortranarray(alleles.astype(bool)),
        "unaligned": unaligned(alleles),
        "a row repeated": np.broadcast_to(alleles[:1], shape),
        "a column repeated": np.broadcast_to(alleles[:, :1], shape),
    }
    for name, layout in layouts.items():
        kept = layout.copy()
        expected = pack(kept)
        assert (pack_haplotypes(layout) == expected).all(), name
        assert (layout == kept).all(), name


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("bad", [-1, 2, 3, 127, -128])
def test_an_allele_without_a_bit_is_refused_with_its_place(simd_level, bad, order):
    for shape in [(1, 1), (3, 65), (65, 64), (70, 129)]:
        for row in {0, shape[0] // 2, shape[0] - 1}:
            for column in {0, shape[1] // 2, shape[1] - 1}:
                alleles = np.asarray(random_alleles(*shape), order=order)
                alleles[row, column] = bad
                text = f"alleles must be 0 or 1, got {bad} at ({row}, {column})"
                with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
                    pack_haplotypes(alleles)


def test_the_first_bad_allele_is_named_in_row_order(simd_level):
    for order in "CF":
        alleles = np.zeros((70, 70), np.uint8, order=order)
        alleles[3, 60], alleles[60, 2] = 200, 9
        with pytest.raises(ValueError, match=r"^alleles must be 0 or 1, got 200 at \(3, 60\)$"):
            pack_haplotypes(alleles)
    with pytest.raises(ValueError, match=r"^alleles must be 0 or 1, got 4 at \(2, 1\)$"):
        pack_haplotypes(np.array([[0, 0, 0, 0], [1, 0, 1, 0], [1, 0, 4, 0]], np.int8)[:, ::2])


@given(
    num_rows=st.integers(0, 130),
    num_columns=st.integers(0, 200),
    seed=st.integers(0, 99),
    name=st.sampled_from(LEVELS),
    transposed=st.booleans(),
)
def test_round_trip(num_rows, num_columns, seed, name, transposed):
    with level(name):
        alleles = random_alleles(num_rows, num_columns, seed)
        bits = pack_haplotypes(np.asfortranarray(alleles) if transposed else alleles)
        assert (unpack_haplotypes(bits, num_columns) == alleles).all()
        columns = _core.transpose_bits(bits, num_columns)
        assert (columns == pack(alleles.T)).all()
        assert (_core.transpose_bits(columns, num_rows) == bits).all()


@pytest.mark.parametrize("num_sites", [1, 63, 64, 65, 1020])
def test_unpack_rows_with_gaps(simd_level, num_sites):
    alleles = random_alleles(9, num_sites)
    bits = pack(alleles)
    spread = np.full((18, bits.shape[1] + 2), 2**64 - 1, np.uint64)
    spread[::2, : bits.shape[1]] = bits
    view = spread[::2, : bits.shape[1]]
    assert (unpack_haplotypes(view, num_sites) == alleles).all()
    assert (unpack_haplotypes(bits[::-1].copy()[::-1], num_sites) == alleles).all()
    assert (unpack_haplotypes(frozen(bits), num_sites) == alleles).all()


def test_bits_past_the_last_column_are_ignored(simd_level):
    bits = np.full((3, 2), 2**64 - 1, np.uint64)
    assert unpack_haplotypes(bits, 65).tolist() == [[1] * 65] * 3
    assert _core.transpose_bits(bits, 65).tolist() == [[7]] * 65


# --- transposition and columns -------------------------------------------------------------------


@pytest.mark.parametrize("num_rows", [1, 63, 64, 65, 300])
def test_gather_columns(simd_level, num_rows):
    alleles = random_alleles(num_rows, 129)
    bits = pack(alleles)
    columns = np.array([128, 0, 63, 64, 64, 127, 1])
    for start in {0, 1, num_rows // 2, num_rows}:
        for stop in {start, (start + num_rows + 1) // 2, num_rows}:
            got = _core.gather_columns(bits, start, stop, columns)
            assert got.shape == (7, (stop - start + 63) // 64)
            assert (got == pack(alleles[start:stop, columns].T)).all()
    assert _core.gather_columns(bits, 0, num_rows, columns[:0]).shape[0] == 0
    spread = np.repeat(bits, 2, axis=0)[::2]
    assert (_core.gather_columns(spread, 0, num_rows, columns) == pack(alleles[:, columns].T)).all()


@pytest.mark.parametrize("num_rows", [1, 64, 100])
@pytest.mark.parametrize("num_columns", [3, 129, 1300])
def test_gather_alleles(simd_level, num_rows, num_columns):
    """Into rows of a wider array, whose other bytes stay; many columns of a word and few."""
    alleles = random_alleles(num_rows, num_columns)
    bits = pack(alleles)
    for columns in (np.array([num_columns - 1]), np.random.default_rng(0).permutation(num_columns)):
        for start, stop in ((0, num_rows), (num_rows // 2, num_rows), (0, 0)):
            wide = np.full((len(columns), stop - start + 9), 77, np.uint8)
            _core.gather_alleles(bits, start, stop, columns, wide[:, 5 : 5 + stop - start])
            assert (wide[:, 5 : 5 + stop - start] == alleles[start:stop, columns].T).all()
            assert (wide[:, :5] == 77).all()
            assert (wide[:, 5 + stop - start :] == 77).all()
            assert (
                _core.gather_columns(bits, start, stop, columns)
                == pack(wide[:, 5 : 5 + stop - start])
            ).all()


# --- genotypes -----------------------------------------------------------------------------------

END = -(2**31) + 1


def code(allele: int, phased: int = 1) -> int:
    """Code an allele as BCF does; -1 is a missing one, -2 none."""
    return END if allele == -2 else (allele + 1) << 1 | phased


def read_slowly(calls: np.ndarray, phased: np.ndarray, ploidy: list[int]):
    """Read (n, 2) calls one by one: the summary, two alleles and flags, and one without phase."""
    unphased, changed, num_missing, alleles, missing, open_phase = [], [], 0, [], [], []
    for i, ((a, b), is_phased) in enumerate(zip(calls.tolist(), phased, strict=True)):
        if a >= 0 or b >= 0:
            found = 1 if b == -2 else 2
            ploidy[i] = ploidy[i] or found
            changed += [i] if ploidy[i] != found else []
        if a >= 0 and b >= 0 and a != b and not is_phased:
            unphased.append(i)
        open_phase.append(b != -2 and max(a, -1) != b and not is_phased)
        flags = [a < 0, b == -1 or (b == -2 and a < 0)]
        num_missing += any(flags)
        alleles += [a > 0, b > 0]
        missing += flags
    first = [found[0] if found else -1 for found in (unphased, changed)]
    highest = max(0, int(calls.max(initial=0)))
    summary = (first[0], len(unphased), first[1], -1, num_missing, highest)
    return summary, *(np.array(flags, bool) for flags in (alleles, missing, open_phase))


def read_codes(codes: np.ndarray, ploidy: np.ndarray | None = None):
    num_samples = len(codes)
    ploidy = np.zeros(num_samples, np.uint8) if ploidy is None else ploidy
    words = (2 * num_samples + 63) // 64
    bits = np.full((2, words), 2**64 - 1, np.uint64)
    half = np.full((1, (num_samples + 63) // 64), 2**64 - 1, np.uint64)
    summary = _core.read_genotypes(codes, ploidy, bits[0], bits[1], half[0])
    whole = _core.unpack_rows(bits, 64 * words)
    assert not whole[:, 2 * num_samples :].any()
    unphased = _core.unpack_rows(half, 64 * half.size)[0]
    assert not unphased[num_samples:].any()
    return summary, *whole[:, : 2 * num_samples], unphased[:num_samples], ploidy.tolist()


@pytest.mark.parametrize(
    ("call", "expected", "alleles", "missing", "unphased", "ploidy"),
    [
        ([code(0, 0), code(1)], (-1, 0, -1, -1, 0, 1), [0, 1], [0, 0], 0, 2),
        ([code(1, 0), code(1, 0)], (-1, 0, -1, -1, 0, 1), [1, 1], [0, 0], 0, 2),
        ([code(1, 1), code(0, 0)], (0, 1, -1, -1, 0, 1), [1, 0], [0, 0], 1, 2),
        ([code(-1, 0), code(1)], (-1, 0, -1, -1, 1, 1), [0, 1], [1, 0], 0, 2),
        ([code(-1, 0), code(1, 0)], (-1, 0, -1, -1, 1, 1), [0, 1], [1, 0], 1, 2),
        ([code(1), code(-1, 0)], (-1, 0, -1, -1, 1, 1), [1, 0], [0, 1], 1, 2),
        ([code(-1), code(-1)], (-1, 0, -1, -1, 1, 0), [0, 0], [1, 1], 0, 0),
        ([code(-1, 0), code(-1, 0)], (-1, 0, -1, -1, 1, 0), [0, 0], [1, 1], 0, 0),
        ([code(1, 0), END], (-1, 0, -1, -1, 0, 1), [1, 0], [0, 0], 0, 1),
        ([code(-1, 0), END], (-1, 0, -1, -1, 1, 0), [0, 0], [1, 1], 0, 0),
        ([code(2), code(0)], (-1, 0, -1, -1, 0, 2), [1, 0], [0, 0], 0, 2),
        ([code(0), code(1), code(1)], (-1, 0, -1, 0, 0, 1), [0, 1], [0, 0], 0, 2),
        ([code(0), code(1), END], (-1, 0, -1, -1, 0, 1), [0, 1], [0, 0], 0, 2),
        ([code(-1), code(-1), code(3)], (-1, 0, -1, 0, 1, 3), [0, 0], [1, 1], 0, 2),
        ([code(1)], (-1, 0, -1, -1, 0, 1), [1, 0], [0, 0], 0, 1),
    ],
)
def test_genotypes_of_every_kind(call, expected, alleles, missing, unphased, ploidy):
    got = read_codes(np.array([call], np.int32))
    assert got[0] == expected
    assert [part.tolist() for part in got[1:4]] == [alleles, missing, [unphased]]
    assert got[4] == [ploidy]


@pytest.mark.parametrize("num_samples", [0, 1, 31, 32, 33, 64, 500])
@pytest.mark.parametrize("kind", ["plain", "unphased", "with a few others", "all"])
def test_genotypes_against_a_loop(simd_level, num_samples, kind):
    random = np.random.default_rng(num_samples)
    calls = random.integers(0, 2, (num_samples, 2))
    phased = np.ones(num_samples, int)
    if kind == "unphased":
        phased = random.integers(0, 2, num_samples)
    elif kind != "plain":
        chosen = random.random(num_samples) < (1 if kind == "all" else 0.02)
        strange = np.stack(
            [random.integers(-1, 4, num_samples), random.integers(-2, 4, num_samples)], axis=1
        )
        calls[chosen] = strange[chosen]
        phased[chosen] = random.integers(0, 2, chosen.sum())
    codes = np.array(
        [[code(a, 0), code(b, p)] for (a, b), p in zip(calls.tolist(), phased, strict=True)],
        np.int32,
    ).reshape(-1, 2)
    for before in (
        np.zeros(num_samples),
        np.full(num_samples, 2),
        random.integers(0, 3, num_samples),
    ):
        known = before.astype(int).tolist()
        summary, *flags = read_slowly(calls, phased, known)
        got = read_codes(codes, before.astype(np.uint8))
        assert got[0] == summary
        for part, expected in zip(got[1:4], flags, strict=True):
            np.testing.assert_array_equal(part, expected)
        assert got[4] == known


def test_genotypes_of_extreme_numbers():
    lowest, highest = -(2**31), 2**31 - 1
    codes = np.array([[highest, lowest], [lowest + 1, 4], [0, lowest + 1], [-5, 1]], np.int32)
    ploidy = np.array([9, 0, 255, 0], np.uint8)
    bits = np.zeros((3, 1), np.uint64)
    summary = _core.read_genotypes(codes, ploidy, *bits)
    assert summary == (-1, 0, 0, -1, 4, highest // 2 - 1)
    assert bits[:, 0].tolist() == [0b00001001, 0b11110110, 0b0011]


def test_real_genotypes_round_trip(simd_level, shared_data):
    cyvcf2 = pytest.importorskip("cyvcf2")
    reader = cyvcf2.VCF(str(shared_data / "kgp_chr1" / "panel.vcf.gz"))
    rows = []
    for variant in reader:
        calls = variant.genotype.array()[:, :2]
        if len(variant.ALT) > 1:
            continue
        summary, alleles, missing, unphased, ploidy = read_codes(variant.format("GT", int))
        assert summary[:5] == (-1, 0, -1, -1, 0)
        assert set(ploidy) == {2}
        assert not missing.any()
        assert not unphased.any()
        assert alleles.tolist() == calls.ravel().tolist()
        rows.append(alleles)
        if len(rows) == 130:
            break
    reader.close()
    sites = np.array(rows)
    assert sites.shape == (130, 5008)
    bits = pack_haplotypes(sites.T)
    assert (unpack_haplotypes(bits, 130) == sites.T).all()
    assert (_core.transpose_bits(pack_haplotypes(sites), 5008) == bits).all()
