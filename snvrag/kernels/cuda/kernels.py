"""Masks and searches on a CUDA device; the public functions call them for CUDA arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .arrays import (
    DeviceArray,
    Library,
    allocate_workspace,
    axes,
    beside,
    call,
    extension,
    library_of,
    outputs,
    require_shape,
)

DEFAULT_BLOCK_BYTES = 1 << 26
"""Memory for the distances of a batch of queries: 64 MiB stay near the second-level cache."""

_BITS = "a uint64 (rows, words) CUDA array"


def af_guided_masks(
    af: Any,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    *,
    seed: int,
    first_window: int,
    rates: tuple[float, float, float],
    mersenne_twister: bool,
) -> DeviceArray:
    """Return the (S,) bool masks of windows of a panel, equal to the CPU's bit for bit.

    ``af`` is contiguous, and its values are not checked; the caller has checked the rest. ``rates``
    are ``rate``, ``rare_rate`` and ``rare_threshold`` of `snvrag.kernels.af_guided_masks`;
    ``mersenne_twister`` is its generator "mt19937".
    """
    library = library_of(af, "af")
    cuda = extension()
    (num_sites,) = axes(af, "af", 1, "a float64 (L,) array")
    with library.current(af):
        ends = [library.upload(x, af) for x in (starts, stops)]
        mask = library.empty((num_sites,), "bool", af)
        arguments = (af, *ends, mask, seed, first_window, *rates, mersenne_twister)
        call(cuda.af_guided_masks, arguments, library, af)
    return mask


class DeviceHammingIndex:
    """The observed sites of a panel on a CUDA device, arranged for exact search.

    Arguments as of `snvrag.kernels.HammingIndex`; words may be int64, and rows any number of words
    apart. With ``observed`` in NumPy, the index takes only the memory it needs. With a CUDA array,
    the host does not know how many sites count: the index has the capacity for all, and nothing
    waits for the device.
    """

    def __init__(self, panel: DeviceArray, *, num_sites: int, observed: Any = None) -> None:
        num_sites = _checks.whole_number("num_sites", num_sites, 0, _checks.MAX_SITES)
        num_haplotypes, words = axes(panel, "panel", 2, _BITS)
        _checks.check_words("panel", words, num_sites, "sites")
        self._build(panel, "panel", num_haplotypes, num_sites, observed)

    @classmethod
    def from_sites(
        cls, site_bits: DeviceArray, *, num_haplotypes: int, observed: Any = None
    ) -> DeviceHammingIndex:
        """Build from rows of sites, as `snvrag.kernels.HammingIndex.from_sites`.

        Rows may be any number of words apart: those of a window are a view of the panel's.
        """
        self = cls.__new__(cls)
        num_haplotypes = _checks.whole_number(
            "num_haplotypes", num_haplotypes, 1, _checks.MAX_HAPLOTYPES
        )
        num_sites, words = axes(site_bits, "site_bits", 2, _BITS)
        _checks.check_words("site_bits", words, num_haplotypes, "haplotypes")
        self._build(site_bits, "site_bits", num_haplotypes, num_sites, observed)
        return self

    def _build(
        self, rows: DeviceArray, name: str, num_haplotypes: int, num_sites: int, observed: object
    ) -> None:
        library = self._library = library_of(rows, name)
        self._cuda = extension()
        self.num_haplotypes, self.num_sites = num_haplotypes, num_sites
        with library.current(rows):
            on_device, self._num_observed = self._observed(observed, library, rows)
            capacity = num_sites if self._num_observed is None else self._num_observed
            pitch = self._cuda.row_pitch(num_haplotypes)
            self._plan = library.empty((self._cuda.plan_size(num_sites),), "int64", rows)
            self._words = library.empty((_checks.num_words(capacity), pitch), "int64", rows)
            if name == "panel":
                build, size = self._cuda.hamming_index_build, num_sites
            else:
                build, size = self._cuda.hamming_index_build_from_sites, num_haplotypes
            call(build, (rows, size, on_device, self._plan, self._words), library, rows)

    def _observed(
        self, observed: object, library: Library, like: DeviceArray
    ) -> tuple[DeviceArray | None, int | None]:
        """Return ``observed`` on the device, and how many sites it has if the host knows."""
        expected = f"a contiguous bool ({self.num_sites},) array"
        if observed is None:
            return None, self.num_sites
        if library.owns(observed):
            beside(observed, "observed", library, like, expected)
            require_shape(observed, "observed", (self.num_sites,), expected)
            return observed, None
        mask = _checks.array("observed", observed, np.bool_, (self.num_sites,), expected)
        return library.upload(mask, like), int(np.count_nonzero(mask))

    @property
    def num_observed(self) -> int:
        """Number of observed sites. With a mask on the device, the first call waits for it."""
        if self._num_observed is None:
            with self._library.current(self._plan):
                self._num_observed = int(self._library.download(self._plan[:1])[0])
        return self._num_observed

    @property
    def num_bytes(self) -> int:
        """Memory of the index, in bytes."""
        capacity, pitch = self._words.shape
        return 8 * (int(self._plan.shape[0]) + int(capacity) * int(pitch))

    def search(
        self,
        queries: object,
        k: int,
        *,
        exclude: object = None,
        weights: object = None,
        out: object = None,
        block_bytes: int = DEFAULT_BLOCK_BYTES,
    ) -> tuple[DeviceArray, DeviceArray]:
        """Return the k nearest haplotypes of each query, as `snvrag.kernels.HammingIndex.search`.

        ``queries`` are on the device and of the library of the panel, ``exclude`` and ``weights``
        NumPy or CUDA arrays; the latter's values are not checked. Fast up to a ``k`` of 2,048.
        ``block_bytes``, the memory for the distances of a batch of queries, is halved if the device
        has less.

        Waits for the device only if k > H - E and `exclude` is there. An index searched on another
        stream than it was built on must be kept until that search is done.
        """
        library, words = self._library, self._words
        given = beside(queries, "queries", library, words, _BITS)
        num_queries, num_words = axes(given, "queries", 2, _BITS)
        _checks.check_words("queries", num_words, self.num_sites, "sites")
        block_bytes = _checks.whole_number("block_bytes", block_bytes, 1, 2**62)
        weighted = weights is not None
        with library.current(words):
            site_weights = _upload_weights(weights, self.num_sites, library, words)
            k, dropped = _neighbours(k, exclude, num_queries, self.num_haplotypes, library, words)
            dtype = "float32" if weighted else "int32"
            distances, indices = outputs(out, (num_queries, k), dtype, library, words)
            if num_queries == 0:
                return distances, indices

            shape = (int(words.shape[0]), self.num_haplotypes, num_queries, k)

            def size(limit: int) -> int:
                return int(self._cuda.hamming_workspace_bytes(*shape, limit, weighted))

            workspace, block_bytes = allocate_workspace(size, block_bytes, library, words)
            panel = (self._plan, words, self.num_haplotypes, self.num_sites)
            options = (dropped, site_weights, workspace, block_bytes)
            arguments = (*panel, given, k, *options, distances, indices)
            call(self._cuda.hamming_search, arguments, library, words)
        return distances, indices


def _neighbours(  # 6 arguments: what one check of `k` and `exclude` together needs
    k: object,
    exclude: object,
    num_queries: int,
    num_candidates: int,
    library: Library,
    like: DeviceArray,
) -> tuple[int, DeviceArray | None]:
    """Return ``k``, checked, and ``exclude`` on the device.

    A device array is downloaded only if its width alone leaves open whether k candidates are left.
    """
    if not library.owns(exclude):
        number = _checks.num_neighbours(k, exclude, num_candidates)
        if exclude is None or num_queries == 0:
            return number, None
        return number, library.upload(np.ascontiguousarray(exclude), like)
    number = _checks.integer("k", k)
    expected = f"an int64 ({num_queries}, E) array"
    columns = axes(exclude, "exclude", 2, expected)[1]
    require_shape(exclude, "exclude", (num_queries, columns), expected)
    num_excluded = 0
    if number > num_candidates - columns:
        host = library.download(exclude)
        num_excluded = _checks.most_excluded(np.where(host < num_candidates, host, -1))
    return _checks.check_left(number, num_candidates, num_excluded), library.contiguous(exclude)


def _upload_weights(
    weights: object, num_sites: int, library: Library, like: DeviceArray
) -> DeviceArray | None:
    """Return ``weights`` on the device, checked if they come from the host."""
    if weights is None:
        return None
    if not library.owns(weights):
        host = _checks.site_weights(weights, num_sites)
        return library.upload(np.ascontiguousarray(host), like)
    expected = f"a float32 ({num_sites},) array"
    beside(weights, "weights", library, like, expected)
    require_shape(weights, "weights", (num_sites,), expected)
    return library.contiguous(weights)


def topk_l2(
    queries: object,
    database: DeviceArray,
    k: int,
    *,
    exclude: object = None,
    out: object = None,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
) -> tuple[DeviceArray, DeviceArray]:
    """Return the k rows nearest to each query, as `snvrag.kernels.topk_l2`.

    Waits for the device, to know whether a distance is not a number. Rows may be any number of
    values apart; the other arguments are as in `DeviceHammingIndex.search`.
    """
    library = library_of(database, "database")
    cuda = extension()
    expected = "a float32 (rows, dimensions) CUDA array"
    num_rows, num_dimensions = axes(database, "database", 2, expected)
    given = beside(queries, "queries", library, database, expected)
    num_queries, got_dimensions = axes(given, "queries", 2, expected)
    if got_dimensions != num_dimensions:
        _checks.value_error(
            "queries", f"of {num_dimensions} dimensions, as database", got_dimensions
        )
    block_bytes = _checks.whole_number("block_bytes", block_bytes, 1, 2**62)
    with library.current(database):
        k, dropped = _neighbours(k, exclude, num_queries, num_rows, library, database)
        distances, indices = outputs(out, (num_queries, k), "float32", library, database)
        if num_queries == 0:
            return distances, indices

        def size(limit: int) -> int:
            return int(cuda.l2_workspace_bytes(num_queries, num_rows, k, limit))

        workspace, block_bytes = allocate_workspace(size, block_bytes, library, database)
        first_nan = library.empty((1,), "int64", database)
        arrays = (workspace, block_bytes, distances, indices, first_nan)
        call(cuda.topk_l2, (given, database, k, dropped, *arrays), library, database)
        place = int(library.download(first_nan)[0])
    if place >= 0:
        got = f"a distance that is not a number (query {place // num_rows}, row {place % num_rows})"
        _checks.value_error("queries and database", "finite", got)
    return distances, indices
