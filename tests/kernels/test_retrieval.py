"""Exact retrieval: Hamming and dense, against slow twins, and against each other."""

from __future__ import annotations

import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snvrag import _core
from snvrag.kernels import (
    HammingIndex,
    TopK,
    af_guided_mask,
    oracle,
    pack_haplotypes,
    topk_hamming,
    topk_l2,
)

SIZES = [0, 1, 63, 64, 65, 127, 128, 129, 1020]
LEVELS = _core.simd_levels()


def alleles_of(num_rows: int, num_sites: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (num_rows, num_sites), np.int8)


def half_observed(num_sites: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(num_sites) < 0.4


def assert_same(got: Any, expected: Any, note: Any = None) -> None:
    """Compare with ==, shapes and types of the contract included."""
    distances, indices = got
    assert distances.dtype == np.int32, note
    assert indices.dtype == np.int64, note
    assert distances.shape == indices.shape == expected[0].shape, note
    assert (distances == expected[0]).all(), note
    assert (indices == expected[1]).all(), note


def counted(
    queries: np.ndarray, panel: np.ndarray, k: int, keep: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Population counts and a stable sort: as the oracle, fast enough for large panels."""
    distances, indices = [], []
    for query in queries:
        row = np.bitwise_count((panel ^ query) & keep).sum(axis=1, dtype=np.int32)
        order = np.argsort(row, kind="stable")[:k]
        distances.append(row[order])
        indices.append(order)
    return np.array(distances), np.array(indices)


# --- the oracle ----------------------------------------------------------------------------------


def test_oracle_on_cases_made_by_hand():
    panel = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]], np.int8)
    query = np.array([[0, 0, 0, 1]], np.int8)
    bits, query_bits = oracle.pack_haplotypes(panel), oracle.pack_haplotypes(query)
    cases = [
        (None, None, [[0, 1, 1, 3]], [[3, 0, 2, 1]]),
        ([True, True, True, False], None, [[0, 0, 1, 3]], [[0, 3, 2, 1]]),
        ([False] * 4, None, [[0, 0, 0, 0]], [[0, 1, 2, 3]]),
        (None, [[3, -1]], [[1, 1, 3]], [[0, 2, 1]]),
    ]
    for observed, exclude, distances, indices in cases:
        keywords = {
            "num_sites": 4,
            "observed": None if observed is None else np.array(observed),
            "exclude": None if exclude is None else np.array(exclude),
        }
        k = len(indices[0])
        expected = oracle.topk_hamming(query_bits, bits, k, **keywords)
        assert expected[0].tolist() == distances
        assert expected[1].tolist() == indices
        assert_same(topk_hamming(query_bits, bits, k, **keywords), expected)


def test_oracle_of_dense_search_on_a_case_made_by_hand():
    database = np.array([[3, 4], [0, 0], [0, 1], [1, 0]], np.float32)
    distances, indices = oracle.topk_l2(np.zeros((1, 2), np.float32), database, 4)
    assert distances.tolist() == [[0, 1, 1, 25]]
    assert indices.tolist() == [[1, 2, 3, 0]]


def test_the_counted_twin_is_the_oracle():
    panel, queries = alleles_of(40, 130, 1), alleles_of(3, 130, 2)
    observed = half_observed(130)
    bits, query_bits = pack_haplotypes(panel), pack_haplotypes(queries)
    keep = pack_haplotypes(observed[None])
    got = counted(query_bits, bits, 7, keep)
    expected = oracle.topk_hamming(query_bits, bits, 7, num_sites=130, observed=observed)
    assert (got[0] == expected[0]).all()
    assert (got[1] == expected[1]).all()


# --- Hamming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_haplotypes", [1, 2, 7, 8, 9, 64, 65, 200])
@pytest.mark.parametrize("num_sites", SIZES)
def test_hamming_of_every_size(simd_level, num_sites, num_haplotypes):
    panel = pack_haplotypes(alleles_of(num_haplotypes, num_sites, 1))
    queries = pack_haplotypes(alleles_of(9, num_sites, 2))
    for observed in (
        None,
        half_observed(num_sites),
        np.zeros(num_sites, bool),
        np.ones(num_sites, bool),
    ):
        for k in {1, min(8, num_haplotypes), min(64, num_haplotypes), num_haplotypes}:
            expected = oracle.topk_hamming(
                queries, panel, k, num_sites=num_sites, observed=observed
            )
            for threads in (None, 1, 2, 4):
                got = topk_hamming(
                    queries, panel, k, num_sites=num_sites, observed=observed, threads=threads
                )
                assert isinstance(got, TopK)
                assert_same(got, expected, (k, threads))


@pytest.mark.parametrize("num_queries", [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 48])
def test_hamming_of_any_number_of_queries(simd_level, num_queries):
    panel = pack_haplotypes(alleles_of(100, 129, 1))
    queries = pack_haplotypes(alleles_of(num_queries, 129, 2))
    got = topk_hamming(queries, panel, 8, num_sites=129, threads=2)
    if num_queries == 0:
        assert got.distances.shape == got.indices.shape == (0, 8)
        assert got.distances.dtype == np.int32
        assert got.indices.dtype == np.int64
    else:
        assert_same(got, oracle.topk_hamming(queries, panel, 8, num_sites=129))


@pytest.mark.parametrize("num_sites", [1983, 1984, 1985, 2048, 4031, 4032, 4033, 8200])
def test_hamming_counts_long_rows_in_full(simd_level, num_sites):
    # Counters narrower than the count (bytes, over 31 words) would wrap where all sites differ.
    panel = np.zeros((9, num_sites), np.int8)
    panel[1:] = 1
    panel[8, ::2] = 0
    queries = np.zeros((3, num_sites), np.int8)
    got = topk_hamming(pack_haplotypes(queries), pack_haplotypes(panel), 9, num_sites=num_sites)
    order = [0, 8, *range(1, 8)]
    assert got.indices.tolist() == [order] * 3
    assert got.distances.tolist() == [[0, num_sites // 2, *[num_sites] * 7]] * 3


@pytest.mark.parametrize("density", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("num_sites", [64, 65, 1020, 3000])
def test_hamming_compacts_any_mask(simd_level, num_sites, density):
    panel, queries = alleles_of(50, num_sites, 1), alleles_of(4, num_sites, 2)
    bits, query_bits = pack_haplotypes(panel), pack_haplotypes(queries)
    for seed in range(4):
        observed = np.random.default_rng(seed).random(num_sites) < density
        observed[64 * (seed % 2) : 64 * (seed % 2) + 64] = seed < 2  # a whole word, an empty word
        distances = (queries[:, None, observed] != panel[None, :, observed]).sum(axis=2)
        got = topk_hamming(query_bits, bits, 50, num_sites=num_sites, observed=observed)
        assert (np.take_along_axis(distances, got.indices, axis=1) == got.distances).all()
        assert_same(got, oracle._nearest(distances.astype(np.int32), 50, None))


@pytest.mark.parametrize("num_sites", [1, 64, 127])
def test_one_observed_site(simd_level, num_sites):
    panel, queries = alleles_of(30, num_sites, 1), alleles_of(2, num_sites, 2)
    for site in {0, num_sites // 2, num_sites - 1}:
        observed = np.arange(num_sites) == site
        index = HammingIndex(pack_haplotypes(panel), num_sites=num_sites, observed=observed)
        expected = oracle.topk_hamming(
            pack_haplotypes(queries), pack_haplotypes(panel), 30, num_sites=num_sites,
            observed=observed,
        )  # fmt: skip
        assert_same(index.search(pack_haplotypes(queries), 30), expected)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_no_observed_site_gives_the_lowest_indices(simd_level, threads):
    panel = pack_haplotypes(alleles_of(300, 65, 1))
    got = topk_hamming(
        panel[:2], panel, 20, num_sites=65, observed=np.zeros(65, bool), threads=threads,
        exclude=np.array([[0, 1], [5, -1]]),
    )  # fmt: skip
    assert (got.distances == 0).all()
    assert got.indices.tolist() == [[*range(2, 22)], [i for i in range(21) if i != 5]]


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("k", [1, 8, 64, 1000])
def test_heavy_ties_go_to_the_lowest_index(simd_level, k, threads):
    # Four distinct haplotypes, 250 copies of each, in an order that is not sorted by distance.
    kinds = np.array([[1, 1, 1], [0, 0, 1], [0, 0, 0], [0, 1, 1]], np.int8)
    panel = kinds[np.random.default_rng(0).permutation(np.repeat(np.arange(4), 250))]
    queries = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0]], np.int8)
    bits, query_bits = pack_haplotypes(panel), pack_haplotypes(queries)
    expected = oracle.topk_hamming(query_bits, bits, k, num_sites=3)
    assert_same(topk_hamming(query_bits, bits, k, num_sites=3, threads=threads), expected)


@pytest.mark.parametrize("threads", [1, 4])
def test_candidates_in_the_worst_order(simd_level, threads):
    # Distances that fall along the panel: every haplotype displaces one.
    panel = (np.arange(64)[None, :] < np.arange(2000, 0, -1)[:, None] / 2000 * 64).astype(np.int8)
    query = np.zeros((1, 64), np.int8)
    bits, query_bits = pack_haplotypes(panel), pack_haplotypes(query)
    for k in (1, 8, 64, 1999, 2000):
        expected = counted(query_bits, bits, k, np.uint64(2**64 - 1))
        assert_same(topk_hamming(query_bits, bits, k, num_sites=64, threads=threads), expected)


def test_hamming_over_a_large_panel(simd_level):
    # More blocks than pass over the queries at once, in the scan and between two looks for Ctrl-C.
    random = np.random.default_rng(0)
    panel = random.integers(0, 2**64, (6005, 16), np.uint64)
    panel[:, 15] &= np.uint64(2**60 - 1)
    queries = panel[random.integers(0, 6005, 48)]
    observed = half_observed(1020)
    keep = pack_haplotypes(observed[None])[0]
    expected = counted(queries, panel, 8, keep)
    for threads in (1, 3):
        got = topk_hamming(queries, panel, 8, num_sites=1020, observed=observed, threads=threads)
        assert_same(got, expected)


# --- exclude -------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("num_haplotypes", [10, 200])
def test_exclude(simd_level, num_haplotypes, threads):
    panel = pack_haplotypes(alleles_of(num_haplotypes, 65, 1))
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
            got = topk_hamming(queries, panel, k, num_sites=65, exclude=exclude, threads=threads)
            assert_same(got, expected, (name, k))
            for row, dropped in zip(got.indices.tolist(), exclude.tolist(), strict=True):
                assert not set(row) & set(dropped)
                assert len(set(row)) == k


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("k", [1, 3])
def test_everything_but_k_excluded(simd_level, k, threads):
    panel = pack_haplotypes(alleles_of(150, 64, 1))
    random = np.random.default_rng(0)
    kept = np.stack([np.sort(random.permutation(150)[:k]) for _ in range(6)])
    exclude = np.stack([np.setdiff1d(np.arange(150), row) for row in kept])
    queries = panel[exclude[:, 0]]
    got = topk_hamming(queries, panel, k, num_sites=64, exclude=exclude, threads=threads)
    assert (np.sort(got.indices, axis=1) == kept).all()
    assert_same(got, oracle.topk_hamming(queries, panel, k, num_sites=64, exclude=exclude))


# --- the index -----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_haplotypes", [1, 7, 8, 63, 64, 65, 130])
@pytest.mark.parametrize("num_sites", SIZES)
def test_an_index_from_sites_is_the_index_from_haplotypes(simd_level, num_sites, num_haplotypes):
    panel = alleles_of(num_haplotypes, num_sites, 1)
    queries = pack_haplotypes(alleles_of(3, num_sites, 2))
    for observed in (None, half_observed(num_sites), np.zeros(num_sites, bool)):
        one = HammingIndex(pack_haplotypes(panel), num_sites=num_sites, observed=observed)
        other = HammingIndex.from_sites(
            pack_haplotypes(panel.T), num_haplotypes=num_haplotypes, observed=observed
        )
        for index in (one, other):
            assert index.num_haplotypes == num_haplotypes
            assert index.num_sites == num_sites
        assert one.num_bytes == other.num_bytes
        assert_same(other.search(queries, num_haplotypes), one.search(queries, num_haplotypes))


def test_bits_behind_the_last_haplotype_do_not_count(simd_level):
    sites = np.full((65, 1), 2**64 - 1, np.uint64)
    index = HammingIndex.from_sites(sites, num_haplotypes=3)
    got = index.search(np.zeros((1, 2), np.uint64), 3)
    assert got.distances.tolist() == [[65] * 3]
    assert got.indices.tolist() == [[0, 1, 2]]


def test_bits_behind_the_last_site_do_not_count(simd_level):
    panel = pack_haplotypes(alleles_of(20, 65, 1))
    queries = pack_haplotypes(alleles_of(3, 65, 2))
    expected = oracle.topk_hamming(queries, panel, 20, num_sites=65)
    for dirty in (panel.copy(), queries.copy()):
        dirty[:, 1] |= np.uint64(2**64 - 2)
        either = (queries, dirty) if len(dirty) == 20 else (dirty, panel)
        assert_same(topk_hamming(*either, 20, num_sites=65), expected)


def test_the_index_keeps_a_copy(simd_level):
    panel = pack_haplotypes(alleles_of(20, 65, 1))
    queries = panel[:2].copy()
    observed = half_observed(65)
    index = HammingIndex(panel, num_sites=65, observed=observed)
    before = index.search(queries, 5)
    panel[:] = 0
    observed[:] = True
    assert_same(index.search(queries, 5), before)


def test_an_index_serves_every_level():
    panel, queries = pack_haplotypes(alleles_of(77, 300, 1)), pack_haplotypes(alleles_of(5, 300, 2))
    expected = oracle.topk_hamming(queries, panel, 9, num_sites=300)
    before = _core.simd_level()
    try:
        for built in LEVELS:
            _core.set_simd_level(built)
            index = HammingIndex(panel, num_sites=300)
            for searched in LEVELS:
                _core.set_simd_level(searched)
                assert_same(index.search(queries, 9), expected, (built, searched))
    finally:
        _core.set_simd_level(before)


def test_many_threads_may_search_one_index(simd_level):
    panel, queries = (
        pack_haplotypes(alleles_of(500, 300, 1)),
        pack_haplotypes(alleles_of(8, 300, 2)),
    )
    index = HammingIndex(panel, num_sites=300)
    expected = oracle.topk_hamming(queries, panel, 9, num_sites=300)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda threads: index.search(queries, 9, threads=threads), [1, 2] * 16):
            assert_same(got, expected)


def test_the_memory_is_what_is_promised():
    panel = pack_haplotypes(alleles_of(5008, 1020, 1))
    observed = np.zeros(1020, bool)
    observed[:400] = True
    index = HammingIndex(panel, num_sites=1020, observed=observed)
    promised = 8 * 5008 * 7
    assert promised <= index.num_bytes <= promised + 8 * 400 + 1024


def test_input_of_any_layout_is_read_and_not_changed(simd_level, frozen):
    panel, queries = pack_haplotypes(alleles_of(20, 129, 1)), pack_haplotypes(alleles_of(4, 129, 2))
    exclude = np.array([[1], [2], [3], [-1]])
    observed = half_observed(129)
    expected = oracle.topk_hamming(
        queries, panel, 5, num_sites=129, observed=observed, exclude=exclude
    )
    wide = np.full((40, 7), 2**64 - 1, np.uint64)
    wide[::2, 2:5] = panel
    layouts = {
        "read-only": frozen(panel),
        "rows apart": wide[::2, 2:5],
        "rows reversed": panel[::-1].copy()[::-1],
    }
    for name, layout in layouts.items():
        kept = layout.copy()
        index = HammingIndex(layout, num_sites=129, observed=frozen(observed))
        for some in (
            frozen(queries),
            queries[::-1].copy()[::-1],
            np.repeat(queries, 2, axis=0)[::2],
        ):
            got = index.search(some, 5, exclude=frozen(exclude))
            assert_same(got, expected, name)
        assert (layout == kept).all()
    repeated = topk_hamming(np.broadcast_to(queries[:1], (6, 3)), panel, 5, num_sites=129)
    assert_same(
        repeated, oracle.topk_hamming(np.repeat(queries[:1], 6, axis=0), panel, 5, num_sites=129)
    )


def test_a_long_search_gives_the_same_answer(simd_level):
    # Enough work to go to a thread of its own, so that Ctrl-C is seen.
    random = np.random.default_rng(0)
    num_words, num_haplotypes, num_queries = 130, 6001, 130
    panel = random.integers(0, 2**64, (num_haplotypes, num_words), np.uint64)
    queries = panel[random.permutation(num_haplotypes)[:num_queries]]
    assert num_queries * num_haplotypes * (num_words + 1) > 1e8
    expected = counted(queries, panel, 3, np.uint64(2**64 - 1))
    for threads in (1, 2):
        got = topk_hamming(queries, panel, 3, num_sites=64 * num_words, threads=threads)
        assert_same(got, expected)


class AlarmError(Exception):
    """Raised by the handler below."""


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_a_signal_ends_a_long_search():
    def handler(number: int, frame: Any) -> None:
        raise AlarmError

    # 6e10 words at the slowest level: minutes of work, of which a fraction of a second is done.
    before_level, before_handler = _core.simd_level(), signal.signal(signal.SIGALRM, handler)
    try:
        _core.set_simd_level("scalar")
        index = HammingIndex(np.zeros((200_000, 16), np.uint64), num_sites=1024)
        queries = np.zeros((20_000, 16), np.uint64)
        spent = time.process_time()
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(AlarmError):
            index.search(queries, 1, threads=2)
        assert time.process_time() - spent < 10
        small = index.search(queries[:1], 1)
        assert small.indices.tolist() == [[0]]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before_handler)
        _core.set_simd_level(before_level)


# --- algebra -------------------------------------------------------------------------------------


class Level:
    """The instruction set inside a `with`, for tests that Hypothesis drives."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.before = _core.simd_level()
        _core.set_simd_level(self.name)

    def __exit__(self, *_: object) -> None:
        _core.set_simd_level(self.before)


windows = st.fixed_dictionaries(
    {
        "num_haplotypes": st.integers(1, 40),
        "num_sites": st.integers(0, 150),
        "num_queries": st.integers(1, 5),
        "num_kinds": st.integers(1, 6),
        "density": st.sampled_from([0.0, 0.1, 0.6, 1.0]),
        "seed": st.integers(0, 2**32 - 1),
        "level": st.sampled_from(LEVELS),
        "threads": st.sampled_from([None, 1, 2, 4]),
    }
)


def make(
    window: dict[str, Any],
) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray, int]:
    """Return panel and queries with many equal haplotypes, what is observed, and k."""
    random = np.random.default_rng(window["seed"])
    kinds = random.integers(0, 2, (window["num_kinds"], window["num_sites"]), np.int8)
    panel = kinds[random.integers(0, len(kinds), window["num_haplotypes"])]
    queries = kinds[random.integers(0, len(kinds), window["num_queries"])]
    observed = random.random(window["num_sites"]) < window["density"]
    return random, panel, queries, observed, int(random.integers(1, window["num_haplotypes"] + 1))


def search(
    window: dict[str, Any], queries: np.ndarray, panel: np.ndarray, k: int, observed: Any
) -> TopK:
    with Level(window["level"]):
        return topk_hamming(
            pack_haplotypes(queries), pack_haplotypes(panel), k, num_sites=panel.shape[1],
            observed=observed, threads=window["threads"],
        )  # fmt: skip


@given(windows)
def test_any_window(window):
    _, panel, queries, observed, k = make(window)
    expected = oracle.topk_hamming(
        pack_haplotypes(queries), pack_haplotypes(panel), k, num_sites=panel.shape[1],
        observed=observed,
    )  # fmt: skip
    assert_same(search(window, queries, panel, k, observed), expected)


@given(windows)
def test_permuting_sites_changes_nothing(window):
    random, panel, queries, observed, k = make(window)
    order = random.permutation(panel.shape[1])
    one = search(window, queries, panel, k, observed)
    two = search(window, queries[:, order], panel[:, order], k, observed[order])
    assert_same(two, one)


@given(windows)
def test_permuting_rows_permutes_indices(window):
    random, panel, queries, observed, k = make(window)
    order = random.permutation(len(panel))
    one = search(window, queries, panel, len(panel), observed)
    two = search(window, queries, panel[order], len(panel), observed)
    assert (one.distances == two.distances).all()
    # In terms of the first panel, the answers agree but for ties, which go by the index of each.
    for row, distances, other in zip(one.indices, one.distances, order[two.indices], strict=True):
        assert (np.lexsort((row, distances)) == np.arange(len(panel))).all()
        for distance in set(distances.tolist()):
            assert set(row[distances == distance]) == set(other[distances == distance])
    for distances, row in zip(two.distances, two.indices, strict=True):
        assert (np.lexsort((row, distances)) == np.arange(len(panel))).all()
    fewer = search(window, queries, panel[order], k, observed)
    assert_same(fewer, (two.distances[:, :k], two.indices[:, :k]))


@given(windows, st.integers(0, 130), st.integers(0, 130))
def test_padding_with_hidden_sites_changes_nothing(window, before, after):
    random, panel, queries, observed, k = make(window)

    def padded(alleles: np.ndarray) -> np.ndarray:
        noise = random.integers(0, 2, (len(alleles), before + after), np.int8)
        return np.concatenate([noise[:, :before], alleles, noise[:, before:]], axis=1)

    hidden = np.concatenate([np.zeros(before, bool), observed, np.zeros(after, bool)])
    one = search(window, queries, panel, k, observed)
    assert_same(search(window, padded(queries), padded(panel), k, hidden), one)


@given(windows)
def test_flipping_a_site_on_both_sides_changes_nothing(window):
    random, panel, queries, observed, k = make(window)
    flip = random.integers(0, 2, panel.shape[1], np.int8)
    one = search(window, queries, panel, k, observed)
    assert_same(search(window, queries ^ flip, panel ^ flip, k, observed), one)


@given(windows)
def test_all_observed_is_none(window):
    _, panel, queries, _, k = make(window)
    everything = np.ones(panel.shape[1], bool)
    assert_same(
        search(window, queries, panel, k, everything), search(window, queries, panel, k, None)
    )


# --- dense ---------------------------------------------------------------------------------------

DIMENSIONS = [0, 1, 15, 16, 17, 1024, 1025, 3000]


def assert_near(got: TopK, queries: np.ndarray, database: np.ndarray, expected: Any) -> None:
    """Compare with float64: distances to 2e-6, and each index by its own distance."""
    distances, indices = got
    assert distances.dtype == np.float32
    assert indices.dtype == np.int64
    assert distances.shape == indices.shape == expected[0].shape
    np.testing.assert_allclose(distances, expected[0], rtol=2e-6, atol=0)
    chosen = database[indices].astype(np.float64) - queries[:, None, :]
    np.testing.assert_allclose(distances, (chosen**2).sum(axis=2), rtol=2e-6, atol=0)
    assert all(len(set(row)) == len(row) for row in indices.tolist())
    for row, places in zip(distances, indices, strict=True):
        assert (np.lexsort((places, row)) == np.arange(len(row))).all()


@pytest.mark.parametrize("num_rows", [1, 3, 31, 32, 33, 70])
@pytest.mark.parametrize("num_dimensions", DIMENSIONS)
def test_dense_of_every_size(simd_level, num_dimensions, num_rows):
    random = np.random.default_rng(0)
    database = random.normal(size=(num_rows, num_dimensions)).astype(np.float32)
    queries = random.normal(size=(5, num_dimensions)).astype(np.float32)
    for k in {1, min(8, num_rows), num_rows}:
        expected = oracle.topk_l2(queries, database, k)
        answers = [topk_l2(queries, database, k, threads=threads) for threads in (None, 1, 2, 4)]
        for got in answers:
            assert_near(got, queries, database, expected)
            # Not only near: the number of threads changes no bit.
            assert (got.distances == answers[0].distances).all()
            assert (got.indices == answers[0].indices).all()


@pytest.mark.parametrize("num_queries", [0, 1, 2, 3, 4, 5, 9])
def test_dense_of_any_number_of_queries(simd_level, num_queries):
    random = np.random.default_rng(0)
    database = random.normal(size=(101, 40)).astype(np.float32)
    queries = random.normal(size=(num_queries, 40)).astype(np.float32)
    got = topk_l2(queries, database, 6)
    if num_queries == 0:
        assert got.distances.shape == got.indices.shape == (0, 6)
    else:
        expected = oracle.topk_l2(queries, database, 6)
        assert_near(got, queries, database, expected)
        assert (got.indices == expected[1]).all()


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("num_dimensions", DIMENSIONS)
def test_equal_rows_are_at_exactly_zero(simd_level, num_dimensions, threads):
    random = np.random.default_rng(0)
    database = (1e3 * random.normal(size=(70, num_dimensions))).astype(np.float32)
    database[50] = database[20]
    got = topk_l2(database[[20, 33]], database, 2, threads=threads)
    assert got.distances[0].tolist() == [0, 0]
    assert got.distances[1, 0] == 0
    expected = [[20, 50], [33]] if num_dimensions else [[0, 1], [0]]
    assert got.indices[0].tolist() == expected[0]
    assert got.indices[1, :1].tolist() == expected[1]


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("k", [1, 8, 64, 500])
def test_dense_ties_go_to_the_lowest_index(simd_level, k, threads):
    # Whole numbers: the float32 sums are exact, so the answer is ==.
    database = np.random.default_rng(0).integers(0, 2, (500, 19)).astype(np.float32)
    database[:, 3:] = 0
    queries = np.zeros((3, 19), np.float32)
    queries[1, :3] = 1
    expected = oracle.topk_l2(queries, database, k)
    got = topk_l2(queries, database, k, threads=threads)
    assert (got.distances == expected[0]).all()
    assert (got.indices == expected[1]).all()


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


def test_dense_input_of_any_layout(simd_level, frozen):
    random = np.random.default_rng(0)
    database = random.integers(-3, 4, (50, 33)).astype(np.float32)
    queries = random.integers(-3, 4, (6, 33)).astype(np.float32)
    expected = oracle.topk_l2(queries, database, 9)
    wide = np.full((100, 40), np.nan, np.float32)
    wide[::2, 3:36] = database
    for layout in (database, frozen(database), wide[::2, 3:36], database[::-1].copy()[::-1]):
        for some in (queries, frozen(queries), np.repeat(queries, 2, axis=0)[::2]):
            got = topk_l2(some, layout, 9)
            assert (got.distances == expected[0]).all()
            assert (got.indices == expected[1]).all()


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("num_dimensions", [1, 16, 17, 1025])
def test_a_distance_that_is_not_a_number_is_refused(simd_level, num_dimensions, threads):
    clean = np.ones((70, num_dimensions), np.float32)
    for row in (0, 31, 32, 69):
        for dimension in {0, num_dimensions - 1}:
            database = clean.copy()
            database[row, dimension] = np.nan
            place = rf"\({row}, {dimension}\)$"
            with pytest.raises(ValueError, match=r"^database must be finite, got nan at " + place):
                topk_l2(clean[:3], database, 1, threads=threads)
    queries = clean[:3].copy()
    queries[2, -1] = np.nan
    with pytest.raises(ValueError, match=r"^queries must be finite, got nan at \(2, "):
        topk_l2(queries, clean, 1, threads=threads)
    infinite = clean.copy()
    infinite[0, 0] = np.inf
    with pytest.raises(ValueError, match=r"^queries and database must be finite, got inf"):
        topk_l2(infinite[:1], infinite, 1, threads=threads)


def test_a_search_that_failed_leaves_nothing_behind(simd_level):
    database = np.eye(40, dtype=np.float32)
    bad = database.copy()
    bad[7, 7] = np.nan
    for _ in range(3):
        with pytest.raises(ValueError, match="finite"):
            topk_l2(database[:2], bad, 1)
        assert topk_l2(database[:2], database, 1).indices.tolist() == [[0], [1]]


# --- dense and Hamming are the same search -------------------------------------------------------

REF, ALT, MASK = 0, 1, 2


def embed(
    alleles: np.ndarray,
    hidden: np.ndarray,
    token: np.ndarray,
    position: np.ndarray,
    frequency: np.ndarray,
) -> np.ndarray:
    """V18's embedding: token + position + frequency at each site, flattened; (rows, L * D)."""
    tokens = np.where(hidden, MASK, alleles)
    total = token[tokens] + position[None] + frequency[None]
    return total.reshape(len(alleles), -1).astype(np.float32)


@pytest.mark.parametrize("num_sites", [1, 65, 257])
def test_dense_search_on_an_additive_embedding_is_hamming_search(
    simd_level, num_sites, mosaic_haplotypes
):
    alleles = mosaic_haplotypes(220, num_sites, seed=1)
    panel, queries = alleles[20:], alleles[:20]
    hidden = af_guided_mask(panel.mean(axis=0), seed=1, window=0, rate=0.5)
    random = np.random.default_rng(0)
    token, position, frequency = (
        random.normal(size=shape).astype(np.float32)
        for shape in [(3, 12), (num_sites, 12), (num_sites, 12)]
    )
    near = topk_hamming(
        pack_haplotypes(queries), pack_haplotypes(panel), 200, num_sites=num_sites,
        observed=~hidden,
    )  # fmt: skip
    dense = topk_l2(
        embed(queries, hidden, token, position, frequency),
        embed(panel, hidden, token, position, frequency),
        200,
    )
    unit = ((token[REF] - token[ALT]).astype(np.float64) ** 2).sum()
    np.testing.assert_allclose(dense.distances, unit * near.distances, rtol=1e-3, atol=1e-3 * unit)
    # Rounding may order equal distances differently, and nothing else.
    differ = (queries[:, None, ~hidden] != panel[None][:, :, ~hidden]).sum(axis=2)
    assert (np.take_along_axis(differ, dense.indices, axis=1) == near.distances).all()


def test_dense_search_on_exact_embeddings_is_hamming_search_index_by_index(
    simd_level, mosaic_haplotypes
):
    # Multiples of 1/16 below 16: every sum is exact in float32, so ties tie on both sides.
    alleles = mosaic_haplotypes(330, 200, seed=2)
    panel, queries = alleles[30:], alleles[:30]
    hidden = af_guided_mask(panel.mean(axis=0), seed=1, window=0, rate=0.5)
    random = np.random.default_rng(0)
    token, position, frequency = (
        random.integers(-16, 17, shape) / 16 for shape in [(3, 8), (200, 8), (200, 8)]
    )
    unit = ((token[REF] - token[ALT]) ** 2).sum()
    exclude = np.random.default_rng(1).integers(-1, 300, (30, 4))
    near = topk_hamming(
        pack_haplotypes(queries), pack_haplotypes(panel), 64, num_sites=200, observed=~hidden,
        exclude=exclude,
    )  # fmt: skip
    dense = topk_l2(
        embed(queries, hidden, token, position, frequency),
        embed(panel, hidden, token, position, frequency),
        64,
        exclude=exclude,
    )
    assert (np.diff(near.distances, axis=1) == 0).any()
    assert (dense.indices == near.indices).all()
    assert (dense.distances == unit * near.distances).all()
    # Hidden sites at 0 and observed ones at 0 or 1: the (H, L) database of scaled alleles.
    scaled = topk_l2(
        (queries * ~hidden).astype(np.float32), (panel * ~hidden).astype(np.float32), 64,
        exclude=exclude,
    )  # fmt: skip
    assert (scaled.indices == near.indices).all()
    assert (scaled.distances == near.distances).all()


def test_masking_query_and_panel_differently_is_v18s_collapse(mosaic_haplotypes):
    # V18 masked its panel once and its queries anew each epoch: a site hidden on one side alone
    # still counts, by how far MASK is from the panel's allele, which says nothing of a match.
    num_sites = 400
    alleles = mosaic_haplotypes(460, num_sites, num_founders=12, switch_rate=0.01, seed=4)
    panel, queries = alleles[60:], alleles[:60]
    af = panel.mean(axis=0)
    epochs = [af_guided_mask(af, seed=epoch, window=0, rate=0.5) for epoch in (0, 1)]

    def agreement(weights: list[np.ndarray], panel_epoch: int, query_epoch: int) -> list[float]:
        """Of the query's hidden alleles, and of its hidden ALT alleles, the share found."""
        hidden = epochs[query_epoch]
        found = topk_l2(
            embed(queries, hidden, *weights), embed(panel, epochs[panel_epoch], *weights), 1
        )
        truth, copied = queries[:, hidden], panel[found.indices[:, 0]][:, hidden]
        return [float((truth == copied).mean()), float(copied[truth == 1].mean())]

    drops = []
    for seed in range(5):
        random = np.random.default_rng(seed)
        weights = [random.normal(size=shape) for shape in [(3, 4), (num_sites, 4), (num_sites, 4)]]
        for query_epoch in (0, 1):
            alike = agreement(weights, query_epoch, query_epoch)
            stale = agreement(weights, 1 - query_epoch, query_epoch)
            assert alike[0] > 0.9
            assert alike[1] > 0.8
            assert stale[0] < alike[0]
            drops.append(np.subtract(alike, stale))
    # Under weights that put MASK nearer to one allele, most of all: V18's recall fell by 0.10.
    assert np.mean(drops, axis=0)[0] > 0.015
    assert np.max(drops, axis=0)[1] > 0.1


# --- errors --------------------------------------------------------------------------------------

BITS = "a uint64 (rows, words) array with contiguous rows"
PANEL = np.zeros((6, 2), np.uint64)
GOOD: dict[str, Any] = {
    "queries": np.zeros((2, 2), np.uint64),
    "panel": PANEL,
    "k": 2,
    "num_sites": 100,
    "observed": np.ones(100, bool),
    "exclude": np.full((2, 1), -1),
    "threads": 1,
}
OBSERVED = "a contiguous bool (100,) array"
EXCLUDE = "an int64 (2, E) array with contiguous rows"

BAD = [
    ({"queries": [[0, 0]]}, TypeError, f"queries must be {BITS}, got list"),
    (
        {"queries": np.zeros((2, 2), np.int64)},
        TypeError,
        f"queries must be {BITS}, got dtype int64",
    ),
    ({"queries": np.zeros((2, 2), ">u8")}, TypeError, f"queries must be {BITS}, got dtype >u8"),
    ({"queries": np.zeros(2, np.uint64)}, ValueError, f"queries must be {BITS}, got shape (2,)"),
    (
        {"queries": np.zeros((2, 4), np.uint64)[:, ::2]},
        TypeError,
        f"queries must be {BITS}, got rows that are not contiguous",
    ),
    (
        {"queries": np.zeros((2, 3), np.uint64)},
        ValueError,
        "queries must be of 2 words a row (100 sites), got 3",
    ),
    ({"panel": None}, TypeError, f"panel must be {BITS}, got NoneType"),
    ({"panel": np.zeros((6, 2), np.int8)}, TypeError, f"panel must be {BITS}, got dtype int8"),
    (
        {"panel": np.zeros((2, 6), np.uint64).T},
        TypeError,
        f"panel must be {BITS}, got rows that are not contiguous",
    ),
    (
        {"panel": np.zeros((6, 1), np.uint64)},
        ValueError,
        "panel must be of 2 words a row (100 sites), got 1",
    ),
    (
        {"panel": np.zeros((0, 2), np.uint64)},
        ValueError,
        "rows of panel must be from 1 to 4294967295, got 0",
    ),
    ({"k": 0}, ValueError, "k must be at least 1, got 0"),
    ({"k": -3}, ValueError, "k must be at least 1, got -3"),
    ({"k": 7}, ValueError, "k must be at most 6 (6 less 0 excluded), got 7"),
    ({"k": 2**62}, ValueError, f"k must be at most 6 (6 less 0 excluded), got {2**62}"),
    (
        {"k": 5, "exclude": np.array([[0, 1, 0], [-1, -1, 3]])},
        ValueError,
        "k must be at most 4 (6 less 2 excluded), got 5",
    ),
    ({"num_sites": -1}, ValueError, "num_sites must be from 0 to 2147483647, got -1"),
    ({"num_sites": 2**31}, ValueError, "num_sites must be from 0 to 2147483647, got 2147483648"),
    ({"observed": [True] * 100}, TypeError, f"observed must be {OBSERVED}, got list"),
    (
        {"observed": np.ones(100, np.uint8)},
        TypeError,
        f"observed must be {OBSERVED}, got dtype uint8",
    ),
    ({"observed": np.ones(99, bool)}, ValueError, f"observed must be {OBSERVED}, got shape (99,)"),
    (
        {"observed": np.ones((100, 1), bool)},
        ValueError,
        f"observed must be {OBSERVED}, got shape (100, 1)",
    ),
    (
        {"observed": np.ones(200, bool)[::2]},
        TypeError,
        f"observed must be {OBSERVED}, got an array that is not contiguous",
    ),
    ({"exclude": [[1], [2]]}, TypeError, f"exclude must be {EXCLUDE}, got list"),
    (
        {"exclude": np.zeros((2, 1), np.int32)},
        TypeError,
        f"exclude must be {EXCLUDE}, got dtype int32",
    ),
    (
        {"exclude": np.zeros((3, 1), np.int64)},
        ValueError,
        f"exclude must be {EXCLUDE}, got shape (3, 1)",
    ),
    ({"exclude": np.zeros(2, np.int64)}, ValueError, f"exclude must be {EXCLUDE}, got shape (2,)"),
    (
        {"exclude": np.array([[0], [6]])},
        ValueError,
        "exclude must be -1 or an index below 6, got 6 for query 1",
    ),
    (
        {"exclude": np.array([[-2], [0]])},
        ValueError,
        "exclude must be -1 or an index below 6, got -2 for query 0",
    ),
    ({"threads": 0}, ValueError, "threads must be from 1 to 4096, got 0"),
    ({"threads": -1}, ValueError, "threads must be from 1 to 4096, got -1"),
    ({"threads": 2**40}, ValueError, f"threads must be from 1 to 4096, got {2**40}"),
]


@pytest.mark.parametrize(("wrong", "error", "text"), BAD)
def test_wrong_arguments_of_hamming_search(wrong, error, text):
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        topk_hamming(**{**GOOD, **wrong})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("k", "num_sites") for value in (1.0, "1", None)),
        ("threads", 1.0),
        ("threads", "1"),
        ("k", np.array([1, 2])),
        ("k", True),
    ],
)
def test_what_is_no_whole_number_is_refused_by_name(name, value):
    pattern = rf"^{name} must be .*, got {type(value).__name__}$"
    with pytest.raises(TypeError, match=pattern):
        topk_hamming(**{**GOOD, name: value})
    if name != "num_sites":
        dense = {
            "queries": np.zeros((2, 3), np.float32),
            "database": np.zeros((6, 3), np.float32),
            "k": 1,
        }
        with pytest.raises(TypeError, match=pattern):
            topk_l2(**{**dense, name: value})


