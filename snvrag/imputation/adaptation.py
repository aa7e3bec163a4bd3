"""Stub until the real one is merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Adapted:
    chrom: str
    position: NDArray[np.int64]
    alleles: NDArray[np.str_]
    cumulative_rho: NDArray[np.float64]
    mismatch: float
    head: Any
    provenance: dict[str, str]
