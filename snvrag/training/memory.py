"""The memory of a pass through the network: bounded, and foretold from one and two samples."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..batches.batch import Batch, Neighbours
from .step import BatchRunner

# Blocks of this size or more are mapped one by one, and given back when they are freed. Smaller
# ones lie in the allocator's heap, with gaps between them: passes of such blocks alone took 1.5 to
# 1.9 times the memory that torch asked for.
_MAPPED_BYTES = 2**22
_WITH_GAPS = 1.6
_KEPT_BYTES = 2**26  # of the heap's free end; what glibc's own rule comes to
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def map_large_blocks() -> None:
    """Let glibc's malloc map large blocks one by one; do nothing with another C library.

    By itself it raises its threshold to 32 MiB when it sees such blocks freed. The tensors of a
    step then share the heap with whatever outlives them, as gradients and the optimizer's moments,
    and gaps between them grow for many steps: the peak of V18's network was twice what torch asked
    for.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


class PeakBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Measures the most memory that the results of torch's operators take at one time.

    Gradients and temporaries of a backward pass are among them; what an operator allocates and
    frees within itself is not.

    Parameters
    ----------
    device
        Only tensors on devices of this type count.
    existing
        Tensors made before, which do not count.
    weigh
        Function of the bytes of a block that returns the bytes to count for it.
    """

    def __init__(
        self, device: torch.device, existing: Iterable[Tensor], weigh: Callable[[int], float]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._live = 0.0
        self._device, self._weigh = device, weigh
        self._blocks = {tensor.untyped_storage().data_ptr(): 0.0 for tensor in existing}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and count the memory of its results."""
        results = func(*args, **(kwargs or {}))
        for result in results if isinstance(results, (list, tuple)) else [results]:
            if isinstance(result, Tensor) and result.device.type == self._device.type:
                self._count(result.untyped_storage())
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        place = storage.data_ptr()
        if place not in self._blocks:
            self._blocks[place] = size = self._weigh(storage.nbytes())
            self._live += size
            self.peak = max(self.peak, self._live)
            weakref.finalize(storage, self._forget, place)

    def _forget(self, place: int) -> None:
        self._live -= self._blocks.pop(place)


def pass_bytes(
    runner: BatchRunner,
    batch: Batch,
    neighbours: Neighbours,
    num_samples: int,
    *,
    training: bool = True,
) -> float:
    """Return about how much memory the pass of a batch of ``num_samples`` samples adds.

    The passes of the first, and of the first two samples of ``batch`` are carried out and what they
    take is extrapolated linearly. On the CPU, it includes the gaps between blocks of memory. The
    gradients of the parameters do not count; they are cleared.

    Parameters
    ----------
    training
        Whether the pass is forward and backward; else it is one of validation.
    """
    network = runner.network.train(training)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    fields = [*vars(batch).values(), *vars(neighbours).values()]
    existing = [
        *network.parameters(),
        *network.buffers(),
        *(p.grad for p in network.parameters() if p.grad is not None),
        *(field for field in fields if isinstance(field, Tensor)),
    ]

    gaps = _WITH_GAPS if runner.device.type == "cpu" else 1.0

    def peak(count: int) -> float:
        def weigh(num_bytes: int) -> float:
            is_mapped = num_bytes * num_samples >= count * _MAPPED_BYTES
            return num_bytes * (1.0 if is_mapped else gaps)

        part = batch.rows(0, count), neighbours.rows(0, count)
        with PeakBytes(runner.device, existing, weigh) as measured:
            if training:
                runner.backward([part], part[0].num_scored)
            else:
                with torch.no_grad():
                    list(runner.forward(*part))
        return float(measured.peak)

    one = peak(1)
    two = peak(2) if min(num_samples, batch.num_samples) > 1 else one
    network.zero_grad(set_to_none=True)
    return one + (two - one) * (num_samples - 1)
