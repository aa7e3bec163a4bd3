"""The text and statistics of imputed dosages."""

from __future__ import annotations

import numpy as np
import pytest

from snvrag.io.imputed_columns import genotype_probabilities, sample_columns, site_statistics


def test_probabilities_and_genotype_of_every_pair_of_dosages() -> None:
    values = np.arange(1001)
    pairs = np.stack(np.meshgrid(values, values, indexing="ij"), -1).astype(np.uint16)
    probabilities, alt = genotype_probabilities(pairs)
    assert (probabilities.sum(-1) == 1000).all()
    assert probabilities.min() == 0
    first, second = pairs[..., 0] / 1000, pairs[..., 1] / 1000
    exact = np.stack(
        [(1 - first) * (1 - second), first * (1 - second) + second * (1 - first), first * second],
        -1,
    )
    assert np.abs(probabilities / 1000 - exact).max() <= 0.001 + 1e-9
    assert (alt.sum(-1) == probabilities.argmax(-1)).all()
    het = alt.sum(-1) == 1
    carrier = np.take_along_axis(pairs, alt.argmax(-1)[..., None], -1)[..., 0]
    assert (carrier[het] == pairs.max(-1)[het]).all()


def test_text_of_cells() -> None:
    dosage = np.array([[[0, 0], [1, 1000], [600, 600], [12, 340]]], np.uint16)
    (text,) = sample_columns(dosage, np.zeros(4, bool))
    assert text == (
        "\t0|0:0:0,0:1,0,0\t0|1:1.001:0.001,1:0,0.999,0.001"
        "\t1|0:1.2:0.6,0.6:0.16,0.48,0.36\t0|0:0.352:0.012,0.34:0.652,0.344,0.004"
    )
    (text,) = sample_columns(dosage, np.array([True, False, True, True]))
    assert text == (
        "\t0:0:0:1,0\t0|1:1.001:0.001,1:0,0.999,0.001\t1:0.6:0.6:0.4,0.6\t0:0.012:0.012:0.988,0.012"
    )

    # A tie of a haploid sample is called REF.
    dosage = np.array([[[500, 0], [501, 0]]], np.uint16)
    (text,) = sample_columns(dosage, np.ones(2, bool))
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
