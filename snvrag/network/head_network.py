"""The head as a network to train: with the rates that its evidence is made with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..batches.batch import EvidenceBatch
from ..kernels import Rates
from .head import Head
from .loss import haplotype_loss
from .prediction import HaplotypePrediction


class HeadNetwork(nn.Module):
    """Predicts hidden alleles from the evidence of the Li-Stephens model.

    The rates of the model over the panel's sites, and what standardises the evidence, are buffers:
    they are saved with the weights. Untrained, it predicts what the model does.
    """

    loss = staticmethod(haplotype_loss)
    cumulative_rho: Tensor
    mismatch: Tensor

    def __init__(self, head: Head, rates: Rates) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("cumulative_rho", torch.from_numpy(rates.cumulative_rho.copy()))
        self.register_buffer("mismatch", torch.tensor(rates.mismatch, dtype=torch.float64))

    def forward(self, batch: EvidenceBatch) -> HaplotypePrediction:
        """Predict the sites of a batch."""
        minor = self.head(batch.evidence).float()
        return HaplotypePrediction(torch.where(batch.alt_is_minor, minor, -minor))

    @property
    def rates(self) -> Rates:
        """The rates of the Li-Stephens model."""
        return Rates(self.cumulative_rho.cpu().numpy(), float(self.mismatch), np.zeros(0))

    def set_rates(self, rates: Rates) -> None:
        """Replace the rates."""
        self.cumulative_rho.copy_(torch.from_numpy(rates.cumulative_rho))
        self.mismatch.fill_(rates.mismatch)
