"""Consecutive sites of a file or panel, as bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class SiteBlock:
    """Consecutive sites of a file.

    A class with more columns derives from it as ``@dataclass(frozen=True, kw_only=True)``. Every
    field is a column: an array or a list with one entry a site, or None.

    Attributes
    ----------
    position : (n,) int64
        1-based positions in bp, ascending.
    alleles : (n, 2) str
        REF and ALT, one letter each, upper case.
    ids : list of str
        "." where a site has none.
    site_bits : (n, W) uint64
        Bit j of word w is haplotype 64 * w + j; 0 where the allele is missing.
    missing_bits : (n, W) uint64 or None
        1 where the allele is missing; None if records with missing alleles are dropped.
    unphased_bits : (n, ceil(num_samples / 64)) uint64 or None
        Bit i is 1 where the genotype of sample i has no phase and its two alleles differ, one of
        which may be missing; None if all are phased.
    """

    position: NDArray[np.int64]
    alleles: NDArray[np.str_]
    ids: list[str]
    site_bits: NDArray[np.uint64]
    missing_bits: NDArray[np.uint64] | None = None
    unphased_bits: NDArray[np.uint64] | None = None

    @property
    def num_sites(self) -> int:
        """The number of sites."""
        return int(self.position.shape[0])

    def slice(self, start: int, stop: int) -> Self:
        """Return the sites [start, stop); arrays are views."""
        return self._with_columns(lambda column: column[start:stop])

    def select(self, sites: NDArray[np.intp]) -> Self:
        """Return some sites, given by their indices; arrays are copies."""
        return self._with_columns(
            lambda column: (
                [column[i] for i in sites.tolist()] if isinstance(column, list) else column[sites]
            )
        )

    def copy(self) -> Self:
        """Return the block in memory of its own: a slice keeps all of its block alive."""
        return self._with_columns(lambda column: column.copy())

    @classmethod
    def concat(cls, blocks: Sequence[Self]) -> Self:
        """Return the sites of consecutive blocks (at least one) as one block.

        Arrays are copied, but for a single block. A column is None in all blocks or in none.
        """
        if len(blocks) == 1:
            return blocks[0]
        columns: dict[str, Any] = {}
        for name in vars(blocks[0]):
            parts = [getattr(block, name) for block in blocks]
            if isinstance(parts[0], list):
                columns[name] = [entry for part in parts for entry in part]
            elif any(part is not None for part in parts):
                columns[name] = np.concatenate(parts)
        return cls(**columns)

    def _with_columns(self, change: Callable[[Any], Any]) -> Self:
        columns: dict[str, Any] = dict(vars(self))
        for name, column in vars(self).items():
            columns[name] = None if column is None else change(column)
        return type(self)(**columns)
