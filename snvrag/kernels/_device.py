"""CUDA twins of the kernels, for arrays of whichever library the caller uses.

Memory comes from the caller's library (torch or CuPy), work goes to its current stream, and nothing
waits for the device unless a function's notes say so.

An array that was written on another stream is the caller's to order, as with any kernel of that
library.
"""

from __future__ import annotations

import importlib
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arguments import fraction, type_error, value_error, whole_number
from ._device_arrays import Library, is_device_array, library_of

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
_warned_of_memory = False


def _extension() -> Any:
    try:
        return importlib.import_module("snvrag._cuda")
    except ImportError as error:
        raise ImportError(
            "CUDA arrays need the extension snvrag._cuda, which this build lacks: "
            "install with 'pip install . --config-settings=cmake.define.SNVRAG_CUDA=ON'"
        ) from error


# --- arguments ------------------------------------------------------------------------------------


def _axes(x: Any, name: str, ndim: int, expected: str) -> tuple[int, ...]:
    shape = tuple(int(size) for size in x.shape)
    if len(shape) != ndim:
        value_error(name, expected, f"shape {shape}")
    return shape


def _beside(x: Any, name: str, library: Library, like: Any, expected: str) -> Any:
    """Return ``x`` if it is of the library and on the device of ``like``."""
    if not library.owns(x) or x.device != like.device:
        type_error(name, f"{expected}, of the same library and device as the panel", _kind(x))
    return x


def _kind(x: Any) -> str:
    device = getattr(x, "device", None)
    return type(x).__name__ + (f" on {device}" if device is not None else "")


def _host(x: Any, name: str, dtype: type, shape: tuple[int | None, ...], expected: str) -> Any:
    """Return ``x``, a NumPy array of the dtype and of the shape where that is not None."""
    if not isinstance(x, np.ndarray):
        type_error(name, expected, _kind(x))
    if x.dtype != dtype:
        type_error(name, expected, f"dtype {x.dtype}")
    same = x.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, x.shape, strict=False)
    )
    if not same:
        value_error(name, expected, f"shape {x.shape}")
    return x


def _check_k(k: Any) -> int:
    try:
        k = operator.index(k)
    except TypeError:
        type_error("k", "an int", type(k).__name__)
    if k < 1:
        value_error("k", "at least 1", k)
    return int(k)


def _check_exclude(
    exclude: Any, k: int, num_queries: int, num_candidates: int, library: Library, like: Any
) -> Any:
    """Return ``exclude`` on the device, once k haplotypes are known to be left to every query.

    A device array is looked at only if its width alone leaves that open; its values out of range
    exclude nothing.
    """
    if num_queries == 0:
        return None
    expected = f"an int64 ({num_queries}, E) array"
    host: NDArray[np.int64] | None = None
    on_device = None
    if exclude is not None and library.owns(exclude):
        shape = _axes(exclude, "exclude", 2, expected)
        if shape[0] != num_queries:
            value_error("exclude", expected, f"shape {shape}")
        on_device = library.contiguous(exclude)
        if k > num_candidates - shape[1]:
            host = library.download(exclude)
    elif exclude is not None:
        host = _host(exclude, "exclude", np.int64, (num_queries, None), expected)
        wrong = (host < -1) | (host >= num_candidates)
        if wrong.any():
            q, column = np.argwhere(wrong)[0]
            got = f"{host[q, column]} for query {q}"
            value_error("exclude", f"-1 or an index below {num_candidates}", got)
        on_device = library.upload(np.ascontiguousarray(host), like)
    most_excluded = 0
    if host is not None and host.size > 0:
        inside = np.sort(np.where((host >= 0) & (host < num_candidates), host, -1), axis=1)
        distinct = (inside[:, 0] >= 0) + np.sum(
            (inside[:, 1:] != inside[:, :-1]) & (inside[:, 1:] >= 0), axis=1
        )
        most_excluded = int(distinct.max())
    if k > num_candidates - most_excluded:
        left = f"{num_candidates} less {most_excluded} excluded"
        value_error("k", f"at most {num_candidates - most_excluded} ({left})", k)
    return on_device


