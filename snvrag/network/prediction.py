"""What a network predicts."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """Logits: softmax is taken once, by whoever needs probabilities.

    (B, 2, L, 2) float32 of REF and ALT, and (B, L, 3) float32 of 0, 1 and 2 ALT alleles; None of a
    network whose haplotypes are independent.
    """

    haplotypes: Tensor
    genotypes: Tensor | None = None

    @property
    def hap_dosage(self) -> Tensor:
        """(B, 2, L) float32: probability of ALT."""
        return self.haplotypes.float().softmax(-1)[..., 1]
