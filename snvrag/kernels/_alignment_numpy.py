"""NumPy twins of the Numba code of site alignment, which need no import."""

from __future__ import annotations

from typing import Any

import numpy as np


def descent_after(position: Any) -> int:
    """Return -1 if values never descend, or else the index of the first descent."""
    falls = position[1:] < position[:-1]
    return int(np.argmax(falls)) + 1 if falls.any() else -1


def align_by_position(position: Any, panel_position: Any, out: Any) -> int:
    """Search; return -1, or the index of a position that the panel has more than once."""
    first, count = _found(position, panel_position)
    out[:] = np.where(count > 0, first, -1)
    several = count > 1
    return int(np.argmax(several)) if several.any() else -1


def align_by_allele(
    position: Any, panel_position: Any, codes: Any, panel_codes: Any, out: Any
) -> None:
    """Search; take the first of the panel's sites with equal position and alleles."""
    first, count = _found(position, panel_position)
    out[:] = -1
    candidate, rows = 0, np.flatnonzero(count)
    while rows.size:
        site = first[rows] + candidate
        equal = (panel_codes[site] == codes[rows]).all(axis=1)
        out[rows[equal]] = site[equal]
        candidate += 1
        rows = rows[~equal & (count[rows] > candidate)]


def _found(position: Any, panel_position: Any) -> tuple[Any, Any]:
    """Return the first of the panel's sites at each position, and their number."""
    first = np.searchsorted(panel_position, position)
    return first, np.searchsorted(panel_position, position, side="right") - first
