"""Consecutive sites of a file or panel, as bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SiteBlock:
    """Consecutive sites of a file.

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
    """

    position: NDArray[np.int64]
    alleles: NDArray[np.str_]
    ids: list[str]
    site_bits: NDArray[np.uint64]
    missing_bits: NDArray[np.uint64] | None = None

    @property
    def num_sites(self) -> int:
        """The number of sites."""
        return int(self.position.shape[0])
