"""Accuracy on hidden sites: counts that add up exactly over batches and processes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..evaluation.measures import accuracy_measures
from ..evaluation.strata import RARE_MAF, STRATA, strata_members

_DOSAGE_UNITS = 4096


class Metrics:
    """Recall, precision and F1 of the ALT allele, and R2 of the minor-allele dosage, by stratum.

    Strata (`strata_members`) are those of the frequency in the reference panel. R2 is the squared
    correlation of a sample's true and predicted dosage of the minor allele, pooled over sites and
    samples; where AF is 0.5, ALT is taken for the minor one.

    Sums are integers of 64 bits, kept on the device and only read by `compute`: they are exact, so
    batches and processes add up to the same metrics in any order and any division. For that a
    sample's dosage is rounded to a multiple of 1 / 4096, finer than the three decimals of a DS
    field. A batch holds at most 2^27 genotypes, all batches together 2^37.

    Attributes
    ----------
    sums : (strata, 9) int64
        ALT alleles called rightly, called wrongly and missed; then, with the predicted dosage y in
        units of 1 / 4096, n and the sums of x, y, x^2, y^2 and xy.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(len(STRATA), 9, dtype=torch.int64, device=device)

    @torch.no_grad()
    def update(self, hap_dosage: Tensor, alleles: Tensor, scored: Tensor, af: Tensor) -> None:
        """Add a batch: (B, 2, L) probabilities of ALT and alleles, (B, L) the others."""
        alt_is_major = af > 0.5
        members = strata_members(torch.minimum(af, 1 - af) < RARE_MAF, alt_is_major)
        strata = torch.stack([scored & member for member in members])
        truth, call = alleles == 1, hap_dosage > 0.5
        hits, true, called = (alt.sum(1) for alt in (truth & call, truth, call))
        y = (hap_dosage.sum(1) * _DOSAGE_UNITS).round().to(torch.int64)
        x = torch.where(alt_is_major, 2 - true, true)
        y = torch.where(alt_is_major, 2 * _DOSAGE_UNITS - y, y)
        counts = (hits, called - hits, true - hits)
        terms = torch.stack([*counts, torch.ones_like(x), x, y, x * x, y * y, x * y])
        # No device multiplies matrices of integers; these are exact in float64.
        sums = strata.flatten(1).double() @ terms.flatten(1).double().T
        self.sums += sums.to(torch.int64)

    def compute(self) -> dict[str, float]:
        """Return ``<metric>_<stratum>`` for recall, precision, f1 and r2; NaN where undefined."""
        sums = self.sums.cpu().numpy()
        units = np.array([1, 1, _DOSAGE_UNITS, 1, _DOSAGE_UNITS**2, _DOSAGE_UNITS])
        values = accuracy_measures(sums[:, :3].T, (sums[:, 3:] / units).T)
        return {
            f"{name}_{stratum}": float(values[name][i])
            for i, stratum in enumerate(STRATA)
            for name in values
        }
