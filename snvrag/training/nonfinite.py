"""A guard against losses that are not finite, which does not wait for the device at every step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class StepState(NamedTuple):
    """The steps, and batches of the epoch, done before a step; tensors stay if it is bad."""

    step: int
    num_batches_done: int
    random_state: dict[str, Tensor]


class NonFiniteGuard:
    """Records whether the losses and the gradient of each step were finite, until it is read.

    ``bad``, a scalar on the device, is 1 from the first bad step on, else 0. It makes the optimizer
    skip that step and all that follow, so the state stays that before the bad step.
    """

    def __init__(self, device: torch.device) -> None:
        self.bad = torch.zeros((), device=device)
        self._unread: list[tuple[StepState, Tensor]] = []

    def record(self, before: StepState, losses: Tensor, norm: Tensor) -> None:
        """Record a step by its losses, one per batch, and the norm of its gradient."""
        finite = torch.isfinite(torch.cat([losses, norm.to(losses)[None]]))
        self.bad = torch.maximum(self.bad, 1 - finite.all().to(self.bad))
        self._unread.append((before, finite))

    def first_bad(self) -> tuple[StepState, int] | None:
        """Wait for the device; return the first bad step and the index of its first bad batch.

        If only the gradient is not finite, the batch is the step's first.
        """
        unread, self._unread = self._unread, []
        if not self.bad:
            return None
        for before, finite in unread:
            values = finite.tolist()
            if not all(values):
                first = values.index(False)
                return before, first if first < len(values) - 1 else 0
        raise AssertionError("the bad step was returned before")
