"""AF-guided masks of every window of a chromosome, and of one window, on one thread.

The baselines draw the same numbers with NumPy's generators, one object a window: `Philox`, as the
mask is defined, and V18's `RandomState`. All return one bool a site. Answers are compared bit for
bit (V18's with ``generator="mt19937"``).

Limits, a site: a quarter of a Philox4x64-10 block, which is 20 multiplications of 64 x 64 to 128
bits (5 a site, so 5 cycles of scalar code), 8 bytes of frequency read and 1 byte of mask written.
331 windows of 1,020 sites: 0.46 ms of scalar multiplications at 3.7 GHz, 3 MB of traffic.
"""

from __future__ import annotations

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


class Chromosome:
    """The (N * L,) frequencies of N windows, and the ways to mask them."""

    def __init__(self, af: NDArray[np.float64], num_windows: int) -> None:
        ends = np.arange(num_windows + 1) * (af.size // num_windows)
        self.af, self.starts, self.stops = af, ends[:-1].copy(), ends[1:].copy()
        self.windows = list(zip(self.starts.tolist(), self.stops.tolist(), strict=True))

    def mask(self, name: str, window: int) -> NDArray[np.bool_]:
        """Return the mask of one window, made by itself."""
        start, stop = self.windows[window]
        af, seed = self.af[start:stop], SEED * 10_000 + window
        if name.startswith(OURS):
            return af_guided_mask(af, seed=SEED, window=window, rate=RATE)
        if name == PHILOX:
            u = np.random.Generator(np.random.Philox(key=seed)).random(af.size)
        else:
            u = np.random.RandomState(seed).random_sample(af.size)
        mask: NDArray[np.bool_] = u < np.where(af < 0.05, 0.7, RATE)
        return mask

    def masks(self, name: str) -> NDArray[np.bool_]:
        """Return the masks of all windows."""
        if name in (OURS, OURS_MT):
            return af_guided_masks(
                self.af,
                self.starts,
                self.stops,
                seed=SEED,
                rate=RATE,
                generator="philox" if name == OURS else "mt19937",
                threads=1,
            )
        if name == STATE:
            return np.concatenate(random_state_masks(self.af, self.windows, SEED, RATE))
        return np.concatenate([self.mask(name, w) for w in range(len(self.windows))])


@pytest.fixture(scope="module")
def chromosome(sizes: Any, window: Window) -> Chromosome:
    """Return windows that have the frequencies of one, each in another order."""
    rng = np.random.default_rng(1)
    af = np.concatenate([rng.permutation(window.af) for _ in range(sizes.num_windows)])
    return Chromosome(af, sizes.num_windows)


@pytest.mark.benchmark(group="masks of 331 windows of 1,020 sites")
@pytest.mark.parametrize("name", [STATE, PHILOX, OURS_MT, OURS_SINGLE, OURS])
def test_masks(name: str, timed: Any, chromosome: Chromosome) -> None:
    expected = chromosome.masks(STATE if name == OURS_MT else PHILOX)
    if name != STATE:
        np.testing.assert_array_equal(chromosome.masks(name), expected)
    timed(name, lambda: chromosome.masks(name))


@pytest.mark.benchmark(group="mask of one window, call included, 1,020 sites")
@pytest.mark.parametrize("name", [STATE, PHILOX, OURS])
def test_one_window(name: str, timed: Any, chromosome: Chromosome) -> None:
    window = 2
    if name != STATE:
        expected = chromosome.mask(PHILOX, window)
        np.testing.assert_array_equal(chromosome.mask(name, window), expected)
    timed(name, lambda: chromosome.mask(name, window))
