"""AF-guided masks: every window of a chromosome, and one window, on one thread.

The references draw the same numbers by NumPy's own generators, one object a window, which is what
the contract's formula says word for word; V18's way is a RandomState a window. Everyone returns one
bool a site. The answers are compared bit for bit first (V18's with ``generator="mt19937"``).

Limits, a site: a quarter of a Philox4x64-10 block, which is 20 multiplications of 64 x 64 to 128
bits (5 a site, so 5 cycles of scalar code), 8 bytes of frequency read and 1 byte of mask written.
331 windows of 1,020 sites: 0.46 ms of scalar multiplications at 3.7 GHz, 3 MB of traffic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mosaics import Window
from numpy.typing import NDArray
from v18 import random_state_masks

from snvrag.kernels import af_guided_mask, af_guided_masks

SEED, RATE = 3, 0.5
STATE, PHILOX = "V18: RandomState a window", "numpy Generator(Philox) a window"
OURS, OURS_SINGLE, OURS_MT = "snvrag", "snvrag, one call a window", "snvrag, generator=mt19937"


@pytest.fixture(scope="module")
def af(sizes: Any, window: Window) -> NDArray[np.float64]:
    """Frequencies of all windows: those of one window's sites, in another order each time."""
    rng = np.random.default_rng(1)
    return np.concatenate([rng.permutation(window.af) for _ in range(sizes.num_windows)])


@pytest.fixture(scope="module")
def ends(sizes: Any) -> NDArray[np.int64]:
    """(N, 2) ends of the windows."""
    starts = np.arange(sizes.num_windows) * sizes.num_sites
    return np.stack([starts, starts + sizes.num_sites], axis=1)


def numpy_mask(af: NDArray[np.float64], window: int) -> NDArray[np.bool_]:
    u = np.random.Generator(np.random.Philox(key=SEED * 10_000 + window)).random(af.size)
    mask: NDArray[np.bool_] = u < np.where(af < 0.05, 0.7, RATE)
    return mask


def ways(af: NDArray[np.float64], ends: NDArray[np.int64]) -> dict[str, Callable[[], Any]]:
    pairs = [(int(start), int(stop)) for start, stop in ends]
    starts, stops = ends[:, 0].copy(), ends[:, 1].copy()

    def ours(generator: Any = "philox") -> NDArray[np.bool_]:
        return af_guided_masks(
            af, starts, stops, seed=SEED, rate=RATE, generator=generator, threads=1
        )

    return {
        STATE: lambda: np.concatenate(random_state_masks(af, pairs, SEED, RATE)),
        PHILOX: lambda: np.concatenate([numpy_mask(af[a:b], w) for w, (a, b) in enumerate(pairs)]),
        OURS: ours,
        OURS_SINGLE: lambda: np.concatenate(
            [
                af_guided_mask(af[a:b], seed=SEED, window=w, rate=RATE)
                for w, (a, b) in enumerate(pairs)
            ]
        ),
        OURS_MT: lambda: ours("mt19937"),
    }


@pytest.mark.benchmark(group="masks of 331 windows of 1,020 sites")
@pytest.mark.parametrize("name", [STATE, PHILOX, OURS_MT, OURS_SINGLE, OURS])
def test_masks(name: str, timed: Any, af: Any, ends: Any) -> None:
    way = ways(af, ends)
    same_as = STATE if name in (STATE, OURS_MT) else PHILOX
    np.testing.assert_array_equal(way[name](), way[same_as]())
    targets: dict[str, dict[str, float | None]] = {
        OURS: {PHILOX: 8, STATE: 8},
        OURS_SINGLE: {PHILOX: None},
        OURS_MT: {STATE: None},
    }
    timed(name, way[name], targets=targets.get(name))


@pytest.mark.benchmark(group="kernel time of one window's mask, 1,020 sites")
def test_kernel_time(timed: Any, af: Any, ends: Any) -> None:
    """A 331st of the call for all windows: the kernel, next to nothing of Python."""
    timed(OURS, ways(af, ends)[OURS], at_most=3e-6, per=len(ends))


@pytest.mark.benchmark(group="mask of one window, call included, 1,020 sites")
@pytest.mark.parametrize("name", [STATE, PHILOX, OURS])
def test_one_window(name: str, timed: Any, af: Any, ends: Any) -> None:
    window = 2
    start, stop = ends[window]
    part = af[start:stop]

    def ours() -> NDArray[np.bool_]:
        return af_guided_mask(part, seed=SEED, window=window, rate=RATE)

    def state() -> NDArray[np.bool_]:
        u = np.random.RandomState(SEED * 10_000 + window).random_sample(part.size)
        mask: NDArray[np.bool_] = u < np.where(part < 0.05, 0.7, RATE)
        return mask

    np.testing.assert_array_equal(ours(), numpy_mask(part, window))
    way = {STATE: state, PHILOX: lambda: numpy_mask(part, window), OURS: ours}[name]
    timed(name, way, targets={PHILOX: None, STATE: None} if name == OURS else None)
