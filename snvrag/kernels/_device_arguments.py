"""Checks of the arguments of CUDA kernels, and the memory that a call needs."""

from __future__ import annotations

import importlib
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arguments import type_error, value_error, whole_number
from ._device_arrays import Library

_warned_of_memory = False


def extension() -> Any:
    try:
        return importlib.import_module("snvrag._cuda")
    except ImportError as error:
        raise ImportError(
            "CUDA arrays need the extension snvrag._cuda, which this build lacks: "
            "install with 'pip install . --config-settings=cmake.define.SNVRAG_CUDA=ON'"
        ) from error


def axes(x: Any, name: str, ndim: int, expected: str) -> tuple[int, ...]:
    shape = tuple(int(size) for size in x.shape)
    if len(shape) != ndim:
        value_error(name, expected, f"shape {shape}")
    return shape


def beside(x: Any, name: str, library: Library, like: Any, expected: str) -> Any:
    """Return ``x`` if it is of the library and on the device of ``like``."""
    if not library.owns(x) or x.device != like.device:
        type_error(name, f"{expected}, of the same library and device as the panel", kind(x))
    return x


def kind(x: Any) -> str:
    device = getattr(x, "device", None)
    return type(x).__name__ + (f" on {device}" if device is not None else "")


def host_array(x: Any, name: str, dtype: type, shape: tuple[int | None, ...], expected: str) -> Any:
    """Return ``x``, a NumPy array of the dtype and of the shape where that is not None."""
    if not isinstance(x, np.ndarray):
        type_error(name, expected, kind(x))
    if x.dtype != dtype:
        type_error(name, expected, f"dtype {x.dtype}")
    same = x.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, x.shape, strict=False)
    )
    if not same:
        value_error(name, expected, f"shape {x.shape}")
    return x


def check_k(k: Any) -> int:
    try:
        k = operator.index(k)
    except TypeError:
        type_error("k", "an int", type(k).__name__)
    if k < 1:
        value_error("k", "at least 1", k)
    return int(k)


def check_exclude(
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
        shape = axes(exclude, "exclude", 2, expected)
        if shape[0] != num_queries:
            value_error("exclude", expected, f"shape {shape}")
        on_device = library.contiguous(exclude)
        if k > num_candidates - shape[1]:
            host = library.download(exclude)
    elif exclude is not None:
        host = host_array(exclude, "exclude", np.int64, (num_queries, None), expected)
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


def check_weights(
    weights: Any, observed: NDArray[np.bool_] | None, num_sites: int, library: Library, like: Any
) -> Any:
    """Return ``weights`` on the device.

    The values of a device array are not looked at. ``observed`` is None if the host does not know
    which sites are: then it cannot know the total, either.
    """
    if weights is None:
        return None
    expected = f"a float32 ({num_sites},) array"
    if library.owns(weights):
        beside(weights, "weights", library, like, expected)
        if axes(weights, "weights", 1, expected)[0] != num_sites:
            value_error("weights", expected, f"shape {tuple(weights.shape)}")
        return library.contiguous(weights)
    host = host_array(weights, "weights", np.float32, (num_sites,), expected)
    wrong = ~(np.isfinite(host) & (host >= 0))
    if wrong.any():
        i = int(np.argmax(wrong))
        value_error("weights", "finite and at least 0", f"{host[i]} at {i}")
    if observed is not None:
        total = float(np.sum(host, dtype=np.float64, where=observed))
        if total > float(np.finfo(np.float32).max):
            value_error("weights", "of a total that float32 holds", total)
    return library.upload(np.ascontiguousarray(host), like)


def outputs(out: Any, shape: tuple[int, int], dtype: str, library: Library, like: Any) -> Any:
    """Return arrays for distances and indices: those of ``out``, or newly allocated ones."""
    dtypes = (dtype, "int64")
    if out is None:
        return tuple(library.empty(shape, each, like) for each in dtypes)
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        type_error("out", "a pair of arrays (distances, indices)", kind(out))
    for x, part, each in zip(out, ("distances", "indices"), dtypes, strict=True):
        name, expected = f"{part} of out", f"a {each} {shape} array"
        beside(x, name, library, like, expected)
        if axes(x, name, 2, expected) != shape:
            value_error(name, expected, f"shape {tuple(x.shape)}")
        got = str(x.dtype).removeprefix("torch.")
        if got != each:
            type_error(name, expected, f"dtype {got}")
    return tuple(out)


def check_block_bytes(block_bytes: Any) -> int:
    return whole_number("block_bytes", block_bytes, 1, 2**62)


def capsule(x: Any, library: Library) -> Any:
    # -1: no synchronisation, as the work goes to the stream that is current anyway.
    return None if x is None else library.plain(x).__dlpack__(stream=-1)


def allocate_workspace(
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
