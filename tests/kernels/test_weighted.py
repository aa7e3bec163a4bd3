"""Weighted Hamming search, `out=`, and scans that reject haplotypes early."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import helpers
from helpers import LEVELS, frozen, level, mosaic_haplotypes, packed_panel, random_alleles
from snvrag.kernels import (
    HammingIndex,
    TopK,
    oracle,
    pack_haplotypes,
    topk_hamming,
    topk_l2,
)


def assert_same(got: Any, expected: Any) -> None:
    helpers.assert_same(got, expected, dtype=np.float32)


# --- the oracle ----------------------------------------------------------------------------------


def test_oracle_on_a_case_made_by_hand():
    panel = pack_haplotypes(np.array([[0, 0, 1], [1, 0, 0], [1, 1, 1], [0, 1, 0]], np.int8))
    query = pack_haplotypes(np.array([[0, 0, 0]], np.int8))
    weights = np.array([0.5, 2.0, 0.5], np.float32)
    distances, indices = oracle.topk_hamming(query, panel, 4, num_sites=3, weights=weights)
    assert distances.tolist() == [[0.5, 0.5, 2.0, 3.0]]
    assert indices.tolist() == [[0, 1, 3, 2]]


def test_integer_weights_made_by_hand():
    # A total of 4 has 2**2 as its highest bit: the unit is 2**-27.
    integers, unit = oracle.integer_weights(np.array([1, 3, 2**-28, 3 * 2**-28], np.float32))
    assert unit == 2.0**-27
    assert integers.tolist() == [2**27, 3 * 2**27, 0, 2]  # halves go to the even neighbour
    assert oracle.integer_weights(np.zeros(3, np.float32))[0].tolist() == [0, 0, 0]


# --- against the oracle --------------------------------------------------------------------------


@pytest.mark.parametrize("num_sites", [0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300])
def test_every_size(simd_level, num_sites):
    for num_haplotypes in [1, 7, 8, 9, 130]:
        panel, queries = packed_panel(num_haplotypes, num_sites, 5)
        random = np.random.default_rng(num_sites)
        weights = random.gamma(0.5, 1.0, num_sites).astype(np.float32)
        for observed in (None, random.random(num_sites) < 0.5):
            index = HammingIndex(panel, num_sites=num_sites, observed=observed)
            for k in {1, min(8, num_haplotypes), num_haplotypes}:
                options = {"num_sites": num_sites, "observed": observed, "weights": weights}
                expected = oracle.topk_hamming(queries, panel, k, **options)
                for threads in (1, 3):
                    got = index.search(queries, k, weights=weights, threads=threads)
                    assert_same(got, expected)


def test_a_panel_of_relatives(simd_level):
    alleles = mosaic_haplotypes(3050, 500, num_founders=40, seed=3)
    panel, queries = pack_haplotypes(alleles[50:]), pack_haplotypes(alleles[:50:5])
    random = np.random.default_rng(0)
    weights = random.gamma(0.5, 1.0, 500).astype(np.float32)
    observed = random.random(500) < 0.7
    exclude = random.integers(-1, 3000, (10, 3))
    arguments: Any = {"num_sites": 500, "observed": observed, "exclude": exclude}
    for k in (1, 8, 64):
        expected = oracle.topk_hamming(queries, panel, k, weights=weights, **arguments)
        assert_same(topk_hamming(queries, panel, k, weights=weights, **arguments), expected)
        plain = oracle.topk_hamming(queries, panel, k, **arguments)
        got = topk_hamming(queries, panel, k, **arguments)
        np.testing.assert_array_equal(got.distances, plain[0])
        np.testing.assert_array_equal(got.indices, plain[1])


@pytest.mark.parametrize("order", ["best first", "best last", "all alike", "two kinds"])
@pytest.mark.parametrize("k", [1, 8, 64, 600])
def test_any_order_of_the_panel(simd_level, order, k):
    # Enough haplotypes for a first threshold to be estimated from their heads.
    num_sites, num_haplotypes = 300, 2500
    num_alt = np.linspace(0, num_sites, num_haplotypes).astype(int)
    if order == "best last":
        num_alt = num_alt[::-1]
    elif order == "all alike":
        num_alt = np.full(num_haplotypes, 150)
    elif order == "two kinds":
        num_alt = np.where(np.arange(num_haplotypes) % 3 == 1, 7, 290)
    panel = pack_haplotypes((np.arange(num_sites) < num_alt[:, None]).astype(np.int8))
    query = pack_haplotypes(np.zeros((1, num_sites), np.int8))
    nearest = np.lexsort((np.arange(num_haplotypes), num_alt))
    for exclude in (None, np.full((1, 70), -1), nearest[None, :70].copy()):
        keep = nearest if exclude is None or exclude[0, 0] < 0 else nearest[70:]
        for weights in (None, np.ones(num_sites, np.float32)):
            options = {"num_sites": num_sites, "exclude": exclude, "weights": weights}
            got = topk_hamming(query, panel, k, **options)
            np.testing.assert_array_equal(got.indices[0], keep[:k])
            np.testing.assert_array_equal(got.distances[0], num_alt[keep[:k]])


def test_a_difference_in_every_site_of_the_head(simd_level):
    # 128 differences in the two words of the head: the most there can be.
    panel = np.full((400, 3), 2**64 - 1, np.uint64)
    panel[::2, 2] = 0
    got = topk_hamming(np.zeros((1, 3), np.uint64), panel, 400, num_sites=192)
    assert got.distances[0].tolist() == [128] * 200 + [192] * 200
    assert got.indices[0].tolist() == [*range(0, 400, 2), *range(1, 400, 2)]


# --- what weights mean ---------------------------------------------------------------------------


def test_equal_weights_give_the_plain_search(simd_level):
    panel, queries = packed_panel(200, 129, 4)
    plain = topk_hamming(queries, panel, 20, num_sites=129)
    for weight in (1.0, 0.25, 2.0**90, 2.0**-90, 0.0):
        weights = np.full(129, weight, np.float32)
        got = topk_hamming(queries, panel, 20, num_sites=129, weights=weights)
        indices = plain.indices if weight else np.tile(np.arange(20), (4, 1))
        assert_same(got, (plain.distances * np.float32(weight), indices))


def test_weights_of_zero_hide_a_site_and_those_of_hidden_sites_do_not_count(simd_level):
    panel, queries = packed_panel(90, 200, 4)
    random = np.random.default_rng(3)
    observed, weights = random.random(200) < 0.5, random.random(200).astype(np.float32)
    hidden = topk_hamming(queries, panel, 9, num_sites=200, observed=observed)
    got = topk_hamming(queries, panel, 9, num_sites=200, weights=observed.astype(np.float32))
    assert_same(got, hidden)
    expected = topk_hamming(queries, panel, 9, num_sites=200, weights=weights * observed)
    large = np.where(observed, weights, np.float32(1e30))
    got = topk_hamming(queries, panel, 9, num_sites=200, observed=observed, weights=large)
    assert_same(got, expected)


def test_weights_are_the_distances_of_a_learned_embedding(simd_level):
    random = np.random.default_rng(5)
    alleles = random_alleles(300, 70, 1)
    reference, alternative = random.normal(size=(2, 70, 3)).astype(np.float32)
    embedded = np.where(alleles[..., None] == 1, alternative, reference).reshape(300, -1)
    weights = ((reference - alternative) ** 2).sum(axis=1)
    bits = pack_haplotypes(alleles)
    got = topk_hamming(bits[:6], bits, 10, num_sites=70, weights=weights)
    dense = topk_l2(embedded[:6], embedded, 10)
    np.testing.assert_allclose(got.distances, dense.distances, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(got.indices, dense.indices)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_sites=st.integers(1, 200),
    num_haplotypes=st.integers(1, 300),
    scale=st.floats(2.0**-60, 2.0**60),
)
def test_the_sum_is_as_exact_as_promised(seed, num_sites, num_haplotypes, scale):
    random = np.random.default_rng(seed)
    alleles = random.integers(0, 2, (num_haplotypes + 2, num_sites), np.int8)
    bits = pack_haplotypes(alleles)
    weights = (random.gamma(0.3, 1.0, num_sites) * scale).astype(np.float32)
    answers, options = [], {"num_sites": num_sites, "weights": weights}
    for name in LEVELS:
        with level(name):
            answers.append(topk_hamming(bits[:2], bits[2:], num_haplotypes, **options))
    exact = (alleles[:2, None] != alleles[None, 2:]) @ weights.astype(np.float64)
    for got in answers:
        assert_same(got, answers[0])
        differences = got.distances - np.take_along_axis(exact, got.indices, 1)
        bound = num_sites * 2.0**-29 * weights.sum(dtype=np.float64)
        assert (np.abs(differences) <= bound + 2.0**-24 * got.distances).all()


# --- out -----------------------------------------------------------------------------------------


def test_out_is_written_and_returned(simd_level):
    panel, queries = packed_panel(90, 100, 4)
    weights = np.random.default_rng(0).random(100).astype(np.float32)
    index = HammingIndex(panel, num_sites=100)
    database = np.random.default_rng(0).random((50, 9)).astype(np.float32)
    for search in (
        lambda **out: index.search(queries, 7, **out),
        lambda **out: index.search(queries, 7, weights=weights, **out),
        lambda **out: topk_hamming(queries, panel, 7, num_sites=100, weights=weights, **out),
        lambda **out: topk_l2(database[:4], database, 7, **out),
    ):
        expected = search()
        out = np.full((4, 7), -1, expected.distances.dtype), np.full((4, 7), -1)
        for pair in (out, TopK(*out)):
            got = search(out=pair)
            assert isinstance(got, TopK)
            assert got.distances is out[0]
            assert got.indices is out[1]
            np.testing.assert_array_equal(out, expected)


OUT = [np.empty((4, 7), np.int32), np.empty((4, 7), np.int64)]


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        (5, TypeError, "out must be a pair of arrays, got int"),
        ((), TypeError, "out must be a pair"),
        ((1, 2), TypeError, r"out\[0\] must be .*int32.*, got int"),
        ((np.empty((4, 7), np.float32), OUT[1]), TypeError, r"out\[0\].*float32"),
        ((OUT[0], np.empty((4, 7), np.int32)), TypeError, r"out\[1\].*int32"),
        ((np.empty((4, 8), np.int32), OUT[1]), ValueError, r"out\[0\].*\(4, 8\)"),
        ((OUT[0], np.empty((3, 7), np.int64)), ValueError, r"out\[1\].*\(3, 7\)"),
        ((OUT[0], np.empty((7,), np.int64)), ValueError, r"out\[1\]"),
        ((np.empty((7, 4), np.int32).T, OUT[1]), TypeError, r"out\[0\]"),
        ((np.empty((4, 14), np.int32)[:, :7], OUT[1]), TypeError, r"out\[0\]"),
        ((frozen(OUT[0]), OUT[1]), TypeError, r"out\[0\].*read-only"),
        ((OUT[0], frozen(OUT[1])), TypeError, r"out\[1\].*read-only"),
    ],
)
def test_wrong_out(out, error, text):
    panel = np.zeros((90, 2), np.uint64)
    with pytest.raises(error, match=text):
        topk_hamming(panel[:4], panel, 7, num_sites=100, out=out)
