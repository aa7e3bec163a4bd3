"""One optimizer step: the gradient of a group of batches, and the step along it."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from .config import Config
from .feed import Group
from .loss import imputation_loss
from .sums import EpochSums


def add_gradients(
    network: nn.Module,
    group: Group,
    num_scored: int,
    *,
    gamma: float,
    device: torch.device,
    autocast: AbstractContextManager[Any],
    sums: EpochSums,
) -> None:
    """Add the gradient of a group's mean loss to the parameters'.

    The sum of the losses is divided by the scored sites of the whole group, so the gradient is the
    same however the group is cut into batches, and over processes.

    Parameters
    ----------
    network : ImputationNetwork
    group : list of (Batch, Neighbours)
        Moved to ``device`` one after the other: only one batch is there at a time.
    num_scored : int
        Scored sites of the group, wherever its batches are computed; 0 gives no gradient.
    gamma : float
        Of the focal loss.
    device : torch.device
    autocast : context manager
        Entered for each forward pass.
    sums : EpochSums
        To which losses and counts are added.
    """
    for batch, neighbours in group:
        batch = batch.to(device)
        with autocast:
            prediction = network(batch, neighbours.to(device))
            loss = imputation_loss(prediction, batch, gamma)
        torch.autograd.backward(loss / max(1, num_scored))
        sums.add_batch(loss.detach(), prediction, batch)


def optimizer_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, *, rate: float, clip: float
) -> Tensor:
    """Clip the gradient and step along it; return its norm before clipping, on the device."""
    for parameters in optimizer.param_groups:
        parameters["lr"] = rate
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def learning_rate(config: Config, step: int, steps_an_epoch: int) -> float:
    """Return the rate of a step, a pure function of its number: warm-up, then a cosine."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    progress = min(1.0, step / (config.epochs * steps_an_epoch))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    decay = config.final_rate + (1 - config.final_rate) * cosine
    return config.learning_rate * warmup * decay
