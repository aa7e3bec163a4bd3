"""Exact retrieval beside FAISS, usearch, torch and V18's way, on one thread.

All search the same panel for the same 48 held-out queries under the same mask. FAISS and usearch
are given the observed alleles already packed, outside of the time taken; our search is given
queries over all sites, and packs the observed ones within it. FAISS is timed on rows as packed (51
bytes) and on rows padded with zeros to 64 bytes, for which it has a faster loop.

Limits. H = 5,008, every word: 48 x 5,008 x 7 words are 210,336 XORs and population counts of 512
bits, and as many additions: 0.09 ms at one and a half cycles each and 3.7 GHz; the index (280 KB)
stays in the second-level cache. Our search reads two words of every haplotype (0.03 ms), and the
others only of those that may still be among the nearest: a few percent of these haplotypes, all of
uniform noise. H = 1,000,000: two words are 16 MB and 5 ms. Index built in the call: from
haplotypes, 641 KB are read and transposed; from sites, 408 rows of 626 bytes (255 KB). Dense: Q x H
x D differences and fused multiply-adds, 16 lanes a cycle: 4 ms for D = 1,020 and 0.3 s for
D = 65,280, where the rows alone are 1.3 GB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from libraries import FAISS, FAISS_64, SEARCHES, USEARCH
from mosaics import NUM_QUERIES, Window
from numpy.typing import NDArray
from v18 import V18, WIDTH

from snvrag.kernels import HammingIndex, TopK, pack_haplotypes, topk_l2

OURS = "snvrag"
USUAL = "search, H = 5,008, k = 8"
K = 8


def check(window: Window, distances: Any, indices: Any, k: int) -> None:
    """Compare distances with ours, and look that the haplotypes found are at those distances.

    Which of several haplotypes at the last distance are taken, only our search promises.
    """
    ours = window.index().search(window.query_bits, k, threads=1)
    np.testing.assert_array_equal(np.asarray(distances, np.int64), ours.distances)
    hidden = pack_haplotypes(~window.observed[None, :])
    for found in (np.asarray(indices, np.int64), ours.indices):
        differing = (window.bits[found] ^ window.query_bits[:, None, :]) & ~hidden
        counts = np.bitwise_count(differing).sum(axis=2, dtype=np.int64)
        np.testing.assert_array_equal(counts, ours.distances)


@pytest.fixture(scope="module")
def noise(window: Window) -> Window:
    """Return a panel and queries of independent alleles, all about equally far from each other."""
    rng = np.random.default_rng(3)
    shape = (window.num_haplotypes + NUM_QUERIES, window.num_sites)
    bits = pack_haplotypes(rng.integers(0, 2, shape, np.int8))
    return replace(window, bits=bits[NUM_QUERIES:], query_bits=bits[:NUM_QUERIES])


@pytest.fixture(scope="module")
def million(sizes: Any) -> Window:
    """Return a panel of a million haplotypes."""
    sizes.need_memory(2e9)
    return Window.make(sizes.many_haplotypes, sizes.num_sites)


@pytest.mark.benchmark(group=USUAL)
def test_search_by_v18(timed: Any, window: Window, haplotypes: NDArray[np.int8]) -> None:
    v18 = V18(window.num_sites)

    def search() -> torch.Tensor:
        return v18.search(window.queries, haplotypes, ~window.observed, K)

    squared = timed("V18: encode at D = 64, cdist, topk", search, rounds=1)
    v18.check(squared, window.index().search(window.query_bits, K).distances)


@pytest.mark.parametrize(
    ("group", "panel", "k"),
    [
        pytest.param(group, panel, k, id=group)
        for group, panel, k in (
            (USUAL, "window", K),
            ("search, H = 5,008, k = 64", "window", 64),
            ("search, H = 5,008, k = 8, uniform noise", "noise", K),
            ("search, H = 1,000,000, k = 8", "million", K),
            ("search, H = 1,000,000, k = 64", "million", 64),
        )
    ],
)
@pytest.mark.parametrize("name", [USEARCH, FAISS, FAISS_64, OURS])
def test_search(
    group: str, panel: str, k: int, name: str, timed: Any, benchmark: Any, request: Any
) -> None:
    benchmark.group = group
    if name != OURS:
        library, make = SEARCHES[name]
        pytest.importorskip(library)
    window = request.getfixturevalue(panel)
    if name == OURS:
        index = window.index()
        search = lambda: index.search(window.query_bits, k, threads=1)  # noqa: E731
    else:
        search = make(window, k)
    check(window, *search(), k)
    rounds = 0 if panel != "million" else 15 if name == OURS else 5
    timed(name, search, rounds=rounds)


@pytest.mark.benchmark(group=USUAL)
@pytest.mark.parametrize("source", ["haplotypes", "sites"])
def test_search_from(source: str, timed: Any, window: Window) -> None:
    site_bits = pack_haplotypes(window.haplotypes.T)

    def search() -> TopK:
        index = (
            window.index()
            if source == "haplotypes"
            else HammingIndex.from_sites(
                site_bits, num_haplotypes=window.num_haplotypes, observed=window.observed
            )
        )
        return index.search(window.query_bits, K, threads=1)

    check(window, *search(), K)
    timed(f"snvrag, built from {source} in the call", search)


@pytest.mark.benchmark(group="threads, H = 1,000,000, k = 8")
@pytest.mark.parametrize(("name", "threads"), [("one thread", 1), ("snvrag, two threads", 2)])
def test_threads(name: str, threads: int, timed: Any, million: Window, sizes: Any) -> None:
    cores = len(os.sched_getaffinity(0))
    if sizes.full and cores < 2:
        pytest.skip(f"needs two cores, this process has {cores}")
    index = million.index()

    def search() -> TopK:
        return index.search(million.query_bits, K, threads=threads)

    for a, b in zip(search(), index.search(million.query_bits, K, threads=1), strict=True):
        np.testing.assert_array_equal(a, b)
    timed(name, search, rounds=15)


# --- Dense vectors --------------------------------------------------------------------------------


FLAT_FAISS, CDIST = "faiss IndexFlatL2", "torch.cdist + topk"


@dataclass(frozen=True)
class Dense:
    """A panel of H rows and 48 queries in D dimensions.

    The tolerance is the largest absolute error of the squared distances of the other libraries,
    which compute |a|^2 + |b|^2 - 2ab in float32 and lose digits to cancellation.
    """

    rows: NDArray[np.float32]
    queries: NDArray[np.float32]
    tolerance: float

    def check(self, squared: Any) -> None:
        """Compare squared distances with ours, and ours with exact ones of the same rows."""
        ours = topk_l2(self.queries, self.rows, K, threads=1)
        np.testing.assert_allclose(np.asarray(squared), ours.distances, atol=self.tolerance)
        for q in (0, len(self.queries) - 1):
            rows = self.rows[ours.indices[q]].astype(np.float64)
            exact = ((rows - self.queries[q].astype(np.float64)) ** 2).sum(axis=1)
            np.testing.assert_allclose(ours.distances[q], exact, rtol=1e-5)


def learned_weights(num_sites: int) -> NDArray[np.float32]:
    """Return weights of sites such as a network learns."""
    return np.random.default_rng(5).lognormal(0, 0.5, num_sites).astype(np.float32)


def weighted_alleles(window: Window) -> Dense:
    """Return alleles scaled so that squared distances are sums of weights: D = L."""
    weights = learned_weights(window.num_sites)
    scale = (np.sqrt(weights) * window.observed).astype(np.float32)
    return Dense(window.haplotypes * scale, window.queries * scale, 1e-2)


def embeddings(window: Window) -> Dense:
    """Return V18's embeddings of 64 numbers a site: D = 64 L."""
    v18 = V18(window.num_sites)
    rows = np.empty((window.num_haplotypes, WIDTH * window.num_sites), np.float32)
    haplotypes = window.haplotypes
    for start in range(0, window.num_haplotypes, 128):
        part = slice(start, start + 128)
        rows[part] = v18.encode(haplotypes[part], ~window.observed).numpy()
    queries = v18.encode(window.queries, ~window.observed).numpy()
    return Dense(rows, queries, 0.5 * v18.scale)


