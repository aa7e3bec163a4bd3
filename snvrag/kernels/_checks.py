"""Checks of what arguments mean, for CPU and CUDA arrays alike.

The compiled modules check what memory safety needs: dtype, shape and layout of every array, and the
range of sizes and indices. The kind of an array whose values are checked is checked here first.
"""

from __future__ import annotations

import math
import operator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

MAX_HAPLOTYPES = 2**32 - 1
MAX_SITES = 2**31 - 1
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


def type_error(name: str, expected: str, got: object) -> NoReturn:
    raise TypeError(f"{name} must be {expected}, got {got}")


def value_error(name: str, expected: str, got: object) -> NoReturn:
    raise ValueError(f"{name} must be {expected}, got {got}")


# --- numbers --------------------------------------------------------------------------------------


def num_words(num_bits: int) -> int:
    """Return how many 64-bit words a row of bits takes."""
    return (num_bits + 63) // 64


def check_words(name: str, got: int, num_bits: int, unit: str) -> None:
    """Check the number of words of a row."""
    expected = num_words(num_bits)
    if got != expected:
        value_error(name, f"of {expected} words a row ({num_bits} {unit})", got)


def integer(name: str, value: object) -> int:
    """Return ``value`` as an int if it is an integer of Python or NumPy, but not a bool."""
    if isinstance(value, (bool, np.bool_)):
        type_error(name, "an int", type(value).__name__)
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        type_error(name, "an int", type(value).__name__)


def whole_number(name: str, value: object, least: int, most: int) -> int:
    """Return ``value`` as an int if it is an integer from least to most."""
    number = integer(name, value)
    if not least <= number <= most:
        value_error(name, f"from {least} to {most}", value)
    return number


