"""Search by Hamming distance against a slow twin, at every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import assert_same, counted, half_observed, packed_panel, random_alleles
from snvrag.kernels import TopK, af_guided_mask, oracle, pack_haplotypes, topk_hamming

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


def test_the_counted_twin_is_the_oracle():
    panel, queries = packed_panel(40, 130, 3)
    observed = half_observed(130)
    got = counted(queries, panel, 7, pack_haplotypes(observed[None]))
    assert_same(got, oracle.topk_hamming(queries, panel, 7, num_sites=130, observed=observed))


# --- sizes, masks and ties -----------------------------------------------------------------------


@pytest.mark.parametrize("num_sites", [0, 1, 63, 64, 65, 127, 128, 129, 1020])
def test_every_size(simd_level, num_sites):
    for num_haplotypes in [1, 2, 7, 8, 9, 64, 65, 200]:
        panel, queries = packed_panel(num_haplotypes, num_sites, 9)
        half, none = half_observed(num_sites), np.zeros(num_sites, bool)
        for observed in (None, half, none, ~none):
            options = {"num_sites": num_sites, "observed": observed}
            whole = oracle.topk_hamming(queries, panel, num_haplotypes, **options)
            for k in {1, min(8, num_haplotypes), min(64, num_haplotypes), num_haplotypes}:
                expected = [x[:, :k] for x in whole]
                for threads in (None, 1, 2, 4):
                    got = topk_hamming(queries, panel, k, threads=threads, **options)
                    assert isinstance(got, TopK)
                    assert_same(got, expected, (k, threads))


@pytest.mark.parametrize("num_queries", [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 48])
def test_hamming_of_any_number_of_queries(simd_level, num_queries):
    panel, queries = packed_panel(100, 129, num_queries)
    got = topk_hamming(queries, panel, 8, num_sites=129, threads=2)
    none = np.zeros((0, 8)), np.zeros((0, 8))
    expected = oracle.topk_hamming(queries, panel, 8, num_sites=129) if num_queries else none
    assert_same(got, expected)


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


@pytest.mark.parametrize("density", [0, 0.02, 0.5, 0.98])
@pytest.mark.parametrize("num_sites", [1, 64, 65, 127, 1020, 3000])
def test_hamming_compacts_any_mask(simd_level, num_sites, density):
    """Of the lowest density, one site."""
    panel, queries = random_alleles(50, num_sites, 1), random_alleles(4, num_sites, 2)
    bits, query_bits = pack_haplotypes(panel), pack_haplotypes(queries)
    for seed in range(4):
        observed = np.random.default_rng(seed).random(num_sites) < density
        observed[64 * (seed % 2) : 64 * (seed % 2) + 64] = seed < 2  # a whole word, an empty word
        if density == 0:
            observed = np.arange(num_sites) == [0, num_sites // 2, num_sites - 1, 0][seed]
        distances = (queries[:, None, observed] != panel[None, :, observed]).sum(axis=2)
        got = topk_hamming(query_bits, bits, 50, num_sites=num_sites, observed=observed)
        assert (np.take_along_axis(distances, got.indices, axis=1) == got.distances).all()
        assert_same(got, oracle._nearest(distances.astype(np.int32), 50, None))


@pytest.mark.parametrize("k", [1, 8, 64, 1000])
def test_heavy_ties_go_to_the_lowest_index(simd_level, k):
    # Four distinct haplotypes, 250 copies of each, in an order that is not sorted by distance.
    kinds = np.array([[1, 1, 1], [0, 0, 1], [0, 0, 0], [0, 1, 1]], np.int8)
    panel = kinds[np.random.default_rng(0).permutation(np.repeat(np.arange(4), 250))]
    queries = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0]], np.int8)
    bits, query_bits = pack_haplotypes(panel), pack_haplotypes(queries)
    expected = oracle.topk_hamming(query_bits, bits, k, num_sites=3)
    for threads in [1, 2, 3, 4]:
        assert_same(topk_hamming(query_bits, bits, k, num_sites=3, threads=threads), expected)


def test_candidates_in_the_worst_order(simd_level):
    # Distances that fall along the panel: every haplotype displaces one.
    panel = (np.arange(64)[None, :] < np.arange(2000, 0, -1)[:, None] / 2000 * 64).astype(np.int8)
    bits, query = pack_haplotypes(panel), np.zeros((1, 1), np.uint64)
    for k in (1, 8, 64, 1999, 2000):
        expected = counted(query, bits, k, np.uint64(2**64 - 1))
        for threads in (1, 4):
            assert_same(topk_hamming(query, bits, k, num_sites=64, threads=threads), expected)


@pytest.mark.parametrize(
    ("num_haplotypes", "num_words", "num_queries", "k"),
    [
        # More blocks than pass over the queries at once, in the scan and between looks for Ctrl-C.
        (6005, 16, 48, 8),
        # Enough work to go to a thread of its own, so that Ctrl-C is seen.
        (6001, 130, 130, 3),
    ],
)
def test_long_searches(simd_level, num_haplotypes, num_words, num_queries, k):
    random = np.random.default_rng(0)
    panel = random.integers(0, 2**64, (num_haplotypes, num_words), np.uint64)
    queries = panel[random.integers(0, num_haplotypes, num_queries)]
    num_sites = 64 * num_words - 4
    for observed in (None, half_observed(num_sites)):
        seen = np.ones(num_sites, bool) if observed is None else observed
        expected = counted(queries, panel, k, pack_haplotypes(seen[None])[0])
        for threads in (1, 3):
            options = {"num_sites": num_sites, "observed": observed, "threads": threads}
            assert_same(topk_hamming(queries, panel, k, **options), expected)


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
