"""Checks of arguments that the Python kernels share."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np


def type_error(name: str, expected: str, got: object) -> NoReturn:
    raise TypeError(f"{name} must be {expected}, got {got}")


def value_error(name: str, expected: str, got: object) -> NoReturn:
    raise ValueError(f"{name} must be {expected}, got {got}")


def vector(name: str, value: Any, kinds: str, expected: str) -> np.ndarray[Any, Any]:
    """Return ``value`` if it is a one-dimensional array of one of the dtype kinds."""
    if not isinstance(value, np.ndarray):
        type_error(name, expected, type(value).__name__)
    if value.dtype.kind not in kinds or not value.dtype.isnative:
        type_error(name, expected, f"dtype {value.dtype}")
    if value.ndim != 1:
        value_error(name, expected, f"shape {value.shape}")
    return value


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """Return ``value`` as an int if it is a whole number from least to most."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        type_error(name, "an int", type(value).__name__)
    if not least <= value <= most:
        value_error(name, f"from {least} to {most}", value)
    return int(value)


def real_number(name: str, value: Any) -> float:
    """Return ``value`` as a float if it is a real number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        type_error(name, "a float", type(value).__name__)
    return float(value)


def fraction(name: str, value: Any) -> float:
    """Return ``value`` as a float if it is a number from 0 to 1."""
    real_number(name, value)
    if not 0 <= value <= 1:
        value_error(name, "from 0 to 1", value)
    return float(value)
