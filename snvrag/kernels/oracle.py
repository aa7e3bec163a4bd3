"""Slow, readable NumPy twins of the kernels, which the fast ones must agree with.

They do not check their arguments, and are meant for tests alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._checks import num_words
from .head import LIMIT, HeadWeights


def philox4x64(counter: list[int], key: list[int]) -> list[int]:
    """Compute a Philox4x64-10 block in plain Python integers (Salmon et al., SC 2011)."""
    word, keep = list(counter), 2**64 - 1
    low, high = key
    for _ in range(10):
        product0 = 0xD2E7470EE14C6C93 * word[0]
        product1 = 0xCA5A826395121157 * word[2]
        word = [
            (product1 >> 64) ^ word[1] ^ low,
            product1 & keep,
            (product0 >> 64) ^ word[3] ^ high,
            product0 & keep,
        ]
        low = (low + 0x9E3779B97F4A7C15) & keep
        high = (high + 0xBB67AE8584CAA73B) & keep
    return word


def af_guided_mask(
    af: NDArray[np.float64],
    *,
    seed: int,
    window: int,
    rate: float,
    rare_rate: float = 0.7,
    rare_threshold: float = 0.05,
    generator: str = "philox",
) -> NDArray[np.bool_]:
    """Compute the masks' formula with NumPy's own generators."""
    key = seed * 10_000 + window
    if generator == "philox":
        philox = np.random.Philox(key=np.array([key, window // 10_000], np.uint64))
        u = np.random.Generator(philox).random(af.size)
    else:
        u = np.random.RandomState(key).random_sample(af.size)
    mask: NDArray[np.bool_] = u < np.where(af < rare_threshold, rare_rate, rate)
    return mask


def align_sites(
    position: NDArray[Any],
    panel_position: NDArray[Any],
    alleles: NDArray[Any] | None = None,
    panel_alleles: NDArray[Any] | None = None,
) -> NDArray[np.int64]:
    """Look sites up in a dictionary from (position, REF, ALT) to the lowest index."""

    def keys(positions: NDArray[Any], pairs: NDArray[Any] | None) -> list[tuple[Any, ...]]:
        if pairs is None:
            return [(p,) for p in positions.tolist()]
        return [(p, *pair) for p, pair in zip(positions.tolist(), pairs.tolist(), strict=True)]

    index: dict[tuple[Any, ...], int] = {}
    for i, key in enumerate(keys(panel_position, panel_alleles)):
        index.setdefault(key, i)
    return np.array([index.get(key, -1) for key in keys(position, alleles)], np.int64)


def pack_haplotypes(alleles: NDArray[Any]) -> NDArray[np.uint64]:
    """Set each word bit by bit."""
    num_haplotypes, num_sites = alleles.shape
    bits = np.zeros((num_haplotypes, num_words(num_sites)), np.uint64)
    for h in range(num_haplotypes):
        for s in range(num_sites):
            bits[h, s // 64] |= np.uint64(int(alleles[h, s]) << (s % 64))
    return bits


def unpack_haplotypes(bits: NDArray[np.uint64], num_sites: int) -> NDArray[np.int8]:
    """Read each bit."""
    sites = np.arange(num_sites)
    words = bits[:, sites // 64] >> (sites % 64).astype(np.uint64)
    alleles: NDArray[np.int8] = (words & np.uint64(1)).astype(np.int8)
    return alleles


def _nearest(
    distances: NDArray[Any], k: int, exclude: NDArray[np.int64] | None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Sort the haplotypes of each query by (distance, index) and keep k."""
    rows = []
    for q, row in enumerate(distances):
        dropped = set() if exclude is None else set(exclude[q].tolist())
        order = sorted((d, i) for i, d in enumerate(row.tolist()) if i not in dropped)
        rows.append(order[:k])
    table = np.array(rows, dtype=object).reshape(len(distances), k, 2)
    return table[..., 0].astype(distances.dtype), table[..., 1].astype(np.int64)


def topk_hamming(
    queries: NDArray[np.uint64],
    panel: NDArray[np.uint64],
    k: int,
    *,
    num_sites: int,
    observed: NDArray[np.bool_] | None = None,
    exclude: NDArray[np.int64] | None = None,
    weights: NDArray[np.float32] | None = None,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Count differing observed alleles, pair by pair, or sum their weights."""
    seen = np.ones(num_sites, bool) if observed is None else observed
    a = unpack_haplotypes(queries, num_sites)[:, seen]
    b = unpack_haplotypes(panel, num_sites)[:, seen]
    differ = a[:, None, :] != b[None, :, :]
    if weights is None:
        return _nearest(differ.sum(axis=2, dtype=np.int32), k, exclude)
    integers, unit = integer_weights(weights[seen])
    sums = (differ * integers).sum(axis=2)
    return _nearest(sums.astype(np.float32) * np.float32(unit), k, exclude)


def integer_weights(weights: NDArray[np.float32]) -> tuple[NDArray[np.int64], float]:
    """Round weights to multiples of a power of two, half to even, with a sum below 2**31."""
    total = 0.0
    for weight in weights.tolist():
        total += weight
    if total == 0:
        return np.zeros(len(weights), np.int64), 1.0
    exponent = min(30 - math.frexp(total)[1], 126)
    rounded = [round(math.ldexp(weight, exponent)) for weight in weights.tolist()]
    return np.array(rounded, np.int64), math.ldexp(1.0, -exponent)


def topk_l2(
    queries: NDArray[np.float32],
    database: NDArray[np.float32],
    k: int,
    *,
    exclude: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum squared differences in double precision."""
    difference = queries[:, None, :].astype(np.float64) - database[None, :, :].astype(np.float64)
    return _nearest((difference**2).sum(axis=2), k, exclude)


def head_log_odds(evidence: NDArray[Any], weights: HeadWeights) -> NDArray[np.float64]:
    """Evaluate a head on (..., E) evidence in double precision."""
    mean, scale, hidden_weight, hidden_bias, output_weight = (
        np.asarray(array, np.float64) for array in weights[:5]
    )
    standardised = np.clip((evidence - mean) / scale, -LIMIT, LIMIT)
    hidden = standardised @ hidden_weight + hidden_bias
    correction = np.maximum(hidden, 0) @ output_weight + weights.output_bias
    return np.asarray(evidence[..., 0] + correction)
