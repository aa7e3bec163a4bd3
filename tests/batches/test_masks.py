"""Masks are contract 4.1's formula, for every window, seed and generator."""

from __future__ import annotations

import numpy as np
import pytest

from snvrag.batches.masks import MaskConfig
from snvrag.errors import InputError

AF = np.random.default_rng(0).beta(0.3, 1, 70)


def test_curriculum_is_a_pure_function_of_the_epoch():
    config = MaskConfig(mask_rates=(0.1, 0.4), epochs_per_rate=3)
    assert [config.rate(e) for e in range(8)] == [0.1] * 3 + [0.4] * 5
    contract = [(0.30, 0.40, 0.50, 0.60, 0.70, 0.80)[min(e // 2, 5)] for e in range(40)]
    assert [MaskConfig().rate(e) for e in range(40)] == contract


def test_validation_has_one_rate_and_else_the_same_options():
    config = MaskConfig(val_rate=0.25, rare_rate=0.9, rare_threshold=0.2, mask_generator="mt19937")
    fixed = config.validation()
    assert {fixed.rate(e) for e in (0, 1, 2024)} == {0.25}
    np.testing.assert_array_equal(
        fixed.mask(AF, 2024, 3),
        np.random.RandomState(2024 * 10_000 + 3).random_sample(70) < np.where(AF < 0.2, 0.9, 0.25),
    )


def test_v18s_generator_has_keys_for_ten_thousand_windows():
    MaskConfig().check_windows(10_001)
    config = MaskConfig(mask_generator="mt19937")
    config.check_windows(10_000)
    with pytest.raises(InputError, match=r"mask_generator must be philox .* 10001"):
        config.check_windows(10_001)
