"""Exact top-k retrieval: Hamming distance on bits, squared L2 distance on dense vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from . import _checks, cuda


class TopK(NamedTuple):
    """The nearest haplotypes of each query, ordered by (distance, index) ascending.

    Distances are (Q, K) int32 (Hamming) or float32 (weighted Hamming, squared L2); indices, the
    rows of the panel, are (Q, K) int64.
    """

    distances: NDArray[Any]
    indices: NDArray[np.int64]


class HammingIndex:
    """An index of the observed sites of a panel, for exact search by Hamming distance.

    Parameters
    ----------
    panel : (H, W) uint64
        Packed haplotypes (`pack_haplotypes`), W = ceil(num_sites / 64). The index keeps a copy. A
        CUDA array gives an index on its device.
    num_sites : int
        L, the number of sites of the window.
    observed : (L,) bool, optional
        True where a site counts (the complement of a mask). By default all do. With no observed
        site, every distance is 0 and the lowest indices win.

    Raises
    ------
    TypeError, ValueError
        For a wrong type, dtype or layout; for a wrong shape, or a panel without haplotypes.

    Notes
    -----
    Memory: 8 bytes x H x ceil(observed sites / 64), and 8 bytes for each site. Build: one pass over
    the panel. Sites are stored by decreasing MAF, because common sites discriminate fastest; the
    order affects the speed of a search, never its answer.

    Examples
    --------
    >>> from snvrag.kernels import HammingIndex, pack_haplotypes
    >>> panel = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 0, 0]], np.int8)
    >>> index = HammingIndex(
    ...     pack_haplotypes(panel), num_sites=4, observed=np.array([True, True, True, False])
    ... )
    >>> index.search(pack_haplotypes(np.array([[0, 1, 1, 0]], np.int8)), k=2)
    TopK(distances=array([[0, 1]], dtype=int32), indices=array([[1, 0]]))
    """

    _index: _core.HammingIndex | cuda.DeviceHammingIndex

    def __init__(
        self,
        panel: NDArray[np.uint64],
        *,
        num_sites: int,
        observed: NDArray[np.bool_] | None = None,
    ) -> None:
        if cuda.is_device_array(panel):
            self._index = cuda.DeviceHammingIndex(panel, num_sites=num_sites, observed=observed)
        else:
            self._index = _core.HammingIndex.from_haplotypes(panel, num_sites, observed)

    @classmethod
    def from_sites(
        cls,
        site_bits: NDArray[np.uint64],
        *,
        num_haplotypes: int,
        observed: NDArray[np.bool_] | None = None,
    ) -> HammingIndex:
        """Build from a panel packed by site, several times faster than from haplotypes.

        Parameters
        ----------
        site_bits : (L, ceil(H / 64)) uint64
            Bit j of word w of a row is haplotype 64 * w + j. A CUDA array gives an index on its
            device.
        num_haplotypes : int
            H, from 1.

        Notes
        -----
        ``observed`` and the errors are those of the class, and the index is the one that it makes
        of the haplotypes. Cost: one pass over the rows of the observed sites; hidden sites are not
        read.

        Examples
        --------
        >>> from snvrag.kernels import HammingIndex, pack_haplotypes
        >>> alleles = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 0, 0]], np.int8)
        >>> index = HammingIndex.from_sites(pack_haplotypes(alleles.T), num_haplotypes=3)
        >>> index.search(pack_haplotypes(alleles[1:2]), k=1)
        TopK(distances=array([[0]], dtype=int32), indices=array([[1]]))
        """
        self = cls.__new__(cls)
        if cuda.is_device_array(site_bits):
            self._index = cuda.DeviceHammingIndex.from_sites(
                site_bits, num_haplotypes=num_haplotypes, observed=observed
            )
        else:
            self._index = _core.HammingIndex.from_sites(site_bits, num_haplotypes, observed)
        return self

    @property
    def num_haplotypes(self) -> int:
        """H, the number of haplotypes."""
        return int(self._index.num_haplotypes)

    @property
    def num_sites(self) -> int:
        """L, the number of sites of a query, hidden ones included."""
        return int(self._index.num_sites)

    @property
    def num_observed(self) -> int:
        """Number of observed sites. If the mask is on a device, the first call waits for it."""
        return int(self._index.num_observed)

    @property
    def num_bytes(self) -> int:
        """Memory of the index, in bytes."""
        return int(self._index.num_bytes)

    def search(
        self,
        queries: NDArray[np.uint64],
        k: int,
        *,
        exclude: NDArray[np.int64] | None = None,
        weights: NDArray[np.float32] | None = None,
        threads: int | None = None,
        out: TopK | tuple[NDArray[Any], NDArray[np.int64]] | None = None,
    ) -> TopK:
        """Return the k nearest haplotypes of each query.

        Parameters
        ----------
        queries : (Q, W) uint64
            Packed haplotypes over all L sites; hidden sites are ignored. Q may be 0.
        k : int
            1 <= k <= H - E_max, with E_max the most distinct exclusions of one query.
        exclude : (Q, E) int64, optional
            Haplotypes that a query must not retrieve; -1 for none.
        weights : (L,) float32, optional
            Weight of a difference at each site, finite and not negative, with a sum that float32
            holds; those of hidden sites are ignored. By default 1. The distances of a learned
            embedding of the alleles are those with ``weights[s] = |e_ref[s] - e_alt[s]|^2``.
        threads : int, optional
            Number of threads on the CPU; by default chosen by the amount of work. The answer does
            not depend on it. Ignored on a device.
        out : pair of arrays, optional
            Contiguous (Q, k) arrays for the distances and the indices, of the dtypes below.

        Returns
        -------
        TopK
            (Q, k) distances, int32: the number of observed sites at which the haplotypes differ, or
            with weights, float32: the sum of their weights; and (Q, k) indices, int64. Ordered by
            (distance, index) ascending. The arrays of `out`, if given.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong kind, or out of range.

        Notes
        -----
        Cost: at most Q x H x ceil(observed / 64) word comparisons, and mostly Q x H x 2, because a
        haplotype is rejected once its first words exceed the k-th best. The panel is read from
        memory once. With weights, a word costs about ten times as much.

        Weights are rounded to multiples of a power of two, about 2**-30 of the sum of the observed
        ones (but not below 2**-126), and summed exactly; the sum is rounded to float32 once. The
        answer therefore depends on neither instruction set, threads nor device. Small multiples of
        a power of two are not changed: weights of 1 give the distances without weights.

        Values in device memory are not checked: an index in `exclude` that is out of range excludes
        nothing, and a wrong weight at an observed site makes every distance NaN.

        Examples
        --------
        >>> from snvrag.kernels import HammingIndex, pack_haplotypes
        >>> panel = pack_haplotypes(np.array([[0, 1, 1], [1, 0, 0]], np.int8))
        >>> index = HammingIndex(panel, num_sites=3)
        >>> query = pack_haplotypes(np.array([[0, 0, 0]], np.int8))
        >>> index.search(query, 2).indices
        array([[1, 0]])
        >>> index.search(query, 2, weights=np.array([2.0, 0.5, 0.25], np.float32))
        TopK(distances=array([[0.75, 2.  ]], dtype=float32), indices=array([[0, 1]]))
        """
        index: Any = self._index
        if isinstance(index, cuda.DeviceHammingIndex):
            found: Any = index.search(queries, k, exclude=exclude, weights=weights, out=out)
            return TopK(*found)
        k = _checks.num_neighbours(k, exclude, index.num_haplotypes)
        if weights is not None:
            weights = _checks.site_weights(weights, index.num_sites)
        return TopK(*index.search(queries, k, exclude, weights, threads, *_pair(out)))


def _pair(out: object) -> tuple[Any, Any]:
    """Return the two arrays of `out`, or None for both."""
    if out is None:
        return None, None
    if not isinstance(out, tuple) or len(out) != 2:
        _checks.type_error("out", "a pair of arrays", type(out).__name__)
    return out[0], out[1]


def topk_hamming(  # those of an index and of its search
    queries: NDArray[np.uint64],
    panel: NDArray[np.uint64],
    k: int,
    *,
    num_sites: int,
    observed: NDArray[np.bool_] | None = None,
    exclude: NDArray[np.int64] | None = None,
    weights: NDArray[np.float32] | None = None,
    threads: int | None = None,
    out: TopK | tuple[NDArray[Any], NDArray[np.int64]] | None = None,
) -> TopK:
    """Build a `HammingIndex`, and search it once for the k nearest haplotypes of each query.

    Parameters
    ----------
    panel, num_sites, observed
        As for `HammingIndex`.
    queries, k, exclude, weights, threads, out
        As in `HammingIndex.search`.

    Returns
    -------
    TopK
        As from `HammingIndex.search`: equal distances go to the lowest index.

    Raises
    ------
    TypeError, ValueError
        As for both.

    Notes
    -----
    Cost: one pass over the panel to build the index, then that of the search.

    Examples
    --------
    >>> from snvrag.kernels import pack_haplotypes, topk_hamming
    >>> panel = pack_haplotypes(np.array([[0, 0], [0, 1], [1, 1]], np.int8))
    >>> topk_hamming(panel[:1], panel, 1, num_sites=2, exclude=np.array([[0]]))
    TopK(distances=array([[1]], dtype=int32), indices=array([[1]]))
    """
    index = HammingIndex(panel, num_sites=num_sites, observed=observed)
    return index.search(queries, k, exclude=exclude, weights=weights, threads=threads, out=out)


def topk_l2(
    queries: NDArray[np.float32],
    database: NDArray[np.float32],
    k: int,
    *,
    exclude: NDArray[np.int64] | None = None,
    threads: int | None = None,
    out: TopK | tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
) -> TopK:
    """Return the k rows of a dense database nearest to each query by squared L2 distance.

    Parameters
    ----------
    queries : (Q, D) float32
        Rows contiguous. Q may be 0.
    database : (H, D) float32
        Rows contiguous, values finite. A CUDA array is searched on its device.
    k, exclude, threads, out
        As in `HammingIndex.search`.

    Returns
    -------
    TopK
        (Q, k) squared distances, float32, and (Q, k) indices, int64, ordered by (distance, index)
        ascending. Distances are sums of squared differences, so equal rows are at exactly 0. They
        agree with the exact value to about 1e-6 relative; rows whose distances differ by less may
        be ordered differently by different instruction sets.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong kind, or out of range; for a distance that is not a number.

    Notes
    -----
    Cost: at most Q x H x D differences and fused multiply-adds; from D = 16,384 on, rows are
    rejected once some of their dimensions exceed the k-th best. Memory: a copy of the queries, and
    Q x 32 sums of up to 16 floats for each thread, never (Q, H). A call on a device waits for it,
    to find a distance that is not a number.

    Examples
    --------
    >>> from snvrag.kernels import topk_l2
    >>> database = np.array([[0, 0], [3, 4], [1, 0]], np.float32)
    >>> topk_l2(np.zeros((1, 2), np.float32), database, 2)
    TopK(distances=array([[0., 1.]], dtype=float32), indices=array([[0, 2]]))
    """
    found: tuple[Any, Any]
    if cuda.is_device_array(database):
        found = cuda.topk_l2(queries, database, k, exclude=exclude, out=out)
    else:
        expected = "a float32 (rows, dimensions) array with contiguous rows"
        num_rows = _checks.array("database", database, np.float32, (None, None), expected).shape[0]
        _checks.whole_number("rows of database", num_rows, 1, _checks.MAX_HAPLOTYPES)
        k = _checks.num_neighbours(k, exclude, num_rows)
        found = _core.topk_l2(queries, database, k, exclude, threads, *_pair(out))
    return TopK(*found)
