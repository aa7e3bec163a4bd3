"""Accuracy on hidden sites: counts that add up exactly over batches and processes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..evaluation.accuracy import RARE_MAF, ratio, squared_correlation

STRATA = ("overall", "rare", "common", "rare_alt")
_DOSAGE_UNITS = 4096


class Metrics:
    """Recall, precision and F1 of the ALT allele, and R2 of the minor-allele dosage, by stratum.

    Strata by the frequency in the reference panel: ``overall``; ``rare``, MAF < 0.05; ``common``,
    the others; ``rare_alt``, AF < 0.05 (at sites with AF > 0.95 calling everything ALT already
    scores, so ``rare`` flatters). R2 is the squared correlation of a sample's true and predicted
    dosage of the minor allele, pooled over sites and samples.

    Sums are integers of 64 bits, kept on the device and only read by `compute`: they are exact, so
    batches and processes add up to the same metrics in any order and any division. For that a
    sample's dosage is rounded to a multiple of 1 / 4096, finer than the three decimals of a DS
    field. A batch holds at most 2^27 genotypes, all batches together 2^37.
    """

    def __init__(self, device: torch.device) -> None:
        # true positives, false positives, false negatives, and then, with y in units of 1 / 4096,
        # n, sum x, sum y, sum x^2, sum y^2, sum xy
        self.sums = torch.zeros(len(STRATA), 9, dtype=torch.int64, device=device)

    @property
    def counts(self) -> Tensor:
        """(strata, 3) int64: true positives, false positives and false negatives."""
        return self.sums[:, :3]

    @torch.no_grad()
    def update(self, hap_dosage: Tensor, alleles: Tensor, scored: Tensor, af: Tensor) -> None:
        """Add a batch.

        Parameters
        ----------
        hap_dosage : (B, 2, L) float
            Probability of ALT.
        alleles : (B, 2, L) uint8
        scored : (B, L) bool
        af : (B, L) float
        """
        rare = torch.minimum(af, 1 - af) < RARE_MAF
        strata = torch.stack([scored, scored & rare, scored & ~rare, scored & (af < RARE_MAF)])
        truth, call = alleles == 1, hap_dosage > 0.5
        hit, true, called = (alt.sum(1) for alt in (truth & call, truth, call))
        y = (hap_dosage.sum(1) * _DOSAGE_UNITS).round().to(torch.int64)
        major_is_alt = af > 0.5
        x = torch.where(major_is_alt, 2 - true, true)
        y = torch.where(major_is_alt, 2 * _DOSAGE_UNITS - y, y)
        terms = torch.stack(
            [hit, called - hit, true - hit, torch.ones_like(x), x, y, x * x, y * y, x * y]
        )
        # No device multiplies matrices of integers; these are exact in float64.
        sums = strata.flatten(1).double() @ terms.flatten(1).double().T
        self.sums += sums.to(torch.int64)

    def compute(self) -> dict[str, float]:
        """Return ``<metric>_<stratum>`` for recall, precision, f1 and r2; NaN where undefined."""
        sums = self.sums.cpu().numpy()
        hit, false, missed = sums[:, :3].T
        units = np.array([1, 1, _DOSAGE_UNITS, 1, _DOSAGE_UNITS**2, _DOSAGE_UNITS])
        values = {
            "recall": ratio(hit, hit + missed),
            "precision": ratio(hit, hit + false),
            "f1": ratio(2 * hit, 2 * hit + false + missed),
            "r2": squared_correlation(*(sums[:, 3:] / units).T),
        }
        return {
            f"{name}_{stratum}": float(values[name][i])
            for i, stratum in enumerate(STRATA)
            for name in values
        }
