"""Dense search on V18's additive embedding is Hamming search, if both sides are masked alike."""

from __future__ import annotations

import numpy as np

from helpers import mosaic_haplotypes
from snvrag.kernels import af_guided_mask, pack_haplotypes, topk_hamming, topk_l2

REF, ALT, MASK = 0, 1, 2


def embed(alleles: np.ndarray, hidden: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """V18's embedding: token + position + frequency at each site, flattened; (rows, L * D)."""
    token, position, frequency = weights
    total = token[np.where(hidden, MASK, alleles)] + position[None] + frequency[None]
    return total.reshape(len(alleles), -1).astype(np.float32)


def test_dense_search_on_exact_embeddings_is_hamming_search_index_by_index(simd_level):
    # Multiples of 1/16 below 16: every sum is exact in float32, so ties tie on both sides.
    alleles = mosaic_haplotypes(330, 200, seed=2)
    panel, queries = alleles[30:], alleles[:30]
    hidden = af_guided_mask(panel.mean(axis=0), seed=1, window=0, rate=0.5)
    random = np.random.default_rng(0)
    weights = [random.integers(-16, 17, shape) / 16 for shape in [(3, 8), (200, 8), (200, 8)]]
    unit = ((weights[0][REF] - weights[0][ALT]) ** 2).sum()
    exclude = np.random.default_rng(1).integers(-1, 300, (30, 4))
    bits = pack_haplotypes(queries), pack_haplotypes(panel)
    near = topk_hamming(*bits, 64, num_sites=200, observed=~hidden, exclude=exclude)
    embedded = embed(queries, hidden, weights), embed(panel, hidden, weights)
    dense = topk_l2(*embedded, 64, exclude=exclude)
    assert (np.diff(near.distances, axis=1) == 0).any()
    assert (dense.indices == near.indices).all()
    assert (dense.distances == unit * near.distances).all()
    # Hidden sites at 0 and observed ones at 0 or 1: the (H, L) database of scaled alleles.
    scaled = ((alleles * ~hidden).astype(np.float32) for alleles in (queries, panel))
    scaled = topk_l2(*scaled, 64, exclude=exclude)
    assert (scaled.indices == near.indices).all()
    assert (scaled.distances == near.distances).all()


def test_masking_query_and_panel_differently_is_v18s_collapse():
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
        database = embed(panel, epochs[panel_epoch], weights)
        found = topk_l2(embed(queries, hidden, weights), database, 1)
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
