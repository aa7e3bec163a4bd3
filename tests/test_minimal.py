"""The tests to run first: one for each capability, a few seconds in all."""

from __future__ import annotations

import numpy as np

import snvrag
from snvrag import kernels
from snvrag.__main__ import main

ALLELES = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 0, 0]], np.int8)
BITS = kernels.pack_haplotypes(ALLELES)


def test_build():
    assert snvrag.build_info()["simd_level"] in snvrag.build_info()["simd_levels"]


def test_mask():
    u = np.random.Generator(np.random.Philox(key=5 * 10_000 + 7)).random(4)
    af = np.array([0.01, 0.2, 0.5, 0.02])
    mask = kernels.af_guided_mask(af, seed=5, window=7, rate=0.5)
    np.testing.assert_array_equal(mask, u < np.where(af < 0.05, 0.7, 0.5))


def test_packing():
    assert BITS.tolist() == [[0b1100], [0b1110], [0b0011]]
    np.testing.assert_array_equal(kernels.unpack_haplotypes(BITS, 4), ALLELES)


def test_alignment():
    assert kernels.align_sites(np.array([5, 9]), np.array([1, 5, 7])).tolist() == [1, -1]


def test_hamming_search():
    observed = np.array([True, True, True, False])
    found = kernels.topk_hamming(BITS[:1], BITS, 2, num_sites=4, observed=observed)
    assert (found.indices.tolist(), found.distances.tolist()) == ([[0, 1]], [[0, 1]])


def test_l2_search():
    dense = ALLELES.astype(np.float32)
    found = kernels.topk_l2(dense[:1], dense, 1, exclude=np.array([[0]]))
    assert (found.indices.tolist(), found.distances.tolist()) == ([[1]], [[1.0]])


def test_li_stephens():
    model = {
        "observed": np.array([True, True, False, False]),
        "cumulative_rho": np.zeros(4),
        "mismatch": 1e-6,
    }
    site_bits = kernels.pack_haplotypes(ALLELES.T)
    dosage = kernels.li_stephens_dosage(BITS[2:], site_bits, num_haplotypes=3, **model)
    np.testing.assert_allclose(dosage, ALLELES[2:], atol=1e-5)
    rates = kernels.estimate_rates(BITS, BITS, **model)
    assert rates.mismatch < 1e-5
    assert rates.cumulative_rho.max() < 1e-3


def test_phasing():
    panel, exchanged = ALLELES[[0, 2]], np.array([False, True, False, True])
    phasings = kernels.sample_phasings(
        kernels.pack_haplotypes(np.where(exchanged, panel[::-1], panel)),
        kernels.pack_haplotypes(panel),
        observed=np.ones(4, bool),
        cumulative_rho=np.zeros(4),
        mismatch=1e-6,
        states=None,
        keys=np.zeros(1, np.uint64),
        unphased=kernels.pack_haplotypes(np.ones((1, 4), np.int8)),
    )
    swapped = kernels.unpack_haplotypes(phasings.swapped[0], 4)
    np.testing.assert_array_equal(swapped, [exchanged] * 8)


def test_prepare(tiny_vcf, tmp_path, capsys):
    prepared = str(tmp_path / "panel.safetensors")
    assert main(["prepare", str(tiny_vcf), prepared]) == 0
    assert main(["prepare", "--verify", prepared]) == 0
    assert capsys.readouterr().out.endswith("OK\n")


def test_train_impute_evaluate(tiny_vcf, tiny_model, tmp_path, capsys):
    imputed = str(tmp_path / "imputed.vcf.gz")
    files = ["--panel", str(tiny_vcf), "--target", str(tiny_vcf), "--model", str(tiny_model)]
    assert main(["impute", *files, "--output", imputed]) == 0
    scored = ["--truth", str(tiny_vcf), "--imputed", imputed, "--exclude-typed", "no"]
    assert main(["evaluate", *scored]) == 0
    assert "Dosage R2 by MAF" in capsys.readouterr().out
