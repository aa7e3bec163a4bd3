"""Numba code of site alignment; ``alignment.py`` is the way in."""

from __future__ import annotations

from typing import Any

from ._numba import kernel


@kernel
def first_descent(position: Any) -> int:
    """Return the first index whose position is below the one before it, or -1."""
    for i in range(1, position.shape[0]):
        if position[i] < position[i - 1]:
            return i
    return -1


@kernel
def align_by_position(position: Any, panel_position: Any, out: Any) -> int:
    """Merge scan; return the index of a position that the panel has more than once, or -1."""
    size = panel_position.shape[0]
    j = 0
    for i in range(position.shape[0]):
        wanted = position[i]
        while j < size and panel_position[j] < wanted:
            j += 1
        if j < size and panel_position[j] == wanted:
            if j + 1 < size and panel_position[j + 1] == wanted:
                return i
            out[i] = j
        else:
            out[i] = -1
    return -1


@kernel
def align_by_allele(
    position: Any, panel_position: Any, codes: Any, panel_codes: Any, out: Any
) -> None:
    """Merge scan; among the panel's sites at a position, the first with both alleles equal."""
    size = panel_position.shape[0]
    j = 0
    for i in range(position.shape[0]):
        wanted = position[i]
        while j < size and panel_position[j] < wanted:
            j += 1
        found = -1
        candidate = j
        while candidate < size and panel_position[candidate] == wanted:
            if (
                panel_codes[candidate, 0] == codes[i, 0]
                and panel_codes[candidate, 1] == codes[i, 1]
            ):
                found = candidate
                break
            candidate += 1
        out[i] = found
