"""Every CUDA kernel against its NumPy twin, for each array library that is there.

Without a device, or without the extension, these tests skip; with SNVRAG_REQUIRE_GPU=1 they fail
instead (CuPy may be missing in either case).
"""

import importlib
import math
import os

import numpy as np
import pytest

from snvrag import kernels
from snvrag.kernels import _device, oracle

SIZES = [0, 1, 63, 64, 65, 127, 128, 129, 1020]


def extension():
    try:
        return importlib.import_module("snvrag._cuda")
    except ModuleNotFoundError:
        return None


def missing(reason):
    (pytest.fail if os.environ.get("SNVRAG_REQUIRE_GPU") == "1" else pytest.skip)(reason)


class Torch:
    def __init__(self):
        self.torch = importlib.import_module("torch")

    def is_ready(self):
        return self.torch.cuda.is_available()

    def put(self, array):
        return self.torch.tensor(array).cuda()

    def get(self, x):
        assert x.is_cuda
        return x.cpu().numpy()


class CuPy:
    def __init__(self):
        self.cupy = importlib.import_module("cupy")

    def is_ready(self):
        return True

    def put(self, array):
        return self.cupy.asarray(array)

    def get(self, x):
        assert isinstance(x, self.cupy.ndarray)
        return self.cupy.asnumpy(x)


def library(name):
    cuda = extension()
    if cuda is None:
        missing("snvrag._cuda was not built")
    if cuda.device_count() == 0:
        missing("no CUDA device")
    try:
        found = {"torch": Torch, "cupy": CuPy}[name]()
    except ImportError:
        (missing if name == "torch" else pytest.skip)(f"{name} is not installed")
    if not found.is_ready():
        missing(f"{name} finds no CUDA device")
    return found


@pytest.fixture(params=["torch", "cupy"])
def gpu(request):
    return library(request.param)


