"""What a HammingIndex keeps, from both layouts of a panel."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import LEVELS, assert_same, frozen, half_observed, level, packed_panel, random_alleles
from snvrag.kernels import HammingIndex, oracle, pack_haplotypes, topk_hamming

SIZES = [0, 1, 63, 64, 65, 127, 128, 129, 1020]


@pytest.mark.parametrize("num_sites", SIZES)
def test_an_index_from_sites_is_the_index_from_haplotypes(simd_level, num_sites):
    for num_haplotypes in [1, 7, 8, 63, 64, 65, 130]:
        panel = random_alleles(num_haplotypes, num_sites, 1)
        queries = pack_haplotypes(random_alleles(3, num_sites, 2))
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


def test_bits_past_the_last_site_or_haplotype_do_not_count(simd_level):
    panel, queries = packed_panel(20, 65, 3)
    expected = oracle.topk_hamming(queries, panel, 20, num_sites=65)
    for dirty in (panel.copy(), queries.copy()):
        dirty[:, 1] |= np.uint64(2**64 - 2)
        either = (queries, dirty) if len(dirty) == 20 else (dirty, panel)
        assert_same(topk_hamming(*either, 20, num_sites=65), expected)
    index = HammingIndex.from_sites(np.full((65, 1), 2**64 - 1, np.uint64), num_haplotypes=3)
    got = index.search(np.zeros((1, 2), np.uint64), 3)
    assert_same(got, (np.full((1, 3), 65), np.arange(3)[None]))


def test_the_index_keeps_a_copy(simd_level):
    panel = pack_haplotypes(random_alleles(20, 65, 1))
    queries = panel[:2].copy()
    observed = half_observed(65)
    index = HammingIndex(panel, num_sites=65, observed=observed)
    before = index.search(queries, 5)
    panel[:] = 0
    observed[:] = True
    assert_same(index.search(queries, 5), before)


def test_an_index_serves_every_level():
    panel, queries = packed_panel(77, 300, 5)
    expected = oracle.topk_hamming(queries, panel, 9, num_sites=300)
    for built in LEVELS:
        with level(built):
            index = HammingIndex(panel, num_sites=300)
        for searched in LEVELS:
            with level(searched):
                assert_same(index.search(queries, 9), expected, (built, searched))


def test_the_memory_is_what_is_promised():
    panel = pack_haplotypes(random_alleles(5008, 1020, 1))
    observed = np.arange(1020) < 400
    index = HammingIndex(panel, num_sites=1020, observed=observed)
    promised = 8 * 5008 * 7
    assert promised <= index.num_bytes <= promised + 8 * 400 + 1024


def test_input_of_any_layout_is_read_and_not_changed(simd_level):
    panel, queries = packed_panel(20, 129, 4)
    exclude = np.array([[1], [2], [3], [-1]])
    observed = half_observed(129)
    options = {"num_sites": 129, "observed": observed, "exclude": exclude}
    expected = oracle.topk_hamming(queries, panel, 5, **options)
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
        twice = np.repeat(queries, 2, axis=0)
        for some in (frozen(queries), queries[::-1].copy()[::-1], twice[::2]):
            got = index.search(some, 5, exclude=frozen(exclude))
            assert_same(got, expected, name)
        assert (layout == kept).all()
    repeated = np.broadcast_to(queries[:1], (6, 3))
    expected = oracle.topk_hamming(repeated.copy(), panel, 5, num_sites=129)
    assert_same(topk_hamming(repeated, panel, 5, num_sites=129), expected)
