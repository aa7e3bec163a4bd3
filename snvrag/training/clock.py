"""How long an epoch takes, over interruptions."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass


@dataclass
class EpochClock:
    """Seconds of an epoch so far.

    Attributes
    ----------
    seconds
        All of them.
    train_seconds
        Of these, in training.
    waited_seconds
        Of these, waiting for data.
    """

    seconds: float = 0.0
    train_seconds: float = 0.0
    waited_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._ticked_at = time.perf_counter()

    def tick(self, *, training: bool, waited: float = 0.0) -> None:
        """Add what went by since the last tick."""
        now = time.perf_counter()
        self.seconds += now - self._ticked_at
        if training:
            self.train_seconds += now - self._ticked_at
            self.waited_seconds += waited
        self._ticked_at = now

    @property
    def data_share(self) -> float:
        """Share of the training time spent waiting for data."""
        return self.waited_seconds / max(self.train_seconds, 1e-9)

    def state(self) -> dict[str, float]:
        """Return the seconds for a checkpoint."""
        return asdict(self)
