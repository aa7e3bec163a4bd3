"""The text and statistics of imputed dosages."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from snvrag.io.imputed_columns import record_lines, site_statistics


def cells(dosage: NDArray[np.uint16], haploid: list[bool]) -> list[str]:
    """Return the sample columns of each record."""
    heads = [f"head {n}" for n in range(len(dosage))]
    lines = record_lines(heads, dosage, np.array(haploid)).decode().splitlines()
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