def test_unaligned_memory_is_refused(unaligned):
    for name in ("queries", "panel", "exclude"):
        with pytest.raises(TypeError, match=rf"^{name} must be .*, got unaligned memory$"):
            topk_hamming(**{**GOOD, name: unaligned(GOOD[name])})


def test_numbers_of_numpy_are_numbers():
    got = topk_hamming(
        **{**GOOD, "k": np.int64(2), "num_sites": np.uint8(100), "threads": np.int16(1)}
    )
    assert got.indices.tolist() == [[0, 1], [0, 1]]


BAD_SITES = [
    ({"site_bits": None}, TypeError, f"site_bits must be {BITS}, got NoneType"),
    ({"num_haplotypes": 0}, ValueError, "num_haplotypes must be from 1 to 4294967295, got 0"),
    (
        {"num_haplotypes": 2**32},
        ValueError,
        f"num_haplotypes must be from 1 to 4294967295, got {2**32}",
    ),
    (
        {"observed": np.ones(4, bool)},
        ValueError,
        "observed must be a contiguous bool (5,) array, got shape (4,)",
    ),
    (
        {"num_haplotypes": 129},
        ValueError,
        "site_bits must be of 3 words a row (129 haplotypes), got 2",
    ),
]


@pytest.mark.parametrize(("wrong", "error", "text"), BAD_SITES)
def test_wrong_arguments_of_an_index_from_sites(wrong, error, text):
    good = {"site_bits": np.zeros((5, 2), np.uint64), "num_haplotypes": 70, "observed": None}
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        HammingIndex.from_sites(**{**good, **wrong})


