"""Focal loss of haplotypes and genotypes on hidden sites."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..batches.batch import Batch, EvidenceBatch
from .prediction import HaplotypePrediction, Prediction

HAPLOTYPE_WEIGHT = 3.0
GENOTYPE_WEIGHT = 4.0


def focal_loss(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Return -(1 - p)^gamma log p of the true class from (..., C) logits, one value each.

    0 gives cross-entropy. Lin et al., "Focal loss for dense object detection", ICCV 2017.
    """
    return _focal(F.log_softmax(logits.float(), -1).gather(-1, target[..., None])[..., 0], gamma)


def binary_focal_loss(log_odds: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Return `focal_loss` of two classes from (...) log-odds of the second one."""
    return _focal(F.logsigmoid(torch.where(target == 1, log_odds, -log_odds)), gamma)


def _focal(log_p: Tensor, gamma: float) -> Tensor:
    if gamma == 0:
        return -log_p
    # The floor keeps the power's gradient finite where p is 1.
    return -((-torch.expm1(log_p)).clamp_min(1e-7) ** gamma) * log_p


def imputation_loss(prediction: Prediction, batch: Batch, gamma: float) -> Tensor:
    """Return the sum over scored sites of 3 + 3 parts of haplotype loss and 4 of genotype loss.

    A sum, not a mean, so that losses of batches add up: whoever wants the mean divides by the sites
    of all of them (`Batch.num_scored`).
    """
    alleles = batch.alleles.long().clamp_max(1)
    haplotypes = focal_loss(prediction.haplotypes, alleles, gamma).sum(1)
    genotypes = focal_loss(prediction.genotypes, alleles.sum(1), gamma)
    total = HAPLOTYPE_WEIGHT * haplotypes + GENOTYPE_WEIGHT * genotypes
    return (total * batch.scored).sum()


def haplotype_loss(prediction: HaplotypePrediction, batch: EvidenceBatch, gamma: float) -> Tensor:
    """Return the sum over scored sites of the loss of both haplotypes."""
    of_alleles = binary_focal_loss(prediction.alt_log_odds, batch.alleles, gamma)
    return (of_alleles.sum(1) * batch.scored).sum()
