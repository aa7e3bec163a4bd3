"""What Python does for CUDA arrays, on a machine without a device.

Arrays of a library that keeps them in host memory, and an extension that answers by the oracle.
"""

import contextlib
import inspect

import numpy as np
import pytest

from helpers import assert_same, random_alleles, random_bits
from snvrag import kernels
from snvrag.kernels import oracle
from snvrag.kernels.cuda import arrays
from snvrag.kernels.cuda import kernels as cuda_kernels


class Array:
    """A NumPy array that claims to be in CUDA memory; it is its own DLPack capsule."""

    device = "cuda:0"

    def __init__(self, values):
        self.values = values
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key):
        return Array(self.values[key])

    def __dlpack__(self, *, stream=None):
        assert stream == -1
        return self.values

    def __dlpack_device__(self):
        return (2, 0)


class Library:
    """Keeps arrays in host memory, of at most `most_bytes` each."""

    out_of_memory = MemoryError
    most_bytes = 2**62

    owns = staticmethod(lambda x: isinstance(x, Array))
    current = staticmethod(lambda like: contextlib.nullcontext())
    stream = staticmethod(lambda like: 7)
    upload = staticmethod(lambda array, like: Array(array.copy()))
    download = staticmethod(lambda x: x.values)
    contiguous = plain = staticmethod(lambda x: x)

    def empty(self, shape, dtype, like):
        array = np.zeros(shape, dtype)
        if dtype == "uint8" and array.nbytes > self.most_bytes:
            raise MemoryError
        return Array(array)