FLOATS = "a float32 (rows, dimensions) array with contiguous rows"

BAD_DENSE = [
    ({"queries": [[0.0]]}, TypeError, f"queries must be {FLOATS}, got list"),
    ({"queries": np.zeros((2, 3))}, TypeError, f"queries must be {FLOATS}, got dtype float64"),
    (
        {"database": np.zeros((6, 3), np.float16)},
        TypeError,
        f"database must be {FLOATS}, got dtype float16",
    ),
    ({"database": np.zeros((6, 3), ">f4")}, TypeError, f"database must be {FLOATS}, got dtype >f4"),
    ({"database": np.zeros(6, np.float32)}, ValueError, f"database must be {FLOATS}, got shape (6,)"),
    (
        {"database": np.zeros((3, 6), np.float32).T},
        TypeError,
        f"database must be {FLOATS}, got rows that are not contiguous",
    ),
    (
        {"database": np.zeros((0, 3), np.float32)},
        ValueError,
        "rows of database must be from 1 to 4294967295, got 0",
    ),
    (
        {"queries": np.zeros((2, 4), np.float32)},
        ValueError,
        "queries must be of 3 dimensions, as database, got 4",
    ),
    ({"k": 0}, ValueError, "k must be at least 1, got 0"),
    ({"k": 7}, ValueError, "k must be at most 6 (6 less 0 excluded), got 7"),
    ({"k": 2**62}, ValueError, f"k must be at most 6 (6 less 0 excluded), got {2**62}"),
    (
        {"exclude": np.array([[6], [0]])},
        ValueError,
        "exclude must be -1 or an index below 6, got 6 for query 0",
    ),
    ({"threads": 0}, ValueError, "threads must be from 1 to 4096, got 0"),
]


