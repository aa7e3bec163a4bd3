"""Excluded haplotypes are never found, by any search."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import assert_same, random_alleles
from snvrag.kernels import oracle, pack_haplotypes, topk_hamming, topk_l2


@pytest.mark.parametrize("num_haplotypes", [10, 200])
def test_exclude(simd_level, num_haplotypes):
    for threads in [1, 2, 4]:
        panel = pack_haplotypes(random_alleles(num_haplotypes, 65, 1))
        queries = panel[:5].copy()
        random = np.random.default_rng(0)
        lists = {
            "none": np.full((5, 3), -1),
            "no columns": np.zeros((5, 0), np.int64),
            "itself": np.arange(5)[:, None],
            "its sample, twice": np.stack([np.arange(5), np.arange(5) ^ 1] * 2, axis=1),
            "padded": np.stack([np.full(5, -1), np.arange(5), np.full(5, -1)], axis=1),
            "many": random.integers(-1, num_haplotypes, (5, num_haplotypes // 2)),
        }
        for name, exclude in lists.items():
            most = max(len(set(row) - {-1}) for row in exclude.tolist())
            for k in {1, min(8, num_haplotypes - most), num_haplotypes - most}:
                expected = oracle.topk_hamming(queries, panel, k, num_sites=65, exclude=exclude)
                got = topk_hamming(
                    queries, panel, k, num_sites=65, exclude=exclude, threads=threads
                )
                assert_same(got, expected, (name, k))
                for row, dropped in zip(got.indices.tolist(), exclude.tolist(), strict=True):
                    assert not set(row) & set(dropped)
                    assert len(set(row)) == k


@pytest.mark.parametrize("k", [1, 3])
def test_everything_but_k_excluded(simd_level, k):
    for threads in [1, 2, 4]:
        panel = pack_haplotypes(random_alleles(150, 64, 1))
        random = np.random.default_rng(0)
        kept = np.stack([np.sort(random.permutation(150)[:k]) for _ in range(6)])
        exclude = np.stack([np.setdiff1d(np.arange(150), row) for row in kept])
        queries = panel[exclude[:, 0]]
        got = topk_hamming(queries, panel, k, num_sites=64, exclude=exclude, threads=threads)
        assert (np.sort(got.indices, axis=1) == kept).all()
        assert_same(got, oracle.topk_hamming(queries, panel, k, num_sites=64, exclude=exclude))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_dense_exclude(simd_level, threads):
    random = np.random.default_rng(0)
    database = random.integers(-3, 4, (90, 17)).astype(np.float32)
    queries = database[:4].copy()
    for exclude in (
        np.arange(4)[:, None],
        np.array([[0, 0, -1], [5, 1, 5], [-1, -1, -1], [3, 2, 1]]),
        random.integers(-1, 90, (4, 60)),
        np.zeros((4, 0), np.int64),
    ):
        most = max(len(set(row) - {-1}) for row in exclude.tolist())
        for k in (1, 90 - most):
            expected = oracle.topk_l2(queries, database, k, exclude=exclude)
            got = topk_l2(queries, database, k, exclude=exclude, threads=threads)
            assert (got.distances == expected[0]).all()
            assert (got.indices == expected[1]).all()