class Extension:
    """Has the functions of `_cuda.pyi`."""

    def row_pitch(self, num_rows):
        return -(-num_rows // 64) * 64

    def plan_size(self, num_sites):
        return 8 + num_sites

    def af_guided_masks(
        self,
        af,
        starts,
        stops,
        mask,
        seed,
        first_window,
        rate,
        rare_rate,
        rare_threshold,
        mersenne_twister,
        stream,
    ):
        assert stream == 7
        rates = {"rate": rate, "rare_rate": rare_rate, "rare_threshold": rare_threshold}
        rates["generator"] = "mt19937" if mersenne_twister else "philox"
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            mask[start:stop] = oracle.af_guided_mask(
                af[start:stop], seed=seed, window=first_window + i, **rates
            )

    def hamming_index_build(self, panel, num_sites, observed, plan, words, stream):
        self.panel, self.num_sites, self.observed = panel, num_sites, observed
        plan[0] = num_sites if observed is None else observed.sum()
        assert words.shape[0] >= -(-int(plan[0]) // 64)

    def hamming_index_build_from_sites(
        self, site_bits, num_haplotypes, observed, plan, words, stream
    ):
        alleles = oracle.unpack_haplotypes(site_bits, num_haplotypes).T
        panel = oracle.pack_haplotypes(alleles)
        self.hamming_index_build(panel, len(site_bits), observed, plan, words, stream)

    def hamming_workspace_bytes(
        self, max_words, num_haplotypes, num_queries, k, block_bytes, weighted
    ):
        return 100 + block_bytes

    def hamming_search(
        self,
        plan,
        words,
        num_haplotypes,
        num_sites,
        queries,
        k,
        exclude,
        weights,
        workspace,
        block_bytes,
        distances,
        indices,
        stream,
    ):
        assert workspace.size == 100 + block_bytes
        assert (len(self.panel), self.num_sites) == (num_haplotypes, num_sites)
        options = {"observed": self.observed, "exclude": exclude, "weights": weights}
        found = oracle.topk_hamming(queries, self.panel, k, num_sites=num_sites, **options)
        distances[:], indices[:] = found

    def l2_workspace_bytes(self, num_queries, num_rows, k, block_bytes):
        return block_bytes

    def topk_l2(
        self,
        queries,
        database,
        k,
        exclude,
        workspace,
        block_bytes,
        distances,
        indices,
        first_nan,
        stream,
    ):
        difference = queries[:, None] - database[None]
        nans = np.flatnonzero(np.isnan(difference).any(axis=2))
        first_nan[0] = nans[0] if nans.size else -1
        distances[:], indices[:] = oracle.topk_l2(queries, database, k, exclude=exclude)


@pytest.fixture
def fake(monkeypatch):
    library, extension = Library(), Extension()
    for module in (arrays, cuda_kernels):
        monkeypatch.setattr(module, "library_of", lambda x, name: library)
        monkeypatch.setattr(module, "extension", lambda: extension)
    return library


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def host(found):
    return tuple(x.values for x in found)


def test_the_extension_has_the_signatures_of_the_real_one():
    real = pytest.importorskip("snvrag._cuda")
    for name, function in inspect.getmembers(Extension, inspect.isfunction):
        names = list(inspect.signature(function).parameters)[1:]
        text = getattr(real, name).__doc__
        assert all(f"{argument}:" in text for argument in names), name
        assert text.count(": ") - text.count("bool: ") >= len(names) - 1, name


def test_masks(fake, rng):
    af = rng.random(300) ** 3
    got = kernels.af_guided_mask(Array(af), seed=3, window=5, rate=0.4)
    assert (got.values == kernels.af_guided_mask(af, seed=3, window=5, rate=0.4)).all()
    ends = np.array([0, 100]), np.array([100, 250])
    rates = {"rate": 0.3, "rare_rate": 0.9, "rare_threshold": 0.2}
    got = kernels.af_guided_masks(Array(af), *ends, seed=3, first_window=9, **rates)
    assert (got.values == kernels.af_guided_masks(af, *ends, seed=3, first_window=9, **rates)).all()
    v18 = {"seed": 1, "window": 0, "rate": 0.5, "generator": "mt19937"}
    got = kernels.af_guided_mask(Array(af), **v18)
    assert (got.values == kernels.af_guided_mask(af, **v18)).all()
    with pytest.raises(ValueError, match="rate must be from 0 to 1, got 2"):
        kernels.af_guided_mask(Array(af), seed=1, window=0, rate=2)


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize("by_sites", [False, True])
def test_search(fake, rng, where, by_sites):
    put = Array if where == "device" else lambda array: array
    alleles = random_alleles(40, 130)
    panel, queries = oracle.pack_haplotypes(alleles), random_bits(rng, 5, 130)
    observed = rng.random(130) < 0.4
    exclude = rng.integers(-1, 40, (5, 3))
    weights = rng.random(130).astype(np.float32)
    seen = put(observed)
    if by_sites:
        site_bits = Array(oracle.pack_haplotypes(alleles.T))
        index = kernels.HammingIndex.from_sites(site_bits, num_haplotypes=40, observed=seen)
    else:
        index = kernels.HammingIndex(Array(panel), num_sites=130, observed=seen)
    assert (index.num_haplotypes, index.num_sites) == (40, 130)
    assert index.num_observed == observed.sum()
    assert index.num_bytes > 0
    options = {"num_sites": 130, "observed": observed, "exclude": exclude}
    want = oracle.topk_hamming(queries, panel, 7, **options)
    assert_same(host(index.search(Array(queries), 7, exclude=put(exclude))), want)
    want = oracle.topk_hamming(queries, panel, 7, weights=weights, **options)
    given = {"exclude": put(exclude), "weights": put(weights)}
    assert_same(host(index.search(Array(queries), 7, **given)), want, dtype=np.float32)
    for k in (38, 41):
        with pytest.raises(ValueError, match=rf"k must be at most \d+ .*, got {k}"):
            index.search(Array(queries), k, exclude=put(np.tile(np.arange(3), (5, 1))))
    assert index.search(Array(queries), 37, exclude=put(np.tile([0, 1, 2], (5, 1)))).indices


def test_search_errors(fake, rng):
    panel = random_bits(rng, 5, 70)
    index = kernels.HammingIndex(Array(panel), num_sites=70)
    for options, error, text in (
        ({"exclude": np.array([[0], [5]])}, ValueError, "exclude must be .*, got 5 for query 1"),
        ({"exclude": np.zeros((2, 1), np.int32)}, TypeError, "exclude must be .*dtype int32"),
        ({"weights": np.full(70, -1, np.float32)}, ValueError, "weights .*got -1.0 at 0"),
        ({"weights": Array(np.ones(69, np.float32))}, ValueError, r"weights .*shape \(69,\)"),
        ({"out": 3}, TypeError, "out must be a pair of arrays"),
        ({"block_bytes": 0}, TypeError, "block_bytes"),
        ({"k": 0}, ValueError, "k must be at least 1, got 0"),
        ({"k": 1.5}, TypeError, "k must be an int, got float"),
        ({"queries": panel}, TypeError, "queries must be .*, got ndarray"),
        ({"queries": Array(panel[:, :1])}, ValueError, "queries must be of 2 words a row"),
    ):
        with pytest.raises(error, match=text):
            index.search(**{"queries": Array(panel[:2]), "k": 2, **options})


def test_dense(fake, rng):
    queries = rng.integers(-3, 4, (4, 9)).astype(np.float32)
    database = rng.integers(-3, 4, (30, 9)).astype(np.float32)
    exclude = rng.integers(-1, 30, (4, 2))
    got = kernels.topk_l2(Array(queries), Array(database), 5, exclude=exclude)
    want = kernels.topk_l2(queries, database, 5, exclude=exclude)
    assert_same(host(got), want, dtype=np.float32)
    out = (Array(np.zeros((4, 5), np.float32)), Array(np.zeros((4, 5), np.int64)))
    again = kernels.topk_l2(Array(queries), Array(database), 5, exclude=exclude, out=out)
    assert again.distances is out[0]
    assert_same(host(out), want, dtype=np.float32)
    assert kernels.topk_l2(Array(queries[:0]), Array(database), 5).indices.shape == (0, 5)
    database[11, 2] = np.nan
    with pytest.raises(ValueError, match=r"must be finite, got .*query 0, row 11"):
        kernels.topk_l2(Array(queries), Array(database), 5)


def test_less_memory_makes_smaller_blocks(fake, rng, monkeypatch):
    monkeypatch.setattr(arrays, "_warned_of_memory", False)
    panel = random_bits(rng, 5, 70)
    index = kernels.HammingIndex(Array(panel), num_sites=70)
    fake.most_bytes = 10_000
    with pytest.warns(RuntimeWarning, match="searching in blocks of"):
        got = index.search(Array(panel), 1)
    assert got.indices.values[:, 0].tolist() == list(range(5))
    fake.most_bytes = 50
    with pytest.raises(MemoryError):
        index.search(Array(panel), 1)
