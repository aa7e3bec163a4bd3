"""Exact retrieval: ours beside FAISS, usearch, torch and V18's way, on one thread.

Everyone gets the same panel, the same 48 held-out queries and the same mask. FAISS and usearch get
the observed alleles already packed, outside the time taken, while our search is handed queries over
all sites and compacts them within it. FAISS is timed in its two ways: on rows as packed (51 bytes),
which the targets are against, and on rows padded with zeros to 64 bytes, which it has a faster loop
for; for k = 64 it selects by counting (``use_heap = False``), which is faster there.

Limits. H = 5,008, every word: 48 x 5,008 x 7 words are 210,336 XORs and population counts of 512
bits, and as many additions: 0.09 ms at one and a half cycles each and 3.7 GHz; the index (280 KB)
stays in the second-level cache. Ours looks at two words of every haplotype (0.03 ms) and at the
others of those that may still be among the nearest: a few percent on such haplotypes, all on noise.
H = 1,000,000: two words are 16 MB and 5 ms. Built in the same call: from haplotypes, 641 KB are
read and transposed; from sites, 408 rows of 626 bytes (255 KB). Dense: Q x H x D differences and
fused multiply-adds, 16 lanes a cycle: 4 ms for D = 1,020 and 0.3 s for D = 65,280, where the cache
alone is 1.3 GB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from libraries import faiss_search, usearch_search
from mosaics import NUM_QUERIES, Window
from numpy.typing import NDArray
from v18 import V18, WIDTH

from snvrag.kernels import HammingIndex, TopK, pack_haplotypes, topk_hamming, topk_l2

FAISS, FAISS_64 = "faiss IndexBinaryFlat", "faiss IndexBinaryFlat, padded to 64 bytes"
USEARCH = "usearch, exact Hamming on bits"
V18_WAY = "V18: encode at D = 64, cdist, topk"
OURS = "snvrag"
FROM_HAPLOTYPES = "snvrag, built from haplotypes in the call"
FROM_SITES = "snvrag, built from sites in the call"


@pytest.fixture(scope="module")
def million(sizes: Any) -> Window:
    """A panel of a million haplotypes."""
    sizes.need_memory(2e9)
    return Window.make(sizes.many_haplotypes, sizes.num_sites)


def build(window: Window) -> HammingIndex:
    return HammingIndex(window.bits, num_sites=window.num_sites, observed=window.observed)


def check(window: Window, distances: Any, indices: Any, k: int) -> None:
    """Compare an answer with ours: equal distances, and rows that are at those distances.

    Only we promise which of several rows at the last distance are taken.
    """
    ours = build(window).search(window.query_bits, k, threads=1)
    indices = np.asarray(indices, np.int64)
    np.testing.assert_array_equal(np.asarray(distances, np.int64), ours.distances)
    hidden = pack_haplotypes(~window.observed[None, :])
    for found in (indices, ours.indices):
        differing = (window.bits[found] ^ window.query_bits[:, None, :]) & ~hidden
        counts = np.bitwise_count(differing).sum(axis=2, dtype=np.int64)
        np.testing.assert_array_equal(counts, ours.distances)


def time_library(name: str, window: Window, k: int, timed: Any, request: Any, rounds: int) -> None:
    """Check and time one of the other libraries."""
    if name == USEARCH:
        pytest.importorskip("usearch")
        search = usearch_search(window, k)
    else:
        request.getfixturevalue("faiss")
        search = faiss_search(window, k, 64 if name == FAISS_64 else 1)
    check(window, *search(), k)
    timed(name, search, rounds=rounds)


# --- the usual panel ------------------------------------------------------------------------------


@pytest.mark.benchmark(group="search, H = 5,008, k = 8")
class TestSearch:
    K = 8

    def test_v18(self, timed: Any, window: Window, haplotypes: NDArray[np.int8]) -> None:
        v18 = V18(window.num_sites)
        squared = timed(
            V18_WAY,
            lambda: v18.search(window.queries, haplotypes, ~window.observed, self.K),
            rounds=1,
        )
        v18.check(squared, build(window).search(window.query_bits, self.K).distances)

    @pytest.mark.parametrize("name", [USEARCH, FAISS, FAISS_64])
    def test_library(self, name: str, timed: Any, window: Window, request: Any) -> None:
        time_library(name, window, self.K, timed, request, rounds=0)

    def test_snvrag(self, timed: Any, window: Window) -> None:
        index = build(window)
        targets = {V18_WAY: 10_000, USEARCH: None, FAISS: 6, FAISS_64: None}
        timed(OURS, lambda: index.search(window.query_bits, self.K, threads=1), targets=targets)

    def test_from_haplotypes(self, timed: Any, window: Window) -> None:
        def search() -> TopK:
            return topk_hamming(
                window.query_bits,
                window.bits,
                self.K,
                num_sites=window.num_sites,
                observed=window.observed,
                threads=1,
            )

        check(window, *search(), self.K)
        timed(FROM_HAPLOTYPES, search, targets={FAISS: 2, FAISS_64: None})

    def test_from_sites(self, timed: Any, window: Window, haplotypes: NDArray[np.int8]) -> None:
        site_bits = pack_haplotypes(haplotypes.T)

        def search() -> TopK:
            index = HammingIndex.from_sites(
                site_bits, num_haplotypes=window.num_haplotypes, observed=window.observed
            )
            return index.search(window.query_bits, self.K, threads=1)

        check(window, *search(), self.K)
        timed(FROM_SITES, search, targets={FAISS: 2, FAISS_64: None})


@pytest.mark.benchmark(group="search, H = 5,008, k = 64")
class TestSearchMoreNeighbours:
    K = 64

    @pytest.mark.parametrize("name", [USEARCH, FAISS, FAISS_64])
    def test_library(self, name: str, timed: Any, window: Window, request: Any) -> None:
        time_library(name, window, self.K, timed, request, rounds=0)

    def test_snvrag(self, timed: Any, window: Window) -> None:
        index = build(window)
        targets = {USEARCH: None, FAISS: 4, FAISS_64: None}
        timed(OURS, lambda: index.search(window.query_bits, self.K, threads=1), targets=targets)


@pytest.fixture(scope="module")
def noise(window: Window) -> Window:
    """A panel and queries of independent alleles."""
    rng = np.random.default_rng(3)
    shape = (window.num_haplotypes + NUM_QUERIES, window.num_sites)
    bits = pack_haplotypes(rng.integers(0, 2, shape, np.int8))
    return replace(window, bits=bits[NUM_QUERIES:], query_bits=bits[:NUM_QUERIES])


@pytest.mark.benchmark(group="search, H = 5,008, k = 8, uniform noise")
class TestSearchNoise:
    """The worst case: every haplotype is about as far from a query as any other."""

    K = 8

    @pytest.mark.parametrize("name", [FAISS, FAISS_64])
    def test_library(self, name: str, timed: Any, noise: Window, request: Any) -> None:
        time_library(name, noise, self.K, timed, request, rounds=0)

    def test_snvrag(self, timed: Any, noise: Window) -> None:
        index = build(noise)
        targets = {FAISS: None, FAISS_64: None}
        timed(OURS, lambda: index.search(noise.query_bits, self.K, threads=1), targets=targets)


@pytest.mark.benchmark(group="weighted search, H = 5,008, k = 8")
class TestSearchWeighted:
    """Sites that count for more or less: the others have it as a dense search of scaled alleles."""

    K = 8

    def test_faiss(self, timed: Any, window: Window, faiss: Any) -> None:
        dense = weighted_alleles(window)
        index = faiss.IndexFlatL2(window.num_sites)
        index.add(dense.cache)
        dense.check(index.search(dense.queries, self.K)[0])
        timed(DENSE_FAISS, lambda: index.search(dense.queries, self.K), rounds=15)

    def test_snvrag(self, timed: Any, window: Window) -> None:
        index = build(window)
        weights = learned_weights(window.num_sites)
        dense = weighted_alleles(window)

        def search() -> TopK:
            return index.search(window.query_bits, self.K, threads=1, weights=weights)

        squared = topk_l2(dense.queries, dense.cache, self.K, threads=1).distances
        np.testing.assert_allclose(search().distances, squared, atol=1e-3)
        timed("snvrag, weights=", search, targets={DENSE_FAISS: None})


# --- a million haplotypes -------------------------------------------------------------------------


@pytest.mark.benchmark(group="search, H = 1,000,000, k = 8")
class TestSearchMillion:
    K = 8

    @pytest.mark.parametrize("name", [USEARCH, FAISS, FAISS_64])
    def test_library(self, name: str, timed: Any, million: Window, request: Any) -> None:
        time_library(name, million, self.K, timed, request, rounds=5)

    def test_snvrag(self, timed: Any, million: Window) -> None:
        index = build(million)
        targets = {USEARCH: None, FAISS: 4, FAISS_64: None}
        search = lambda: index.search(million.query_bits, self.K, threads=1)  # noqa: E731
        timed(OURS, search, rounds=15, targets=targets)


@pytest.mark.benchmark(group="search, H = 1,000,000, k = 64")
class TestSearchMillionMoreNeighbours:
    K = 64

    @pytest.mark.parametrize("name", [FAISS, FAISS_64])
    def test_library(self, name: str, timed: Any, million: Window, request: Any) -> None:
        time_library(name, million, self.K, timed, request, rounds=5)

    def test_snvrag(self, timed: Any, million: Window) -> None:
        index = build(million)
        search = lambda: index.search(million.query_bits, self.K, threads=1)  # noqa: E731
        timed(OURS, search, rounds=15, targets={FAISS: None, FAISS_64: None})


@pytest.mark.benchmark(group="threads, H = 1,000,000, k = 8")
@pytest.mark.parametrize("threads", [1, 2])
def test_threads(threads: int, timed: Any, million: Window, sizes: Any) -> None:
    cores = len(os.sched_getaffinity(0))
    if sizes.full and cores < 2:
        pytest.skip(f"needs two cores, this process has {cores}")
    index = build(million)

    def search(threads: int = threads) -> TopK:
        return index.search(million.query_bits, 8, threads=threads)

    for a, b in zip(search(), search(1), strict=True):
        np.testing.assert_array_equal(a, b)
    targets = {"threads = 1": 1.7} if threads == 2 else None
    timed(f"threads = {threads}", search, rounds=15, targets=targets)


# --- dense caches ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dense:
    """A cache of H rows and 48 queries in D dimensions, and how exact others' distances are."""

    cache: NDArray[np.float32]
    queries: NDArray[np.float32]
    tolerance: float

    def check(self, squared: Any) -> None:
        """Compare squared distances with ours, and ours with the exact ones of the same rows.

        The others take |a|^2 + |b|^2 - 2ab in float32, which loses digits to cancellation.
        """
        ours = topk_l2(self.queries, self.cache, K_DENSE, threads=1)
        np.testing.assert_allclose(np.asarray(squared), ours.distances, atol=self.tolerance)
        for q in (0, len(self.queries) - 1):
            rows = self.cache[ours.indices[q]].astype(np.float64)
            exact = ((rows - self.queries[q].astype(np.float64)) ** 2).sum(axis=1)
            np.testing.assert_allclose(ours.distances[q], exact, rtol=1e-5)


