"""When to stop, and which epoch is the best."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Stops when F1 has not gained for some epochs.

    Attributes
    ----------
    patience, min_gain
        Epochs in a row without a gain of more than ``min_gain`` over ``reference_f1``.
    best_f1, best_epoch
        The highest F1, by however little.
    """

    patience: int
    min_gain: float
    best_f1: float = float("-inf")
    best_epoch: int = -1
    reference_f1: float = float("-inf")
    bad_epochs: int = 0

    def update(self, epoch: int, f1: float) -> bool:
        """Take an epoch's F1; return whether it is the best so far."""
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
        """Whether patience is at its end."""
        return 0 < self.patience <= self.bad_epochs
