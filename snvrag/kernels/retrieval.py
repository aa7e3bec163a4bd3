"""Exact top-k retrieval: Hamming distance on bits, squared L2 distance on dense vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from . import _device
from ._arguments import type_error


class TopK(NamedTuple):
    """Nearest haplotypes of each query, ordered by (distance, index) ascending.

    Attributes
    ----------
    distances : (Q, K) int32 (Hamming) or float32 (weighted Hamming, squared L2)
    indices : (Q, K) int64
        Rows of the panel.
    """

    distances: NDArray[Any]
    indices: NDArray[np.int64]


class HammingIndex:
    """The observed sites of a panel, laid out for exact search by Hamming distance.

    Parameters
    ----------
    panel : (H, W) uint64
        Packed haplotypes (`pack_haplotypes`), W = ceil(num_sites / 64). Copied, not kept. A CUDA
        array (DLPack) gives an index on that device.
    num_sites : int
        L, the number of sites of the window.
    observed : (L,) bool, optional
        True where a site counts (the complement of a mask). By default all do. With no observed
        site, every distance is 0 and the lowest indices win.

    Raises
    ------
    TypeError
        For a wrong type, dtype or layout.
    ValueError
        For a wrong shape, or a panel without haplotypes.

    Notes
    -----
    Memory: 8 bytes x H x ceil(observed sites / 64), and 8 bytes a site. Build: one pass over the
    panel. The commonest sites are laid first and apart, since they soonest tell haplotypes from
    each other; that changes the speed of a search, never its answer.

    Examples
    --------
    >>> import numpy as np
    >>> from snvrag.kernels import HammingIndex, pack_haplotypes
    >>> panel = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 0, 0]], np.int8)
    >>> index = HammingIndex(
    ...     pack_haplotypes(panel), num_sites=4, observed=np.array([True, True, True, False])
    ... )
    >>> index.search(pack_haplotypes(np.array([[0, 1, 1, 0]], np.int8)), k=2)
    TopK(distances=array([[0, 1]], dtype=int32), indices=array([[1, 0]]))
    """

    _index: Any

    def __init__(
        self,
        panel: NDArray[np.uint64],
        *,
        num_sites: int,
        observed: NDArray[np.bool_] | None = None,
    ) -> None:
        if _device.is_device_array(panel):
            self._index = _device.DeviceHammingIndex(panel, num_sites=num_sites, observed=observed)
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
        """Build from rows of sites, one bit a haplotype: several times cheaper, as a panel lies.

        Parameters
        ----------
        site_bits : (L, ceil(H / 64)) uint64
            Bit j of word w of a row is haplotype 64 * w + j. A CUDA array (DLPack) gives an index
            on that device.
        num_haplotypes : int
            H, from 1.
        observed : (L,) bool, optional
            As for the class.

        Returns
        -------
        HammingIndex
            Equal to the one that `HammingIndex` makes of the haplotypes.

        Raises
        ------
        TypeError
            For a wrong type, dtype or layout.
        ValueError
            For a wrong shape, or no haplotype.

        Notes
        -----
        Cost: one pass over the rows of the observed sites; hidden ones are not read.

        Examples
        --------
        >>> import numpy as np
        >>> from snvrag.kernels import HammingIndex, pack_haplotypes
        >>> alleles = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 0, 0]], np.int8)
        >>> index = HammingIndex.from_sites(pack_haplotypes(alleles.T), num_haplotypes=3)
        >>> index.search(pack_haplotypes(alleles[1:2]), k=1)
        TopK(distances=array([[0]], dtype=int32), indices=array([[1]]))
        """
        self = cls.__new__(cls)
        if _device.is_device_array(site_bits):
            self._index = _device.DeviceHammingIndex.from_sites(
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
        """Number of sites that count. On a device that holds the mask, waits for it once."""
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
        threads: int | None = None,
        weights: NDArray[np.float32] | None = None,
        out: TopK | tuple[NDArray[Any], NDArray[np.int64]] | None = None,
    ) -> TopK:
        """Return the k nearest haplotypes of each query.

        Parameters
        ----------
        queries : (Q, W) uint64
            Packed haplotypes over all L sites; hidden sites are ignored. Q may be 0.
        k : int
            From 1 to H less the distinct haplotypes excluded for any one query.
        exclude : (Q, E) int64, optional
            Haplotypes that a query must not retrieve; -1 for none.
        threads : int, optional
            Number of threads; by default as many as the work is worth. The answer does not depend
            on it.
        weights : (L,) float32, optional
            What a difference at each site counts, finite and not negative; hidden sites are
            ignored. By default 1. A learned embedding of the alleles at each site has these
            distances, with ``weights[s] = |e_ref[s] - e_alt[s]|^2``. Values on a device are not
            looked at: a wrong one at an observed site makes every distance NaN.
        out : pair of arrays, optional
            Contiguous (Q, k) arrays for the distances and the indices, of the dtypes below.

        Returns
        -------
        TopK
            (Q, k) distances, int32: observed sites at which the haplotypes differ, or float32: the
            sum of their weights; and (Q, k) indices, int64. Ordered by (distance, index) ascending.
            `out`'s arrays, where given.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong kind, or out of range.

        Notes
        -----
        Cost: at most Q x H x ceil(observed / 64) word comparisons, and mostly Q x H x 2 of them,
        as a haplotype is given up when its first words alone put it behind the k-th best. The
        panel is read from memory once. With weights, a word costs as much as ten.

        Weights are rounded to multiples of a power of two, about 2**-30 of the sum of those
        observed (none smaller than 2**-126), and added exactly, and the sum is rounded to float32
        once: the answer depends on neither instruction set, threads nor device. Weights that are
        small multiples of a power of two are not changed, so weights of 1 give the distances that
        no weights give.

        Examples
        --------
        >>> import numpy as np
        >>> from snvrag.kernels import HammingIndex, pack_haplotypes
        >>> panel = pack_haplotypes(np.array([[0, 1, 1], [1, 0, 0]], np.int8))
        >>> index = HammingIndex(panel, num_sites=3)
        >>> query = pack_haplotypes(np.array([[0, 0, 0]], np.int8))
        >>> index.search(query, 2).indices
        array([[1, 0]])
        >>> index.search(query, 2, weights=np.array([2.0, 0.5, 0.25], np.float32))
        TopK(distances=array([[0.75, 2.  ]], dtype=float32), indices=array([[0, 1]]))
        """
        if isinstance(self._index, _device.DeviceHammingIndex):
            return TopK(*self._index.search(queries, k, exclude=exclude, weights=weights, out=out))
        distances, indices = _pair(out)
        return TopK(*self._index.search(queries, k, exclude, threads, weights, distances, indices))


def _pair(out: Any) -> tuple[Any, Any]:
    """Return the two arrays of `out`, or none."""
    if out is None:
        return None, None
    if not isinstance(out, tuple) or len(out) != 2:
        type_error("out", "a pair of arrays", type(out).__name__)
    return out[0], out[1]


def topk_hamming(
    queries: NDArray[np.uint64],
    panel: NDArray[np.uint64],
    k: int,
    *,
    num_sites: int,
    observed: NDArray[np.bool_] | None = None,
    exclude: NDArray[np.int64] | None = None,
    threads: int | None = None,
    weights: NDArray[np.float32] | None = None,
    out: TopK | tuple[NDArray[Any], NDArray[np.int64]] | None = None,
) -> TopK:
    """Return the k nearest haplotypes of each query: `HammingIndex` built and searched once.

    Parameters
    ----------
    panel, num_sites, observed
        As for `HammingIndex`.
    queries, k, exclude, threads, weights, out
        As in `HammingIndex.search`.

    Returns
    -------
    TopK
        As from `HammingIndex.search`: equal distances go to the lowest index.

    Raises
    ------
    TypeError, ValueError
        As there.

    Notes
    -----
    Cost: one pass over the panel to lay it out, then that of the search.

    Examples
    --------
    >>> import numpy as np
    >>> from snvrag.kernels import pack_haplotypes, topk_hamming
    >>> panel = pack_haplotypes(np.array([[0, 0], [0, 1], [1, 1]], np.int8))
    >>> topk_hamming(panel[:1], panel, 1, num_sites=2, exclude=np.array([[0]]))
    TopK(distances=array([[1]], dtype=int32), indices=array([[1]]))
    """
    index = HammingIndex(panel, num_sites=num_sites, observed=observed)
    return index.search(queries, k, exclude=exclude, threads=threads, weights=weights, out=out)


def topk_l2(
    queries: NDArray[np.float32],
    cache: NDArray[np.float32],
    k: int,
    *,
    exclude: NDArray[np.int64] | None = None,
    threads: int | None = None,
    out: TopK | tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
) -> TopK:
    """Return the k rows of a dense cache nearest to each query by squared L2 distance.

    Parameters
    ----------
    queries : (Q, D) float32
        Rows contiguous. Q may be 0.
    cache : (H, D) float32
        Rows contiguous. Finite values. CUDA arrays (DLPack) are searched on their device.
    k, exclude, threads, out
        As in `HammingIndex.search`.

    Returns
    -------
    TopK
        (Q, k) squared distances, float32, and (Q, k) indices, int64, ordered by (distance, index)
        ascending. Distances are sums of squared differences, so equal rows are at exactly 0; they
        agree with the exact value to about 1e-6 relative, and rows whose distances differ by less
        may change places between instruction sets.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong kind, or out of range; for a distance that is not a number.

    Notes
    -----
    Cost: at most Q x H x D differences and fused multiply-adds; with D from 16,384 on, rows are
    given up when some of their dimensions alone put them behind the k-th best. Memory: a copy of
    the queries, and Q x 32 sums of up to 16 floats a thread, never (Q, H).

    Examples
    --------
    >>> import numpy as np
    >>> from snvrag.kernels import topk_l2
    >>> cache = np.array([[0, 0], [3, 4], [1, 0]], np.float32)
    >>> topk_l2(np.zeros((1, 2), np.float32), cache, 2)
    TopK(distances=array([[0., 1.]], dtype=float32), indices=array([[0, 2]]))
    """
    if _device.is_device_array(cache):
        return TopK(*_device.topk_l2(queries, cache, k, exclude=exclude, out=out))
    return TopK(*_core.topk_l2(queries, cache, k, exclude, threads, *_pair(out)))
