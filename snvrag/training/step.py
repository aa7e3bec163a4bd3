"""One optimizer step: the gradient of a group of batches, and the step along it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ..batches.batch import Batch, Neighbours
from ..network.loss import imputation_loss
from .loader import Group
from .options import Config
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
    parts: int = 1,
) -> list[Tensor]:
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
    parts : int
        MicroBatches that each batch is computed in, to need less memory.

    Returns
    -------
    list of () float32
        Sum of the losses of each batch, on the device.
    """
    losses = []
    for whole_batch, all_neighbours in group:
        total = torch.zeros((), device=device)
        for batch, neighbours in pieces(whole_batch, all_neighbours, parts):
            batch = batch.to(device)
            with autocast:
                prediction = network(batch, neighbours.to(device))
                loss = imputation_loss(prediction, batch, gamma)
            torch.autograd.backward(loss / max(1, num_scored))
            total += loss.detach()
            sums.add_batch(loss.detach(), prediction, batch)
        losses.append(total)
    return losses


def pieces(batch: Batch, neighbours: Neighbours, parts: int) -> Iterator[tuple[Batch, Neighbours]]:
    """Yield a batch in about ``parts`` pieces of equal size, of one sample at the least.

    A batch of no samples has no piece.
    """
    if batch.num_samples and parts == 1:
        yield batch, neighbours
        return
    size = max(1, -(-batch.num_samples // parts))
    for start in range(0, batch.num_samples, size):
        yield batch.rows(start, start + size), neighbours.rows(start, start + size)


def optimizer_step(optimizer: torch.optim.Optimizer, rate: float, bad: Tensor | None) -> None:
    """Step along the gradient and clear it.

    Parameters
    ----------
    optimizer : Optimizer
        With a fused implementation where ``bad`` is given.
    rate : float
        The learning rate.
    bad : () float32, optional
        On the device: where it is 1, parameters and moments stay as they are. The device decides,
        and nobody waits for it.
    """
    for parameters in optimizer.param_groups:
        parameters["lr"] = rate
    if bad is not None:  # as torch's gradient scaler tells its fused optimizers
        optimizer.grad_scale, optimizer.found_inf = None, bad  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def learning_rate(config: Config, step: int, steps_an_epoch: int) -> float:
    """Return the rate of a step, a pure function of its number: warm-up, then a cosine."""
    warmup = min(1.0, (step + 1) / max(1, config.training.warmup_steps))
    progress = min(1.0, step / (config.training.epochs * steps_an_epoch))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    decay = config.training.final_rate + (1 - config.training.final_rate) * cosine
    return config.training.learning_rate * warmup * decay
