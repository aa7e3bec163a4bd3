"""The one place that configures Numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function to machine code on its first call, without the GIL, cached on disk."""
    decorate: Any = numba.njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
    compiled: F = decorate(function)
    return compiled
