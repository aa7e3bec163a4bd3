"""CUDA search by Hamming distance against its NumPy twin."""

import numpy as np
import pytest

from helpers import assert_topk, expected_hamming, expected_weighted, random_bits
from snvrag import kernels
from snvrag.kernels import cuda, oracle

SIZES = [0, 1, 63, 64, 65, 127, 128, 129, 1020]


@pytest.mark.parametrize("num_sites", SIZES)
@pytest.mark.parametrize("num_haplotypes", [1, 2, 63, 64, 65, 300])
def test_hamming_sizes(gpu, rng, num_sites, num_haplotypes):
    panel = random_bits(rng, num_haplotypes, num_sites)
    queries = random_bits(rng, 17, num_sites)
    queries[0] = panel[-1]
    panel[num_haplotypes // 2] = panel[0]
    bits = gpu.put(queries), gpu.put(panel)
    for observed in (None, rng.random(num_sites) < 0.4, np.zeros(num_sites, bool)):
        for k in sorted({1, min(8, num_haplotypes), num_haplotypes}):
            want = oracle.topk_hamming(queries, panel, k, num_sites=num_sites, observed=observed)
            for mask in [observed] if observed is None else [observed, gpu.put(observed)]:
                got = kernels.topk_hamming(*bits, k, num_sites=num_sites, observed=mask)
                assert_topk(gpu, got, want, np.int32)


# One chunk, several chunks that are merged, several batches, several slices of ranks, all ranks.
@pytest.mark.parametrize(
    ("num_haplotypes", "k", "num_queries", "limit"),
    [
        (5_008, 8, 48, {}),
        (40_000, 8, 5, {}),
        (40_000, 64, 21, {"block_bytes": 200_000}),
        (70_000, 300, 3, {"block_bytes": 1}),
        (40_000, 2_048, 2, {}),
        (6_000, 2_049, 2, {}),
        (5_000, 5_000, 3, {"block_bytes": 1}),
        (300_000, 9, 40, {}),
    ],
)
@pytest.mark.parametrize("kind", ["clustered", "equal", "descending"])
def test_hamming_selection(gpu, rng, num_haplotypes, k, num_queries, limit, kind):
    num_sites = 130
    founders = random_bits(rng, 30, num_sites)
    panel = founders[rng.integers(0, 30, num_haplotypes)]
    panel[:, 1] ^= np.uint64(1) << rng.integers(0, 64, num_haplotypes).astype(np.uint64)
    queries = panel[rng.integers(0, num_haplotypes, num_queries)]
    observed = np.zeros(num_sites, bool) if kind == "equal" else rng.random(num_sites) < 0.6
    if kind == "descending":
        _, order = expected_hamming(queries[:1], panel, num_haplotypes, num_sites, observed)
        panel = panel[order[0, ::-1]]
    exclude = None
    if k + 3 <= num_haplotypes:
        exclude = rng.integers(-1, num_haplotypes, (num_queries, 3))
    want = expected_hamming(queries, panel, k, num_sites, observed, exclude)
    for dropped in [exclude] if exclude is None else [exclude, gpu.put(exclude)]:
        index = cuda.DeviceHammingIndex(gpu.put(panel), num_sites=num_sites, observed=observed)
        got = index.search(gpu.put(queries), k, exclude=dropped, **limit)
        assert_topk(gpu, got, want, np.int32)


def test_hamming_distances_beyond_16_bits(gpu, rng):
    num_sites = 70_000
    panel = random_bits(rng, 70, num_sites)
    queries = np.concatenate([panel[:2], ~panel[:1]])
    want = expected_hamming(queries, panel, 70, num_sites)
    assert want[0].max() == num_sites
    got = kernels.topk_hamming(gpu.put(queries), gpu.put(panel), 70, num_sites=num_sites)
    assert_topk(gpu, got, want, np.int32)


def test_hamming_takes_signed_words_and_rows_apart(gpu, rng):
    wide_panel, wide_queries = random_bits(rng, 50, 640), random_bits(rng, 18, 640)
    want = oracle.topk_hamming(wide_queries[::2, 1:4], wide_panel[:, 2:5], 7, num_sites=150)
    panel = gpu.put(wide_panel.view(np.int64))[:, 2:5]
    queries = gpu.put(wide_queries.view(np.int64))[::2, 1:4]
    assert_topk(gpu, kernels.topk_hamming(queries, panel, 7, num_sites=150), want, np.int32)


def test_hamming_exclude_leaves_exactly_k(gpu, rng):
    panel, queries = random_bits(rng, 10, 100), random_bits(rng, 3, 100)
    exclude = np.array([[0, 1, -1], [3, 3, 9], [-1, -1, -1]])
    want = oracle.topk_hamming(queries, panel, 8, num_sites=100, exclude=exclude)
    index = kernels.HammingIndex(gpu.put(panel), num_sites=100)
    for dropped in (exclude, gpu.put(exclude)):
        assert_topk(gpu, index.search(gpu.put(queries), 8, exclude=dropped), want, np.int32)
        with pytest.raises(ValueError, match=r"k must be at most 8 \(10 less 2 excluded\), got 9"):
            index.search(gpu.put(queries), 9, exclude=dropped)


def test_hamming_index_is_like_the_cpus(gpu, rng):
    panel, queries = random_bits(rng, 500, 1020), random_bits(rng, 9, 1020)
    observed = rng.random(1020) < 0.4
    ours = kernels.HammingIndex(gpu.put(panel), num_sites=1020, observed=observed)
    cpu = kernels.HammingIndex(panel, num_sites=1020, observed=observed)
    assert (ours.num_haplotypes, ours.num_sites) == (500, 1020)
    assert ours.num_bytes >= 8 * 500 * -(-observed.sum() // 64)
    assert_topk(gpu, ours.search(gpu.put(queries), 20), cpu.search(queries, 20), np.int32)


@pytest.mark.parametrize("num_sites", SIZES)
@pytest.mark.parametrize("num_haplotypes", [1, 64, 300])
def test_index_from_sites(gpu, rng, num_sites, num_haplotypes):
    alleles = rng.integers(0, 2, (num_haplotypes, num_sites)).astype(np.int8)
    panel = kernels.pack_haplotypes(alleles)
    queries = random_bits(rng, 5, num_sites)
    rows = random_bits(rng, num_sites + 7, num_haplotypes + 64)  # a window of a larger panel
    words = -(-num_haplotypes // 64)
    rows[3 : 3 + num_sites, :words] = kernels.pack_haplotypes(np.ascontiguousarray(alleles.T))
    site_bits = gpu.put(rows.view(np.int64))[3 : 3 + num_sites, :words]
    observed = rng.random(num_sites) < 0.4
    want = oracle.topk_hamming(queries, panel, 1, num_sites=num_sites, observed=observed)
    for mask in (observed, gpu.put(observed)):
        index = cuda.DeviceHammingIndex.from_sites(
            site_bits, num_haplotypes=num_haplotypes, observed=mask
        )
        assert (index.num_haplotypes, index.num_sites) == (num_haplotypes, num_sites)
        assert index.num_observed == np.count_nonzero(observed)
        assert_topk(gpu, index.search(gpu.put(queries), 1), want, np.int32)


@pytest.mark.parametrize("num_sites", SIZES)
@pytest.mark.parametrize("scale", [1.0, 1e-44, 1e35])
def test_weighted_sizes(gpu, rng, num_sites, scale):
    panel, queries = random_bits(rng, 300, num_sites), random_bits(rng, 17, num_sites)
    weights = (rng.random(num_sites) * scale).astype(np.float32)
    weights[::7] = 0
    for observed in (None, rng.random(num_sites) < 0.4, np.zeros(num_sites, bool)):
        want = expected_weighted(queries, panel, 40, num_sites, weights, observed)
        for mask in [observed] if observed is None else [observed, gpu.put(observed)]:
            index = cuda.DeviceHammingIndex(gpu.put(panel), num_sites=num_sites, observed=mask)
            for given in (weights, gpu.put(weights)):
                got = index.search(gpu.put(queries), 40, weights=given)
                assert_topk(gpu, got, want, np.float32)


@pytest.mark.parametrize(
    ("num_haplotypes", "k", "num_queries", "limit"),
    [(5_008, 8, 48, {}), (40_000, 64, 9, {"block_bytes": 400_000}), (6_000, 2_049, 2, {})],
)
def test_weighted_selection(gpu, rng, num_haplotypes, k, num_queries, limit):
    num_sites = 1_500  # more words than are staged at a time
    panel = random_bits(rng, 30, num_sites)[rng.integers(0, 30, num_haplotypes)]
    panel[:, 1] ^= np.uint64(1) << rng.integers(0, 64, num_haplotypes).astype(np.uint64)
    queries = panel[rng.integers(0, num_haplotypes, num_queries)]
    weights = rng.exponential(size=num_sites).astype(np.float32)
    exclude = rng.integers(-1, num_haplotypes, (num_queries, 3))
    want = expected_weighted(queries, panel, k, num_sites, weights, None, exclude)
    index = cuda.DeviceHammingIndex(gpu.put(panel), num_sites=num_sites)
    got = index.search(gpu.put(queries), k, exclude=exclude, weights=gpu.put(weights), **limit)
    assert_topk(gpu, got, want, np.float32)


def test_wrong_weights(gpu, rng):
    panel = gpu.put(random_bits(rng, 5, 70))
    index = cuda.DeviceHammingIndex(panel, num_sites=70)
    weights = np.ones(70, np.float32)
    with pytest.raises(ValueError, match=r"weights must be .*, got shape \(69,\)"):
        index.search(panel, 2, weights=weights[:69])
    with pytest.raises(TypeError, match=r"weights must be .*, got dtype float64"):
        index.search(panel, 2, weights=gpu.put(weights.astype(np.float64)))
    for wrong in (np.nan, np.inf, -1):
        weights[69] = wrong
        with pytest.raises(
            ValueError, match=r"weights must be finite and not negative, got .* at 69"
        ):
            index.search(panel, 2, weights=weights)
        distances, indices = index.search(panel, 2, weights=gpu.put(weights))
        assert np.isnan(gpu.get(distances)).all()
        np.testing.assert_array_equal(gpu.get(indices), [[0, 1]] * 5)
    with pytest.raises(ValueError, match="weights must be of a sum that float32 holds"):
        index.search(panel, 2, weights=np.full(70, 3e38, np.float32))


def test_out(gpu, rng):
    panel, queries = gpu.put(random_bits(rng, 50, 129)), gpu.put(random_bits(rng, 4, 129))
    index = cuda.DeviceHammingIndex(panel, num_sites=129)
    dense = gpu.put(rng.normal(size=(50, 9)).astype(np.float32))
    weights = gpu.put(rng.random(129).astype(np.float32))
    for dtype, search in (
        (np.int32, lambda out=None: index.search(queries, 3, out=out)),
        (np.float32, lambda out=None: index.search(queries, 3, weights=weights, out=out)),
        (np.float32, lambda out=None: cuda.topk_l2(dense[:4], dense, 3, out=out)),
    ):
        out = gpu.put(np.full((4, 3), -7, dtype)), gpu.put(np.full((4, 3), -7))
        got = search(out)
        assert all(x is y for x, y in zip(got, out, strict=True))
        assert_topk(gpu, out, tuple(gpu.get(x) for x in search()), dtype)
        with pytest.raises(ValueError, match=r"out\\[0\\] must be .*, got shape \(3, 3\)"):
            search((out[0][:3], out[1]))
        with pytest.raises(TypeError, match=r"out\\[1\\] must be .*, got dtype int16"):
            search((out[0], gpu.put(np.zeros((4, 3), np.int16))))
        with pytest.raises(TypeError, match="out must be a pair of arrays"):
            search(out[0])
        with pytest.raises(TypeError, match=r"distances must be contiguous"):
            search((gpu.put(np.zeros((4, 6), dtype))[:, ::2], out[1]))


def test_no_queries(gpu, rng):
    panel = gpu.put(random_bits(rng, 5, 64))
    got = kernels.topk_hamming(panel[:0], panel, 3, num_sites=64)
    assert [tuple(x.shape) for x in got] == [(0, 3), (0, 3)]
    database = gpu.put(np.zeros((5, 2), np.float32))
    assert tuple(kernels.topk_l2(database[:0], database, 3).indices.shape) == (0, 3)
