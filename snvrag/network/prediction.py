"""What networks predict: logits, as the probabilities are taken once, by whoever needs them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """The prediction of a transformer.

    (B, 2, L, 2) float32 logits of REF and ALT, and (B, L, 3) float32 of 0, 1 and 2 ALT alleles.
    """

    haplotypes: Tensor
    genotypes: Tensor

    @property
    def hap_dosage(self) -> Tensor:
        """(B, 2, L) float32: probability of ALT."""
        return self.haplotypes.float().softmax(-1)[..., 1]


class HaplotypePrediction(NamedTuple):
    """The prediction of a head, for which a sample's haplotypes are independent.

    (B, 2, N) float32 log-odds of ALT.
    """

    alt_log_odds: Tensor

    @property
    def hap_dosage(self) -> Tensor:
        """(B, 2, N) float32: probability of ALT."""
        return self.alt_log_odds.sigmoid()
