"""What is hidden: a pure function of epoch and window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels import af_guided_mask
from ..kernels.masking import Generator


@dataclass(frozen=True)
class MaskRule:
    """How many sites of a window are hidden, as a pure function of the epoch.

    Attributes
    ----------
    rates : tuple of float
        Probabilities of hiding a site; each holds for ``epochs_per_rate`` epochs, the last for all
        that follow.
    epochs_per_rate : int
    rare_rate, rare_threshold, generator
        As in `snvrag.kernels.af_guided_mask`.
    """

    rates: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    epochs_per_rate: int = 2
    rare_rate: float = 0.7
    rare_threshold: float = 0.05
    generator: Generator = "philox"

    def rate(self, epoch: int) -> float:
        """Return the probability of hiding a site that is not rare."""
        return self.rates[min(epoch // self.epochs_per_rate, len(self.rates) - 1)]

    def mask(self, af: NDArray[np.float64], epoch: int, window: int) -> NDArray[np.bool_]:
        """Return the mask of one window, whose sites have the frequencies ``af``."""
        return af_guided_mask(
            af,
            seed=epoch,
            window=window,
            rate=self.rate(epoch),
            rare_rate=self.rare_rate,
            rare_threshold=self.rare_threshold,
            generator=self.generator,
        )
