"""AF-guided masks: which sites of a window are hidden, as a pure function of its numbers."""

from __future__ import annotations

import math
import os
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _device
from ._arguments import fraction, real_number, type_error, value_error, vector, whole_number

Generator = Literal["philox", "mt19937"]

_AF = "a float64 (L,) array of frequencies from 0 to 1"
# A quarter of a millisecond of work; a thread costs a tenth.
_SITES_A_THREAD = 100_000


def _limits(rate: Any, rare_rate: Any, rare_threshold: Any) -> tuple[float, np.uint64, np.uint64]:
    """Return the threshold, and both probabilities as limits of a 53-bit draw.

    u < p with u = draw / 2**53 is draw < p * 2**53, and that product is exact.
    """
    threshold = real_number("rare_threshold", rare_threshold)
    rare = math.ceil(fraction("rare_rate", rare_rate) * 2**53)
    common = math.ceil(fraction("rate", rate) * 2**53)
    return threshold, np.uint64(rare), np.uint64(common)


def _num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_af(af: Any) -> NDArray[np.float64]:
    array: NDArray[np.float64] = vector("af", af, "f", _AF)
    if array.dtype != np.float64:
        type_error("af", _AF, f"dtype {array.dtype}")
    return array


def _check_key(generator: str, seed: Any, last_window: int) -> int:
    if generator not in ("philox", "mt19937"):
        value_error("generator", "'philox' or 'mt19937'", repr(generator))
    number = whole_number("seed", seed, 0, (2**64 - 1 - last_window) // 10_000)
    if generator == "mt19937":
        if last_window >= 10_000:
            value_error("window", "below 10000 for generator='mt19937'", last_window)
        if number * 10_000 + last_window >= 2**32:
            value_error(
                "seed", "such that seed * 10000 + window < 2**32 for generator='mt19937'", number
            )
    return number


def _fill(
    generator: str,
    af: NDArray[np.float64],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    mask: NDArray[np.bool_],
    seed: int,
    first_window: int,
    limits: tuple[float, np.uint64, np.uint64],
) -> None:
    """Write the masks of consecutive windows."""
    from . import _mask_kernels  # loads Numba

    arguments = (af, starts, stops, mask, np.uint64(seed), np.uint64(first_window), *limits)
    if generator == "philox":
        room = np.empty(_mask_kernels.PHILOX_WORDS, np.uint64)
        at = _mask_kernels.philox_windows(*arguments, room)
    else:
        room = np.empty(_mask_kernels.MT19937_WORDS, np.uint64)
        at = _mask_kernels.mt19937_windows(*arguments, room)
    if at >= 0:
        at += int(np.argmin((af[at:] >= 0) & (af[at:] <= 1)))
        value_error("af", _AF, f"{af[at]} at {at}")


def af_guided_mask(
    af: NDArray[np.float64],
    *,
    seed: int,
    window: int,
    rate: float,
    rare_rate: float = 0.7,
    rare_threshold: float = 0.05,
    generator: Generator = "philox",
) -> NDArray[np.bool_]:
    """Return the mask of one window, the same in every thread, process and machine.

    The mask is ``u < where(af < rare_threshold, rare_rate, rate)``, bit for bit, with
    ``u = numpy.random.Generator(numpy.random.Philox(key=seed * 10_000 + window)).random(L)``.

    Parameters
    ----------
    af : (L,) float64
        ALT frequency of each site in the panel, from 0 to 1. Any strides; not changed.
        A CUDA array (DLPack), contiguous and not checked for its values, gives a CUDA array, made
        on the caller's current stream.
    seed : int
        The epoch when training; 2024 for validation. From 0, with
        ``seed * 10_000 + window < 2**64``.
    window : int
        Number of the window, from 0. ``window // 10_000`` is also put into the upper 64 bits of the
        key, so that windows from 10,000 on do not meet the next seed's keys.
    rate : float
        Probability that a site is hidden, from 0 to 1.
    rare_rate : float
        The same for sites with ``af < rare_threshold``.
    rare_threshold : float
        Upper end of the rare frequencies, exclusive.
    generator : {"philox", "mt19937"}
        "mt19937" takes ``u = numpy.random.RandomState(seed * 10_000 + window).random_sample(L)``
        instead, as V18 did; windows from 10,000 on are then refused.

    Returns
    -------
    (L,) bool
        True where the site is hidden. Empty for an empty window.

    Raises
    ------
    TypeError
        For a wrong type or dtype.
    ValueError
        For a wrong shape or a number out of range, with the first offending index of ``af``; NaN is
        one.

    Notes
    -----
    Cost: 5 multiplications a site; no random state is read or changed. Philox4x64-10: Salmon et
    al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from snvrag.kernels import af_guided_mask
    >>> af = np.array([0.01, 0.20, 0.50, 0.02])
    >>> mask = af_guided_mask(af, seed=1, window=7, rate=0.5)
    >>> u = np.random.Generator(np.random.Philox(key=10_007)).random(4)
    >>> bool((mask == (u < np.where(af < 0.05, 0.7, 0.5))).all())
    True
    """
    window = whole_number("window", window, 0, 2**63 - 1)
    if _device.is_device_array(af):
        if generator != "philox":
            value_error("generator", "'philox' for a CUDA array", repr(generator))
        result: NDArray[np.bool_] = _device.af_guided_masks(
            af,
            np.array([0]),
            np.array([af.shape[0]]),
            seed=_check_key(generator, seed, window),
            rate=rate,
            first_window=window,
            rare_rate=rare_rate,
            rare_threshold=rare_threshold,
        )
        return result
    af = _check_af(af)
    seed = _check_key(generator, seed, window)
    limits = _limits(rate, rare_rate, rare_threshold)
    mask = np.empty(af.shape[0], np.bool_)
    ends = np.array([0, af.shape[0]])
    _fill(generator, af, ends[:1], ends[1:], mask, seed, window, limits)
    return mask


def af_guided_masks(
    af: NDArray[np.float64],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    *,
    seed: int,
    rate: float,
    first_window: int = 0,
    rare_rate: float = 0.7,
    rare_threshold: float = 0.05,
    generator: Generator = "philox",
    threads: int | None = None,
) -> NDArray[np.bool_]:
    """Return the masks of consecutive windows of a panel, in one array.

    Window ``first_window + i`` is ``[starts[i], stops[i])`` and gets what `af_guided_mask` gives
    for its slice of ``af``.

    Parameters
    ----------
    af : (S,) float64
        ALT frequency of each site of the panel, from 0 to 1; or a CUDA array (DLPack). Where no
        window is, it is not read.
    starts, stops : (N,) integer
        Ends of the windows, in sites: half-open, ascending, not overlapping.
    seed, rate, rare_rate, rare_threshold, generator
        As in `af_guided_mask`.
    first_window : int
        Number of the first window.
    threads : int, optional
        Number of threads. By default one for every 100,000 sites, as far as the process has cores.

    Returns
    -------
    (S,) bool
        True where the site is hidden; False in no window.

    Raises
    ------
    TypeError, ValueError
        As in `af_guided_mask`; windows that overlap, descend or leave the panel are a ValueError.

    Notes
    -----
    Cost: 5 multiplications a site within a window, and one pass over the windows to check them.

    Examples
    --------
    >>> import numpy as np
    >>> from snvrag.kernels import af_guided_mask, af_guided_masks
    >>> af = np.linspace(0, 1, 10)
    >>> masks = af_guided_masks(af, np.array([0, 5]), np.array([5, 10]), seed=3, rate=0.3)
    >>> bool((masks[5:] == af_guided_mask(af[5:], seed=3, window=1, rate=0.3)).all())
    True
    """
    # Copies: no other thread changes them between the checks and the writing of the masks.
    starts = vector("starts", starts, "iu", "an integer (N,) array").astype(np.int64)
    stops = vector("stops", stops, "iu", "an integer (N,) array").astype(np.int64)
    if starts.shape != stops.shape:
        value_error("stops", f"of starts' shape {starts.shape}", f"shape {stops.shape}")
    num_windows = starts.shape[0]
    first_window = whole_number("first_window", first_window, 0, 2**63 - 1 - num_windows)
    seed = _check_key(generator, seed, first_window + max(0, num_windows - 1))
    num_sites = int(af.shape[0]) if _device.is_device_array(af) else _check_af(af).shape[0]
    wrong = (starts > stops) | (starts < 0) | (stops > num_sites)
    wrong[1:] |= starts[1:] < stops[:-1]
    if wrong.any():
        i = int(np.argmax(wrong))
        value_error(
            "starts, stops",
            f"ascending, not overlapping windows within {num_sites} sites",
            f"[{starts[i]}, {stops[i]}) at {i}",
        )
    if _device.is_device_array(af):
        if generator != "philox":
            value_error("generator", "'philox' for a CUDA array", repr(generator))
        result: NDArray[np.bool_] = _device.af_guided_masks(
            af,
            starts,
            stops,
            seed=seed,
            rate=rate,
            first_window=first_window,
            rare_rate=rare_rate,
            rare_threshold=rare_threshold,
        )
        return result
    limits = _limits(rate, rare_rate, rare_threshold)
    if threads is None:
        threads = min(_num_cores(), max(1, num_sites // _SITES_A_THREAD))
    threads = whole_number("threads", threads, 1, 4096)
    mask = np.zeros(num_sites, np.bool_)

    def fill_part(part: slice) -> None:
        window = first_window + part.start
        _fill(generator, af, starts[part], stops[part], mask, seed, window, limits)

    cuts = [num_windows * i // threads for i in range(threads + 1)]
    first, *others = [slice(a, b) for a, b in pairwise(cuts) if a < b] or [slice(0, 0)]
    if not others:
        fill_part(first)
        return mask
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(others)) as pool:
        filled = [pool.submit(fill_part, part) for part in others]
        fill_part(first)
        for part in filled:
            part.result()
    return mask
