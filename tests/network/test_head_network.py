"""The head as a network to train: the minor allele becomes ALT, and rates are saved with it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snvrag.kernels import EVIDENCE, Rates
from snvrag.network.head import Head
from snvrag.network.head_network import HeadNetwork

RATES = Rates(np.array([0.0, 0.1, 0.4]), 0.02, np.zeros(0))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return HeadNetwork(Head(len(EVIDENCE), 8), RATES)


def batch_of(alt_is_minor):
    evidence = torch.randn(2, 2, 3, len(EVIDENCE), generator=torch.Generator().manual_seed(1))
    return SimpleNamespace(evidence=evidence, alt_is_minor=torch.tensor(alt_is_minor))


def test_untrained_it_is_the_model(network):
    batch = batch_of([True, True, True])
    dosage = network(batch).hap_dosage
    torch.testing.assert_close(dosage, batch.evidence[..., 0].sigmoid())


def test_ref_and_alt_are_treated_alike(network):
    """Where REF is the minor allele, the same evidence says the same of REF."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    alt, ref, mixed = (
        network(batch_of(minor)).hap_dosage
        for minor in ([True] * 3, [False] * 3, [True, False, True])
    )
    torch.testing.assert_close(alt, 1 - ref)
    torch.testing.assert_close(mixed, torch.stack([alt[..., 0], ref[..., 1], alt[..., 2]], -1))


def test_rates_are_saved_and_no_parameters(network):
    other = HeadNetwork(Head(len(EVIDENCE), 8), RATES)
    network.set_rates(Rates(np.array([0.0, 0.2, 0.25]), 0.3, np.zeros(0)))
    other.load_state_dict(network.state_dict())
    rates = other.rates
    np.testing.assert_array_equal(rates.cumulative_rho, [0.0, 0.2, 0.25])
    assert rates.mismatch == 0.3
    assert rates.cumulative_rho.dtype == np.float64
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"head"}
    np.testing.assert_array_equal(RATES.cumulative_rho, [0.0, 0.1, 0.4])
