"""Excluded haplotypes are never found, by any search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from helpers import assert_same, random_alleles
from snvrag.kernels import oracle, pack_haplotypes, topk_hamming, topk_l2


@pytest.mark.parametrize("num_haplotypes", [10, 200])
@pytest.mark.parametrize("observed", [None, np.zeros(65, bool)])
def test_exclude(simd_level, num_haplotypes, observed):
    panel = pack_haplotypes(random_alleles(num_haplotypes, 65, 1))
    queries = panel[:5].copy()
    dense = np.random.default_rng(0).integers(-3, 4, (num_haplotypes, 17)).astype(np.float32)
    options = {"num_sites": 65, "observed": observed}
    for exclude in (
        np.full((5, 3), -1),
        np.zeros((5, 0), np.int64),
        np.arange(5)[:, None],
        np.stack([np.arange(5), np.arange(5) ^ 1] * 2, axis=1),  # its sample, twice
        np.stack([np.full(5, -1), np.arange(5), np.full(5, -1)], axis=1),
        np.random.default_rng(0).integers(-1, num_haplotypes, (5, num_haplotypes // 2)),
    ):
        left = num_haplotypes - max(len(set(row) - {-1}) for row in exclude.tolist())
        for k, threads in itertools.product({1, min(8, left), left}, [1, 2, 4]):
            expected = oracle.topk_hamming(queries, panel, k, exclude=exclude, **options)
            got = topk_hamming(queries, panel, k, exclude=exclude, threads=threads, **options)
            assert_same(got, expected, (exclude, k))
            for row, dropped in zip(got.indices.tolist(), exclude.tolist(), strict=True):
                assert not set(row) & set(dropped)
                assert len(set(row)) == k
            expected = oracle.topk_l2(dense[:5], dense, k, exclude=exclude)
            got = topk_l2(dense[:5], dense, k, exclude=exclude, threads=threads)
            assert_same(got, expected, dtype=np.float32)


@pytest.mark.parametrize("k", [1, 3])
def test_everything_but_k_excluded(simd_level, k):
    panel = pack_haplotypes(random_alleles(150, 64, 1))
    random = np.random.default_rng(0)
    kept = np.stack([np.sort(random.permutation(150)[:k]) for _ in range(6)])
    exclude = np.stack([np.setdiff1d(np.arange(150), row) for row in kept])
    queries = panel[exclude[:, 0]]
    options = {"num_sites": 64, "exclude": exclude}
    for threads in [1, 2, 4]:
        got = topk_hamming(queries, panel, k, threads=threads, **options)
        assert (np.sort(got.indices, axis=1) == kept).all()
        assert_same(got, oracle.topk_hamming(queries, panel, k, **options))
