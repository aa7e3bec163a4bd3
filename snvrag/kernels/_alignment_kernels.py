"""Numba code of site alignment; ``alignment.py`` has the public function."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba import kernel

# Written to compile quickly, because the first call after an installation waits for it: no slices
# or inner functions, and unsigned indices, so that no negative-index check is compiled.
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_STRIDE = np.uint64(8)
_PIECE = np.uint64(4096)


@kernel
def descent_after(position: Any) -> int:
    """Return -1 if values never descend, or else an index at or before the first descent.

    Descents are counted piece by piece: a loop that may end anywhere is not vectorised.
    """
    size = np.uint64(position.shape[0])
    start = _ONE
    while start < size:
        stop = start + _PIECE if start + _PIECE < size else size
        descents = 0
        for i in range(start, stop):
            descents += position[i] < position[i - _ONE]
        if descents > 0:
            found: int = np.int64(start)
            return found
        start = stop
    return -1


# The scans count eight positions of the panel at a time instead of stepping through them: their
# number between two sites is nearly random, so a loop of that length would be mispredicted.


@kernel
def align_by_position(position: Any, panel_position: Any, out: Any) -> int:
    """Merge scan; return -1, or the index of a position that the panel has more than once."""
    size = np.uint64(panel_position.shape[0])
    j = _ZERO
    for i in range(np.uint64(position.shape[0])):
        wanted = position[i]
        below = _STRIDE
        while below == _STRIDE and j + _STRIDE <= size:
            below = _ZERO
            for ahead in range(j, j + _STRIDE):
                below += np.uint64(panel_position[ahead] < wanted)
            j += below
        if below == _STRIDE:
            while j < size and panel_position[j] < wanted:
                j += _ONE
        found = -1
        if j < size and panel_position[j] == wanted:
            if j + _ONE < size and panel_position[j + _ONE] == wanted:
                several: int = np.int64(i)
                return several
            found = np.int64(j)
        out[i] = found
    return -1


@kernel
def align_by_allele(
    position: Any, panel_position: Any, codes: Any, panel_codes: Any, out: Any
) -> None:
    """Merge scan; take the first of the panel's sites with equal position and alleles."""
    size = np.uint64(panel_position.shape[0])
    j = _ZERO
    for i in range(np.uint64(position.shape[0])):
        wanted = position[i]
        below = _STRIDE
        while below == _STRIDE and j + _STRIDE <= size:
            below = _ZERO
            for ahead in range(j, j + _STRIDE):
                below += np.uint64(panel_position[ahead] < wanted)
            j += below
        if below == _STRIDE:
            while j < size and panel_position[j] < wanted:
                j += _ONE
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