@pytest.fixture
def torch_gpu():
    return library("torch")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def random_bits(rng, num_rows, num_sites):
    """Bits behind the last site are set, too: they must not count."""
    return rng.integers(0, 2**64, (num_rows, -(-num_sites // 64)), dtype=np.uint64)


def expected_hamming(queries, panel, k, num_sites, observed=None, exclude=None):
    """The oracle's answer, by matrix products, for panels too large for the oracle."""
    seen = slice(None) if observed is None else observed
    a = oracle.unpack_haplotypes(queries, num_sites)[:, seen].astype(np.float32)
    b = oracle.unpack_haplotypes(panel, num_sites)[:, seen].astype(np.float32)
    distances = (a @ (1 - b).T + (1 - a) @ b.T).astype(np.int64)
    return nearest(distances, k, exclude)


def expected_weighted(queries, panel, k, num_sites, weights, observed=None, exclude=None):
    """Integer weights, summed exactly in float64; what the CPU's kernel defines."""
    seen = slice(None) if observed is None else observed
    seen_weights = weights[seen].astype(np.float64)
    total = np.cumsum(np.append(0.0, seen_weights))[-1]  # in order, as the kernels
    exponent = min(29 - (math.frexp(total)[1] - 1), 126) if total > 0 else 0
    integers = np.rint(np.ldexp(seen_weights, exponent))
    a = oracle.unpack_haplotypes(queries, num_sites)[:, seen].astype(np.float64)
    b = oracle.unpack_haplotypes(panel, num_sites)[:, seen].astype(np.float64)
    sums = (a * integers) @ (1 - b).T + ((1 - a) * integers) @ b.T
    distances = np.ldexp(sums.astype(np.float32), -exponent)
    return nearest(distances, k, exclude)


def nearest(distances, k, exclude):
    distances = distances.copy()
    if exclude is not None:
        for row, dropped in zip(distances, exclude, strict=True):
            row[dropped[dropped >= 0]] = np.iinfo(np.int32).max if row.dtype.kind == "i" else np.inf
    index = np.broadcast_to(np.arange(distances.shape[1]), distances.shape)
    order = np.lexsort((index, distances), axis=1)[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


def assert_topk(gpu, got, want, dtype):
    distances, indices = (gpu.get(x) for x in got)
    assert distances.dtype == dtype
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(distances, want[0])
    np.testing.assert_array_equal(indices, want[1])


# --- without a device -----------------------------------------------------------------------------


def test_extension_loads_without_a_device():
    cuda = extension()
    if cuda is None:
        missing("snvrag._cuda was not built")
    assert isinstance(cuda.device_count(), int)
    assert cuda.compiled_architectures() == sorted(cuda.compiled_architectures())


@pytest.mark.parametrize("x", [None, 3, [1.0], np.zeros(3), "cuda"])
def test_host_values_are_no_device_arrays(x):
    assert not _device.is_device_array(x)


def test_other_memory_is_no_device_array():
    class Elsewhere:
        def __init__(self, answer):
            self.answer = answer

        def __dlpack_device__(self):
            if self.answer is None:
                raise ValueError("no such device")
            return self.answer

    assert not _device.is_device_array(Elsewhere((1, 0)))
    assert not _device.is_device_array(Elsewhere(None))
    assert _device.is_device_array(Elsewhere((2, 0)))


def test_unknown_device_array_is_a_type_error():
    class Stranger:
        shape = (1, 1)

        def __dlpack_device__(self):
            return (2, 0)

    with pytest.raises(TypeError, match="database must be a torch or CuPy array"):
        kernels.topk_l2(np.zeros((1, 1), np.float32), Stranger(), 1)


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("window", [0, 9_999, 10_000, 12_345_678])
def test_mask_of_a_window(gpu, rng, size, window):
    af = rng.random(size) ** 3
    got = kernels.af_guided_mask(gpu.put(af), seed=2024, window=window, rate=0.5)
    want = oracle.af_guided_mask(af, seed=2024, window=window, rate=0.5)
    assert gpu.get(got).dtype == np.bool_
    np.testing.assert_array_equal(gpu.get(got), want)


@pytest.mark.parametrize("rates", [{}, {"rare_rate": 1.0, "rare_threshold": 0.5}])
def test_masks_of_many_windows(gpu, rng, rates):
    lengths = rng.integers(0, 2500, 40)
    stops = np.cumsum(lengths) + 3
    starts = stops - lengths
    stops[5] -= min(7, lengths[5])  # a gap
    af = rng.random(stops[-1] + 11) ** 3
    want = np.zeros(af.size, bool)
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        want[start:stop] = oracle.af_guided_mask(
            af[start:stop], seed=5, window=9_990 + i, rate=0.3, **rates
        )
    arguments = {"seed": 5, "rate": 0.3, "first_window": 9_990, **rates}
    got = kernels.af_guided_masks(gpu.put(af), starts, stops, **arguments)
    np.testing.assert_array_equal(gpu.get(got), want)
    got = _device.af_guided_masks(gpu.put(af), gpu.put(starts), gpu.put(stops), **arguments)
    np.testing.assert_array_equal(gpu.get(got), want)


def test_mask_of_one_long_window(gpu, rng):
    af = rng.random(3_000_001)
    got = kernels.af_guided_mask(gpu.put(af), seed=1, window=2, rate=0.4)
    want = oracle.af_guided_mask(af, seed=1, window=2, rate=0.4)
    np.testing.assert_array_equal(gpu.get(got), want)


def test_masks_of_no_windows(gpu, rng):
    none = np.zeros(0, np.int64)
    got = kernels.af_guided_masks(gpu.put(rng.random(100)), none, none, seed=1, rate=0.4)
    assert not gpu.get(got).any()


def test_windows_outside_the_panel_are_left_out(gpu, rng):
    starts, stops = np.array([-1, 90, 10, 50]), np.array([5, 101, 8, 60])
    af = gpu.put(rng.random(100))
    got = _device.af_guided_masks(af, gpu.put(starts), gpu.put(stops), seed=1, rate=1.0)
    np.testing.assert_array_equal(np.flatnonzero(gpu.get(got)), np.arange(50, 60))


# --- Hamming --------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_sites", SIZES)
@pytest.mark.parametrize("num_haplotypes", [1, 2, 63, 64, 65, 300])
def test_hamming_sizes(gpu, rng, num_sites, num_haplotypes):
    panel = random_bits(rng, num_haplotypes, num_sites)
    queries = random_bits(rng, 17, num_sites)
    queries[0] = panel[-1]
    panel[num_haplotypes // 2] = panel[0]
    masks = [None, rng.random(num_sites) < 0.4, np.zeros(num_sites, bool)]
    for observed in masks:
        for k in sorted({1, min(8, num_haplotypes), num_haplotypes}):
            want = oracle.topk_hamming(queries, panel, k, num_sites=num_sites, observed=observed)
            masks_of_index = [observed] if observed is None else [observed, gpu.put(observed)]
            for mask in masks_of_index:
                got = kernels.topk_hamming(
                    gpu.put(queries), gpu.put(panel), k, num_sites=num_sites, observed=mask
                )
                assert_topk(gpu, got, want, np.int32)


# One chunk, several chunks that are merged, several batches, several slices of ranks, all ranks.
@pytest.mark.parametrize(
    ("num_haplotypes", "k", "num_queries", "block_bytes"),
    [
        (5_008, 8, 48, None),
        (40_000, 8, 5, None),
        (40_000, 64, 21, 200_000),
        (70_000, 300, 3, 1),
        (40_000, 2_048, 2, None),
        (6_000, 2_049, 2, None),
        (5_000, 5_000, 3, 1),
        (300_000, 9, 40, None),
    ],
)
@pytest.mark.parametrize("kind", ["clustered", "equal", "descending"])
def test_hamming_selection(gpu, rng, num_haplotypes, k, num_queries, block_bytes, kind):
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
    limit = {} if block_bytes is None else {"block_bytes": block_bytes}
    for dropped in [exclude] if exclude is None else [exclude, gpu.put(exclude)]:
        got = _device.topk_hamming(
            gpu.put(queries),
            gpu.put(panel),
            k,
            num_sites=num_sites,
            observed=observed,
            exclude=dropped,
            **limit,
        )
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
        index = _device.DeviceHammingIndex.from_sites(
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
            index = _device.DeviceHammingIndex(gpu.put(panel), num_sites=num_sites, observed=mask)
            for given in (weights, gpu.put(weights)):
                got = index.search(gpu.put(queries), 40, weights=given)
                assert_topk(gpu, got, want, np.float32)


@pytest.mark.parametrize(
    ("num_haplotypes", "k", "num_queries", "block_bytes"),
    [(5_008, 8, 48, None), (40_000, 64, 9, 400_000), (6_000, 2_049, 2, None)],
)
def test_weighted_selection(gpu, rng, num_haplotypes, k, num_queries, block_bytes):
    num_sites = 1_500  # more words than are staged at a time
    panel = random_bits(rng, 30, num_sites)[rng.integers(0, 30, num_haplotypes)]
    panel[:, 1] ^= np.uint64(1) << rng.integers(0, 64, num_haplotypes).astype(np.uint64)
    queries = panel[rng.integers(0, num_haplotypes, num_queries)]
    weights = rng.exponential(size=num_sites).astype(np.float32)
    exclude = rng.integers(-1, num_haplotypes, (num_queries, 3))
    want = expected_weighted(queries, panel, k, num_sites, weights, None, exclude)
    limit = {} if block_bytes is None else {"block_bytes": block_bytes}
    got = _device.topk_hamming(
        gpu.put(queries),
        gpu.put(panel),
        k,
        num_sites=num_sites,
        exclude=exclude,
        weights=gpu.put(weights),
        **limit,
    )
    assert_topk(gpu, got, want, np.float32)


def test_wrong_weights(gpu, rng):
    panel = gpu.put(random_bits(rng, 5, 70))
    index = _device.DeviceHammingIndex(panel, num_sites=70)
    weights = np.ones(70, np.float32)
    with pytest.raises(ValueError, match=r"weights must be .*, got shape \(69,\)"):
        index.search(panel, 2, weights=weights[:69])
    with pytest.raises(TypeError, match=r"weights must be .*, got dtype float64"):
        index.search(panel, 2, weights=gpu.put(weights.astype(np.float64)))
    for wrong in (np.nan, np.inf, -1):
        weights[69] = wrong
        with pytest.raises(
            ValueError, match=r"weights must be finite and at least 0, got .* at 69"
        ):
            index.search(panel, 2, weights=weights)
        distances, indices = index.search(panel, 2, weights=gpu.put(weights))
        assert np.isnan(gpu.get(distances)).all()
        np.testing.assert_array_equal(gpu.get(indices), [[0, 1]] * 5)
    with pytest.raises(ValueError, match="weights must be of a total that float32 holds"):
        index.search(panel, 2, weights=np.full(70, 3e38, np.float32))


def test_out(gpu, rng):
    panel, queries = gpu.put(random_bits(rng, 50, 129)), gpu.put(random_bits(rng, 4, 129))
    index = _device.DeviceHammingIndex(panel, num_sites=129)
    dense = gpu.put(rng.normal(size=(50, 9)).astype(np.float32))
    weights = gpu.put(rng.random(129).astype(np.float32))
    for dtype, search in (
        (np.int32, lambda out=None: index.search(queries, 3, out=out)),
        (np.float32, lambda out=None: index.search(queries, 3, weights=weights, out=out)),
        (np.float32, lambda out=None: _device.topk_l2(dense[:4], dense, 3, out=out)),
    ):
        out = gpu.put(np.full((4, 3), -7, dtype)), gpu.put(np.full((4, 3), -7))
        got = search(out)
        assert all(x is y for x, y in zip(got, out, strict=True))
        assert_topk(gpu, out, tuple(gpu.get(x) for x in search()), dtype)
        with pytest.raises(ValueError, match=r"distances of out must be .*, got shape \(3, 3\)"):
            search((out[0][:3], out[1]))
        with pytest.raises(TypeError, match=r"indices of out must be .*, got dtype int16"):
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


# --- squared L2 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_queries", "num_rows", "num_dimensions", "k", "block_bytes"),
    [
        (1, 1, 1, 1, None),
        (3, 5, 0, 5, None),
        (48, 300, 33, 8, None),
        (33, 65, 64, 65, 1),
        (65, 130, 31, 3, 40_000),
        (5, 20_000, 7, 9, None),
        (2, 9_000, 3, 3_000, None),
    ],
)
def test_l2_of_whole_numbers(gpu, rng, num_queries, num_rows, num_dimensions, k, block_bytes):
    queries = rng.integers(-3, 4, (num_queries, num_dimensions))
    database = rng.integers(-3, 4, (num_rows, num_dimensions))
    exclude = rng.integers(-1, num_rows, (num_queries, 2)) if k + 2 <= num_rows else None
    distances = ((queries[:, None] - database[None]) ** 2).sum(axis=2)
    limit = {} if block_bytes is None else {"block_bytes": block_bytes}
    got = _device.topk_l2(
        gpu.put(queries.astype(np.float32)),
        gpu.put(database.astype(np.float32)),
        k,
        exclude=exclude,
        **limit,
    )
    assert_topk(gpu, got, nearest(distances, k, exclude), np.float32)


def test_l2_of_random_vectors(gpu, rng):
    queries = rng.normal(size=(20, 1000)).astype(np.float32)
    database = rng.normal(size=(500, 1000)).astype(np.float32)
    database[7] = queries[3]
    want_distances, want_indices = oracle.topk_l2(queries, database, 10)
    distances, indices = (gpu.get(x) for x in kernels.topk_l2(gpu.put(queries), gpu.put(database), 10))
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


# --- streams, graphs, errors ----------------------------------------------------------------------


def test_work_goes_to_the_current_stream(torch_gpu, rng):
    torch = torch_gpu.torch
    panel_bits, query_bits = random_bits(rng, 3_000, 256), random_bits(rng, 20, 256)
    want = oracle.topk_hamming(query_bits, panel_bits, 5, num_sites=256)
    source, queries = torch_gpu.put(panel_bits.view(np.int64)), torch_gpu.put(query_bits)
    panel = torch.zeros_like(source)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # on another stream, the zeros would be searched
        panel.copy_(source)
        got = kernels.topk_hamming(queries, panel, 5, num_sites=256)
    stream.synchronize()
    assert_topk(torch_gpu, got, want, np.int32)


@pytest.mark.parametrize("weighted", [False, True])
def test_search_is_captured_by_a_graph(torch_gpu, rng, weighted):
    """Which is refused for work that synchronises, or that leaves the stream."""
    torch = torch_gpu.torch
    panel_bits, query_bits = random_bits(rng, 20_000, 300), random_bits(rng, 20, 300)
    exclude = rng.integers(-1, 20_000, (20, 2))
    observed = rng.random(300) < 0.5
    panel, queries = torch_gpu.put(panel_bits), torch_gpu.put(np.zeros_like(query_bits))
    mask, dropped = torch_gpu.put(observed), torch_gpu.put(exclude)
    weights = rng.random(300).astype(np.float32)
    options = {"weights": torch_gpu.put(weights)} if weighted else {}

    def work():
        index = _device.DeviceHammingIndex(panel, num_sites=300, observed=mask)
        return index.search(queries, 5, exclude=dropped, **options)

    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = work()
    queries.view(torch.int64).copy_(torch_gpu.put(query_bits.view(np.int64)))
    graph.replay()
    torch.cuda.synchronize()
    if weighted:
        want = expected_weighted(query_bits, panel_bits, 5, 300, weights, observed, exclude)
    else:
        want = expected_hamming(query_bits, panel_bits, 5, 300, observed, exclude)
    assert_topk(torch_gpu, got, want, np.float32 if weighted else np.int32)


def test_gradients_are_left_behind(torch_gpu):
    database = torch_gpu.torch.eye(4, device="cuda", requires_grad=True)
    got = kernels.topk_l2(database, database, 1)
    assert not got.distances.requires_grad
    np.testing.assert_array_equal(torch_gpu.get(got.indices)[:, 0], np.arange(4))


def test_errors(gpu, rng):
    panel, queries = gpu.put(random_bits(rng, 5, 64)), gpu.put(random_bits(rng, 2, 64))

    def search(queries=queries, panel=panel, k=1, num_sites=64, **options):
        return kernels.topk_hamming(queries, panel, k, num_sites=num_sites, **options)

    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        search(k=0)
    with pytest.raises(ValueError, match=r"k must be at most 5 .*, got 6"):
        search(k=6)
    with pytest.raises(TypeError, match="k must be an int, got float"):
        search(k=1.5)
    with pytest.raises(ValueError, match=r"panel must be of 2 words a row \(65 sites\), got 1"):
        search(num_sites=65)
    with pytest.raises(TypeError, match=r"panel must be .*, got dtype float64"):
        search(panel=gpu.put(np.zeros((5, 1))))
    with pytest.raises(TypeError, match=r"queries must be .*, got ndarray"):
        search(queries=random_bits(rng, 2, 64))
    with pytest.raises(ValueError, match=r"observed must be .*, got shape \(63,\)"):
        search(observed=np.ones(63, bool))
    with pytest.raises(ValueError, match=r"exclude must be .*, got 5 for query 1"):
        search(exclude=np.array([[0], [5]]))
    with pytest.raises(TypeError, match=r"exclude must be .*, got dtype int32"):
        search(exclude=np.zeros((2, 1), np.int32))
    with pytest.raises(TypeError, match=r"queries must be .*, got dtype float64"):
        kernels.topk_l2(gpu.put(np.zeros((1, 2))), gpu.put(np.zeros((1, 2))), 1)
    with pytest.raises(TypeError, match=r"af must be .*, got dtype float32"):
        kernels.af_guided_mask(gpu.put(np.zeros(3, np.float32)), seed=1, window=0, rate=0.5)
    with pytest.raises(ValueError, match="generator must be 'philox'"):
        kernels.af_guided_mask(
            gpu.put(np.zeros(3)), seed=1, window=0, rate=0.5, generator="mt19937"
        )
