"""A slow twin of `retrieve_states`, by sorting the panel anew at every site; for tests alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def spread_order(num_haplotypes: int) -> list[int]:
    """Return the order of haplotypes without alleles."""
    stride = max(1, num_haplotypes * 618 // 1000)
    while math.gcd(stride, num_haplotypes) != 1:
        stride += 1
    return [i * stride % num_haplotypes for i in range(num_haplotypes)]


def nearest(
    query: list[int], panel: list[list[int]], allowed: list[int], order: list[int], count: int
) -> list[int]:
    """Return the ``count`` allowed haplotypes with the longest match at the end of the alleles.

    ``query`` has the alleles up to a site, ``panel`` those of each haplotype, and ``order`` that of
    haplotypes without alleles.
    """
    rank = {h: r for r, h in enumerate(order)}
    backwards = {h: (panel[h][::-1], rank[h]) for h in order}
    place = sum(alleles < (query[::-1], -1) for alleles in backwards.values())
    ordered = sorted(order, key=backwards.__getitem__)

    def distance(i: int) -> tuple[int, int]:
        equal = 0
        for a, b in zip(backwards[ordered[i]][0], query[::-1], strict=True):
            if a != b:
                break
            equal += 1
        return -equal, abs(2 * (i - place) + 1)

    indices = sorted((i for i in range(len(ordered)) if ordered[i] in allowed), key=distance)
    return [ordered[i] for i in indices[:count]]


def choices_of(
    query: NDArray[Any],
    missing: NDArray[Any],
    panel: NDArray[Any],
    allowed: list[int],
    order: list[int],
    ranks: list[int],
    neighbours: int,
) -> dict[int, list[int]]:
    """Return what a query chooses at sites of these ranks; the arrays have observed sites alone."""
    chosen = {}
    filled: list[int] = []
    for i in range(len(query)):
        before = panel[:, :i].tolist()
        if missing[i]:
            filled.append(int(panel[nearest(filled, before, allowed, order, 1)[0], i]))
        else:
            filled.append(int(query[i]))
        if i in ranks:
            up_to_here = panel[:, : i + 1].tolist()
            chosen[i] = nearest(filled, up_to_here, allowed, order, neighbours)
    return chosen


def retrieve_states(
    queries: NDArray[Any],
    panel: NDArray[Any],
    observed: NDArray[np.bool_],
    position_cm: NDArray[np.float64],
    *,
    neighbours: int,
    step: int,
    within_cm: float,
    exclude: list[tuple[int, ...]],
    missing: NDArray[Any],
) -> tuple[list[int], list[list[list[int]]]]:
    """Choose from (H, S) alleles for (Q, S) queries: block starts, and states [query][block]."""
    num_haplotypes, num_observed = len(panel), int(observed.sum())
    starts = list(range(0, max(1, num_observed), step))
    stops = [*starts[1:], num_observed]
    middles = [start + (stop - start) // 2 for start, stop in zip(starts, stops, strict=True)]
    cm, alleles = position_cm[observed], panel[:, observed]
    order = spread_order(num_haplotypes)
    answer = []
    for q, query in enumerate(queries[:, observed]):
        allowed = [h for h in range(num_haplotypes) if h not in exclude[q]]
        if num_observed == 0 or len(allowed) <= 2 * neighbours:
            answer.append([allowed for _ in starts])
            continue
        lacks = missing[q, observed]
        forward = choices_of(query, lacks, alleles, allowed, order, middles, neighbours)
        mirrored = [num_observed - 1 - m for m in middles]
        ends = query[::-1], lacks[::-1], alleles[:, ::-1]
        backward = choices_of(*ends, allowed, order[::-1], mirrored, neighbours)
        states: list[set[int]] = [set() for _ in starts]
        for b, middle in enumerate(middles):
            for other, (start, stop) in enumerate(zip(starts, stops, strict=True)):
                reaches = cm[start] <= cm[middle] + within_cm
                is_reached = cm[stop - 1] >= cm[middle] - within_cm
                if abs(other - b) <= 1 or (reaches and is_reached):
                    states[other] |= {*forward[middle], *backward[mirrored[b]]}
        answer.append([sorted(block) for block in states])
    return starts, answer
