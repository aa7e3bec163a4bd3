"""Accuracy on hidden sites: counts that add up exactly over batches and processes."""

from __future__ import annotations

import torch
from torch import Tensor

STRATA = ("overall", "rare", "common", "rare_alt")
RARE = 0.05


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
        rare = torch.minimum(af, 1 - af) < RARE
        strata = torch.stack([scored, scored & rare, scored & ~rare, scored & (af < RARE)])
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
        results: dict[str, float] = {}
        for stratum, counts, moments in zip(
            STRATA, self.counts.tolist(), self.moments.tolist(), strict=True
        ):
            hit, false, missed = counts
            n, x, y, xx, yy, xy = moments
            results[f"recall_{stratum}"] = _ratio(hit, hit + missed)
            results[f"precision_{stratum}"] = _ratio(hit, hit + false)
            results[f"f1_{stratum}"] = _ratio(2 * hit, 2 * hit + false + missed)
            results[f"r2_{stratum}"] = _squared_correlation(n, x, y, xx, yy, xy)
        return results


def _squared_correlation(n: float, x: float, y: float, xx: float, yy: float, xy: float) -> float:
    """R2 from sums; NaN for a variance that is rounding error alone."""
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    if spread_x <= 1e-12 * n * xx or spread_y <= 1e-12 * n * yy:
        return float("nan")
    return (n * xy - x * y) ** 2 / (spread_x * spread_y)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("nan")
