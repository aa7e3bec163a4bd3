"""The memory of a pass through the network, foretold from one and two samples."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .loader import Inputs
from .step import BatchRunner

# What the allocator of the CPU takes over what torch asks for: glibc puts blocks of up to 32 MiB on
# its heap, beside whatever outlives them, and the gaps grow for many steps. Passes of four networks
# took 1.4 to 1.7 times what torch asked for. (Mapping large blocks one by one, by mallopt, left no
# gaps and made steps half as long again, by the page faults.)
_WITH_GAPS = 1.6


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
    """

    def __init__(self, device: torch.device, existing: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._live = 0
        self._device = device
        self._blocks = {tensor.untyped_storage().data_ptr(): 0 for tensor in existing}

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
            self._blocks[place] = size = storage.nbytes()
            self._live += size
            self.peak = max(self.peak, self._live)
            weakref.finalize(storage, self._forget, place)

    def _forget(self, place: int) -> None:
        self._live -= self._blocks.pop(place)


def pass_bytes(
    runner: BatchRunner,
    inputs: Inputs,
    num_samples: int,
    *,
    training: bool = True,
) -> float:
    """Return about how much memory the pass of a batch of ``num_samples`` samples adds.

    The passes of the first, and of the first two samples of ``inputs`` are carried out and what
    they take is extrapolated linearly. On the CPU, it includes the gaps between blocks of memory.
    The gradients of the parameters do not count; they are cleared.

    Parameters
    ----------
    training
        Whether the pass is forward and backward; else it is one of validation.
    """
    network = runner.network.train(training)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    fields = [field for tensors in inputs for field in vars(tensors).values()]
    existing = [
        *network.parameters(),
        *network.buffers(),
        *(p.grad for p in network.parameters() if p.grad is not None),
        *(field for field in fields if isinstance(field, Tensor)),
    ]

    def peak(count: int) -> float:
        part = cast(Inputs, tuple(tensors.rows(0, count) for tensors in inputs))
        with PeakBytes(runner.device, existing) as measured:
            if training:
                runner.backward([part], part[0].num_scored)
            else:
                with torch.no_grad():
                    list(runner.forward(part))
        return float(measured.peak)

    one = peak(1)
    two = peak(2) if min(num_samples, inputs[0].num_samples) > 1 else one
    network.zero_grad(set_to_none=True)
    gaps = _WITH_GAPS if runner.device.type == "cpu" else 1.0
    return gaps * (one + (two - one) * (num_samples - 1))
