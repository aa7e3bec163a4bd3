"""Wrong arguments of the searches, by name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from helpers import unaligned
from snvrag.kernels import HammingIndex, topk_hamming, topk_l2

BITS = "a uint64 (rows, words) array with contiguous rows"
PANEL = np.zeros((6, 2), np.uint64)
GOOD: dict[str, Any] = {
    "queries": np.zeros((2, 2), np.uint64),
    "panel": PANEL,
    "k": 2,
    "num_sites": 100,
    "observed": np.ones(100, bool),
    "exclude": np.full((2, 1), -1),
    "threads": 1,
}
OBSERVED = "a contiguous bool (100,) array"
EXCLUDE = "an int64 (Q, E) array with contiguous rows"

BAD = [
    ({"queries": [[0, 0]]}, TypeError, f"queries must be {BITS}, got list"),
    (
        {"queries": np.zeros((2, 2), np.int64)},
        TypeError,
        f"queries must be {BITS}, got dtype int64",
    ),
    ({"queries": np.zeros((2, 2), ">u8")}, TypeError, f"queries must be {BITS}, got dtype >u8"),
    ({"queries": np.zeros(2, np.uint64)}, ValueError, f"queries must be {BITS}, got shape (2,)"),
    (
        {"queries": np.zeros((2, 4), np.uint64)[:, ::2]},
        TypeError,
        f"queries must be {BITS}, got rows that are not contiguous",
    ),
    (
        {"queries": np.zeros((2, 3), np.uint64)},
        ValueError,
        "queries must be of 2 words a row (100 sites), got 3",
    ),
    ({"panel": None}, TypeError, f"panel must be {BITS}, got NoneType"),
    ({"panel": np.zeros((6, 2), np.int8)}, TypeError, f"panel must be {BITS}, got dtype int8"),
    (
        {"panel": np.zeros((2, 6), np.uint64).T},
        TypeError,
        f"panel must be {BITS}, got rows that are not contiguous",
    ),
    (
        {"panel": np.zeros((6, 1), np.uint64)},
        ValueError,
        "panel must be of 2 words a row (100 sites), got 1",
    ),
    (
        {"panel": np.zeros((0, 2), np.uint64)},
        ValueError,
        "rows of panel must be from 1 to 4294967295, got 0",
    ),
    ({"k": 0}, ValueError, "k must be at least 1, got 0"),
    ({"k": -3}, ValueError, "k must be at least 1, got -3"),
    ({"k": 7}, ValueError, "k must be at most 6 (6 less 0 excluded), got 7"),
    ({"k": 2**62}, ValueError, f"k must be at most 6 (6 less 0 excluded), got {2**62}"),
    (
        {"k": 5, "exclude": np.array([[0, 1, 0], [-1, -1, 3]])},
        ValueError,
        "k must be at most 4 (6 less 2 excluded), got 5",
    ),
    ({"num_sites": -1}, ValueError, "num_sites must be from 0 to 2147483647, got -1"),
    ({"num_sites": 2**31}, ValueError, "num_sites must be from 0 to 2147483647, got 2147483648"),
    ({"observed": [True] * 100}, TypeError, f"observed must be {OBSERVED}, got list"),
    (
        {"observed": np.ones(100, np.uint8)},
        TypeError,
        f"observed must be {OBSERVED}, got dtype uint8",
    ),
    ({"observed": np.ones(99, bool)}, ValueError, f"observed must be {OBSERVED}, got shape (99,)"),
    (
        {"observed": np.ones((100, 1), bool)},
        ValueError,
        f"observed must be {OBSERVED}, got shape (100, 1)",
    ),
    (
        {"observed": np.ones(200, bool)[::2]},
        TypeError,
        f"observed must be {OBSERVED}, got an array that is not contiguous",
    ),
    ({"exclude": [[1], [2]]}, TypeError, f"exclude must be {EXCLUDE}, got list"),
    (
        {"exclude": np.zeros((2, 1), np.int32)},
        TypeError,
        f"exclude must be {EXCLUDE}, got dtype int32",
    ),
    (
        {"exclude": np.zeros((3, 1), np.int64)},
        ValueError,
        "exclude must be an int64 (2, E) array with contiguous rows, got shape (3, 1)",
    ),
    ({"exclude": np.zeros(2, np.int64)}, ValueError, f"exclude must be {EXCLUDE}, got shape (2,)"),
    (
        {"exclude": np.array([[0], [6]])},
        ValueError,
        "exclude must be -1 or an index below 6, got 6 for query 1",
    ),
    (
        {"exclude": np.array([[-2], [0]])},
        ValueError,
        "exclude must be -1 or an index below 6, got -2 for query 0",
    ),
    ({"threads": 0}, ValueError, "threads must be from 1 to 4096, got 0"),
    ({"threads": -1}, ValueError, "threads must be from 1 to 4096, got -1"),
    ({"threads": 2**40}, ValueError, f"threads must be from 1 to 4096, got {2**40}"),
]


@pytest.mark.parametrize(("wrong", "error", "text"), BAD)
def test_wrong_arguments_of_hamming_search(wrong, error, text):
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        topk_hamming(**{**GOOD, **wrong})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("k", "num_sites") for value in (1.0, "1", None)),
        ("threads", 1.0),
        ("threads", "1"),
        ("k", np.array([1, 2])),
        ("k", True),
    ],
)
def test_what_is_no_whole_number_is_refused_by_name(name, value):
    pattern = rf"^{name} must be .*, got {type(value).__name__}$"
    with pytest.raises(TypeError, match=pattern):
        topk_hamming(**{**GOOD, name: value})
    if name != "num_sites":
        dense = {
            "queries": np.zeros((2, 3), np.float32),
            "database": np.zeros((6, 3), np.float32),
            "k": 1,
        }
        with pytest.raises(TypeError, match=pattern):
            topk_l2(**{**dense, name: value})


def test_unaligned_memory_is_refused():
    for name in ("queries", "panel", "exclude"):
        with pytest.raises(TypeError, match=rf"^{name} must be .*, got unaligned memory$"):
            topk_hamming(**{**GOOD, name: unaligned(GOOD[name])})


def test_numbers_of_numpy_are_numbers():
    got = topk_hamming(
        **{**GOOD, "k": np.int64(2), "num_sites": np.uint8(100), "threads": np.int16(1)}
    )
    assert got.indices.tolist() == [[0, 1], [0, 1]]


BAD_SITES = [
    ({"site_bits": None}, TypeError, f"site_bits must be {BITS}, got NoneType"),
    ({"num_haplotypes": 0}, ValueError, "num_haplotypes must be from 1 to 4294967295, got 0"),
    (
        {"num_haplotypes": 2**32},
        ValueError,
        f"num_haplotypes must be from 1 to 4294967295, got {2**32}",
    ),
    (
        {"observed": np.ones(4, bool)},
        ValueError,
        "observed must be a contiguous bool (5,) array, got shape (4,)",
    ),
    (
        {"num_haplotypes": 129},
        ValueError,
        "site_bits must be of 3 words a row (129 haplotypes), got 2",
    ),
]


@pytest.mark.parametrize(("wrong", "error", "text"), BAD_SITES)
def test_wrong_arguments_of_an_index_from_sites(wrong, error, text):
    good = {"site_bits": np.zeros((5, 2), np.uint64), "num_haplotypes": 70, "observed": None}
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        HammingIndex.from_sites(**{**good, **wrong})


FLOATS = "a float32 (rows, dimensions) array with contiguous rows"

BAD_DENSE = [
    ({"queries": [[0.0]]}, TypeError, f"queries must be {FLOATS}, got list"),
    ({"queries": np.zeros((2, 3))}, TypeError, f"queries must be {FLOATS}, got dtype float64"),
    (
        {"database": np.zeros((6, 3), np.float16)},
        TypeError,
        f"database must be {FLOATS}, got dtype float16",
    ),
    ({"database": np.zeros((6, 3), ">f4")}, TypeError, f"database must be {FLOATS}, got dtype >f4"),
    (
        {"database": np.zeros(6, np.float32)},
        ValueError,
        f"database must be {FLOATS}, got shape (6,)",
    ),
    (
        {"database": np.zeros((3, 6), np.float32).T},
        TypeError,
        f"database must be {FLOATS}, got rows that are not contiguous",
    ),
    (
        {"database": np.zeros((0, 3), np.float32)},
        ValueError,
        "rows of database must be from 1 to 4294967295, got 0",
    ),
    (
        {"queries": np.zeros((2, 4), np.float32)},
        ValueError,
        "queries must be of 3 dimensions, as database, got 4",
    ),
    ({"k": 0}, ValueError, "k must be at least 1, got 0"),
    ({"k": 7}, ValueError, "k must be at most 6 (6 less 0 excluded), got 7"),
    ({"k": 2**62}, ValueError, f"k must be at most 6 (6 less 0 excluded), got {2**62}"),
    (
        {"exclude": np.array([[6], [0]])},
        ValueError,
        "exclude must be -1 or an index below 6, got 6 for query 0",
    ),
    ({"threads": 0}, ValueError, "threads must be from 1 to 4096, got 0"),
]


@pytest.mark.parametrize(("wrong", "error", "text"), BAD_DENSE)
def test_wrong_arguments_of_dense_search(wrong, error, text):
    good = {
        "queries": np.zeros((2, 3), np.float32),
        "database": np.zeros((6, 3), np.float32),
        "k": 1,
    }
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        topk_l2(**{**good, **wrong})


def test_unaligned_floats_are_refused():
    good = np.zeros((2, 3), np.float32)
    with pytest.raises(TypeError, match=r"^database must be .*, got unaligned memory$"):
        topk_l2(good, unaligned(good), 1)
