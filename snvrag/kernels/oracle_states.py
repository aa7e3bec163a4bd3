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


def alleles_of(
    given: list[int | None],
    is_unphased: bool,
    nearest_alleles: list[int],
    matches: list[int],
) -> list[int]:
    """Return the alleles that the queries of a sample have at a site; None is a missing one."""
    taken = [n if g is None else g for g, n in zip(given, nearest_alleles, strict=True)]
    if not is_unphased or given[0] == given[1]:
        return taken
    is_first_longer = matches[0] >= matches[1]
    if None not in given:
        first, second = nearest_alleles
        if first == second:
            first, second = (first, 1 - first) if is_first_longer else (1 - second, second)
        return [first, second]
    known = next(allele for allele in given if allele is not None)
    if known in nearest_alleles:
        return nearest_alleles
    return [nearest_alleles[0], known] if is_first_longer else [known, nearest_alleles[1]]


def choices_of(
    queries: NDArray[Any],
    missing: NDArray[Any],
    unphased: NDArray[Any],
    panel: NDArray[Any],
    allowed: list[list[int]],
    order: list[int],
    ranks: list[int],
    neighbours: int,
) -> list[dict[int, list[int]]]:
    """Return what each query of a sample chooses at sites of these ranks.

    The arrays have observed sites alone.
    """
    chosen: list[dict[int, list[int]]] = [{} for _ in queries]
    filled: list[list[int]] = [[] for _ in queries]
    for i in range(panel.shape[1]):
        given = [
            None if lacks else int(allele)
            for allele, lacks in zip(queries[:, i], missing[:, i], strict=True)
        ]
        has = [allele for allele in given if allele is not None]
        if len(has) < len(given) or unphased[i]:
            before = panel[:, :i].tolist()
            found = [
                nearest(own, before, of_query, order, 1)[0]
                for own, of_query in zip(filled, allowed, strict=True)
            ]
            matches = [
                next((n for n in range(i) if own[i - 1 - n] != panel[h, i - 1 - n]), i)
                for own, h in zip(filled, found, strict=True)
            ]
            has = alleles_of(given, bool(unphased[i]), panel[found, i].tolist(), matches)
        up_to_here = panel[:, : i + 1].tolist()
        for q, allele in enumerate(has):
            filled[q].append(allele)
            if i in ranks:
                chosen[q][i] = nearest(filled[q], up_to_here, allowed[q], order, neighbours)
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
    unphased: NDArray[Any] | None = None,
    group_size: int = 1,
) -> tuple[list[int], list[list[list[int]]]]:
    """Choose from (H, S) alleles for (Q, S) queries: block starts, and states [group][block].

    ``unphased`` is (Q / 2, S).
    """
    num_haplotypes, num_observed = len(panel), int(observed.sum())
    starts = list(range(0, max(1, num_observed), step))
    stops = [*starts[1:], num_observed]
    middles = [start + (stop - start) // 2 for start, stop in zip(starts, stops, strict=True)]
    mirrored = [num_observed - 1 - m for m in middles]
    cm, alleles = position_cm[observed], panel[:, observed]
    order = spread_order(num_haplotypes)
    allowed_of = [[h for h in range(num_haplotypes) if h not in out] for out in exclude]
    takes_all = [num_observed == 0 or len(allowed) <= 2 * neighbours for allowed in allowed_of]
    answer: list[list[set[int]]] = []
    together = 1 if unphased is None else 2
    for first in range(0, len(queries), together):
        sample = slice(first, first + together)
        unknown = np.zeros(num_observed, bool)
        if unphased is not None:
            unknown = unphased[first // 2, observed]
        given, lacks = queries[sample, observed], missing[sample, observed]
        allowed = allowed_of[sample]
        forward = choices_of(given, lacks, unknown, alleles, allowed, order, middles, neighbours)
        ends = given[:, ::-1], lacks[:, ::-1], unknown[::-1], alleles[:, ::-1]
        backward = choices_of(*ends, allowed, order[::-1], mirrored, neighbours)
        for ending, beginning in zip(forward, backward, strict=True):
            states: list[set[int]] = [set() for _ in starts]
            for b, middle in enumerate(middles if num_observed else []):
                for other, (start, stop) in enumerate(zip(starts, stops, strict=True)):
                    reaches = cm[start] <= cm[middle] + within_cm
                    is_reached = cm[stop - 1] >= cm[middle] - within_cm
                    if abs(other - b) <= 1 or (reaches and is_reached):
                        states[other] |= {*ending[middle], *beginning[mirrored[b]]}
            answer.append(states)
    groups = [range(q, q + group_size) for q in range(0, len(queries), group_size)]
    for group in groups:
        if any(takes_all[q] for q in group):
            everything = set().union(*(allowed_of[q] for q in group))
            for q in group:
                answer[q] = [everything for _ in starts]
    return starts, [
        [sorted(set().union(*(answer[q][b] for q in group))) for b in range(len(starts))]
        for group in groups
    ]
