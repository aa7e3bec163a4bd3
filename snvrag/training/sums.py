"""What an epoch adds up: loss, scored sites and the counts of the metrics."""

from __future__ import annotations

import torch
from torch import Tensor

from ..batches.batch import Batch
from ..network.transformer import Prediction
from .distributed import Ranks
from .metrics import Metrics

_LOSS_UNITS = 2.0**20


class EpochSums:
    """Sums over batches, kept on the device; reading them waits for the device.

    They are exact whatever the order, so every division over batches and ranks gives the same: a
    batch's loss is rounded to a multiple of 2^-20, which float64 adds exactly up to 2^33.

    Attributes
    ----------
    loss : () float64
        Sum of `imputation_loss`.
    num_scored : () float64
        Scored sites, over all samples.
    metrics : Metrics
    """

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.num_scored = torch.zeros_like(self.loss)
        self.metrics = Metrics(device)

    @torch.no_grad()
    def add_batch(self, loss: Tensor, prediction: Prediction, batch: Batch) -> None:
        """Add a batch whose loss is a sum over its scored sites."""
        rows = batch.window_row
        self.loss += (loss.double() * _LOSS_UNITS).round() / _LOSS_UNITS
        self.num_scored += batch.scored.sum()
        self.metrics.update(
            prediction.hap_dosage, batch.alleles, batch.scored, batch.panel_af[rows]
        )

    def add(self, other: EpochSums, bad: Tensor) -> None:
        """Add other sums; where ``bad``, a scalar on the device, is not 0, add nothing."""
        for mine, theirs in zip(self._tensors().values(), other._tensors().values(), strict=True):
            mine += torch.where(bad == 0, theirs, 0)

    def over(self, ranks: Ranks) -> EpochSums:
        """Return the sums over all ranks, which must call this together."""
        total = EpochSums(self.loss.device)
        total.restore(self._tensors())
        ranks.add_up(*total._tensors().values())
        return total

    @property
    def mean_loss(self) -> float:
        """Loss of a scored site; 0 where there was none. Waits for the device."""
        return float(self.loss / self.num_scored.clamp_min(1))

    def state(self) -> dict[str, Tensor]:
        """Return the sums for a checkpoint, on the CPU."""
        return {name: tensor.cpu().clone() for name, tensor in self._tensors().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the sums of a checkpoint."""
        for name, tensor in self._tensors().items():
            tensor.copy_(state[name])

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "loss": self.loss,
            "num_scored": self.num_scored,
            "metrics": self.metrics.sums,
        }
