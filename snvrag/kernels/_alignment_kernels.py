"""Numba code of site alignment; ``alignment.py`` is the way in."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba import kernel


# Indices are unsigned, as the compiler would otherwise provide for indices from the end.
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_STRIDE = np.uint64(8)


@kernel
def first_descent(position: Any) -> int:
    """Return the first index whose position is below the one before it, or -1."""
    before, after = position[:-1], position[1:]
    # Counted piece by piece: a loop that may end anywhere takes no vector instructions.
    for start in range(0, after.shape[0], 4096):
        first, second = before[start : start + 4096], after[start : start + 4096]
        descents = 0
        for i in range(second.shape[0]):
            descents += second[i] < first[i]
        if descents > 0:
            for i in range(second.shape[0]):
                if second[i] < first[i]:
                    return start + i + 1
    return -1


@kernel
def _skip(panel_position: Any, j: np.uint64, wanted: Any) -> Any:
    """Return the first index from j on whose position is not below the wanted one.

    Eight positions at a time are counted rather than walked: how many lie between two sites is as
    good as random, and a loop of that length would mostly be mispredicted.
    """
    size = np.uint64(panel_position.shape[0])
    while j + _STRIDE <= size:
        below = _ZERO
        for i in range(8):
            below += np.uint64(panel_position[j + np.uint64(i)] < wanted)
        j += below
        if below < _STRIDE:
            return j
    while j < size and panel_position[j] < wanted:
        j += _ONE
    return j


@kernel
def align_by_position(position: Any, panel_position: Any, out: Any) -> int:
    """Merge scan; return the index of a position that the panel has more than once, or -1."""
    size = np.uint64(panel_position.shape[0])
    j = _ZERO
    for i in range(position.shape[0]):
        wanted = position[i]
        j = _skip(panel_position, j, wanted)
        if j < size and panel_position[j] == wanted:
            if j + _ONE < size and panel_position[j + _ONE] == wanted:
                return i
            out[i] = np.int64(j)
        else:
            out[i] = -1
    return -1


@kernel
def align_by_allele(
    position: Any, panel_position: Any, codes: Any, panel_codes: Any, out: Any
) -> None:
    """Merge scan; among the panel's sites at a position, the first with both alleles equal."""
    size = np.uint64(panel_position.shape[0])
    j = _ZERO
    for i in range(position.shape[0]):
        wanted = position[i]
        j = _skip(panel_position, j, wanted)
        found = -1
        candidate = j
        while candidate < size and panel_position[candidate] == wanted:
            if (
                panel_codes[candidate, 0] == codes[i, 0]
                and panel_codes[candidate, 1] == codes[i, 1]
            ):
                found = np.int64(candidate)
                break
            candidate += _ONE
        out[i] = found
