"""Arrays in CUDA memory: torch and CuPy behind one interface, and what a call needs of them.

Neither library is imported here: whoever passes a CUDA array has imported its library already.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from .._checks import kind_of, type_error, value_error

_CUDA = 2  # DLPack's device type
_warned_of_memory = False


class DeviceArray(Protocol):
    """What torch tensors and CuPy arrays have in common."""

    shape: tuple[int, ...]
    dtype: Any
    device: Any

    def __getitem__(self, key: Any) -> DeviceArray: ...
    def __dlpack__(self, *, stream: int | None = None) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...


def is_device_array(x: object) -> TypeGuard[DeviceArray]:
    """Return whether ``x`` is in CUDA memory; NumPy arrays and objects without DLPack are not."""
    if isinstance(x, np.ndarray):
        return False
    device = getattr(x, "__dlpack_device__", None)
    if device is None:
        return False
    try:
        return int(device()[0]) == _CUDA
    except (TypeError, ValueError, RuntimeError, BufferError):
        return False  # on a device that DLPack has no number for


# --- the libraries --------------------------------------------------------------------------------


class Library(Protocol):
    """A library of arrays, with the device of an array ``like`` where a function needs one."""

    out_of_memory: type[BaseException]

    def owns(self, x: object) -> TypeGuard[DeviceArray]:
        """Return whether ``x`` is a CUDA array of this library."""

    def current(self, like: DeviceArray) -> AbstractContextManager[Any]:
        """Make the device current."""

    def stream(self, like: DeviceArray) -> int:
        """Return the caller's current stream on the device."""

    def empty(self, shape: tuple[int, ...], dtype: str, like: DeviceArray) -> DeviceArray:
        """Allocate on the device."""

    def upload(self, array: NDArray[Any], like: DeviceArray) -> DeviceArray:
        """Copy to the device, from a copy on the host that the caller may not see."""

    def download(self, x: DeviceArray) -> NDArray[Any]:
        """Copy to the host; waits for the stream."""

    def contiguous(self, x: DeviceArray) -> DeviceArray:
        """Return ``x``, or a contiguous copy."""

    def plain(self, x: DeviceArray) -> DeviceArray:
        """Return a view that DLPack can export: without gradient, bools as bytes."""


class _Torch:
    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.out_of_memory: type[BaseException] = torch.cuda.OutOfMemoryError

    def owns(self, x: object) -> TypeGuard[DeviceArray]:
        return isinstance(x, self.torch.Tensor) and bool(x.is_cuda)

    def current(self, like: DeviceArray) -> Any:
        return self.torch.cuda.device(like.device)

    def stream(self, like: DeviceArray) -> int:
        return int(self.torch.cuda.current_stream(like.device).cuda_stream)

    def empty(self, shape: tuple[int, ...], dtype: str, like: DeviceArray) -> Any:
        return self.torch.empty(shape, dtype=getattr(self.torch, dtype), device=like.device)

    def upload(self, array: NDArray[Any], like: DeviceArray) -> Any:
        # From page-locked memory, or the stream would be waited for.
        return self.torch.tensor(array).pin_memory().to(like.device, non_blocking=True)

    def download(self, x: Any) -> Any:
        return x.detach().cpu().numpy()

    def contiguous(self, x: Any) -> Any:
        return x.contiguous()

    def plain(self, x: Any) -> Any:
        x = x.detach()
        return x.view(self.torch.uint8) if x.dtype == self.torch.bool else x


class _CuPy:
    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy
        self.out_of_memory: type[BaseException] = cupy.cuda.memory.OutOfMemoryError

    def owns(self, x: object) -> TypeGuard[DeviceArray]:
        return isinstance(x, self.cupy.ndarray)

    def current(self, like: DeviceArray) -> Any:
        return like.device

    def stream(self, like: DeviceArray) -> int:
        with self.current(like):
            return int(self.cupy.cuda.get_current_stream().ptr)

    def empty(self, shape: tuple[int, ...], dtype: str, like: DeviceArray) -> Any:
        with self.current(like):
            return self.cupy.empty(shape, dtype=dtype)

    def upload(self, array: NDArray[Any], like: DeviceArray) -> Any:
        with self.current(like):
            return self.cupy.asarray(array)

    def download(self, x: DeviceArray) -> Any:
        return self.cupy.asnumpy(x)

    def contiguous(self, x: DeviceArray) -> Any:
        return self.cupy.ascontiguousarray(x)

    def plain(self, x: Any) -> Any:
        return x.view(np.uint8) if x.dtype == np.bool_ else x


