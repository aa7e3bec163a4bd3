"""Early stopping, and which epoch is the best."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Stops training when F1 has not gained for ``patience`` epochs; 0: never.

    A gain is an F1 of more than ``reference_f1 + min_gain``; the former is that of the last epoch
    that gained, ``bad_epochs`` ago. ``best_f1`` and ``best_epoch`` (-1 at first) are of the highest
    F1, by whatever margin.
    """

    patience: int
    min_gain: float
    best_f1: float = float("-inf")
    best_epoch: int = -1
    reference_f1: float = float("-inf")
    bad_epochs: int = 0

    def update(self, epoch: int, f1: float) -> bool:
        """Record an epoch's F1; return whether it is the best so far."""
        if f1 > self.reference_f1 + self.min_gain:
            self.reference_f1, self.bad_epochs = f1, 0
        else:
            self.bad_epochs += 1
        is_best = self.best_epoch < 0 or f1 > self.best_f1
        if is_best:
            self.best_f1, self.best_epoch = f1, epoch
        return is_best

    @property
    def should_stop(self) -> bool:
        """Whether training should stop."""
        return 0 < self.patience <= self.bad_epochs

    def __str__(self) -> str:
        return (
            f"F1 gained no more than {self.min_gain} in {self.bad_epochs} epochs "
            f"(best: epoch {self.best_epoch + 1}, {self.best_f1:.4f})"
        )
