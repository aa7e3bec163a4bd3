"""Focal loss of haplotypes and genotypes on hidden sites."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..batches.batch import Batch, EvidenceBatch
from .prediction import Prediction

HAPLOTYPE_WEIGHT = 3.0
GENOTYPE_WEIGHT = 4.0


def focal_loss(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Return -(1 - p)^gamma log p of the true class from (..., C) logits, one value each.

    0 gives cross-entropy. Lin et al., "Focal loss for dense object detection", ICCV 2017.
    """
    log_p = F.log_softmax(logits.float(), -1).gather(-1, target[..., None])[..., 0]
    if gamma == 0:
        return -log_p
    # The floor keeps the power's gradient finite where p is 1.
    return -((-torch.expm1(log_p)).clamp_min(1e-7) ** gamma) * log_p


def imputation_loss(prediction: Prediction, batch: Batch | EvidenceBatch, gamma: float) -> Tensor:
    """Return the sum over scored sites of the loss of both haplotypes and of the genotype.

    They count 3 + 3 parts and 4; without logits of genotypes, that of the haplotypes counts once. A
    sum, not a mean, so that losses of batches add up: whoever wants the mean divides by the sites
    of all of them (`num_scored`).
    """
    alleles = batch.alleles.long().clamp_max(1)
    total = focal_loss(prediction.haplotypes, alleles, gamma).sum(1)
    if prediction.genotypes is not None:
        genotypes = focal_loss(prediction.genotypes, alleles.sum(1), gamma)
        total = HAPLOTYPE_WEIGHT * total + GENOTYPE_WEIGHT * genotypes
    return (total * batch.scored).sum()