@pytest.mark.parametrize(("wrong", "error", "text"), BAD_DENSE)
def test_wrong_arguments_of_dense_search(wrong, error, text):
    good = {"queries": np.zeros((2, 3), np.float32), "database": np.zeros((6, 3), np.float32), "k": 1}
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        topk_l2(**{**good, **wrong})


def test_unaligned_floats_are_refused(unaligned):
    good = np.zeros((2, 3), np.float32)
    with pytest.raises(TypeError, match=r"^database must be .*, got unaligned memory$"):
        topk_l2(good, unaligned(good), 1)


def test_real_haplotypes(simd_level, shared_data):
    cyvcf2 = pytest.importorskip("cyvcf2")
    reader = cyvcf2.VCF(str(shared_data / "kgp_chr1" / "panel.vcf.gz"))
    sites = [
        variant.genotype.array()[:, :2].ravel()
        for variant, _ in zip(reader, range(1020), strict=False)
        if len(variant.ALT) == 1
    ]
    reader.close()
    alleles = np.ascontiguousarray(np.array(sites, np.int8).T)
    assert alleles.min() == 0
    assert alleles.max() == 1
    num_sites = alleles.shape[1]
    observed = ~af_guided_mask(alleles.mean(axis=0), seed=0, window=0, rate=0.3)
    bits = pack_haplotypes(alleles)
    own = np.stack([np.arange(48), np.arange(48) ^ 1], axis=1)
    got = topk_hamming(bits[:48], bits, 8, num_sites=num_sites, observed=observed, exclude=own)
    keep = pack_haplotypes(observed[None])[0]
    distances, indices = counted(bits[:48], bits, 10, keep)
    for q in range(48):
        kept = [i for i in range(10) if indices[q, i] not in own[q]][:8]
        assert got.indices[q].tolist() == indices[q, kept].tolist()
        assert got.distances[q].tolist() == distances[q, kept].tolist()
