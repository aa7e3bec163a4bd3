"""The text and statistics of imputed dosages."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers import pack
from snvrag.io.imputed_columns import PRODUCT, phased_lines, record_lines, site_statistics


def cells(
    dosage: NDArray[np.uint16],
    haploid: list[bool],
    hom_alt: NDArray[np.uint16] | None = None,
    phase_set: NDArray[np.int32] | None = None,
) -> list[str]:
    """Return the sample columns of each record."""
    heads = [f"head {n}" for n in range(len(dosage))]
    text = record_lines(heads, dosage, np.array(haploid), hom_alt, phase_set).decode()
    lines = text.splitlines()
    assert len(lines) == len(heads)
    for n, line in enumerate(lines):
        assert line.startswith(f"head {n}\t")
    return [line[line.index("\t") :] for line in lines]


def test_probabilities_and_genotype_of_every_pair_of_dosages() -> None:
    values = np.unique([*range(0, 1001, 9), 1, 2, 499, 500, 501, 998, 999, 1000])
    pairs = np.stack(np.meshgrid(values, values, indexing="ij"), -1).astype(np.uint16)
    for row, line in zip(pairs, cells(pairs, [False] * values.size), strict=True):
        for (a, b), cell in zip(row.tolist(), line[1:].split("\t"), strict=True):
            gt, ds, hds, gp_text = cell.split(":")
            assert ds == f"{(a + b) / 1000:g}"
            assert hds == f"{a / 1000:g},{b / 1000:g}"
            gp = [round(1000 * float(part)) for part in gp_text.split(",")]
            assert gp_text == ",".join(f"{part / 1000:g}" for part in gp)
            assert sum(gp) == 1000
            p, q = a / 1000, b / 1000
            exact = [(1 - p) * (1 - q), p + q - 2 * p * q, p * q]
            assert gp == pytest.approx([1000 * part for part in exact], abs=1 + 1e-9)
            calls = [int(call) for call in gt.split("|")]
            assert sum(calls) == gp.index(max(gp))
            if sum(calls) == 1:
                assert calls == ([1, 0] if a >= b else [0, 1])


def nearest(dosage: int, hom_alt: int) -> int:
    """Return the probability of two ALT alleles, nearest to one, that a dosage allows."""
    possible = [both for both in range(1001) if 1000 - dosage + both >= 0 <= dosage - 2 * both]
    return min(possible, key=lambda both: abs(both - hom_alt))


def test_probabilities_and_genotype_of_every_probability_of_two_alt() -> None:
    values = np.arange(0, 1001, 50)
    pairs = np.stack(np.meshgrid(values, values, indexing="ij"), -1).astype(np.uint16)
    products = cells(pairs, [False] * values.size)
    hom_alt = np.full(pairs.shape[:2], PRODUCT, np.uint16)
    assert cells(pairs, [False] * values.size, hom_alt) == products
    for given in (0, 1, 90, 150, 333, 475, 500, 999, 1000, 65534):
        hom_alt = np.full(pairs.shape[:2], given, np.uint16).T  # of any layout
        for row, line in zip(pairs, cells(pairs, [False] * values.size, hom_alt), strict=True):
            for (a, b), cell in zip(row.tolist(), line[1:].split("\t"), strict=True):
                gt, ds, hds, gp_text = cell.split(":")
                assert (ds, hds) == (f"{(a + b) / 1000:g}", f"{a / 1000:g},{b / 1000:g}")
                gp = [round(1000 * float(part)) for part in gp_text.split(",")]
                assert sum(gp) == 1000
                assert gp[1] + 2 * gp[2] == a + b
                assert gp[2] == nearest(a + b, given)
                calls = [int(call) for call in gt.split("|")]
                assert sum(calls) == gp.index(max(gp))
                if sum(calls) == 1:
                    assert calls == ([1, 0] if a > b else [0, 1])


def test_phase_sets() -> None:
    dosage = np.array([[[0, 0], [1000, 0], [300, 7]], [[0, 1000], [5, 5], [1000, 7]]], np.uint16)
    phase_set = np.array([[0, 10, 0], [2**31 - 1, 0, 9]], np.int32)
    plain = cells(dosage, [False, False, True])
    numbers = [".", "10", ".", "2147483647", ".", "9"]
    for hom_alt in (None, np.full((2, 3), PRODUCT, np.uint16)):
        lines = cells(dosage, [False, False, True], hom_alt, phase_set)
        found = [cell.rpartition(":") for line in lines for cell in line[1:].split("\t")]
        assert [cell for cell, _, _ in found] == "".join(plain)[1:].split("\t")
        assert [number for _, _, number in found] == numbers
    with pytest.raises(ValueError, match=r"^phase_set must be at least 0"):
        cells(dosage, [False] * 3, None, np.full((2, 3), -1, np.int32))


@pytest.mark.parametrize("num_samples", [0, 1, 31, 32, 33, 65])
def test_phased_genotypes(num_samples: int) -> None:
    random = np.random.default_rng(num_samples)
    alleles, missing = random.integers(0, 2, (2, 5, 2 * num_samples)).astype(np.int8)
    phase_set = random.integers(0, 3, (5, num_samples), np.int32) * 10**6
    haploid = random.random(num_samples) < 0.3
    text = phased_lines([*"abcde"], pack(alleles), pack(missing), haploid, phase_set).decode()
    letters = np.where(missing == 1, ".", np.array(["0", "1"])[alleles])
    for n, line in enumerate(text.splitlines()):
        expected = ["abcde"[n]]
        for i in range(num_samples):
            call = "|".join(letters[n, 2 * i : 2 * i + (1 if haploid[i] else 2)])
            expected.append(f"{call}:{phase_set[n, i] or '.'}")
        assert line.split("\t") == expected
    assert text.count("\n") == 5
    if num_samples:
        phase_set[:] = -1
        with pytest.raises(ValueError, match=r"^phase_set must be at least 0"):
            phased_lines([*"abcde"], pack(alleles), pack(missing), haploid, phase_set)


def test_text_of_cells() -> None:
    dosage = np.array([[[0, 0], [1, 1000], [600, 600], [12, 340]]], np.uint16)
    (text,) = cells(dosage, [False] * 4)
    assert text == (
        "\t0|0:0:0,0:1,0,0\t0|1:1.001:0.001,1:0,0.999,0.001"
        "\t1|0:1.2:0.6,0.6:0.16,0.48,0.36\t0|0:0.352:0.012,0.34:0.652,0.344,0.004"
    )
    (text,) = cells(dosage, [True, False, True, True])
    assert text == (
        "\t0:0:0:1,0\t0|1:1.001:0.001,1:0,0.999,0.001\t1:0.6:0.6:0.4,0.6\t0:0.012:0.012:0.988,0.012"
    )

    # A tie of a haploid sample is called REF.
    dosage = np.array([[[500, 0], [501, 0]]], np.uint16)
    (text,) = cells(dosage, [True, True])
    assert text == "\t0:0.5:0.5:0.5,0.5\t1:0.501:0.501:0.499,0.501"


def test_statistics_by_their_definition() -> None:
    random = np.random.default_rng(1)
    dosage = random.integers(0, 1001, (50, 7, 2)).astype(np.uint16)
    dosage[:2] = np.array([0, 1000])[:, None, None]
    dosage[2] = np.where(random.random((7, 2)) < 0.5, 0, 1000)
    dosage[2, 0] = [0, 1000]
    haploid = np.array([True] + [False] * 5 + [True])
    af, dr2 = site_statistics(dosage, haploid)
    for n in range(50):
        h = [dosage[n, i, j] / 1000 for i in range(7) for j in range(1 if haploid[i] else 2)]
        p = float(np.mean(h))
        assert af[n] == pytest.approx(p)
        expected = np.var(h) / (p * (1 - p)) if 0 < p < 1 else 0.0
        assert dr2[n] == pytest.approx(expected)
    assert (af[:2] == [0, 1]).all()
    assert (dr2[:2] == 0).all()
    # A site whose alleles are all known is known with certainty.
    assert site_statistics(dosage[2:3], np.zeros(7, bool))[1] == pytest.approx(1)


def test_dosages_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match="hap_dosage must be at most 1000"):
        record_lines(["a"], np.array([[[0, 1001]]], np.uint16), np.zeros(1, bool))
