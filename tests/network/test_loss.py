"""Focal loss against its formula, and what the loss of a batch counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snvrag.network.loss import (
    binary_focal_loss,
    focal_loss,
    haplotype_loss,
    imputation_loss,
)
from snvrag.network.prediction import HaplotypePrediction, Prediction


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_the_formula(gamma):
    """Which is cross-entropy where gamma is 0."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 5, 3, generator=generator) * 4
    target = torch.randint(3, (7, 5), generator=generator)
    p = np.exp(logits.double().numpy())
    p = np.take_along_axis(p / p.sum(-1, keepdims=True), target.numpy()[..., None], -1)[..., 0]
    expected = -((1 - p) ** gamma) * np.log(p)
    np.testing.assert_allclose(focal_loss(logits, target, gamma), expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_of_two_classes(gamma):
    log_odds = torch.linspace(-30, 30, 21)
    logits = torch.stack([torch.zeros(21), log_odds], -1)
    for allele in (0, 1):
        target = torch.full((21,), allele, dtype=torch.uint8)
        expected = focal_loss(logits, target.long(), gamma)
        torch.testing.assert_close(binary_focal_loss(log_odds, target, gamma), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("sure", [0.0, 1.0, 20.0, 100.0, 1e4])
def test_gradients_are_finite_where_p_is_1_or_0(gamma, sure):
    logits = torch.tensor([[sure, -sure], [-sure, sure]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0]), gamma)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert (loss >= 0).all()
    assert torch.isfinite(logits.grad).all()


def test_half_precision_logits_are_taken_in_single():
    logits = torch.tensor([[12.0, -12.0]], dtype=torch.bfloat16)
    loss = focal_loss(logits, torch.tensor([0]), 0.0)
    assert loss.dtype == torch.float32
    np.testing.assert_allclose(loss, np.log1p(np.exp(-24.0)), rtol=1e-2, atol=1e-9)


@pytest.fixture(scope="module")
def batch():
    """Three samples over two windows of 6 sites, the second with two sites of padding."""
    alleles = torch.randint(2, (3, 2, 6), generator=torch.Generator().manual_seed(2)).byte()
    alleles[1:, :, 4:] = 3
    scored = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0]]).bool()
    return SimpleNamespace(alleles=alleles, scored=scored)


def prediction(seed: int = 3) -> Prediction:
    generator = torch.Generator().manual_seed(seed)
    return Prediction(
        torch.randn(3, 2, 6, 2, generator=generator), torch.randn(3, 6, 3, generator=generator)
    )


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_loss_of_a_batch(batch, gamma):
    """3 for each haplotype, 4 for the genotype; the sum over scored sites of samples."""
    made = prediction()
    total, count = 0.0, 0
    for b in range(3):
        for j in range(6):
            if not batch.scored[b, j]:
                continue
            count += 1
            pair = batch.alleles[b, :, j].long()
            for copy in range(2):
                total += 3 * float(focal_loss(made.haplotypes[b, copy, j], pair[copy], gamma))
            total += 4 * float(focal_loss(made.genotypes[b, j], pair.sum(), gamma))
    assert count == 4 + 2 + 2
    np.testing.assert_allclose(imputation_loss(made, batch, gamma), total, rtol=1e-5)


def test_only_scored_sites_have_gradient(batch):
    for scored in (batch.scored, torch.zeros_like(batch.scored)):
        made = Prediction(*(part.requires_grad_() for part in prediction()))
        loss = imputation_loss(made, SimpleNamespace(alleles=batch.alleles, scored=scored), 2.0)
        loss.backward()
        assert (float(loss.detach()) == 0) == (not scored.any())
        assert not made.haplotypes.grad.transpose(1, 2)[~scored].any()
        assert not made.genotypes.grad[~scored].any()
        assert made.genotypes.grad[scored].any(-1).all()


def test_loss_of_haplotypes(batch):
    """Each counts once, at scored sites alone."""
    log_odds = torch.randn(3, 2, 6, requires_grad=True)
    loss = haplotype_loss(HaplotypePrediction(log_odds), batch, 2.0)
    alleles = batch.alleles.clamp_max(1)
    each = binary_focal_loss(log_odds.detach(), alleles, 2.0)
    expected = sum(each[b, :, j].sum() for b, j in batch.scored.nonzero().tolist())
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()
    assert torch.equal(log_odds.grad.any(1), batch.scored)
