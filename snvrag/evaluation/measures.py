"""Recall, precision, F1 and R2 from sums over genotypes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def accuracy_measures(
    counts: NDArray[Any], moments: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    """Return ``recall``, ``precision``, ``f1`` and ``r2``, NaN where undefined.

    Parameters
    ----------
    counts : (3, ...) int64 or float64
        ALT alleles called rightly, called wrongly and missed.
    moments : (6, ...) float64
        Number of genotypes, sums of the true and the imputed dosage, of their squares and of their
        product (`squared_correlation`).
    """
    hits, false_calls, missed = counts
    return {
        "recall": ratio(hits, hits + missed),
        "precision": ratio(hits, hits + false_calls),
        "f1": ratio(2 * hits, 2 * hits + false_calls + missed),
        "r2": squared_correlation(*moments),
    }


def ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    """Return the quotient, NaN where the denominator is not above 0."""
    result = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def squared_correlation(
    n: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    xx: NDArray[Any],
    yy: NDArray[Any],
    xy: NDArray[Any],
) -> NDArray[np.float64]:
    """Return R2 from a count and sums; NaN where a variance is rounding error alone."""
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    varies = (spread_x > 1e-12 * n * xx) & (spread_y > 1e-12 * n * yy)
    return ratio((n * xy - x * y) ** 2, np.where(varies, spread_x * spread_y, 0))
