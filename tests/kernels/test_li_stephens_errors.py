"""Wrong arguments of the Li-Stephens kernel, by name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from snvrag.kernels import li_stephens_dosage


def run(**changes: Any) -> np.ndarray:
    """Call with 66 haplotypes, 70 sites and 3 queries, some arguments changed."""
    given = {
        "queries": table("u8", 3, 2),
        "site_bits": table("u8", 70, 2),
        "num_haplotypes": 66,
        "observed": np.ones(70, bool),
        "cumulative_rho": np.zeros(70),
        "mismatch": 0.01,
        **changes,
    }
    return li_stephens_dosage(given.pop("queries"), given.pop("site_bits"), **given)


BITS = "a uint64 (rows, words) array with contiguous rows"
BOOL = "a contiguous bool (70,) array"
FLOAT = "a contiguous float64 (S,) array"
FLOATS = "a contiguous float64 (70,) array"
INDEX = "an int64 (Q, E) array with contiguous rows"
ROWS = "an int64 (3, E) array with contiguous rows"
ASCENDING = "finite and ascending"
MISMATCH = "above 0 and at most 0.5"


def table(dtype, rows, columns, value=0):
    return np.full((rows, columns), value, dtype)


def one_other(value, place):
    return np.where(np.arange(70) == place, value, 0.0)


@pytest.mark.parametrize(
    ("name", "value", "error", "expected", "got"),
    [
        ("site_bits", [[0]], TypeError, BITS, "list"),
        ("site_bits", table("i8", 70, 2), TypeError, BITS, "dtype int64"),
        ("site_bits", np.zeros(70, "u8"), ValueError, BITS, "shape (70,)"),
        ("site_bits", table("u8", 70, 4)[:, ::2], TypeError, BITS, "rows that are not contiguous"),
        ("site_bits", table("u8", 70, 1), ValueError, "of 2 words a row (66 haplotypes)", "1"),
        ("num_haplotypes", 66.0, TypeError, "an int", "float"),
        ("num_haplotypes", True, TypeError, "an int", "bool"),
        ("num_haplotypes", 0, ValueError, "from 1 to 4294967295", "0"),
        ("num_haplotypes", 2**32, ValueError, "from 1 to 4294967295", "4294967296"),
        ("queries", "bits", TypeError, BITS, "str"),
        ("queries", table("f8", 3, 2), TypeError, BITS, "dtype float64"),
        ("queries", np.zeros(2, "u8"), ValueError, BITS, "shape (2,)"),
        ("queries", table("u8", 3, 3), ValueError, "of 2 words a row (70 sites)", "3"),
        ("queries", table("u8", 3, 4)[:, :2], TypeError, BITS, "rows that are not adjacent"),
        ("queries", table("u8", 6, 2)[::2], TypeError, BITS, "rows that are not adjacent"),
        ("observed", [True] * 70, TypeError, BOOL, "list"),
        ("observed", np.ones(70, "u1"), TypeError, BOOL, "dtype uint8"),
        ("observed", np.ones(69, bool), ValueError, BOOL, "shape (69,)"),
        ("observed", np.ones(140, bool)[::2], TypeError, BOOL, "an array that is not contiguous"),
        ("cumulative_rho", np.zeros(70, "f4"), TypeError, FLOAT, "dtype float32"),
        ("cumulative_rho", np.zeros(71), ValueError, FLOATS, "shape (71,)"),
        (
            "cumulative_rho",
            np.zeros(140)[::2],
            TypeError,
            FLOATS,
            "an array that is not contiguous",
        ),
        ("cumulative_rho", one_other(-1.0, 9), ValueError, ASCENDING, "-1.0 at 9"),
        ("cumulative_rho", one_other(2.0, 9), ValueError, ASCENDING, "0.0 at 10"),
        ("cumulative_rho", one_other(np.inf, 69), ValueError, ASCENDING, "inf at 69"),
        ("cumulative_rho", one_other(np.nan, 0), ValueError, ASCENDING, "nan at 0"),
        ("cumulative_rho", np.full(70, -np.inf), ValueError, ASCENDING, "-inf at 0"),
        ("mismatch", 0.0, ValueError, MISMATCH, "0.0"),
        ("mismatch", -0.1, ValueError, MISMATCH, "-0.1"),
        ("mismatch", 0.51, ValueError, MISMATCH, "0.51"),
        ("mismatch", float("nan"), ValueError, MISMATCH, "nan"),
        ("exclude", [[0]], TypeError, INDEX, "list"),
        ("exclude", table("i4", 3, 1), TypeError, INDEX, "dtype int32"),
        ("exclude", table("i8", 2, 1), ValueError, ROWS, "shape (2, 1)"),
        ("exclude", table("i8", 3, 4)[:, :2], TypeError, ROWS, "rows that are not adjacent"),
        ("exclude", table("i8", 3, 1, 66), ValueError, "-1 or an index below 66", "66 for query 0"),
        ("exclude", table("i8", 3, 1, -2), ValueError, "-1 or an index below 66", "-2 for query 0"),
        (
            "exclude",
            np.array([[-1] * 66, [-1] * 66, range(66)]),
            ValueError,
            "such that a haplotype is left",
            "all 66",
        ),
        ("missing", table("?", 3, 70), TypeError, BITS, "dtype bool"),
        ("missing", table("u8", 3, 1), ValueError, "of 2 words a row (70 sites)", "1"),
        ("missing", table("u8", 2, 2), ValueError, "of as many rows as queries", "2"),
        ("missing", table("u8", 6, 2)[::2], TypeError, BITS, "rows that are not adjacent"),
        ("threads", 0, ValueError, "from 1 to 4096", "0"),
        ("threads", 1.5, TypeError, "an int", "float"),
    ],
)
def test_wrong_arguments_are_named(name, value, error, expected, got):
    message = f"{name} must be {expected}, got {got}"
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        run(**{name: value})


def test_arguments_that_do_not_fit_one_another():
    with pytest.raises(ValueError, match=r"observed must be .* \(71,\) array, got shape \(70,\)"):
        run(site_bits=table("u8", 71, 2))
    with pytest.raises(ValueError, match=r"queries must be of 3 words a row \(129 sites\), got 2"):
        run(
            site_bits=table("u8", 129, 2),
            observed=np.ones(129, bool),
            cumulative_rho=np.zeros(129),
        )
    with pytest.raises(ValueError, match=r"site_bits must be of 4 words a row .*, got 2"):
        run(num_haplotypes=200)
    with pytest.raises(TypeError):
        run(mismatch="small")
