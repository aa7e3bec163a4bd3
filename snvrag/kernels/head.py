"""The head: a small network per site, from evidence to the log-odds of the minor allele."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from . import _checks

LIMIT = 6.0
"""Standardised evidence is clamped to this and its negative: a head does not extrapolate."""


class HeadWeights(NamedTuple):
    """The weights of a head with E numbers of evidence and U hidden units; float32, C-contiguous.

    ``mean`` and ``scale`` (E,) standardise the evidence, ``hidden_weight`` (E, U) and
    ``hidden_bias`` (U,) are those of the hidden layer, ``output_weight`` (U,) and ``output_bias``
    those of the output.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    hidden_weight: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output_weight: NDArray[np.float32]
    output_bias: float


def head_log_odds(
    evidence: NDArray[np.float32], weights: HeadWeights, *, threads: int | None = None
) -> NDArray[np.float32]:
    """Return the log-odds of the minor allele that a head makes of the evidence.

    The first number of the evidence is the log-odds of the Li-Stephens model; the head adds a
    correction, the output of one hidden layer of rectified units on the standardised evidence.

    Parameters
    ----------
    evidence : (..., E) float32
        C-contiguous, no NaN; E from 1. The evidence of `li_stephens_evidence`.
    weights : HeadWeights
        For the same E, of any number U of hidden units. Each ``scale`` is finite and not 0.
    threads : int, optional
        Number of threads; by default chosen by the amount of work, at most one for each core.

    Returns
    -------
    (...) float32
        ``evidence[..., 0] + output_bias + output_weight . max(0, hidden_bias + hidden_weight . z)``
        where z is ``(evidence - mean) / scale``, clamped to +-6.

    Raises
    ------
    TypeError, ValueError
        For a wrong type, dtype or layout; for a wrong shape, a scale of 0, and a NaN.

    Notes
    -----
    Cost: E U multiply-adds a row. Answers do not depend on the number of threads; those of
    different instruction sets, which sum in different orders, agree to about 1e-5.

    Examples
    --------
    >>> from snvrag.kernels import HeadWeights, head_log_odds
    >>> one = np.ones(1, np.float32)
    >>> weights = HeadWeights(
    ...     mean=np.zeros(2, np.float32),
    ...     scale=np.ones(2, np.float32),
    ...     hidden_weight=np.array([[0], [1]], np.float32),  # looks at the second number
    ...     hidden_bias=np.zeros(1, np.float32),
    ...     output_weight=np.array([-2], np.float32),
    ...     output_bias=0.5,
    ... )
    >>> head_log_odds(np.array([[1, 3], [1, -3]], np.float32), weights)
    array([-4.5,  1.5], dtype=float32)
    """
    expected = "a C-contiguous float32 (..., E) array"
    if not isinstance(evidence, np.ndarray):
        _checks.type_error("evidence", expected, _checks.kind_of(evidence))
    if evidence.dtype != np.float32:
        _checks.type_error("evidence", expected, f"dtype {evidence.dtype}")
    if evidence.ndim == 0 or evidence.shape[-1] == 0:
        _checks.value_error("evidence", expected, f"shape {evidence.shape}")
    if not evidence.flags.c_contiguous:
        _checks.type_error("evidence", expected, "an array that is not contiguous")
    if not isinstance(weights, HeadWeights):
        _checks.type_error("weights", "HeadWeights", _checks.kind_of(weights))
    if not np.all(np.isfinite(weights.scale) & (weights.scale != 0)):
        _checks.value_error("scale", "finite and not 0", weights.scale)
    rows = evidence.reshape(-1, evidence.shape[-1])
    return _core.head_log_odds(rows, *weights, threads).reshape(evidence.shape[:-1])
