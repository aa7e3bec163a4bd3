"""Match features of neighbours on a device: the twin of ``csrc/cpu/matching.cpp`` in tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def match_features(
    queries: Tensor, neighbours: Tensor, observed: Tensor, position: Tensor, decay_sites: float
) -> Tensor:
    """Return (Q, K, 6, L) float32 features of neighbours, as ``csrc/include/snvrag/matching.hpp``.

    Parameters
    ----------
    queries : (Q, L) uint8
    neighbours : (Q, K, L) uint8
    observed : (L,) bool
    position : (L,) int64
        In bp, ascending.
    decay_sites : float
        Above 0.
    """
    mismatch = (queries[:, None] != neighbours) & observed
    # Observed sites up to and including each site, and before it.
    upto = observed.cumsum(0)
    before = upto - observed.long()
    features = []
    for last, run in (
        (_last(mismatch, upto, 0), upto),
        (_next(mismatch, before, upto[-1]), before),
    ):
        features.append(torch.log1p((run - last).abs().float()))
    features += [
        torch.log1p((position - ends).abs().float() * 1e-3)
        for ends in (
            _last(mismatch, position, position[0]),
            _next(mismatch, position, position[-1]),
        )
    ]
    decayed = torch.where(mismatch, 0.0, -torch.inf).double()
    left = torch.logcumsumexp(decayed + upto / decay_sites, -1) - upto / decay_sites
    right = torch.logcumsumexp((decayed - before / decay_sites).flip(-1), -1).flip(-1)
    features += [left.exp().float(), (right + before / decay_sites).exp().float()]
    return torch.stack(features, 2)


def _last(mismatch: Tensor, value: Tensor, first: Tensor | int) -> Tensor:
    """Return the ascending ``value`` at the last mismatch at or left of each site, else first."""
    return torch.where(mismatch, value, first).cummax(-1).values


def _next(mismatch: Tensor, value: Tensor, last: Tensor | int) -> Tensor:
    """Return the ascending ``value`` at the first mismatch at or right of each site, else last."""
    return torch.where(mismatch, value, last).flip(-1).cummin(-1).values.flip(-1)
