"""The libraries that CUDA arrays come from: torch and CuPy behind one interface.

Neither is imported here: whoever brings a CUDA array has imported its library already.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ._arguments import type_error

_CUDA = 2  # DLPack's device type


def is_device_array(x: Any) -> bool:
    """Tell whether ``x`` lies in CUDA memory.

    Parameters
    ----------
    x : object
        Anything. NumPy arrays and objects without ``__dlpack_device__`` are not.

    Returns
    -------
    bool
    """
    if isinstance(x, np.ndarray):
        return False
    device = getattr(x, "__dlpack_device__", None)
    if device is None:
        return False
    try:
        return int(device()[0]) == _CUDA
    except (TypeError, ValueError, RuntimeError, BufferError):
        return False  # on a device that DLPack has no number for


class Library(Protocol):
    out_of_memory: type[BaseException]

    def owns(self, x: Any) -> bool:
        """Tell whether ``x`` is a CUDA array of this library."""

    def current(self, like: Any) -> AbstractContextManager[Any]:
        """Make the device of ``like`` current."""

    def stream(self, like: Any) -> int:
        """Return the caller's current stream on the device of ``like``."""

    def empty(self, shape: tuple[int, ...], dtype: str, like: Any) -> Any:
        """Allocate on the device of ``like``."""

    def upload(self, array: NDArray[Any], like: Any) -> Any:
        """Copy to the device of ``like``."""

    def download(self, x: Any) -> NDArray[Any]:
        """Copy to the host; waits for the stream."""

    def contiguous(self, x: Any) -> Any:
        """Return ``x``, or a copy without gaps."""

    def plain(self, x: Any) -> Any:
        """Return a view that can be exported: without gradient, bools as bytes."""


class _Torch:
    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.out_of_memory: type[BaseException] = torch.cuda.OutOfMemoryError

    def owns(self, x: Any) -> bool:
        return isinstance(x, self.torch.Tensor) and bool(x.is_cuda)

    def current(self, like: Any) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.torch.cuda.device(like.device)
        return context

    def stream(self, like: Any) -> int:
        return int(self.torch.cuda.current_stream(like.device).cuda_stream)

    def empty(self, shape: tuple[int, ...], dtype: str, like: Any) -> Any:
        return self.torch.empty(shape, dtype=getattr(self.torch, dtype), device=like.device)

    def upload(self, array: NDArray[Any], like: Any) -> Any:
        return self.torch.tensor(array, device=like.device)

    def download(self, x: Any) -> NDArray[Any]:
        array: NDArray[Any] = x.detach().cpu().numpy()
        return array

    def contiguous(self, x: Any) -> Any:
        return x.contiguous()

    def plain(self, x: Any) -> Any:
        x = x.detach()
        return x.view(self.torch.uint8) if x.dtype == self.torch.bool else x


class _CuPy:
    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy
        self.out_of_memory: type[BaseException] = cupy.cuda.memory.OutOfMemoryError

    def owns(self, x: Any) -> bool:
        return isinstance(x, self.cupy.ndarray)

    def current(self, like: Any) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = like.device
        return context

    def stream(self, like: Any) -> int:
        with self.current(like):
            return int(self.cupy.cuda.get_current_stream().ptr)

    def empty(self, shape: tuple[int, ...], dtype: str, like: Any) -> Any:
        with self.current(like):
            return self.cupy.empty(shape, dtype=dtype)

    def upload(self, array: NDArray[Any], like: Any) -> Any:
        with self.current(like):
            return self.cupy.asarray(array)

    def download(self, x: Any) -> NDArray[Any]:
        array: NDArray[Any] = self.cupy.asnumpy(x)
        return array

    def contiguous(self, x: Any) -> Any:
        return self.cupy.ascontiguousarray(x)

    def plain(self, x: Any) -> Any:
        return x.view(np.uint8) if x.dtype == np.bool_ else x


def library_of(x: Any, name: str) -> Library:
    """Return the library of a CUDA array."""
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and isinstance(x, torch.Tensor):
        library: Library = _Torch(torch)
    elif cupy is not None and isinstance(x, cupy.ndarray):
        library = _CuPy(cupy)
    else:
        type_error(name, "a torch or CuPy array in CUDA memory", type(x).__name__)
    if not library.owns(x):
        type_error(name, "in CUDA memory", f"an array on {x.device}")
    return library
