"""The head: the expert's answer at first, then the function that the compiled kernel evaluates."""

from __future__ import annotations

import numpy as np
import torch

from snvrag.kernels import head_log_odds
from snvrag.network.head import Head


def trained_head(num_evidence: int = 5) -> Head:
    """Return a head whose every weight is drawn."""
    torch.manual_seed(1)
    head = Head(num_evidence, 20)
    head.standardise(torch.randn(50, num_evidence) * 3 + 1)
    for weight in head.parameters():
        torch.nn.init.normal_(weight)
    return head


def test_an_untrained_head_is_the_expert():
    evidence = torch.randn(3, 7, 5)
    assert torch.equal(Head(5)(evidence), evidence[..., 0])


def test_the_kernel_and_a_head_of_its_weights_compute_the_same():
    head, evidence = trained_head(), 20 * torch.randn(2, 9, 5)
    with torch.no_grad():
        expected = head(evidence)
        weights = head.to_weights()
        assert torch.equal(Head.of(weights)(evidence), expected)
    got = head_log_odds(evidence.numpy(), weights)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-5, atol=1e-4)


def test_evidence_is_standardised_and_what_hardly_varies_is_only_centred():
    rows = torch.stack([torch.tensor([1.0, 3.0] * 4), torch.full((8,), 7.0)], 1)
    head = Head(2)
    head.standardise(rows.reshape(2, 4, 2))
    assert head.mean.tolist() == [2, 7]
    assert head.scale.tolist() == [1, 1]
    head.standardise(10 * rows)
    assert head.scale.tolist() == [10, 1]
