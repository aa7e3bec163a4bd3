"""CUDA twins of the kernels, for arrays of whichever library the caller uses.

Memory comes from the caller's library (torch or CuPy), work goes to its current stream, and nothing
waits for the device unless a function's notes say so. The caller orders work on an array that was
written on another stream, as with any kernel of that library.
"""

from .arrays import DeviceArray, is_device_array
from .kernels import DeviceHammingIndex, af_guided_masks, topk_l2

__all__ = ["DeviceArray", "DeviceHammingIndex", "af_guided_masks", "is_device_array", "topk_l2"]
