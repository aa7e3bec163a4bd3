"""Accuracy on hidden sites: counts that add up exactly over batches and processes."""

from __future__ import annotations

import torch
from torch import Tensor

from .accuracy import RARE_MAF, ratio, squared_correlation

STRATA = ("overall", "rare", "common", "rare_alt")


class Metrics:
    """Recall, precision and F1 of the ALT allele, and R2 of the minor-allele dosage, by stratum.

    Strata by the frequency in the reference panel: ``overall``; ``rare``, MAF < 0.05; ``common``,
    the others; ``rare_alt``, AF < 0.05 (at sites with AF > 0.95 calling everything ALT already
    scores, so ``rare`` flatters). R2 is the squared correlation of a sample's true and predicted
    dosage of the minor allele, pooled over sites and samples.

    Sums are kept on the device in float64 and only read by `compute`.
    """

    def __init__(self, device: torch.device) -> None:
        # true positives, false positives, false negatives
        self.counts = torch.zeros(len(STRATA), 3, dtype=torch.float64, device=device)
        # n, sum x, sum y, sum x^2, sum y^2, sum xy
        self.moments = torch.zeros(len(STRATA), 6, dtype=torch.float64, device=device)

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
        strata = strata.to(torch.float64)
        truth, call = alleles == 1, hap_dosage > 0.5
        outcomes = torch.stack([truth & call, ~truth & call, truth & ~call]).sum(2)
        self.counts += torch.einsum("sbl,obl->so", strata, outcomes.to(torch.float64))
        x = truth.sum(1).to(torch.float64)
        y = hap_dosage.to(torch.float64).sum(1)
        major_is_alt = af > 0.5
        x, y = torch.where(major_is_alt, 2 - x, x), torch.where(major_is_alt, 2 - y, y)
        powers = torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y])
        self.moments += torch.einsum("sbl,mbl->sm", strata, powers)

    def compute(self) -> dict[str, float]:
        """Return ``<metric>_<stratum>`` for recall, precision, f1 and r2; NaN where undefined."""
        hit, false, missed = self.counts.cpu().numpy().T
        values = {
            "recall": ratio(hit, hit + missed),
            "precision": ratio(hit, hit + false),
            "f1": ratio(2 * hit, 2 * hit + false + missed),
            "r2": squared_correlation(*self.moments.cpu().numpy().T),
        }
        return {
            f"{name}_{stratum}": float(values[name][i])
            for i, stratum in enumerate(STRATA)
            for name in values
        }
