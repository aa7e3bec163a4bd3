"""CUDA twins of the kernels, for arrays of whichever library the caller uses.

Memory comes from the caller's library (torch or CuPy), work goes to its current stream, and nothing
waits for the device unless a function's notes say so.

An array that was written on another stream is the caller's to order, as with any kernel of that
library.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arguments import fraction, value_error, whole_number
from ._device_arguments import (
    allocate_workspace,
    axes,
    beside,
    capsule,
    check_block_bytes,
    check_exclude,
    check_k,
    check_weights,
    extension,
    host_array,
    outputs,
)
from ._device_arrays import is_device_array, library_of

__all__ = [
    "DeviceHammingIndex",
    "af_guided_masks",
    "is_device_array",
    "topk_hamming",
    "topk_l2",
]

DEFAULT_BLOCK_BYTES = 1 << 26
"""Memory for the distances of a batch of queries: 64 MiB stay near the second-level cache."""

_BITS = "a uint64 (rows, words) CUDA array"


def af_guided_masks(
    af: Any,
    starts: Any,
    stops: Any,
    *,
    seed: int,
    rate: float,
    first_window: int = 0,
    rare_rate: float = 0.7,
    rare_threshold: float = 0.05,
) -> Any:
    """Return the masks of windows of a panel, equal to the CPU's bit for bit.

    Parameters
    ----------
    af : (S,) float64 CUDA array
        ALT frequency of each site, contiguous. Its values are not checked.
    starts, stops : (N,) int64
        Ends of the windows, half-open, not overlapping. NumPy arrays, checked by the caller, or
        CUDA arrays, of which a window that leaves the panel is left out.
    seed, rate, first_window, rare_rate, rare_threshold
        As in `snvrag.kernels.af_guided_masks`.

    Returns
    -------
    (S,) bool CUDA array
        True where the site is hidden; False in no window.
    """
    library = library_of(af, "af")
    cuda = extension()
    (num_sites,) = axes(af, "af", 1, "a float64 (S,) array")
    num_windows = len(starts)
    first_window = whole_number("first_window", first_window, 0, 2**63 - 1 - num_windows)
    last_window = first_window + max(0, num_windows - 1)
    seed = whole_number("seed", seed, 0, (2**64 - 1 - last_window) // 10_000)
    rates = fraction("rate", rate), fraction("rare_rate", rare_rate), float(rare_threshold)
    with library.current(af):
        ends = [
            library.contiguous(given)
            if library.owns(given)
            else library.upload(
                host_array(given, name, np.int64, (None,), "an int64 (N,) array"), af
            )
            for name, given in (("starts", starts), ("stops", stops))
        ]
        mask = library.empty((num_sites,), "bool", af)
        capsules = [capsule(x, library) for x in (af, *ends, mask)]
        cuda.af_guided_masks(*capsules, seed, first_window, *rates, library.stream(af))
    return mask


class DeviceHammingIndex:
    """The observed sites of a panel on a CUDA device, laid out for exact search.

    Parameters
    ----------
    panel : (H, W) uint64 or int64 CUDA array
        Packed haplotypes, W = ceil(num_sites / 64); rows contiguous, any number of words apart.
    num_sites : int
        L, the number of sites of the window.
    observed : (L,) bool, optional
        True where a site counts. With a NumPy array the index takes only the memory it needs; with
        a CUDA array the host never learns how many sites count, so room is left for all of them,
        and nothing waits for the device.
    """

    def __init__(self, panel: Any, *, num_sites: int, observed: Any = None) -> None:
        num_sites = whole_number("num_sites", num_sites, 0, 2**31 - 1)
        num_haplotypes, got_words = axes(panel, "panel", 2, _BITS)
        _check_words("panel", got_words, num_sites, "sites")
        self._build(panel, "panel", num_haplotypes, num_sites, observed)

    @classmethod
    def from_sites(
        cls, site_bits: Any, *, num_haplotypes: int, observed: Any = None
    ) -> DeviceHammingIndex:
        """Build from rows of sites, one bit a haplotype, as a panel lies.

        Parameters
        ----------
        site_bits : (L, ceil(H / 64)) uint64 or int64 CUDA array
            Bit j of word w of a row is haplotype 64 * w + j. Rows contiguous, any number of words
            apart: those of a window need not be copied out of the panel's.
        num_haplotypes : int
            H, from 1.
        observed : (L,) bool, optional
            As for the class.
        """
        self = cls.__new__(cls)
        num_haplotypes = whole_number("num_haplotypes", num_haplotypes, 1, 2**32 - 1)
        num_sites, got_words = axes(site_bits, "site_bits", 2, _BITS)
        _check_words("site_bits", got_words, num_haplotypes, "haplotypes")
        self._build(site_bits, "site_bits", num_haplotypes, num_sites, observed, by_sites=True)
        return self

    def _build(
        self,
        rows: Any,
        name: str,
        num_haplotypes: int,
        num_sites: int,
        observed: Any,
        by_sites: bool = False,
    ) -> None:
        library = self._library = library_of(rows, name)
        self._cuda = extension()
        self.num_haplotypes, self.num_sites = num_haplotypes, num_sites
        # Which sites are observed, and how many: None while only the device knows.
        self._observed: NDArray[np.bool_] | None = None
        self._num_observed: int | None = None
        expected = f"a contiguous bool ({num_sites},) array"
        with library.current(rows):
            if observed is None:
                self._observed = np.ones(num_sites, np.bool_)
            elif library.owns(observed):
                beside(observed, "observed", library, rows, expected)
                if axes(observed, "observed", 1, expected)[0] != num_sites:
                    value_error("observed", expected, f"shape {tuple(observed.shape)}")
            else:
                self._observed = host_array(
                    observed, "observed", np.bool_, (num_sites,), expected
                ).copy()
                observed = library.upload(self._observed, rows)
            room = num_sites
            if self._observed is not None:
                room = self._num_observed = int(np.count_nonzero(self._observed))
            pitch = self._cuda.row_pitch(num_haplotypes)
            self._plan = library.empty((self._cuda.plan_size(num_sites),), "int64", rows)
            self._words = library.empty((-(-room // 64), pitch), "int64", rows)
            capsules = [capsule(x, library) for x in (observed, self._plan, self._words)]
            build, size = (
                (self._cuda.hamming_index_build_from_sites, num_haplotypes)
                if by_sites
                else (self._cuda.hamming_index_build, num_sites)
            )
            build(capsule(rows, library), size, *capsules, library.stream(rows))

    @property
    def num_observed(self) -> int:
        """Number of observed sites. With a mask on the device, the first look waits for it."""
        if self._num_observed is None:
            with self._library.current(self._plan):
                self._num_observed = int(self._library.download(self._plan[:1])[0])
        return self._num_observed

    @property
    def num_bytes(self) -> int:
        """Memory of the index, in bytes."""
        plan_size = int(self._plan.shape[0])
        max_words, pitch = (int(size) for size in self._words.shape)
        return 8 * (plan_size + max_words * pitch)

    def search(
        self,
        queries: Any,
        k: int,
        *,
        exclude: Any = None,
        weights: Any = None,
        out: Any = None,
        block_bytes: int = DEFAULT_BLOCK_BYTES,
    ) -> tuple[Any, Any]:
        """Return the k nearest haplotypes of each query, ordered by (distance, index).

        Parameters
        ----------
        queries : (Q, W) uint64 or int64 CUDA array
            Packed haplotypes over all L sites, on the device and of the library of the panel.
        k : int
            From 1 to H less the distinct haplotypes excluded for any one query. Fast up to 2,048.
        exclude : (Q, E) int64, optional
            Haplotypes that a query must not retrieve; -1 for none. NumPy or CUDA array; values of
            the latter are not checked, and one out of range excludes nothing.
        weights : (L,) float32, optional
            What a site counts, finite and at least 0; those of hidden sites are ignored. Distances
            are then equal to the CPU's bit for bit. NumPy or CUDA array; values of the latter are
            not checked, nor is the total if the mask lies on the device: a wrong value at an
            observed site, or a total beyond float32, makes every distance NaN.
        out : pair of CUDA arrays, optional
            Where the answer goes, in place of new arrays: of its shapes and dtypes, contiguous.
        block_bytes : int
            Upper limit of the memory for distances, of which one query's are the least. Less
            memory on the device halves it, with a warning the first time.

        Returns
        -------
        distances : (Q, k) int32 CUDA array
            float32 with weights.
        indices : (Q, k) int64 CUDA array

        Notes
        -----
        Waits for the device only if k > H - E and `exclude` lies there, and where the library waits
        to copy a NumPy argument (torch does). An index searched on another stream than it was built
        on must be kept until that search is done.
        """
        library, words = self._library, self._words
        queries = beside(queries, "queries", library, words, _BITS)
        num_queries, got_words = axes(queries, "queries", 2, _BITS)
        _check_words("queries", got_words, self.num_sites, "sites")
        k = check_k(k)
        block_bytes = check_block_bytes(block_bytes)
        weighted = weights is not None
        with library.current(words):
            weights = check_weights(weights, self._observed, self.num_sites, library, words)
            dropped = check_exclude(exclude, k, num_queries, self.num_haplotypes, library, words)
            dtype = "float32" if weighted else "int32"
            distances, indices = outputs(out, (num_queries, k), dtype, library, words)
            if num_queries == 0:
                return distances, indices

            def size(limit: int) -> int:
                return int(
                    self._cuda.hamming_workspace_bytes(
                        int(words.shape[0]), self.num_haplotypes, num_queries, k, limit, weighted
                    )
                )

            workspace, block_bytes = allocate_workspace(size, block_bytes, library, words)
            self._cuda.hamming_search(
                capsule(self._plan, library),
                capsule(words, library),
                self.num_haplotypes,
                self.num_sites,
                capsule(queries, library),
                k,
                capsule(dropped, library),
                capsule(weights, library),
                capsule(workspace, library),
                block_bytes,
                capsule(distances, library),
                capsule(indices, library),
                library.stream(words),
            )
        return distances, indices


def _check_words(name: str, got: int, num_bits: int, unit: str) -> None:
    expected = (num_bits + 63) // 64
    if got != expected:
        value_error(name, f"of {expected} words a row ({num_bits} {unit})", got)


def topk_hamming(
    queries: Any,
    panel: Any,
    k: int,
    *,
    num_sites: int,
    observed: Any = None,
    exclude: Any = None,
    weights: Any = None,
    out: Any = None,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
) -> tuple[Any, Any]:
    """Return the k nearest haplotypes of each query: `DeviceHammingIndex` built and searched once.

    Parameters and result as there.
    """
    index = DeviceHammingIndex(panel, num_sites=num_sites, observed=observed)
    return index.search(
        queries, k, exclude=exclude, weights=weights, out=out, block_bytes=block_bytes
    )


def topk_l2(
    queries: Any,
    cache: Any,
    k: int,
    *,
    exclude: Any = None,
    out: Any = None,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    check_nan: bool = True,
) -> tuple[Any, Any]:
    """Return the k rows of a dense cache nearest to each query by squared L2 distance.

    Parameters
    ----------
    queries : (Q, D) float32 CUDA array
    cache : (H, D) float32 CUDA array
        Rows contiguous, any number of values apart.
    k, exclude, out, block_bytes
        As in `DeviceHammingIndex.search`.
    check_nan : bool
        Look whether a distance was not a number. This waits for the device; without it, such a
        distance makes the answer unspecified.

    Returns
    -------
    distances : (Q, k) float32 CUDA array
        Sums of squared differences, so equal rows are at exactly 0.
    indices : (Q, k) int64 CUDA array
        Ordered by (distance, index) ascending.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong kind, or out of range; for a distance that is not a number.
    """
    library = library_of(cache, "cache")
    cuda = extension()
    expected = "a float32 (rows, dimensions) CUDA array"
    num_rows, num_dimensions = axes(cache, "cache", 2, expected)
    queries = beside(queries, "queries", library, cache, expected)
    num_queries, got_dimensions = axes(queries, "queries", 2, expected)
    if got_dimensions != num_dimensions:
        value_error("queries", f"of {num_dimensions} dimensions, as cache", got_dimensions)
    k = check_k(k)
    block_bytes = check_block_bytes(block_bytes)
    with library.current(cache):
        on_device = check_exclude(exclude, k, num_queries, num_rows, library, cache)
        distances, indices = outputs(out, (num_queries, k), "float32", library, cache)
        if num_queries == 0:
            return distances, indices

        def size(limit: int) -> int:
            return int(cuda.l2_workspace_bytes(num_queries, num_rows, k, limit))

        workspace, block_bytes = allocate_workspace(size, block_bytes, library, cache)
        first_nan = library.empty((1,), "int64", cache)
        cuda.topk_l2(
            capsule(queries, library),
            capsule(cache, library),
            k,
            capsule(on_device, library),
            capsule(workspace, library),
            block_bytes,
            capsule(distances, library),
            capsule(indices, library),
            capsule(first_nan, library),
            library.stream(cache),
        )
        if check_nan:
            place = int(library.download(first_nan)[0])
            if place >= 0:
                got = f"a distance that is not a number (query {place // num_rows}, row "
                value_error("queries and cache", "finite", f"{got}{place % num_rows})")
    return distances, indices
