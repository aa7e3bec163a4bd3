"""CUDA dense search against its NumPy twin."""

import numpy as np
import pytest

from helpers import assert_topk, nearest
from snvrag import kernels
from snvrag.kernels import cuda, oracle


@pytest.mark.parametrize(
    ("num_queries", "num_rows", "num_dimensions", "k", "limit"),
    [
        (1, 1, 1, 1, {}),
        (3, 5, 0, 5, {}),
        (48, 300, 33, 8, {}),
        (33, 65, 64, 65, {"block_bytes": 1}),
        (65, 130, 31, 3, {"block_bytes": 40_000}),
        (5, 20_000, 7, 9, {}),
        (2, 9_000, 3, 3_000, {}),
    ],
)
def test_l2_of_whole_numbers(gpu, rng, num_queries, num_rows, num_dimensions, k, limit):
    queries = rng.integers(-3, 4, (num_queries, num_dimensions))
    database = rng.integers(-3, 4, (num_rows, num_dimensions))
    exclude = rng.integers(-1, num_rows, (num_queries, 2)) if k + 2 <= num_rows else None
    distances = ((queries[:, None] - database[None]) ** 2).sum(axis=2)
    values = (gpu.put(x.astype(np.float32)) for x in (queries, database))
    got = cuda.topk_l2(*values, k, exclude=exclude, **limit)
    assert_topk(gpu, got, nearest(distances, k, exclude), np.float32)


def test_l2_of_random_vectors(gpu, rng):
    queries = rng.normal(size=(20, 1000)).astype(np.float32)
    database = rng.normal(size=(500, 1000)).astype(np.float32)
    database[7] = queries[3]
    want_distances, want_indices = oracle.topk_l2(queries, database, 10)
    got = kernels.topk_l2(gpu.put(queries), gpu.put(database), 10)
    distances, indices = (gpu.get(x) for x in got)
    np.testing.assert_array_equal(indices, want_indices)
    # A sum of 1,000 float32 terms, in two levels: 64 roundings of 6e-8 at the worst.
    np.testing.assert_allclose(distances, want_distances, rtol=4e-6, atol=0)
    assert distances[3, 0] == 0
    assert indices[3, 0] == 7


def test_l2_finds_nan(gpu, rng):
    queries, database = (rng.normal(size=(n, 40)).astype(np.float32) for n in (70, 300))
    broken = database.copy()
    broken[[11, 200], [5, 0]] = np.nan
    with pytest.raises(ValueError, match=r"must be finite, got .*query 0, row 11"):
        kernels.topk_l2(gpu.put(queries), gpu.put(broken), 3)
    broken = queries.copy()
    broken[65, 39] = np.nan
    with pytest.raises(ValueError, match=r"must be finite, got .*query 65, row 0"):
        kernels.topk_l2(gpu.put(broken), gpu.put(database), 3)


def test_l2_and_hamming_agree(gpu, rng):
    num_sites = 200
    alleles = rng.integers(0, 2, (3_000, num_sites)).astype(np.int8)
    observed = rng.random(num_sites) < 0.5
    bits = kernels.pack_haplotypes(alleles)
    by_bits = kernels.topk_hamming(
        gpu.put(bits[:40]), gpu.put(bits), 12, num_sites=num_sites, observed=observed
    )
    dense = gpu.put(np.ascontiguousarray(alleles[:, observed], np.float32))
    by_values = kernels.topk_l2(dense[:40], dense, 12)
    assert_topk(gpu, by_values, tuple(gpu.get(x) for x in by_bits), np.float32)