def library_of(x: object, name: str) -> Library:
    """Return the library of a CUDA array."""
    torch: Any = sys.modules.get("torch")
    cupy: Any = sys.modules.get("cupy")
    if torch is not None and isinstance(x, torch.Tensor):
        library: Library = _Torch(torch)
    elif cupy is not None and isinstance(x, cupy.ndarray):
        library = _CuPy(cupy)
    else:
        type_error(name, "a torch or CuPy array in CUDA memory", type(x).__name__)
    if not library.owns(x):
        type_error(name, "in CUDA memory", f"an array on {x.device}")
    return library


# --- checks ---------------------------------------------------------------------------------------


def axes(x: DeviceArray, name: str, ndim: int, expected: str) -> tuple[int, ...]:
    """Return the shape of ``x`` if it has ``ndim`` axes."""
    shape = tuple(int(size) for size in x.shape)
    if len(shape) != ndim:
        value_error(name, expected, f"shape {shape}")
    return shape


def require_shape(x: DeviceArray, name: str, shape: tuple[int, ...], expected: str) -> None:
    """Check that ``x`` has a shape."""
    if axes(x, name, len(shape), expected) != shape:
        value_error(name, expected, f"shape {tuple(x.shape)}")


def beside(x: object, name: str, library: Library, like: DeviceArray, expected: str) -> DeviceArray:
    """Return ``x`` if it is of the library and on the device of ``like``."""
    if not library.owns(x) or x.device != like.device:
        type_error(name, f"{expected}, of the same library and device as the panel", kind_of(x))
    return x


def outputs(
    out: object, shape: tuple[int, int], dtype: str, library: Library, like: DeviceArray
) -> tuple[DeviceArray, DeviceArray]:
    """Return arrays for distances and indices: those of ``out``, or newly allocated ones."""
    if out is None:
        return library.empty(shape, dtype, like), library.empty(shape, "int64", like)
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        type_error("out", "a pair of arrays (distances, indices)", kind_of(out))
    for x, name, want in zip(out, ("out[0]", "out[1]"), (dtype, "int64"), strict=True):
        expected = f"a {want} {shape} array"
        given = beside(x, name, library, like, expected)
        require_shape(given, name, shape, expected)
        got = str(given.dtype).removeprefix("torch.")
        if got != want:
            type_error(name, expected, f"dtype {got}")
    return out[0], out[1]


# --- calls ----------------------------------------------------------------------------------------


def extension() -> ModuleType:
    """Return the compiled module, or raise with the way to get it."""
    try:
        return importlib.import_module("snvrag._cuda")
    except ImportError as error:
        raise ImportError(
            "CUDA arrays need the extension snvrag._cuda, which this build lacks: "
            "install with 'pip install . --config-settings=cmake.define.SNVRAG_CUDA=ON'"
        ) from error


def call(
    function: Callable[..., None], arguments: tuple[Any, ...], library: Library, like: DeviceArray
) -> None:
    """Call a compiled function on the caller's stream, with arrays as DLPack capsules."""
    # -1: no synchronisation, because the work goes to the stream that is current anyway.
    capsules = (
        x if x is None or isinstance(x, (int, float)) else library.plain(x).__dlpack__(stream=-1)
        for x in arguments
    )
    function(*capsules, library.stream(like))


def allocate_workspace(
    size: Callable[[int], int], block_bytes: int, library: Library, like: DeviceArray
) -> tuple[DeviceArray, int]:
    """Allocate ``size(block_bytes)`` bytes, with a smaller block if memory runs out."""
    global _warned_of_memory
    while True:
        num_bytes = size(block_bytes)
        try:
            return library.empty((num_bytes,), "uint8", like), block_bytes
        except library.out_of_memory:
            smaller = min(block_bytes, num_bytes) // 2
            while smaller > 0 and size(smaller) == num_bytes:
                smaller //= 2
            if smaller == 0:
                raise
            block_bytes = smaller
        if not _warned_of_memory:
            _warned_of_memory = True
            warnings.warn(
                f"CUDA memory is short: searching in blocks of {block_bytes} bytes, more slowly",
                RuntimeWarning,
                stacklevel=4,
            )
