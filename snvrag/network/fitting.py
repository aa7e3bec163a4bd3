"""Fit a head to evidence in memory: seconds on one core, the same whenever it is called."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from ..kernels import HeadWeights
from .head import Head

_SEED = 2024


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a head is fitted: Adam, with a learning rate that falls to 0 along half a cosine."""

    steps: int = 1200
    batch_size: int = 4096
    learning_rate: float = 5e-3
    weight_decay: float = 1e-4


@contextmanager
def _on_one_thread() -> Iterator[None]:
    """Sums do not depend on the number of threads, nor does the caller's random state change."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            yield
    finally:
        torch.set_num_threads(before)


def fit_head(
    evidence: NDArray[np.float32],
    is_minor: NDArray[np.bool_],
    weight: NDArray[np.float32] | None = None,
    *,
    start: HeadWeights | None = None,
    fit: Fit | None = None,
    on_step: Callable[[int, int], object] | None = None,
) -> HeadWeights:
    """Fit a head to (n, E) evidence and (n,) truth by binary cross-entropy, n from 1.

    With ``weight`` (n,), a row counts for so many, up to a common factor. Weights begin as those of
    ``start``, where it is given. ``on_step`` is called with the steps done and their number.
    """
    fit = fit or Fit()
    rows, truth = torch.from_numpy(evidence), torch.from_numpy(is_minor).float()
    weights = torch.ones(len(truth)) if weight is None else torch.from_numpy(weight / weight.mean())
    with _on_one_thread():
        head = Head(rows.shape[1]) if start is None else Head.of(start)
        if start is None:
            head.standardise(rows)
        optimizer = torch.optim.AdamW(
            head.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay
        )
        size = min(fit.batch_size, len(rows))
        order, at = torch.randperm(len(rows)), 0
        for step in range(fit.steps):
            for group in optimizer.param_groups:
                share = step / fit.steps
                group["lr"] = fit.learning_rate * (1 + math.cos(math.pi * share)) / 2
            if at + size > len(rows):
                order, at = torch.randperm(len(rows)), 0
            batch = order[at : at + size]
            at += size
            optimizer.zero_grad()
            loss = binary_cross_entropy_with_logits(
                head(rows.index_select(0, batch)), truth[batch], weight=weights[batch]
            )
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if on_step is not None:
                on_step(step + 1, fit.steps)
    return head.to_weights()
