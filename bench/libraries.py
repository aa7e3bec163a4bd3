"""Exact search by other libraries, each in the fastest way that it offers, on one thread."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from mosaics import Window

FAISS, FAISS_64 = "faiss IndexBinaryFlat", "faiss IndexBinaryFlat, padded to 64 bytes"
USEARCH = "usearch, exact Hamming on bits"


def load_faiss() -> Any:
    """Import FAISS and give it one thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # SWIG's own, from Python 3.12 on
        import faiss
    faiss.omp_set_num_threads(1)
    return faiss


def faiss_search(window: Window, k: int, multiple: int = 1) -> Callable[[], Any]:
    """Return a function that searches rows padded to a multiple of bytes.

    For many neighbours FAISS is faster with counting than with a heap.
    """
    rows = window.observed_bytes(window.bits, multiple)
    queries = window.observed_bytes(window.query_bits, multiple)
    index = load_faiss().IndexBinaryFlat(8 * rows.shape[1])
    index.add(rows)
    index.use_heap = k < 32
    return lambda: index.search(queries, k)


def usearch_search(window: Window, k: int) -> Callable[[], Any]:
    """Return a function that searches without an index."""
    from usearch.index import MetricKind, search

    rows = window.observed_bytes(window.bits, 8)
    queries = window.observed_bytes(window.query_bits, 8)

    def find() -> Any:
        found = search(rows, queries, k, MetricKind.Hamming, exact=True, threads=1)
        return found.distances, found.keys

    return find


# By name: the module that has to be installed, and what makes a search of a window for k
# neighbours that returns (distances, indices).
SEARCHES: dict[str, tuple[str, Callable[[Window, int], Callable[[], Any]]]] = {
    USEARCH: ("usearch", usearch_search),
    FAISS: ("faiss", faiss_search),
    FAISS_64: ("faiss", partial(faiss_search, multiple=64)),
}
