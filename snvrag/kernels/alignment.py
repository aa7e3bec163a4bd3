"""Site alignment: the index in a panel of each site of another file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _alignment_numpy
from ._checks import integers, type_error, value_error

_ALLELES = "an (S, 2) array of strings (REF, ALT) or of integer codes"
# NumPy takes 0.08 us longer for a site than Numba, which takes 0.26 s to be imported.
_NUMBA_PAYS = 3_000_000
_num_aligned = 0


def _code_for(num_sites: int) -> Any:
    """Return NumPy's functions, or Numba's once this process has aligned so many sites.

    Threads that count at the same time may miss some sites, which does not matter.
    """
    global _num_aligned
    _num_aligned += num_sites
    if _num_aligned < _NUMBA_PAYS:
        return _alignment_numpy
    from . import _alignment_kernels

    return _alignment_kernels


def _signed(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return integers as signed ones, without a copy, to compare them exactly.

    The compiled code would compare int64 with uint64 as doubles.
    """
    if values.dtype != np.uint64:
        return values
    if values.size and int(values.max()) >= 2**63:
        value_error(name, "below 2**63 where the other side is signed", int(values.max()))
    return values.view(np.int64)


def _check_alleles(name: str, alleles: Any, num_sites: int) -> NDArray[Any]:
    if not isinstance(alleles, np.ndarray):
        type_error(name, _ALLELES, type(alleles).__name__)
    codes = alleles.dtype.kind in "iu"
    if alleles.dtype.kind not in "USOTiu" or (codes and not alleles.dtype.isnative):
        type_error(name, _ALLELES, f"dtype {alleles.dtype}")
    if alleles.shape != (num_sites, 2):
        value_error(name, f"of shape ({num_sites}, 2)", f"shape {alleles.shape}")
    return alleles


def _codes(alleles: NDArray[Any], panel_alleles: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return integers for both sides that are equal exactly where the strings are."""
    kinds = {side.dtype.kind in "iu" for side in (alleles, panel_alleles)}
    if kinds == {True}:
        if alleles.dtype == panel_alleles.dtype:
            return alleles, panel_alleles
        return _signed("alleles", alleles), _signed("panel_alleles", panel_alleles)
    if len(kinds) == 2:
        type_error(
            "alleles and panel_alleles",
            "both strings or both integer codes",
            f"dtypes {alleles.dtype} and {panel_alleles.dtype}",
        )
    both = []
    for side in (alleles, panel_alleles):
        if side.dtype.kind == "T":
            side = side.astype(object)
        text = side.astype("U") if side.dtype.kind in "SO" else side
        both.append(np.ascontiguousarray(text, text.dtype.newbyteorder("=")))
    if all(text.dtype.itemsize == 4 for text in both):  # single letters: their code points
        return both[0].view(np.uint32), both[1].view(np.uint32)
    _, inverse = np.unique(np.concatenate([text.ravel() for text in both]), return_inverse=True)
    split = both[0].size
    return inverse[:split].reshape(-1, 2), inverse[split:].reshape(-1, 2)


def align_sites(
    position: NDArray[np.integer[Any]],
    panel_position: NDArray[np.integer[Any]],
    alleles: NDArray[Any] | None = None,
    panel_alleles: NDArray[Any] | None = None,
) -> NDArray[np.int64]:
    """Return, for each site, its index in the panel, or -1 where the panel does not have it.

    Parameters
    ----------
    position, panel_position : (S,) and (P,) integer
        Positions of the sites in bp, ascending; equal ones may repeat.
    alleles, panel_alleles : (S, 2) and (P, 2), optional
        REF and ALT of each site: strings (any NumPy string dtype, or objects), compared exactly, or
        integer codes that mean the same on both sides. Single letters and codes are compared
        directly; longer strings are sorted once to number them. Both or neither.

    Returns
    -------
    (S,) int64
        Index in the panel, or -1. Alleles distinguish sites at one position. Of panel sites with
        equal position and alleles, the lowest index is taken.

    Raises
    ------
    TypeError, ValueError
        For a wrong type, dtype or shape; for positions that descend, with the first offending
        index; without alleles, for a site whose position the panel has more than once, which is
        ambiguous.

    Notes
    -----
    Cost: O(P + S log P), by NumPy. A process that has aligned 3 million sites imports Numba, whose
    code gives the same answers in one pass over both arrays, O(S + P).

    Examples
    --------
    >>> from snvrag.kernels import align_sites
    >>> align_sites(np.array([10, 25, 30]), np.array([10, 20, 30, 40]))
    array([ 0, -1,  2])
    >>> align_sites(
    ...     np.array([10]),
    ...     np.array([10, 10]),
    ...     np.array([["A", "G"]]),
    ...     np.array([["A", "C"], ["A", "G"]]),
    ... )
    array([1])
    """
    position = integers("position", position, "an integer (S,) array")
    panel_position = integers("panel_position", panel_position, "an integer (P,) array")
    if position.dtype != panel_position.dtype:
        position = _signed("position", position)
        panel_position = _signed("panel_position", panel_position)
    if (alleles is None) != (panel_alleles is None):
        missing = "alleles" if alleles is None else "panel_alleles"
        type_error(missing, "given, as the other side's alleles are", None)
    code = _code_for(position.shape[0])
    for name, given in (("position", position), ("panel_position", panel_position)):
        bad = code.descent_after(given)
        if bad >= 0:
            bad += int(np.argmax(given[bad:] < given[bad - 1 : -1]))
            value_error(name, "ascending", f"{given[bad]} after {given[bad - 1]} at {bad}")
    out = np.empty(position.shape[0], np.int64)
    if alleles is None or panel_alleles is None:
        bad = code.align_by_position(position, panel_position, out)
        if bad >= 0:
            value_error(
                "alleles",
                "given where the panel has several sites at a position",
                f"none, with position {position[bad]} at {bad}",
            )
        return out
    codes, panel_codes = _codes(
        _check_alleles("alleles", alleles, position.shape[0]),
        _check_alleles("panel_alleles", panel_alleles, panel_position.shape[0]),
    )
    code.align_by_allele(position, panel_position, codes, panel_codes, out)
    return out
