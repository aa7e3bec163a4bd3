"""The head: evidence of the Li-Stephens model in, log-odds of the minor allele out."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..kernels import HeadWeights
from ..kernels.head import LIMIT
from .options import HIDDEN_UNITS


class Head(nn.Module):
    """A small network per site: the correction of the expert's log-odds by its evidence.

    One hidden layer of rectified units on standardised, clamped evidence. The output layer starts
    at 0, so that an untrained head gives the expert's own answer. `snvrag.kernels.head_log_odds`
    evaluates the same function without torch.

    Buffers ``mean`` and ``scale`` (E,) standardise the evidence; see `standardise`.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num_evidence: int, hidden: int = HIDDEN_UNITS) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_evidence))
        self.register_buffer("scale", torch.ones(num_evidence))
        self.hidden = nn.Linear(num_evidence, hidden)
        self.output = nn.Linear(self.hidden.out_features, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, evidence: Tensor) -> Tensor:
        """Return (...) log-odds of the minor allele for (..., E) evidence."""
        standardised = ((evidence - self.mean) / self.scale).clamp(-LIMIT, LIMIT)
        hidden = self.hidden(standardised).relu()
        return cast(Tensor, evidence[..., 0] + self.output(hidden).squeeze(-1))

    @torch.no_grad()
    def standardise(self, evidence: Tensor) -> None:
        """Take mean and scale from (..., E) evidence; a number that hardly varies keeps scale 1."""
        rows = evidence.reshape(-1, evidence.shape[-1]).double()
        if len(rows) == 0:
            return
        deviation = rows.std(0, correction=0)
        self.mean.copy_(rows.mean(0))
        self.scale.copy_(torch.where(deviation > 1e-3, deviation, 1.0))

    def to_weights(self) -> HeadWeights:
        """Return the weights as `snvrag.kernels.head_log_odds` takes them."""

        def array(tensor: Tensor) -> NDArray[np.float32]:
            return np.array(tensor.detach().cpu().numpy(), np.float32, order="C")

        return HeadWeights(
            mean=array(self.mean),
            scale=array(self.scale),
            hidden_weight=array(self.hidden.weight.T),
            hidden_bias=array(self.hidden.bias),
            output_weight=array(self.output.weight[0]),
            output_bias=float(self.output.bias.detach()),
        )

    @classmethod
    @torch.no_grad()
    def of(cls, weights: HeadWeights) -> Head:
        """Return the head that has these weights."""
        num_evidence, hidden = weights.hidden_weight.shape
        head = cls(num_evidence, hidden)
        head.mean.copy_(torch.from_numpy(weights.mean))
        head.scale.copy_(torch.from_numpy(weights.scale))
        head.hidden.weight.copy_(torch.from_numpy(weights.hidden_weight).T)
        head.hidden.bias.copy_(torch.from_numpy(weights.hidden_bias))
        head.output.weight.copy_(torch.from_numpy(weights.output_weight)[None])
        head.output.bias.fill_(weights.output_bias)
        return head
