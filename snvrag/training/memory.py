"""Memory: how much was used, how much a step needs, and what to do when a device has too little."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..batches.batch import Batch, Neighbours
from ..errors import InputError
from ..log import log
from ..network.loss import imputation_loss

T = TypeVar("T")


def peak_bytes() -> int:
    """Return the most memory that this process has had resident since it began."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_line(device: torch.device) -> str:
    """Return the line of the log that tells the peak of this process and of its device."""
    line = f"Memory: at most {peak_bytes() / 1e6:.0f} MB resident"
    if device.type == "cuda":
        line += f", {torch.cuda.max_memory_allocated(device) / 1e6:.0f} MB on {device}"
    return line


def activation_bytes(network: nn.Module, batch: Batch, neighbours: Neighbours) -> int:
    """Return what a forward pass of a batch keeps for the backward pass, without the parameters.

    Counted, not computed from a formula: the batch is run through the network.
    """
    owned = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        # The graph lives to the end of the block, so no address counts twice or goes uncounted.
        loss = imputation_loss(network(batch, neighbours), batch, 1.0)
    del loss
    return sum(kept.values())


class MicroBatches:
    """Computes batches in as many pieces as the device's memory asks for.

    Attributes
    ----------
    parts : int
        MicroBatches that a batch is computed in.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.parts = 1

    def attempt(self, compute: Callable[[int], T], undo: Callable[[], None], num_samples: int) -> T:
        """Return ``compute(parts)``, with twice the parts for as long as the memory is too little.

        Parameters
        ----------
        compute : callable
        undo : callable
            Takes back what a ``compute`` that failed has done.
        num_samples : int
            Samples of the largest batch: the most parts that it can have.

        Raises
        ------
        InputError
            If there is too little for one sample.
        """
        while True:
            try:
                return compute(self.parts)
            except torch.cuda.OutOfMemoryError:
                pass  # and on outside of this block, where the error holds its tensors no more
            undo()
            if self.parts >= num_samples:
                raise InputError(
                    f"{self.device}: out of memory with one sample at a time: take a smaller "
                    "--window-size, --width, --layers or --k"
                )
            self.parts *= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            log.info(
                "Note: %s is out of memory: from here on batches are computed in %d pieces, with "
                "the same gradient", self.device, self.parts,
            )  # fmt: skip