def real_number(name: str, value: object) -> float:
    """Return ``value`` as a float if it is a real number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        type_error(name, "a float", type(value).__name__)
    return float(value)


def fraction(name: str, value: object) -> float:
    """Return ``value`` as a float if it is a number from 0 to 1."""
    number = real_number(name, value)
    if not 0 <= number <= 1:
        value_error(name, "from 0 to 1", value)
    return number


def not_negative(name: str, value: object) -> float:
    """Return ``value`` as a float if it is a finite number from 0."""
    number = real_number(name, value)
    if not 0 <= number < math.inf:
        value_error(name, "finite and not negative", value)
    return number


# --- arrays ---------------------------------------------------------------------------------------


def array(
    name: str, value: object, dtype: type[np.generic], shape: tuple[int | None, ...], expected: str
) -> NDArray[Any]:
    """Return ``value`` if it is a NumPy array of the dtype, and of ``shape`` where not None."""
    if not isinstance(value, np.ndarray):
        type_error(name, expected, kind_of(value))
    if value.dtype != dtype:
        type_error(name, expected, f"dtype {value.dtype}")
    if value.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, value.shape, strict=True)
    ):
        value_error(name, expected, f"shape {value.shape}")
    return value


def integers(name: str, value: object, expected: str) -> NDArray[np.integer[Any]]:
    """Return ``value`` if it is a one-dimensional NumPy array of integers."""
    if not isinstance(value, np.ndarray):
        type_error(name, expected, kind_of(value))
    if value.dtype.kind not in "iu" or not value.dtype.isnative:
        type_error(name, expected, f"dtype {value.dtype}")
    if value.ndim != 1:
        value_error(name, expected, f"shape {value.shape}")
    return value


def kind_of(value: object) -> str:
    """Return the type of a value, and its device if it has one."""
    device = getattr(value, "device", None)
    if device is None or isinstance(value, (np.ndarray, np.generic)):
        return type(value).__name__
    return f"{type(value).__name__} on {device}"


# --- searches -------------------------------------------------------------------------------------


def num_neighbours(k: object, exclude: object, num_candidates: int) -> int:
    """Return ``k`` if every query has k candidates that it does not exclude; check ``exclude``."""
    number = integer("k", k)
    if exclude is not None:
        given = excluded(exclude, num_candidates)
        # If k candidates are left even where all columns differ, there is nothing to count.
        if number > num_candidates - given.shape[1]:
            return check_left(number, num_candidates, most_excluded(given))
    return check_left(number, num_candidates, 0)


def check_left(k: int, num_candidates: int, num_excluded: int) -> int:
    """Return ``k`` if it is from 1 to the number of candidates that are not excluded."""
    if k < 1:
        value_error("k", "at least 1", k)
    if k > num_candidates - num_excluded:
        left = f"{num_candidates} less {num_excluded} excluded"
        value_error("k", f"at most {num_candidates - num_excluded} ({left})", k)
    return k


def excluded(exclude: object, num_candidates: int) -> NDArray[np.int64]:
    """Return ``exclude`` if its values are -1 or the index of a candidate."""
    expected = "an int64 (Q, E) array with contiguous rows"
    given: NDArray[np.int64] = array("exclude", exclude, np.int64, (None, None), expected)
    if given.size > 0 and not (given.min() >= -1 and given.max() < num_candidates):
        query, column = np.argwhere((given < -1) | (given >= num_candidates))[0]
        got = f"{given[query, column]} for query {query}"
        value_error("exclude", f"-1 or an index below {num_candidates}", got)
    return given


def most_excluded(exclude: NDArray[np.int64]) -> int:
    """Return the most distinct candidates that a query excludes; negative values are none."""
    if exclude.size == 0:
        return 0
    ordered = np.sort(exclude, axis=1)
    is_new = (ordered >= 0) & (np.diff(ordered, axis=1, prepend=-1) != 0)
    return int(is_new.sum(axis=1).max())


def site_weights(weights: object, num_sites: int) -> NDArray[np.float32]:
    """Return ``weights`` if they are finite, not negative, and of a sum that float32 holds."""
    expected = f"a contiguous float32 ({num_sites},) array"
    given: NDArray[np.float32] = array("weights", weights, np.float32, (num_sites,), expected)
    total = float(given.sum(dtype=np.float64))
    if given.size == 0 or (given.min() >= 0 and total <= _MAX_FLOAT32):
        return given
    wrong = ~(np.isfinite(given) & (given >= 0))
    if wrong.any():
        at = int(np.argmax(wrong))
        value_error("weights", "finite and not negative", f"{given[at]} at {at}")
    value_error("weights", "of a sum that float32 holds", total)


# --- masks ----------------------------------------------------------------------------------------


def seed_of_masks(generator: str, seed: object, last_window: int) -> int:
    """Return ``seed`` if the generator has a key for it and every window up to the last."""
    if generator not in ("philox", "mt19937"):
        value_error("generator", "'philox' or 'mt19937'", repr(generator))
    number = whole_number("seed", seed, 0, (2**64 - 1 - last_window) // 10_000)
    if generator == "mt19937":
        if last_window >= 10_000:
            value_error("window", "below 10000 for generator='mt19937'", last_window)
        if number * 10_000 + last_window >= 2**32:
            value_error(
                "seed", "such that seed * 10000 + window < 2**32 for generator='mt19937'", number
            )
    return number


def windows(
    starts: object, stops: object, num_sites: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return copies, which no other thread changes, of ascending and disjoint windows."""
    expected = "an integer (N,) array"
    first = integers("starts", starts, expected).astype(np.int64)
    last = integers("stops", stops, expected).astype(np.int64)
    if first.shape != last.shape:
        value_error("stops", f"of starts' shape {first.shape}", f"shape {last.shape}")
    wrong = (first > last) | (first < 0) | (last > num_sites)
    wrong[1:] |= first[1:] < last[:-1]
    if wrong.any():
        at = int(np.argmax(wrong))
        value_error(
            "starts, stops",
            f"ascending, not overlapping windows within {num_sites} sites",
            f"[{first[at]}, {last[at]}) at {at}",
        )
    return first, last


# --- Li-Stephens ----------------------------------------------------------------------------------


def check_haplotypes(haplotype_bits: object, exclude: object) -> None:
    """Check that ``haplotype_bits`` are bits, and that every query has a haplotype left."""
    expected = "a uint64 (rows, words) array with contiguous rows"
    check_copied(
        exclude, len(array("haplotype_bits", haplotype_bits, np.uint64, (None, None), expected))
    )


def ascending(name: str, value: object) -> NDArray[np.float64]:
    """Return ``value`` if it is finite and ascending."""
    expected = "a contiguous float64 (S,) array"
    given: NDArray[np.float64] = array(name, value, np.float64, (None,), expected)
    wrong = ~np.isfinite(given)
    with np.errstate(invalid="ignore"):
        wrong[1:] |= given[1:] < given[:-1]
    if wrong.any():
        at = int(np.argmax(wrong))
        value_error(name, "finite and ascending", f"{given[at]} at {at}")
    return given


def mismatch(value: object) -> float:
    """Return ``value`` as a float if it is a probability above 0 and at most 0.5."""
    number = real_number("mismatch", value)
    if not 0 < number <= 0.5:
        value_error("mismatch", "above 0 and at most 0.5", number)
    return number


def check_copied(exclude: object, num_haplotypes: int) -> None:
    """Check that every query has a haplotype that it does not exclude."""
    if exclude is None:
        return
    given = excluded(exclude, num_haplotypes)
    if given.shape[1] >= num_haplotypes and most_excluded(given) == num_haplotypes:
        value_error("exclude", "such that a haplotype is left", f"all {num_haplotypes}")