K_DENSE = 8
DENSE_FAISS, DENSE_TORCH = "faiss IndexFlatL2", "torch.cdist + topk"


def learned_weights(num_sites: int) -> NDArray[np.float32]:
    """Weights of sites that a network could have learned."""
    return np.random.default_rng(5).lognormal(0, 0.5, num_sites).astype(np.float32)


def weighted_alleles(window: Window) -> Dense:
    """Alleles scaled so that squared distances are sums of weights: D = L."""
    weights = learned_weights(window.num_sites)
    scale = (np.sqrt(weights) * window.observed).astype(np.float32)
    return Dense(window.haplotypes * scale, window.queries * scale, 1e-2)


def embeddings(window: Window) -> Dense:
    """V18's embeddings at 64 numbers a site: D = 64 L."""
    v18 = V18(window.num_sites)
    cache = np.empty((window.num_haplotypes, WIDTH * window.num_sites), np.float32)
    haplotypes = window.haplotypes
    for start in range(0, window.num_haplotypes, 128):
        part = slice(start, start + 128)
        cache[part] = v18.encode(haplotypes[part], ~window.observed).numpy()
    queries = v18.encode(window.queries, ~window.observed).numpy()
    return Dense(cache, queries, 0.5 * v18.scale)


@pytest.fixture(scope="module", params=["D = 1,020", "D = 65,280"])
def dense(request: Any, window: Window, sizes: Any) -> Iterator[tuple[str, Dense]]:
    """The cache, freed before the next one is made."""
    if request.param == "D = 65,280":
        sizes.need_memory(5e9)  # the cache, and one copy of it in FAISS or in torch.cdist
        yield request.param, embeddings(window)
    else:
        yield request.param, weighted_alleles(window)


@pytest.mark.parametrize("name", [DENSE_FAISS, DENSE_TORCH, OURS])
def test_dense(name: str, timed: Any, dense: Any, benchmark: Any, request: Any) -> None:
    what, data = dense
    benchmark.group = f"topk_l2, H = 5,008, {what}, k = {K_DENSE}"
    if name == DENSE_FAISS:
        index = request.getfixturevalue("faiss").IndexFlatL2(data.cache.shape[1])
        index.add(data.cache)
        search = lambda: index.search(data.queries, K_DENSE)[0]  # noqa: E731
        data.check(search())
    elif name == DENSE_TORCH:
        queries, cache = torch.from_numpy(data.queries), torch.from_numpy(data.cache)
        search = lambda: torch.cdist(queries, cache).topk(K_DENSE, largest=False).values  # noqa: E731
        data.check(search().square())
    else:
        search = lambda: topk_l2(data.queries, data.cache, K_DENSE, threads=1)  # noqa: E731
    targets = {DENSE_FAISS: 1, DENSE_TORCH: 1} if name == OURS else None
    timed(name, search, rounds=5 if what == "D = 65,280" else 15, targets=targets)
