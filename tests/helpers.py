"""Functions that several test modules use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snvrag import _core
from snvrag.kernels import oracle

# --- bits -----------------------------------------------------------------------------------------


def random_alleles(num_rows: int, num_sites: int, seed: int = 0) -> NDArray[np.int8]:
    """Return (rows, sites) alleles, 0 or 1 with equal probability."""
    return np.random.default_rng(seed).integers(0, 2, (num_rows, num_sites), np.int8)


def pack(alleles: NDArray[Any]) -> NDArray[np.uint64]:
    """Pack rows of alleles to words by NumPy, not by the kernels."""
    num_rows, num_columns = alleles.shape
    num_words = -(-num_columns // 64)
    padded = np.zeros((num_rows, 64 * num_words), np.uint8)
    padded[:, :num_columns] = alleles
    packed = np.packbits(padded, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64).reshape(num_rows, num_words)


def unpack(bits: NDArray[np.uint64], num_columns: int) -> NDArray[np.int8]:
    """Unpack rows of words to alleles by NumPy, not by the kernels."""
    as_bytes = np.ascontiguousarray(bits.astype("<u8")).view(np.uint8)
    alleles = np.unpackbits(as_bytes, axis=1, bitorder="little")[:, :num_columns]
    return alleles.astype(np.int8)


def mosaic_haplotypes(
    num_haplotypes: int,
    num_sites: int,
    *,
    num_founders: int = 8,
    switch_rate: float = 0.02,
    error_rate: float = 0.002,
    seed: int = 0,
) -> NDArray[np.int8]:
    """Return (H, L) alleles in linkage disequilibrium: mosaics of a few founders.

    A haplotype copies a founder and goes to another with probability `switch_rate` a site; an
    allele is flipped with probability `error_rate`. Founders' frequencies are skewed to rare ALT.
    """
    random = np.random.default_rng(seed)
    frequency = random.beta(0.5, 1.5, num_sites)
    founders = random.random((num_founders, num_sites)) < frequency
    switch = random.random((num_haplotypes, num_sites)) < switch_rate
    switch[:, :1] = True
    start = np.maximum.accumulate(np.where(switch, np.arange(num_sites), 0), axis=1)
    choice = random.integers(0, num_founders, (num_haplotypes, num_sites))
    founder = np.take_along_axis(choice, start, axis=1)
    alleles = founders[founder, np.arange(num_sites)]
    alleles ^= random.random((num_haplotypes, num_sites)) < error_rate
    return alleles.astype(np.int8)


# --- arrays of any layout -------------------------------------------------------------------------


def unaligned(array: NDArray[Any]) -> NDArray[Any]:
    """Return an equal array whose memory begins one byte off."""
    memory = bytearray(array.nbytes + 1)
    result = np.frombuffer(memory, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    result[...] = array
    assert array.itemsize == 1 or not result.flags.aligned
    return result


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only copy."""
    result = array.copy()
    result.flags.writeable = False
    return result


# --- instruction sets -----------------------------------------------------------------------------

LEVELS = _core.simd_levels()


@contextmanager
def level(name: str) -> Iterator[None]:
    """Use an instruction set inside a `with`, for tests that Hypothesis drives."""
    before = _core.simd_level()
    _core.set_simd_level(name)
    try:
        yield
    finally:
        _core.set_simd_level(before)


# --- searches -------------------------------------------------------------------------------------


def half_observed(num_sites: int, seed: int = 0) -> NDArray[np.bool_]:
    """Return a mask of observed sites, 40% of all."""
    return np.random.default_rng(seed).random(num_sites) < 0.4


def assert_same(got: Any, expected: Any, note: Any = None, dtype: Any = np.int32) -> None:
    """Compare an answer (distances, indices) with ==, including shapes and dtypes."""
    distances, indices = got
    assert distances.dtype == dtype, note
    assert indices.dtype == np.int64, note
    assert distances.shape == indices.shape == expected[0].shape, note
    assert (distances == expected[0]).all(), note
    assert (indices == expected[1]).all(), note


def counted(
    queries: NDArray[np.uint64], panel: NDArray[np.uint64], k: int, keep: Any
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Search by population counts and a stable sort: the oracle, but fast on large panels."""
    distances, indices = [], []
    for query in queries:
        row = np.bitwise_count((panel ^ query) & keep).sum(axis=1, dtype=np.int32)
        order = np.argsort(row, kind="stable")[:k]
        distances.append(row[order])
        indices.append(order)
    return np.array(distances), np.array(indices)


def packed_panel(
    num_haplotypes: int, num_sites: int, num_queries: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return a packed panel and packed queries of random alleles."""
    rows = ((num_haplotypes, 1), (num_queries, 2))
    panel, queries = (pack(random_alleles(n, num_sites, seed)) for n, seed in rows)
    return panel, queries


# --- searches on a device -------------------------------------------------------------------------


def random_bits(rng: Any, num_rows: int, num_sites: int) -> NDArray[np.uint64]:
    """Return packed rows with bits past the last site, which must not count."""
    return rng.integers(0, 2**64, (num_rows, -(-num_sites // 64)), dtype=np.uint64)


def expected_hamming(
    queries: Any, panel: Any, k: int, num_sites: int, observed: Any = None, exclude: Any = None
) -> tuple[Any, Any]:
    """The oracle's answer, by matrix products, for panels too large for the oracle."""
    seen = slice(None) if observed is None else observed
    a = oracle.unpack_haplotypes(queries, num_sites)[:, seen].astype(np.float32)
    b = oracle.unpack_haplotypes(panel, num_sites)[:, seen].astype(np.float32)
    distances = (a @ (1 - b).T + (1 - a) @ b.T).astype(np.int64)
    return nearest(distances, k, exclude)


def expected_weighted(
    queries: Any,
    panel: Any,
    k: int,
    num_sites: int,
    weights: Any,
    observed: Any = None,
    exclude: Any = None,
) -> tuple[Any, Any]:
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


def nearest(distances: Any, k: int, exclude: Any) -> tuple[Any, Any]:
    """Sort by (distance, index), without the excluded, and keep k."""
    distances = distances.copy()
    if exclude is not None:
        for row, dropped in zip(distances, exclude, strict=True):
            row[dropped[dropped >= 0]] = np.iinfo(np.int32).max if row.dtype.kind == "i" else np.inf
    index = np.broadcast_to(np.arange(distances.shape[1]), distances.shape)
    order = np.lexsort((index, distances), axis=1)[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


def assert_topk(gpu: Any, got: Any, want: Any, dtype: Any) -> None:
    """Compare an answer on a device with ==, including dtypes."""
    distances, indices = (gpu.get(x) for x in got)
    assert distances.dtype == dtype
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(distances, want[0])
    np.testing.assert_array_equal(indices, want[1])


# --- targets and masks ----------------------------------------------------------------------------


def own_targets(panel: Any) -> Any:
    """Return a panel's own samples as targets."""
    from snvrag.batches.dataset import Targets

    every = np.ones(panel.num_sites, bool)
    return Targets(panel, every, np.arange(panel.num_samples), panel.sample_population)


def mask_formula(
    af: NDArray[np.float64], mask_seed: int, window: int, rate: float
) -> NDArray[np.bool_]:
    """Return the mask of a window as contract 4.1 says, in NumPy."""
    u = np.random.Generator(np.random.Philox(key=mask_seed * 10_000 + window)).random(af.size)
    return u < np.where(af < 0.05, 0.7, rate)
