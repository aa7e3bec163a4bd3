"""Genetic maps: centimorgans along a chromosome."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEFAULT_CM_PER_MB = 1.0


@dataclass(frozen=True)
class GeneticMap:
    """Genetic positions along one chromosome.

    Attributes
    ----------
    position : (n,) int64
        In bp, ascending.
    cm : (n,) float64
        In centimorgans, ascending.
    """

    position: NDArray[np.int64]
    cm: NDArray[np.float64]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the map, in hex."""
        return hashlib.sha256(self.position.tobytes() + self.cm.tobytes()).hexdigest()

    def at(self, position: NDArray[np.int64]) -> NDArray[np.float64]:
        """Interpolate the genetic positions of sites; past the ends of the map at 1 cM/Mb."""
        inside = np.interp(position, self.position, self.cm)
        beyond = np.minimum(position - self.position[0], 0) + np.maximum(
            position - self.position[-1], 0
        )
        cm: NDArray[np.float64] = inside + beyond * (DEFAULT_CM_PER_MB * 1e-6)
        return cm
