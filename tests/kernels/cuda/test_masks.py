"""CUDA masks equal their NumPy twin bit for bit."""

import numpy as np
import pytest

from snvrag import kernels
from snvrag.kernels import oracle

SIZES = [0, 1, 63, 64, 65, 127, 128, 129, 1020]


@pytest.mark.parametrize("size", [*SIZES, 3_000_001])
@pytest.mark.parametrize("window", [0, 9_999, 10_000, 12_345_678])
def test_mask_of_a_window(gpu, rng, size, window):
    af = rng.random(size) ** 3
    got = kernels.af_guided_mask(gpu.put(af), seed=2024, window=window, rate=0.5)
    want = oracle.af_guided_mask(af, seed=2024, window=window, rate=0.5)
    assert gpu.get(got).dtype == np.bool_
    np.testing.assert_array_equal(gpu.get(got), want)


@pytest.mark.parametrize(
    "rates", [{}, {"rare_rate": 1.0, "rare_threshold": 0.5}, {"generator": "mt19937"}]
)
def test_masks_of_many_windows(gpu, rng, rates):
    lengths = rng.integers(0, 2500, 40)
    stops = np.cumsum(lengths) + 3
    starts = stops - lengths
    stops[5] -= min(7, lengths[5])  # a gap
    af = rng.random(stops[-1] + 11) ** 3
    want = np.zeros(af.size, bool)
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        want[start:stop] = oracle.af_guided_mask(
            af[start:stop], seed=5, window=9_900 + i, rate=0.3, **rates
        )
    arguments = {"seed": 5, "rate": 0.3, "first_window": 9_900, **rates}
    got = kernels.af_guided_masks(gpu.put(af), starts, stops, **arguments)
    np.testing.assert_array_equal(gpu.get(got), want)


def test_masks_of_no_windows(gpu, rng):
    none = np.zeros(0, np.int64)
    got = kernels.af_guided_masks(gpu.put(rng.random(100)), none, none, seed=1, rate=0.4)
    assert not gpu.get(got).any()
