"""Packing of alleles to bits and back: one bit for each allele, 64 in a word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _core


def pack_haplotypes(
    alleles: NDArray[np.int8] | NDArray[np.uint8] | NDArray[np.bool_],
) -> NDArray[np.uint64]:
    """Pack haplotypes to one bit for each allele.

    Parameters
    ----------
    alleles : (H, S) int8, uint8 or bool
        0 for REF, 1 for ALT. Any strides, read-only or not; the transpose of an (S, H) array, as
        VCF readers return it, is packed without a copy. Missing alleles (-1) are an error.

    Returns
    -------
    (H, W) uint64
        With W = ceil(S / 64): bit j of word w is site 64 * w + j. Bits past the last site are 0.

    Raises
    ------
    TypeError, ValueError
        For a wrong type or dtype; for a wrong number of axes, and for an allele other than 0 or 1,
        with its place.

    Notes
    -----
    Cost: one pass over the alleles; 64 of them take a few vector instructions.

    Examples
    --------
    >>> from snvrag.kernels import pack_haplotypes
    >>> pack_haplotypes(np.array([[1, 0, 1], [0, 0, 1]], np.int8))
    array([[5],
           [4]], dtype=uint64)
    """
    return _core.pack_rows(alleles)


def unpack_haplotypes(bits: NDArray[np.uint64], num_sites: int) -> NDArray[np.int8]:
    """Unpack haplotypes that `pack_haplotypes` packed.

    Parameters
    ----------
    bits : (H, W) uint64
        Each row contiguous; there may be gaps between rows.
    num_sites : int
        S, with W = ceil(S / 64).

    Returns
    -------
    (H, S) int8
        0 for REF, 1 for ALT.

    Raises
    ------
    TypeError, ValueError
        For a wrong type, dtype or layout; for a wrong number of axes or words.

    Notes
    -----
    Cost: one pass over the alleles. Bits past the last site are ignored.

    Examples
    --------
    >>> from snvrag.kernels import unpack_haplotypes
    >>> unpack_haplotypes(np.array([[5], [4]], np.uint64), 3)
    array([[1, 0, 1],
           [0, 0, 1]], dtype=int8)
    """
    return _core.unpack_rows(bits, num_sites)
