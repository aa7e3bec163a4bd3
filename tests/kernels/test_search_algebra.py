"""What must not change the answer of a search: permutations, padding and flipped alleles."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from helpers import LEVELS, assert_same, level
from snvrag.kernels import TopK, oracle, pack_haplotypes, topk_hamming

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
    with level(window["level"]):
        return topk_hamming(
            pack_haplotypes(queries),
            pack_haplotypes(panel),
            k,
            num_sites=panel.shape[1],
            observed=observed,
            threads=window["threads"],
        )


@given(windows, st.integers(0, 130), st.integers(0, 130))
def test_sites_and_alleles_are_but_names(window, before, after):
    """Their order, hidden ones beside them, and which allele is ALT change nothing."""
    random, panel, queries, observed, k = make(window)
    one = search(window, queries, panel, k, observed)
    packed = pack_haplotypes(queries), pack_haplotypes(panel)
    options = {"num_sites": panel.shape[1], "observed": observed}
    assert_same(one, oracle.topk_hamming(*packed, k, **options))
    order = random.permutation(panel.shape[1])
    permuted = queries[:, order], panel[:, order]
    assert_same(search(window, *permuted, k, observed[order]), one)

    def padded(alleles: np.ndarray) -> np.ndarray:
        noise = random.integers(0, 2, (len(alleles), before + after), np.int8)
        return np.concatenate([noise[:, :before], alleles, noise[:, before:]], axis=1)

    hidden = np.pad(observed, (before, after))
    assert_same(search(window, padded(queries), padded(panel), k, hidden), one)
    flip = random.integers(0, 2, panel.shape[1], np.int8)
    assert_same(search(window, queries ^ flip, panel ^ flip, k, observed), one)
    everything = search(window, queries, panel, k, np.ones_like(observed))
    assert_same(search(window, queries, panel, k, None), everything)


@given(windows)
def test_permuting_rows_permutes_indices(window):
    random, panel, queries, observed, k = make(window)
    order = random.permutation(len(panel))
    one = search(window, queries, panel, len(panel), observed)
    two = search(window, queries, panel[order], len(panel), observed)
    assert (one.distances == two.distances).all()
    # In terms of the first panel, the answers agree but for ties, which go by the index of each.
    for row, distances, other in zip(one.indices, one.distances, order[two.indices], strict=True):
        for distance in set(distances.tolist()):
            assert set(row[distances == distance]) == set(other[distances == distance])
    for distances, row in zip((*one[0], *two[0]), (*one[1], *two[1]), strict=True):
        assert (np.lexsort((row, distances)) == np.arange(len(panel))).all()
    fewer = search(window, queries, panel[order], k, observed)
    assert_same(fewer, (two.distances[:, :k], two.indices[:, :k]))
