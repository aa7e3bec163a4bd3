"""AF-guided masks: the hidden sites of a window, as a pure function of seed and window."""

from __future__ import annotations

import math
import os
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _checks, cuda

Generator = Literal["philox", "mt19937"]

_AF = "a float64 (L,) array of frequencies from 0 to 1"
# A quarter of a millisecond of work; starting a thread costs a tenth.
_SITES_PER_THREAD = 100_000


def _rates(rate: object, rare_rate: object, rare_threshold: object) -> tuple[float, float, float]:
    return (
        _checks.fraction("rate", rate),
        _checks.fraction("rare_rate", rare_rate),
        _checks.real_number("rare_threshold", rare_threshold),
    )


def _num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_on_device(af: Any) -> bool:
    """Return whether frequencies are a CUDA array; check those of an array on the CPU."""
    if not cuda.is_device_array(af):
        _checks.array("af", af, np.float64, (None,), _AF)
        return False
    return True


def _fill(  # what both compiled functions need
    generator: str,
    af: NDArray[np.float64],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    mask: NDArray[np.bool_],
    seed: int,
    first_window: int,
    rates: tuple[float, float, float],
) -> None:
    """Write the masks of consecutive windows."""
    from . import _mask_kernels  # loads Numba

    # u < p with u = draw / 2**53 is draw < p * 2**53, and that product is exact.
    common, rare = (np.uint64(math.ceil(p * 2**53)) for p in rates[:2])
    key = (np.uint64(seed), np.uint64(first_window))
    arguments = (af, starts, stops, mask, *key, rates[2], rare, common)
    fill: Any = _mask_kernels.philox_windows
    room = _mask_kernels.PHILOX_WORDS
    if generator == "mt19937":
        fill, room = _mask_kernels.mt19937_windows, _mask_kernels.MT19937_WORDS
    at = fill(*arguments, np.empty(room, np.uint64))
    if at >= 0:
        at += int(np.argmin((af[at:] >= 0) & (af[at:] <= 1)))
        _checks.value_error("af", _AF, f"{af[at]} at {at}")


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
    """Return the mask of one window, which is the same in any thread, process and machine.

    The mask is ``u < where(af < rare_threshold, rare_rate, rate)``, bit for bit, with
    ``u = numpy.random.Generator(numpy.random.Philox(key=seed * 10_000 + window)).random(L)``.

    Parameters
    ----------
    af : (L,) float64
        ALT frequency of each site in the panel, from 0 to 1. Any strides; not changed.
        A CUDA array must be contiguous, its values are not checked, and the mask is a CUDA array.
    seed : int
        The mask_seed: the epoch in training, 2024 in validation. From 0, with
        ``seed * 10_000 + window < 2**64``.
    window : int
        Number of the window, from 0. ``window // 10_000`` also enters the upper 64 bits of the key,
        so that the keys of windows from 10,000 on differ from those of the next seed.
    rate : float
        Probability that a site is hidden, from 0 to 1.
    rare_rate : float
        The same for sites with ``af < rare_threshold``.
    rare_threshold : float
        Exclusive upper end of the rare frequencies.
    generator : {"philox", "mt19937"}
        "mt19937" takes ``u = numpy.random.RandomState(seed * 10_000 + window).random_sample(L)``
        instead, as V18 did; windows from 10,000 on are then an error.

    Returns
    -------
    (L,) bool
        True where the site is hidden. Empty for an empty window.

    Raises
    ------
    TypeError, ValueError
        For a wrong type or dtype; for a wrong shape or a number out of range, with the first
        offending index of ``af``, where NaN is an error, too.

    Notes
    -----
    Cost: 5 multiplications for each site; no random state is read or changed. Philox4x64-10: Salmon
    et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> from snvrag.kernels import af_guided_mask
    >>> af = np.array([0.01, 0.20, 0.50, 0.02])
    >>> mask = af_guided_mask(af, seed=1, window=7, rate=0.5)
    >>> u = np.random.Generator(np.random.Philox(key=10_007)).random(4)
    >>> bool((mask == (u < np.where(af < 0.05, 0.7, 0.5))).all())
    True
    """
    window = _checks.whole_number("window", window, 0, 2**63 - 1)
    on_device = _is_on_device(af)
    seed = _checks.seed_of_masks(generator, seed, window)
    rates = _rates(rate, rare_rate, rare_threshold)
    ends = np.array([0, af.shape[0]])
    if on_device:
        return cuda.af_guided_masks(  # type: ignore[return-value]  # a CUDA array
            af,
            ends[:1],
            ends[1:],
            seed=seed,
            first_window=window,
            rates=rates,
            mersenne_twister=generator == "mt19937",
        )
    mask = np.empty(af.shape[0], np.bool_)
    _fill(generator, af, ends[:1], ends[1:], mask, seed, window, rates)
    return mask


def af_guided_masks(  # the mask's own parameters and the windows
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
        ALT frequency of each site of the panel, from 0 to 1, as an array of NumPy or CUDA. Not
        read outside of the windows.
    starts, stops : (N,) integer
        Ends of the windows, in sites: half-open, ascending, not overlapping.
    seed, rate, rare_rate, rare_threshold, generator
        As in `af_guided_mask`.
    first_window : int
        Number of the first window.
    threads : int, optional
        Number of threads on the CPU; by default one for every 100,000 sites, up to the number of
        cores.

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
    Cost: 5 multiplications for each site of a window, and one pass over the windows.

    Examples
    --------
    >>> from snvrag.kernels import af_guided_mask, af_guided_masks
    >>> af = np.linspace(0, 1, 10)
    >>> masks = af_guided_masks(af, np.array([0, 5]), np.array([5, 10]), seed=3, rate=0.3)
    >>> bool((masks[5:] == af_guided_mask(af[5:], seed=3, window=1, rate=0.3)).all())
    True
    """
    on_device = _is_on_device(af)
    num_sites = int(af.shape[0])
    starts, stops = _checks.windows(starts, stops, num_sites)
    num_windows = starts.shape[0]
    first_window = _checks.whole_number("first_window", first_window, 0, 2**63 - 1 - num_windows)
    seed = _checks.seed_of_masks(generator, seed, first_window + max(0, num_windows - 1))
    rates = _rates(rate, rare_rate, rare_threshold)
    if on_device:
        return cuda.af_guided_masks(  # type: ignore[return-value]  # a CUDA array
            af,
            starts,
            stops,
            seed=seed,
            first_window=first_window,
            rates=rates,
            mersenne_twister=generator == "mt19937",
        )
    if threads is None:
        threads = min(_num_cores(), max(1, num_sites // _SITES_PER_THREAD))
    threads = _checks.whole_number("threads", threads, 1, 4096)
    mask = np.zeros(num_sites, np.bool_)

    def fill_part(part: slice) -> None:
        window = first_window + part.start
        _fill(generator, af, starts[part], stops[part], mask, seed, window, rates)

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