@pytest.mark.benchmark(group="weighted search, H = 5,008, k = 8")
class TestWeightedSearch:
    """Sites of unequal weight, which FAISS can search as dense vectors of scaled alleles."""

    def test_faiss(self, timed: Any, window: Window, faiss: Any) -> None:
        dense = weighted_alleles(window)
        index = faiss.IndexFlatL2(window.num_sites)
        index.add(dense.rows)
        dense.check(index.search(dense.queries, K)[0])
        timed(FLAT_FAISS, lambda: index.search(dense.queries, K), rounds=15)

    def test_snvrag(self, timed: Any, window: Window) -> None:
        index = window.index()
        weights = learned_weights(window.num_sites)
        dense = weighted_alleles(window)

        def search() -> TopK:
            return index.search(window.query_bits, K, threads=1, weights=weights)

        squared = topk_l2(dense.queries, dense.rows, K, threads=1).distances
        np.testing.assert_allclose(search().distances, squared, atol=1e-3)
        timed("snvrag, weights=", search)


@pytest.fixture(scope="module", params=["D = 1,020", "D = 65,280"])
def dense(request: Any, window: Window, sizes: Any) -> Iterator[tuple[str, Dense]]:
    """Yield the vectors, which are freed before the next ones are made."""
    if request.param == "D = 65,280":
        sizes.need_memory(5e9)  # the rows, and one copy of them in FAISS or in torch.cdist
        yield request.param, embeddings(window)
    else:
        yield request.param, weighted_alleles(window)


@pytest.mark.parametrize("name", [FLAT_FAISS, CDIST, OURS])
def test_dense(name: str, timed: Any, dense: Any, benchmark: Any, request: Any) -> None:
    dimensions, data = dense
    benchmark.group = f"topk_l2, H = 5,008, {dimensions}, k = {K}"
    if name == FLAT_FAISS:
        index = request.getfixturevalue("faiss").IndexFlatL2(data.rows.shape[1])
        index.add(data.rows)
        search = lambda: index.search(data.queries, K)[0]  # noqa: E731
        data.check(search())
    elif name == CDIST:
        queries, rows = torch.from_numpy(data.queries), torch.from_numpy(data.rows)
        search = lambda: torch.cdist(queries, rows).topk(K, largest=False).values  # noqa: E731
        data.check(search().square())
    else:
        search = lambda: topk_l2(data.queries, data.rows, K, threads=1)  # noqa: E731
        data.check(search().distances)
    timed(name, search, rounds=5 if dimensions == "D = 65,280" else 15)
