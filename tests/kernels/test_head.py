"""The head kernel gives its twin's answer at every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import frozen
from snvrag.kernels import HeadWeights, head_log_odds, oracle


def problem(shape: tuple[int, ...], num_units: int) -> tuple[np.ndarray, HeadWeights]:
    """Draw evidence of shape (..., E) and a head for it."""
    rng = np.random.default_rng(num_units)

    def draw(*size: int) -> np.ndarray:
        return rng.normal(size=size).astype(np.float32)

    num_evidence = shape[-1]
    weights = HeadWeights(
        mean=3 * draw(num_evidence),
        scale=0.5 + np.abs(draw(num_evidence)),
        hidden_weight=draw(num_evidence, num_units),
        hidden_bias=draw(num_units),
        output_weight=draw(num_units),
        output_bias=0.75,
    )
    return 5 * draw(*shape), weights  # some of it beyond the limit


@pytest.mark.parametrize("num_units", [0, 1, 8, 15, 16, 17, 32, 48, 65])
@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (3, 2), (4, 20), (5, 21), (2, 63, 6), (129, 3)])
def test_the_twins_answer(simd_level, shape, num_units):
    evidence, weights = problem(shape, num_units)
    got = head_log_odds(frozen(evidence), weights, threads=1)
    assert got.dtype == np.float32
    assert got.shape == shape[:-1]
    expected = oracle.head_log_odds(evidence, weights)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-4)


def test_neither_threads_nor_other_rows_change_a_row(simd_level):
    evidence, weights = problem((1001, 20), 48)
    got = head_log_odds(evidence, weights, threads=1)
    for threads in (2, 4):
        assert np.array_equal(head_log_odds(evidence, weights, threads=threads), got)
    assert np.array_equal(head_log_odds(evidence[3:10], weights, threads=1), got[3:10])


def test_units_of_weight_zero_give_the_experts_answer(simd_level):
    evidence, weights = problem((7, 4), 16)
    silent = weights._replace(output_weight=np.zeros(16, np.float32), output_bias=0.0)
    assert np.array_equal(head_log_odds(evidence, silent), evidence[:, 0])


def test_a_nan_anywhere_is_refused(simd_level):
    for row in (0, 130, 300):
        evidence, weights = problem((301, 4), 16)
        evidence[row, 2] = np.nan
        with pytest.raises(ValueError, match=r"^evidence must be numbers, got NaN$"):
            head_log_odds(evidence, weights, threads=2)
