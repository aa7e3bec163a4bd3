"""Masks: which sites of a window are hidden, a pure function of mask_seed and window."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..config.options import Options, option
from ..errors import InputError
from ..kernels import af_guided_mask, af_guided_masks
from ..kernels.masking import Generator
from ..panel.windows import Windows


@dataclass(frozen=True, kw_only=True)
class MaskConfig(Options):
    """How many sites of a window are hidden, as a pure function of the epoch."""

    title = "Masks"
    moved_from = "windows"

    mask_rates: tuple[float, ...] = option(
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        "probabilities of hiding a site: the curriculum, each for the same number of epochs, the "
        "last for all that follow",
        least=0,
        most=1,
    )
    epochs_per_rate: int = option(2, "epochs of training with each of the mask rates", least=1)
    val_rate: float = option(0.5, "probability of hiding a site in validation", least=0, most=1)
    rare_rate: float = option(
        0.7, "probability of hiding a rare site, in training and validation", least=0, most=1
    )
    rare_threshold: float = option(
        0.05, "ALT frequency below which a site is rare", least=0, most=1
    )
    mask_generator: Generator = option(
        "philox",
        "random numbers that masks are drawn from; mt19937 gives V18's own masks",
        v18="mt19937",
    )

    def validation(self) -> MaskConfig:
        """Return the masks of validation: one rate for every epoch."""
        return replace(self, mask_rates=(self.val_rate,), epochs_per_rate=1)

    def check_windows(self, num_windows: int) -> None:
        """Refuse more windows than V18's generator has keys for."""
        if self.mask_generator == "mt19937" and num_windows > 10_000:
            raise InputError(
                f"must be philox for more than 10000 windows, got mt19937 for {num_windows}",
                argument="mask_generator",
            )

    def rate(self, epoch: int) -> float:
        """Return the probability of hiding a site that is not rare."""
        return self.mask_rates[min(epoch // self.epochs_per_rate, len(self.mask_rates) - 1)]

    def expected_share(self, af: NDArray[np.float64], epoch: int) -> float:
        """Return the expected share of hidden sites, of frequencies ``af``."""
        return float(np.where(af < self.rare_threshold, self.rare_rate, self.rate(epoch)).mean())

    def mask(self, af: NDArray[np.float64], mask_seed: int, window: int) -> NDArray[np.bool_]:
        """Return the mask of one window, whose sites have the frequencies ``af``.

        Of frequencies on a device, it is made there.
        """
        return af_guided_mask(
            af,
            seed=mask_seed,
            window=window,
            rate=self.rate(mask_seed),
            rare_rate=self.rare_rate,
            rare_threshold=self.rare_threshold,
            generator=self.mask_generator,
        )

    def masks(self, af: NDArray[np.float64], windows: Windows, mask_seed: int) -> NDArray[np.bool_]:
        """Return the masks of all windows of a panel whose (S,) frequencies are ``af``."""
        return af_guided_masks(
            af,
            windows.starts,
            windows.stops,
            seed=mask_seed,
            rate=self.rate(mask_seed),
            rare_rate=self.rare_rate,
            rare_threshold=self.rare_threshold,
            generator=self.mask_generator,
        )
