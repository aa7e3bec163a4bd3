"""What is hidden: a pure function of epoch and window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .kernels import af_guided_mask
from .kernels.masking import Generator
from .windows import Windows


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
    chip_share : float
        Share of the windows whose mask is not AF-guided but like that of a genotyping chip: of the
        sites that are not rare (MAF at or above ``rare_threshold``) some are observed, all others
        are hidden. A target to impute looks so.
    chip_density : (float, float)
        Lowest and highest share of all sites that such a chip observes; in between, the logarithm
        is uniform.
    """

    rates: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    epochs_per_rate: int = 2
    rare_rate: float = 0.7
    rare_threshold: float = 0.05
    generator: Generator = "philox"
    chip_share: float = 0.0
    chip_density: tuple[float, float] = (0.02, 0.3)

    def rate(self, epoch: int) -> float:
        """Return the probability of hiding a site that is not rare."""
        return self.rates[min(epoch // self.epochs_per_rate, len(self.rates) - 1)]

    def mask(self, af: NDArray[np.float64], epoch: int, window: int) -> NDArray[np.bool_]:
        """Return the mask of one window, whose sites have the frequencies ``af``."""
        chip = self._chip_mask(af, epoch, window) if self.chip_share > 0 else None
        if chip is not None:
            return chip
        return af_guided_mask(
            af,
            seed=epoch,
            window=window,
            rate=self.rate(epoch),
            rare_rate=self.rare_rate,
            rare_threshold=self.rare_threshold,
            generator=self.generator,
        )

    def chip_masks(
        self, af: NDArray[np.float64], windows: Windows, epoch: int
    ) -> list[NDArray[np.bool_]]:
        """Return the masks of the windows of an epoch that are read as from a chip."""
        if self.chip_share == 0:
            return []
        ranges = zip(windows.starts.tolist(), windows.stops.tolist(), strict=True)
        masks = (self._chip_mask(af[a:b], epoch, w) for w, (a, b) in enumerate(ranges))
        return [mask for mask in masks if mask is not None]

    def _chip_mask(
        self, af: NDArray[np.float64], epoch: int, window: int
    ) -> NDArray[np.bool_] | None:
        """Return a chip's mask, or None where the window is not read from one."""
        # As for the AF-guided masks, from whose streams the highest bit keeps this one apart.
        key = epoch * 10_000 + window + (window // 10_000 << 64) + (1 << 127)
        random = np.random.Generator(np.random.Philox(key=key))
        is_chip, density = random.random(2)
        if is_chip >= self.chip_share:
            return None
        lowest, highest = np.log(self.chip_density)
        num_observed = np.exp(lowest + density * (highest - lowest)) * af.size
        common = np.minimum(af, 1 - af) >= self.rare_threshold
        if not common.any():
            common[:] = True
        observed: NDArray[np.bool_] = common & (
            random.random(af.size) < num_observed / common.sum()
        )
        return ~observed
