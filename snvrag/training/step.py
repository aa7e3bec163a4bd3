"""One optimizer step: gradients of a group of batches, split to fit the device, and the update."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ..batches.batch import Batch, EvidenceBatch
from ..errors import InputError
from ..log import log
from ..network.head_network import HeadNetwork
from ..network.transformer import ImputationNetwork
from .loader import Group, Inputs
from .options import TrainingConfig
from .progress import EpochSums


@dataclass(eq=False)
class BatchRunner:
    """Runs a network over batches, which it splits into micro-batches after CUDA out-of-memory.

    Batches are moved to the network's device, one at a time. ``gamma`` is the exponent of the focal
    loss; ``amp`` takes bfloat16 autocast on a GPU; ``num_parts``, the micro-batches of a batch,
    doubles at every out-of-memory error and never falls.
    """

    network: ImputationNetwork | HeadNetwork
    device: torch.device
    _: KW_ONLY
    gamma: float
    amp: bool
    num_parts: int = 1

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass."""
        enabled = self.amp and self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def forward(self, inputs: Inputs) -> Iterator[tuple[Batch | EvidenceBatch, Any, Tensor]]:
        """Yield each micro-batch on the device, its prediction and the sum of its losses."""
        for part in micro_batches(inputs, self.num_parts):
            on_device: Any = [tensors.to(self.device) for tensors in part]
            with self.autocast():
                prediction = self.network(*on_device)
                loss = self.network.loss(prediction, on_device[0], self.gamma)
            yield on_device[0], prediction, loss

    def backward(self, group: Group, num_scored: Tensor) -> tuple[EpochSums, Tensor]:
        """Accumulate gradients of the mean loss over an accumulation group.

        The sum of the losses is divided by the scored sites of the whole group, so the gradient
        does not depend on how the group is divided into batches, ranks and micro-batches. After an
        out-of-memory error, the group starts over with twice the micro-batches and the same random
        numbers; `InputError` if the memory is too small for one sample. ``num_scored``, a scalar on
        the device, counts the scored sites of the group over all ranks; 0 gives no gradient.

        Returns the sums of the group, and the (len(group),) float32 sum of the losses of each
        batch, on the device.
        """
        state = random_state(self.device)
        while True:
            try:
                return self._accumulate(group, num_scored)
            except torch.cuda.OutOfMemoryError:
                pass  # leave this block first: its error keeps tensors alive
            self.network.zero_grad(set_to_none=True)
            set_random_state(self.device, state)
            self._split_further(max(inputs[0].num_samples for inputs in group))

    @torch.no_grad()
    def evaluate(self, inputs: Inputs) -> EpochSums:
        """Return the sums of a batch; after an out-of-memory error, with twice the micro-batches.

        `InputError` if the memory is too small for one sample.
        """
        while True:
            sums = EpochSums(self.device)
            try:
                for part, prediction, loss in self.forward(inputs):
                    sums.add_batch(loss, prediction, part)
                return sums
            except torch.cuda.OutOfMemoryError:
                pass  # leave this block first: its error keeps tensors alive
            self._split_further(inputs[0].num_samples)

    def _accumulate(self, group: Group, num_scored: Tensor) -> tuple[EpochSums, Tensor]:
        sums = EpochSums(self.device)
        losses = torch.zeros(len(group), device=self.device)
        for i, inputs in enumerate(group):
            for part, prediction, loss in self.forward(inputs):
                torch.autograd.backward(loss / num_scored.clamp_min(1))
                losses[i] += loss.detach()
                sums.add_batch(loss.detach(), prediction, part)
        return sums, losses

    def _split_further(self, num_samples: int) -> None:
        """Double the number of micro-batches, up to the samples of the largest batch."""
        if self.num_parts >= num_samples:
            raise InputError(
                f"{self.device}: out of memory with one sample at a time: choose smaller windows, "
                "a smaller network or fewer neighbours"
            )
        self.num_parts *= 2
        if isinstance(self.network, ImputationNetwork):
            self.network.forget_padding()  # to the size of batches that are now split
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        log.info(
            f"Note: {self.device} is out of memory: from here on batches are computed in "
            f"{self.num_parts} micro-batches, with the same gradient"
        )


def micro_batches(inputs: Inputs, num_parts: int) -> Iterator[Inputs]:
    """Yield a batch in about ``num_parts`` micro-batches of equal size; none without samples."""
    num_samples = inputs[0].num_samples
    if num_samples and num_parts == 1:
        yield inputs
        return
    size = max(1, -(-num_samples // num_parts))
    for start in range(0, num_samples, size):
        yield cast(Inputs, tuple(part.rows(start, start + size) for part in inputs))


def optimizer_step(optimizer: torch.optim.Optimizer, rate: float, bad: Tensor | None) -> None:
    """Update the parameters at a learning rate and clear their gradients.

    Where ``bad``, a scalar on the device, is 1, parameters and moments stay as they are: the device
    decides, so the host does not wait for it. That takes a fused optimizer.
    """
    for parameters in optimizer.param_groups:
        parameters["lr"] = rate
    if bad is not None:  # how torch's gradient scaler makes its fused optimizers skip a step
        optimizer.grad_scale, optimizer.found_inf = None, bad  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step: linear warm-up times a cosine.

    It is a pure function of the step's number, so a resumed run continues with the same rates.
    """
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    progress = min(1.0, step / (config.epochs * steps_per_epoch))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    decay = config.final_rate + (1 - config.final_rate) * cosine
    return config.learning_rate * warmup * decay


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of torch's generators, without waiting for the device."""
    state = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(device: torch.device, state: dict[str, Tensor]) -> None:
    """Restore a state; that of a GPU only if it has one and the device is one."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
