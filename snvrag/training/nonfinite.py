"""Watches for a loss that is not finite, without waiting for the device at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepState:
    """The state before a step, as far as it is not in tensors that a bad step leaves alone.

    Attributes
    ----------
    step : int
        Optimizer steps taken.
    position : int
        Batches of the epoch done.
    random_state : dict of Tensor
    """

    step: int
    position: int
    random_state: dict[str, Any]


class NonFiniteGuard:
    """Remembers, since it was last read, whether each step's losses and gradient were finite.

    Attributes
    ----------
    bad : () float32
        1 from the first bad step on, else 0, on the device: what skips that step and all that
        follow, so that the state stays that of before.
    """

    def __init__(self, device: torch.device) -> None:
        self.bad = torch.zeros((), device=device)
        self._taken: list[tuple[StepState, Tensor]] = []

    def note(self, before: StepState, losses: Tensor, norm: Tensor) -> None:
        """Take a step's losses, one a batch, and the norm of its gradient."""
        finite = torch.isfinite(torch.cat([losses, norm.to(losses)[None]]))
        self.bad = torch.maximum(self.bad, 1 - finite.all().to(self.bad))
        self._taken.append((before, finite))

    def first_bad(self) -> tuple[StepState, int] | None:
        """Wait for the device; return the first bad step and which of its batches it was.

        The batch is the first whose loss is not finite; the first of all where only the gradient
        is not.
        """
        taken, self._taken = self._taken, []
        if not self.bad:
            return None
        for before, finite in taken:
            values = finite.tolist()
            if not all(values):
                first = values.index(False)
                return before, first if first < len(values) - 1 else 0
        raise AssertionError("a bad step was read before")
