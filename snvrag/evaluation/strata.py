"""Groups of sites by allele frequency."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

RARE_MAF = 0.05
MAF_EDGES = (0.0, 0.001, 0.005, 0.01, 0.05, 0.5)
STRATA = ("overall", "rare", "common", "rare_alt")

Mask = TypeVar("Mask", bound=Any)


def strata_members(rare: Mask, alt_is_major: Mask) -> tuple[Mask, ...]:
    """Return which sites belong to each of `STRATA`.

    ``overall`` has all; ``rare``, those with MAF < 0.05; ``common``, the others; ``rare_alt``,
    those with AF < 0.05 (where AF > 0.95, calling everything ALT already scores, so ``rare``
    flatters).

    Parameters
    ----------
    rare : array or tensor of bool
        Whether MAF < `RARE_MAF`.
    alt_is_major : array or tensor of bool
        Whether AF > 0.5.
    """
    return rare | ~rare, rare, ~rare, rare & ~alt_is_major


class Strata:
    """`STRATA` and MAF bins, each a union of cells that do not overlap.

    Parameters
    ----------
    edges : sequence of float
        Edges of the MAF bins, ascending, from 0 to 0.5: bins are [edges[i], edges[i + 1]), the
        last one with 0.5.

    Attributes
    ----------
    names : tuple of str
        Those of `STRATA`, then the MAF bins in percent, such as ``0.1-0.5%``.
    bins : list of (float, float)
        The MAF bins.
    first_bin : int
        Index in ``names`` from which on they are bins.
    members : (strata, cells) bool
        The cells of each stratum.

    Raises
    ------
    InputError
        If the edges are not two or more ascending numbers from 0 to 0.5.
    """

    def __init__(self, edges: Sequence[float] = MAF_EDGES) -> None:
        increasing = all(a < b for a, b in itertools.pairwise(edges))
        if len(edges) < 2 or not increasing or edges[0] < 0 or edges[-1] > 0.5:
            raise InputError(
                "must be two or more ascending numbers from 0 to 0.5, got "
                + (" ".join(f"{edge:g}" for edge in edges) or "none"),
                argument="maf_edges",
            )
        self.bins = list(itertools.pairwise(edges))
        self.first_bin = len(STRATA)
        self._cuts = np.unique([0.0, RARE_MAF, 0.5, *edges])
        low = np.repeat(self._cuts[:-1], 2)
        alt_is_major = np.tile([False, True], self._cuts.size - 1)
        in_bins = [(low >= start) & (low < stop) for start, stop in self.bins]
        self.members: NDArray[np.bool_] = np.array(
            [*strata_members(low < RARE_MAF, alt_is_major), *in_bins]
        )
        percent = (f"{100 * start:g}-{100 * stop:g}%" for start, stop in self.bins)
        self.names = (*STRATA, *percent)

    @property
    def num_cells(self) -> int:
        """Number of cells: pairs of a MAF range and of whether ALT is the major allele."""
        return int(self.members.shape[1])

    def cells(self, maf: NDArray[np.float64], alt_is_major: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the cell of each site, given its MAF and whether AF > 0.5."""
        part = np.searchsorted(self._cuts, maf, side="right") - 1
        return 2 * np.minimum(part, self._cuts.size - 2) + alt_is_major