def _check_block_bytes(block_bytes: Any) -> int:
    return whole_number("block_bytes", block_bytes, 1, 2**62)


def _capsule(x: Any, library: Library) -> Any:
    # -1: no synchronisation, as the work goes to the stream that is current anyway.
    return None if x is None else library.plain(x).__dlpack__(stream=-1)


def _workspace(
    size: Callable[[int], int], block_bytes: int, library: Library, like: Any
) -> tuple[Any, int]:
    """Allocate ``size(block_bytes)`` bytes, with a smaller block where memory is short."""
    global _warned_of_memory
    while True:
        num_bytes = size(block_bytes)
        try:
            return library.empty((num_bytes,), "uint8", like), block_bytes
        except library.out_of_memory:
            smaller = min(block_bytes, num_bytes) // 2
            while smaller > 0 and size(smaller) == num_bytes:
                smaller //= 2
            if smaller == 0:
                raise
            block_bytes = smaller
        if not _warned_of_memory:
            _warned_of_memory = True
            warnings.warn(
                f"CUDA memory is short: searching in blocks of {block_bytes} bytes, more slowly",
                RuntimeWarning,
                stacklevel=4,
            )


# --- the kernels ----------------------------------------------------------------------------------


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
    cuda = _extension()
    (num_sites,) = _axes(af, "af", 1, "a float64 (S,) array")
    num_windows = len(starts)
    first_window = whole_number("first_window", first_window, 0, 2**63 - 1 - num_windows)
    last_window = first_window + max(0, num_windows - 1)
    seed = whole_number("seed", seed, 0, (2**64 - 1 - last_window) // 10_000)
    rates = fraction("rate", rate), fraction("rare_rate", rare_rate), float(rare_threshold)
    with library.current(af):
        ends = [
            library.contiguous(given)
            if library.owns(given)
            else library.upload(_host(given, name, np.int64, (None,), "an int64 (N,) array"), af)
            for name, given in (("starts", starts), ("stops", stops))
        ]
        mask = library.empty((num_sites,), "bool", af)
        capsules = [_capsule(x, library) for x in (af, *ends, mask)]
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
        library = self._library = library_of(panel, "panel")
        self._cuda = _extension()
        self.num_sites = whole_number("num_sites", num_sites, 0, 2**31 - 1)
        self.num_haplotypes, got_words = _axes(panel, "panel", 2, _BITS)
        self._check_words("panel", got_words)
        max_words = got_words
        with library.current(panel):
            if observed is not None:
                expected = f"a contiguous bool ({self.num_sites},) array"
                if not library.owns(observed):
                    observed = _host(observed, "observed", np.bool_, (self.num_sites,), expected)
                    max_words = -(-int(np.count_nonzero(observed)) // 64)
                    observed = library.upload(np.ascontiguousarray(observed), panel)
                elif _axes(observed, "observed", 1, expected)[0] != self.num_sites:
                    value_error("observed", expected, f"shape {tuple(observed.shape)}")
            plan_size = self._cuda.plan_size(self.num_sites)
            pitch = self._cuda.row_pitch(self.num_haplotypes)
            self._plan = library.empty((plan_size,), "int64", panel)
            self._words = library.empty((max_words, pitch), "int64", panel)
            self._cuda.hamming_index_build(
                _capsule(panel, library),
                self.num_sites,
                _capsule(observed, library),
                _capsule(self._plan, library),
                _capsule(self._words, library),
                library.stream(panel),
            )

    def _check_words(self, name: str, got: int) -> None:
        expected = (self.num_sites + 63) // 64
        if got != expected:
            value_error(name, f"of {expected} words a row ({self.num_sites} sites)", got)

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
        block_bytes : int
            Upper limit of the memory for distances, of which one query's are the least. Less
            memory on the device halves it, with a warning the first time.

        Returns
        -------
        distances : (Q, k) int32 CUDA array
        indices : (Q, k) int64 CUDA array

        Notes
        -----
        Waits for the device only if k > H - E and `exclude` lies there. An index searched on
        another stream than it was built on must be kept until that search is done.
        """
        library, words = self._library, self._words
        queries = _beside(queries, "queries", library, words, _BITS)
        num_queries, got_words = _axes(queries, "queries", 2, _BITS)
        self._check_words("queries", got_words)
        k = _check_k(k)
        block_bytes = _check_block_bytes(block_bytes)
        with library.current(words):
            on_device = _check_exclude(exclude, k, num_queries, self.num_haplotypes, library, words)
            distances = library.empty((num_queries, k), "int32", words)
            indices = library.empty((num_queries, k), "int64", words)
            if num_queries == 0:
                return distances, indices

            def size(limit: int) -> int:
                return int(
                    self._cuda.hamming_workspace_bytes(
                        int(words.shape[0]), self.num_haplotypes, num_queries, k, limit
                    )
                )

            workspace, block_bytes = _workspace(size, block_bytes, library, words)
            self._cuda.hamming_search(
                _capsule(self._plan, library),
                _capsule(words, library),
                self.num_haplotypes,
                self.num_sites,
                _capsule(queries, library),
                k,
                _capsule(on_device, library),
                _capsule(workspace, library),
                block_bytes,
                _capsule(distances, library),
                _capsule(indices, library),
                library.stream(words),
            )
        return distances, indices


def topk_hamming(
    queries: Any,
    panel: Any,
    k: int,
    *,
    num_sites: int,
    observed: Any = None,
    exclude: Any = None,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
) -> tuple[Any, Any]:
    """Return the k nearest haplotypes of each query: `DeviceHammingIndex` built and searched once.

    Parameters and result as there.
    """
    index = DeviceHammingIndex(panel, num_sites=num_sites, observed=observed)
    return index.search(queries, k, exclude=exclude, block_bytes=block_bytes)


def topk_l2(
    queries: Any,
    cache: Any,
    k: int,
    *,
    exclude: Any = None,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    check_nan: bool = True,
) -> tuple[Any, Any]:
    """Return the k rows of a dense cache nearest to each query by squared L2 distance.

    Parameters
    ----------
    queries : (Q, D) float32 CUDA array
    cache : (H, D) float32 CUDA array
        Rows contiguous, any number of values apart.
    k, exclude, block_bytes
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
    cuda = _extension()
    expected = "a float32 (rows, dimensions) CUDA array"
    num_rows, num_dimensions = _axes(cache, "cache", 2, expected)
    queries = _beside(queries, "queries", library, cache, expected)
    num_queries, got_dimensions = _axes(queries, "queries", 2, expected)
    if got_dimensions != num_dimensions:
        value_error("queries", f"of {num_dimensions} dimensions, as cache", got_dimensions)
    k = _check_k(k)
    block_bytes = _check_block_bytes(block_bytes)
    with library.current(cache):
        on_device = _check_exclude(exclude, k, num_queries, num_rows, library, cache)
        distances = library.empty((num_queries, k), "float32", cache)
        indices = library.empty((num_queries, k), "int64", cache)
        if num_queries == 0:
            return distances, indices

        def size(limit: int) -> int:
            return int(cuda.l2_workspace_bytes(num_queries, num_rows, k, limit))

        workspace, block_bytes = _workspace(size, block_bytes, library, cache)
        first_nan = library.empty((1,), "int64", cache)
        cuda.topk_l2(
            _capsule(queries, library),
            _capsule(cache, library),
            k,
            _capsule(on_device, library),
            _capsule(workspace, library),
            block_bytes,
            _capsule(distances, library),
            _capsule(indices, library),
            _capsule(first_nan, library),
            library.stream(cache),
        )
        if check_nan:
            place = int(library.download(first_nan)[0])
            if place >= 0:
                got = f"a distance that is not a number (query {place // num_rows}, row "
                value_error("queries and cache", "finite", f"{got}{place % num_rows})")
    return distances, indices
