"""Wrong arguments of the public kernels: an error names each, what was expected and what came."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from helpers import unaligned
from snvrag import kernels

T, V = TypeError, ValueError
NAN = float("nan")


def bits(rows: int, words: int = 2) -> np.ndarray:
    return np.zeros((rows, words), np.uint64)


def floats(rows: int, dimensions: int = 3) -> np.ndarray:
    return np.zeros((rows, dimensions), np.float32)


def one_other(size: int, value: float, place: int) -> np.ndarray:
    return np.where(np.arange(size) == place, value, 0.0)


# Every function with good arguments, some of which each test spoils.
MASK: dict[str, Any] = {"af": np.full(10, 0.5), "seed": 1, "rate": 0.5}
WINDOWS = {"starts": np.array([0, 5]), "stops": np.array([5, 10])}
FOUND = {"k": 2, "exclude": np.full((2, 1), -1), "threads": 1}
LI_STEPHENS: dict[str, Any] = {
    "queries": bits(3),
    "site_bits": bits(70),
    "num_haplotypes": 66,
    "observed": np.ones(70, bool),
    "cumulative_rho": np.zeros(70),
    "mismatch": 0.01,
    "exclude": np.full((3, 1), -1),
    "missing": bits(3),
    "threads": 1,
}
OVER_STATES: dict[str, Any] = {
    "haplotype_bits": bits(66),
    **{k: v for k, v in LI_STEPHENS.items() if k not in ("site_bits", "num_haplotypes")},
}
STATES: dict[str, Any] = {
    **{
        name: value
        for name, value in LI_STEPHENS.items()
        if name not in ("cumulative_rho", "mismatch")
    },
    "position_cm": np.zeros(70),
    "neighbours": 2,
    "step": 8,
    "within_cm": 0.1,
}
STATES_OF_SAMPLES = {
    **STATES,
    "queries": bits(4),
    "exclude": np.full((4, 1), -1),
    "missing": bits(4),
    "unphased": bits(2),
    "group_size": 2,
}
HEAD = kernels.HeadWeights(
    mean=np.zeros(3, np.float32),
    scale=np.ones(3, np.float32),
    hidden_weight=floats(3, 5),
    hidden_bias=np.zeros(5, np.float32),
    output_weight=np.zeros(5, np.float32),
    output_bias=0.0,
)
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "pack": (kernels.pack_haplotypes, {"alleles": np.zeros((2, 3), np.int8)}),
    "unpack": (kernels.unpack_haplotypes, {"bits": bits(3), "num_sites": 128}),
    "align": (
        kernels.align_sites,
        {
            "position": np.array([1, 2]),
            "panel_position": np.array([1, 2, 3]),
            "alleles": np.array([["A", "C"]] * 2),
            "panel_alleles": np.array([["A", "C"]] * 3),
        },
    ),
    "mask": (kernels.af_guided_mask, {**MASK, "window": 1}),
    "mask by mt19937": (kernels.af_guided_mask, {**MASK, "window": 1, "generator": "mt19937"}),
    "masks": (kernels.af_guided_masks, {**MASK, **WINDOWS}),
    "hamming": (
        kernels.topk_hamming,
        {
            "queries": bits(2),
            "panel": bits(6),
            "num_sites": 100,
            "observed": np.ones(100, bool),
            "weights": np.ones(100, np.float32),
            **FOUND,
        },
    ),
    "from sites": (
        kernels.HammingIndex.from_sites,
        {"site_bits": bits(5), "num_haplotypes": 70, "observed": np.ones(5, bool)},
    ),
    "l2": (kernels.topk_l2, {"queries": floats(2), "database": floats(6), **FOUND}),
    "dosage": (kernels.li_stephens_dosage, LI_STEPHENS),
    "rates": (kernels.estimate_rates, {**OVER_STATES, "iterations": 2, "prior": 1.0}),
    "evidence": (
        kernels.li_stephens_evidence,
        {**OVER_STATES, "sites": np.arange(5), "alt_count": np.arange(5)},
    ),
    "states": (kernels.retrieve_states, STATES),
    "states of samples": (kernels.retrieve_states, STATES_OF_SAMPLES),
    "phasings": (
        kernels.sample_phasings,
        {
            **OVER_STATES,
            "queries": bits(6),
            "missing": bits(6),
            "states": None,
            "keys": np.zeros(3, np.uint64),
            "first_rank": 0,
            "unphased": bits(3),
            "switch_error": 0.1,
            "draws": 2,
        },
    ),
    "head": (kernels.head_log_odds, {"evidence": floats(2), "weights": HEAD, "threads": 1}),
}
OPTIONAL = {"observed", "exclude", "weights", "missing", "unphased", "threads"}
ANY_LAYOUT = {"pack", "align", "mask", "mask by mt19937", "masks"}


def refuses(function: str, error: type[Exception], text: str, **changes: Any) -> None:
    made, good = CALLS[function]
    with pytest.raises(error, match=f"^{text}$"):
        made(**{**good, **changes})


# --- arrays of a wrong kind -----------------------------------------------------------------------

BITS = "a uint64 (rows, words) array with contiguous rows"
FLOATS = "a float32 (rows, dimensions) array with contiguous rows"
EXCLUDE = "an int64 (Q, E) array with contiguous rows"
AF = "a float64 (L,) array of frequencies from 0 to 1"
ALLELES = "an (S, 2) array of strings (REF, ALT) or of integer codes"
STATES_ARRAYS = {
    "queries": BITS,
    "site_bits": BITS,
    "observed": "a contiguous bool (70,) array",
    "position_cm": "a contiguous float64 (S,) array",
    "exclude": EXCLUDE,
    "missing": BITS,
}
LI_STEPHENS_ARRAYS = {
    "cumulative_rho" if name == "position_cm" else name: expected
    for name, expected in STATES_ARRAYS.items()
}
OVER_STATES_ARRAYS = {
    "haplotype_bits" if name == "site_bits" else name: expected
    for name, expected in LI_STEPHENS_ARRAYS.items()
}
ARRAYS = {
    "pack": {"alleles": "an int8, uint8 or bool (rows, columns) array"},
    "unpack": {"bits": BITS},
    "align": {
        "position": "an integer (S,) array",
        "panel_position": "an integer (P,) array",
        "alleles": ALLELES,
        "panel_alleles": ALLELES,
    },
    "mask": {"af": AF},
    "mask by mt19937": {"af": AF},
    "masks": {"af": AF, "starts": "an integer (N,) array", "stops": "an integer (N,) array"},
    "hamming": {
        "queries": BITS,
        "panel": BITS,
        "observed": "a contiguous bool (100,) array",
        "exclude": EXCLUDE,
        "weights": "a contiguous float32 (100,) array",
    },
    "from sites": {"site_bits": BITS, "observed": "a contiguous bool (5,) array"},
    "l2": {"queries": FLOATS, "database": FLOATS, "exclude": EXCLUDE},
    "dosage": LI_STEPHENS_ARRAYS,
    "rates": OVER_STATES_ARRAYS,
    "evidence": {
        **OVER_STATES_ARRAYS,
        "sites": "a contiguous int64 (N,) array",
        "alt_count": "a contiguous int64 (5,) array",
    },
    "phasings": {
        **OVER_STATES_ARRAYS,
        "keys": "a contiguous uint64 (3,) array",
        "unphased": BITS,
    },
    "states": STATES_ARRAYS,
    "states of samples": {"unphased": BITS},
}


@pytest.mark.parametrize(
    ("function", "argument", "expected"), [(f, *row) for f in ARRAYS for row in ARRAYS[f].items()]
)
def test_arrays_of_a_wrong_kind(function, argument, expected):
    good = CALLS[function][1][argument]
    is_text = good.dtype.kind == "U"
    others = "c8 f2" if "integer" in expected or "uint8" in expected else "c8 f2 i4 u1"
    wrong: list[tuple[Any, type[Exception], str]] = [
        (good.tolist(), T, "list"),
        (good.reshape(1, 1, *good.shape), V, "shape (1, 1, "),
        (good.ravel()[:1].reshape(()), V, "shape ()"),
        *((np.zeros(good.shape, d), T, f"dtype {np.dtype(d)}") for d in others.split()),
    ]
    if argument not in OPTIONAL and not is_text:
        wrong.append((None, T, "NoneType"))
    if good.dtype.itemsize > 1 and not is_text:
        wrong.append((good.astype(good.dtype.newbyteorder()), T, "dtype >"))
    for value, error, got in wrong:
        what = f"of shape {good.shape}" if is_text and "shape" in got else expected
        text = re.escape(f"{argument} must be {what}, got {got}")
        refuses(function, error, text + ".*", **{argument: value})
    if function not in ANY_LAYOUT:
        apart = np.repeat(good, 2, axis=-1)[..., ::2]
        refuses(
            function,
            T,
            f"{argument} must be .*, got .* not (contiguous|adjacent)",
            **{argument: apart},
        )
        if good.dtype.itemsize > 1:
            text = f"{argument} must be .*, got unaligned memory"
            refuses(function, T, text, **{argument: unaligned(good)})


# --- numbers of a wrong type ----------------------------------------------------------------------

NUMBERS = {
    "unpack": {"num_sites": int},
    "mask": {
        "seed": int,
        "window": int,
        "rate": float,
        "rare_rate": float,
        "rare_threshold": float,
    },
    "masks": {"seed": int, "first_window": int, "rate": float, "threads": int},
    "hamming": {"k": int, "num_sites": int, "threads": int},
    "from sites": {"num_haplotypes": int},
    "l2": {"k": int, "threads": int},
    "dosage": {"num_haplotypes": int, "mismatch": float, "threads": int},
    "states": {
        "num_haplotypes": int,
        "neighbours": int,
        "step": int,
        "within_cm": float,
        "threads": int,
    },
    "states of samples": {"group_size": int},
    "evidence": {"mismatch": float, "threads": int},
    "phasings": {
        "mismatch": float,
        "first_rank": int,
        "switch_error": float,
        "draws": int,
        "threads": int,
    },
    "rates": {
        "mismatch": float,
        "iterations": int,
        "prior": float,
        "threads": int,
    },
}


@pytest.mark.parametrize(
    ("function", "argument", "kind"), [(f, *row) for f in NUMBERS for row in NUMBERS[f].items()]
)
def test_numbers_of_a_wrong_type(function, argument, kind):
    values = ["1", None, True, np.complex128(1), np.array([1, 2])]
    for value in [*values, 1.0] if kind is int else values:
        if value is None and argument in OPTIONAL:
            continue
        text = f"{argument} must be an? {kind.__name__}, got {type(value).__name__}"
        refuses(function, T, text, **{argument: value})


# --- values ---------------------------------------------------------------------------------------

SEED = "from 0 to 1844674407370955"
WINDOW = "from 0 to 9223372036854775807"
RATE = "from 0 to 1"
SITES = "from 0 to 2147483647"
HAPLOTYPES = "from 1 to 4294967295"
THREADS = "from 1 to 4096"
EXCLUDE_2, EXCLUDE_3 = (EXCLUDE.replace("Q", str(n)) for n in (2, 3))
EXCLUDED = "-1 or an index below"
FINITE = "finite and ascending"
BOTH = "alleles and panel_alleles must be both strings or both integer codes"
GIVEN = "given, as the other side's alleles are"
EVIDENCE = "a C-contiguous float32 (..., E) array"
HEAD_ROWS = "of a row for each column of evidence"
MISMATCH = "above 0 and at most 0.5"
ENDS = "starts, stops must be ascending, not overlapping windows within 10 sites"

# What is changed, the error, what the first of it must be (or the whole text), and what came.
ALLELE, POSITION = ARRAYS["pack"]["alleles"], ARRAYS["align"]["position"]
OBSERVED, WEIGHTS = ARRAYS["hamming"]["observed"], ARRAYS["hamming"]["weights"]
NOT_NEGATIVE = "finite and not negative"
NOT_ADJACENT = "rows that are not adjacent"
Row = tuple[dict[str, Any], type[Exception], str, str]
BOTH_GENERATORS: list[Row] = [
    ({"af": one_other(10, NAN, 1)}, V, AF, "nan at 1"),
    ({"af": one_other(10, -1e-300, 6)}, V, AF, "-1e-300 at 6"),
    ({"af": one_other(10, 1.5, 9)}, V, AF, "1.5 at 9"),
    ({"af": one_other(10, np.inf, 0)}, V, AF, "inf at 0"),
    ({"rate": -0.1}, V, RATE, "-0.1"),
    ({"rate": 1.01}, V, RATE, "1.01"),
    ({"rate": NAN}, V, RATE, "nan"),
    ({"rare_rate": 2}, V, RATE, "2"),
    ({"generator": "pcg"}, V, "'philox' or 'mt19937'", "'pcg'"),
]
TWO_AT_MOST = np.array([[0, 1, 0], [-1, -1, 3]])
SEARCH: list[Row] = [
    ({"k": 0}, V, "at least 1", "0"),
    ({"k": 7}, V, "at most 6 (6 less 0 excluded)", "7"),
    ({"k": 2**62}, V, "at most 6 (6 less 0 excluded)", f"{2**62}"),
    ({"k": 5, "exclude": TWO_AT_MOST}, V, "at most 4 (6 less 2 excluded)", "5"),
    ({"threads": 0}, V, THREADS, "0"),
    ({"threads": -1}, V, THREADS, "-1"),
    ({"threads": 2**40}, V, THREADS, f"{2**40}"),
    ({"exclude": np.zeros((3, 1), np.int64)}, V, EXCLUDE_2, "shape (3, 1)"),
    ({"exclude": np.array([[0], [6]])}, V, f"{EXCLUDED} 6", "6 for query 1"),
    ({"exclude": np.array([[-2], [0]])}, V, f"{EXCLUDED} 6", "-2 for query 0"),
]
SITE_BITS: list[Row] = [
    ({"site_bits": bits(70, 1)}, V, "of 2 words a row (66 haplotypes)", "1"),
    ({"num_haplotypes": 200}, V, "site_bits must be of 4 words a row (200 haplotypes)", "2"),
]
QUERIES: list[Row] = [
    ({"queries": bits(3, 3)}, V, "of 2 words a row (70 sites)", "3"),
    ({"queries": bits(3, 4)[:, :2]}, T, BITS, NOT_ADJACENT),
    ({"queries": bits(6)[::2]}, T, BITS, NOT_ADJACENT),
    ({"observed": np.ones(69, bool)}, V, ARRAYS["dosage"]["observed"], "shape (69,)"),
    ({"exclude": np.zeros((2, 1), int)}, V, EXCLUDE_3, "shape (2, 1)"),
    ({"exclude": np.full((3, 1), 66)}, V, f"{EXCLUDED} 66", "66 for query 0"),
    ({"exclude": np.full((3, 1), -2)}, V, f"{EXCLUDED} 66", "-2 for query 0"),
    (
        {"exclude": np.arange(198).reshape(3, 66) % 66},
        V,
        "such that a haplotype is left",
        "all 66",
    ),
    ({"missing": bits(3, 1)}, V, "of 2 words a row (70 sites)", "1"),
    ({"missing": bits(2)}, V, "of as many rows as queries", "2"),
    ({"missing": bits(6)[::2]}, T, BITS, NOT_ADJACENT),
    ({"threads": 0}, V, THREADS, "0"),
]


def ascending(name: str) -> list[Row]:
    return [
        ({name: np.zeros(71)}, V, "a contiguous float64 (70,) array", "shape (71,)"),
        ({name: one_other(70, -1.0, 9)}, V, FINITE, "-1.0 at 9"),
        ({name: one_other(70, 2.0, 9)}, V, FINITE, "0.0 at 10"),
        ({name: one_other(70, np.inf, 69)}, V, FINITE, "inf at 69"),
        ({name: one_other(70, NAN, 0)}, V, FINITE, "nan at 0"),
        ({name: np.full(70, -np.inf)}, V, FINITE, "-inf at 0"),
    ]


MODEL: list[Row] = [
    *QUERIES,
    *ascending("cumulative_rho")[1:],
    *(({"mismatch": value}, V, MISMATCH, f"{value}") for value in (0.0, -0.1, 0.51, NAN)),
]


def states(
    starts: Any = (0, 3), offsets: Any = ((0, 1, 3), (3, 4, 5), (5, 6, 8)), copied: Any = None
) -> tuple[np.ndarray, ...]:
    haplotypes = [7, 0, 65, 1, 1, 8, 9, 65] if copied is None else copied
    return np.array(starts, np.int64), np.array(offsets), np.array(haplotypes, np.int32)


OF_THESE = (V, "States of these queries", "others")
EVERY_BLOCK = (V, "at least one in every block", "offsets that do not ascend")
OF_THE_PANEL = "haplotypes of the panel that ascend"
WRONG_STATES: list[tuple[Any, tuple[type[Exception], str, str]]] = [
    (states()[:2], (T, "States", "a tuple of another length")),
    ((None, *states()[1:]), (T, OF_THESE[1], "NoneType")),
    ((states()[0].astype("i4"), *states()[1:]), (T, OF_THESE[1], "dtype int32")),
    ((*states()[:2], states()[2].astype("i8")), (T, OF_THESE[1], "dtype int64")),
    ((*states()[:2], states()[2][None]), (V, OF_THESE[1], "shape (1, 8)")),
    ((states()[0], np.arange(3), states()[2]), (V, OF_THESE[1], "shape (3,)")),
    (states(starts=[]), OF_THESE),
    (states(starts=[0, 0]), OF_THESE),
    (states(starts=[1, 3]), OF_THESE),
    (states(starts=[0, 70]), OF_THESE),
    (states(starts=[0, 3, 4]), OF_THESE),
    (states(offsets=[[0, 1, 3]]), OF_THESE),
    (states(offsets=[[0, 1, 3], [3, 3, 5], [5, 6, 8]]), EVERY_BLOCK),
    (states(offsets=[[0, 1, 3], [3, 4, 5], [5, 6, 9]]), EVERY_BLOCK),
    (states(offsets=[[-1, 1, 3], [3, 4, 5], [5, 6, 8]]), EVERY_BLOCK),
    (states(copied=[7, 0, 66, 1, 1, 8, 9, 65]), (V, OF_THE_PANEL, "66")),
    (states(copied=[7, 65, 0, 1, 1, 8, 9, 65]), (V, OF_THE_PANEL, "0")),
    (states(copied=[7, 0, 0, 1, 1, 8, 9, 65]), (V, OF_THE_PANEL, "0")),
    (states(copied=[-1, 0, 65, 1, 1, 8, 9, 65]), (V, OF_THE_PANEL, "-1")),
]
OVER_STATES_VALUES: list[Row] = [
    *MODEL,
    (
        {"cumulative_rho": np.zeros(129)},
        V,
        "haplotype_bits must be of 3 words a row (129 sites)",
        "2",
    ),
    (
        {"cumulative_rho": np.zeros(71)},
        V,
        "observed must be a contiguous bool (71,) array",
        "shape (70,)",
    ),
    ({"haplotype_bits": bits(66, 1)}, V, "of 2 words a row (70 sites)", "1"),
    (
        {"haplotype_bits": bits(0), "exclude": None},
        V,
        "rows of haplotype_bits must be from 1 to 2147483647",
        "0",
    ),
    *(({"states": value}, T, "States", got) for value, got in ((5, "int"), ([0, 1], "list"))),
    *(({"states": value}, *expected) for value, expected in WRONG_STATES),
]
VALUES: dict[str, list[Row]] = {
    "pack": [
        ({"alleles": np.zeros((2, 2), np.int16)}, T, ALLELE, "dtype int16"),
    ],
    "unpack": [
        ({"num_sites": 64}, V, "bits must be of 1 words a row (64 sites)", "2"),
        ({"num_sites": 129}, V, "bits must be of 3 words a row (129 sites)", "2"),
        ({"num_sites": 0}, V, "bits must be of 0 words a row (0 sites)", "2"),
        ({"num_sites": -1}, V, f"from 0 to {2**62 - 1}", "-1"),
    ],
    "align": [
        ({"position": np.zeros(2, bool)}, T, POSITION, "dtype bool"),
        ({"position": np.int64(3)}, T, POSITION, "int64"),
        ({"position": np.array([5, 4])}, V, "ascending", "4 after 5 at 1"),
        ({"panel_position": np.array([1, 7, 6])}, V, "ascending", "6 after 7 at 2"),
        ({"alleles": np.array([["A", "C"]])}, V, "of shape (2, 2)", "shape (1, 2)"),
        ({"panel_alleles": np.array(["A", "C", "G"])}, V, "of shape (3, 2)", "shape (3,)"),
        ({"alleles": np.zeros((2, 3), int)}, V, "of shape (2, 2)", "shape (2, 3)"),
        ({"alleles": np.zeros((2, 2), int)}, T, BOTH, "dtypes int64 and <U1"),
        ({"alleles": np.zeros((2, 2), ">i4")}, T, ALLELES, "dtype >i4"),
        ({"alleles": None}, T, GIVEN, "None"),
        ({"panel_alleles": None}, T, GIVEN, "None"),
    ],
    "mask": [
        *BOTH_GENERATORS,
        ({"seed": -1}, V, SEED, "-1"),
        ({"seed": 1844674407370956}, V, SEED, "1844674407370956"),
        ({"window": -1}, V, WINDOW, "-1"),
        ({"window": 2**63}, V, WINDOW, f"{2**63}"),
    ],
    "mask by mt19937": [
        *BOTH_GENERATORS,
        ({"window": 10_000}, V, "below 10000 for generator='mt19937'", "10000"),
    ],
    "masks": [
        *BOTH_GENERATORS,
        ({"first_window": -1}, V, "from 0 to 9223372036854775805", "-1"),
        ({"stops": np.array([5])}, V, "of starts' shape (2,)", "shape (1,)"),
        ({"threads": 0}, V, THREADS, "0"),
        *(
            ({"starts": np.array(starts), "stops": np.array(stops)}, V, ENDS, got)
            for starts, stops, got in (
                ([0, 3], [4, 9], "[3, 9) at 1"),
                ([3, 0], [9, 3], "[0, 3) at 1"),
                ([5], [4], "[5, 4) at 0"),
                ([-1], [4], "[-1, 4) at 0"),
                ([0, 8], [4, 11], "[8, 11) at 1"),
                ([11], [11], "[11, 11) at 0"),
            )
        ),
    ],
    "hamming": [
        *SEARCH,
        ({"queries": bits(2, 3)}, V, "of 2 words a row (100 sites)", "3"),
        ({"panel": bits(6, 1)}, V, "of 2 words a row (100 sites)", "1"),
        ({"panel": bits(0)}, V, f"rows of panel must be {HAPLOTYPES}", "0"),
        ({"num_sites": -1}, V, SITES, "-1"),
        ({"num_sites": 2**31}, V, SITES, f"{2**31}"),
        ({"observed": np.ones(99, bool)}, V, OBSERVED, "shape (99,)"),
        ({"weights": np.ones(99, np.float32)}, V, WEIGHTS, "shape (99,)"),
        *(
            ({"weights": one_other(100, value, 7).astype("f4")}, V, NOT_NEGATIVE, f"{value} at 7")
            for value in (NAN, np.inf, -1.0)
        ),
    ],
    "from sites": [
        ({"num_haplotypes": 0}, V, HAPLOTYPES, "0"),
        ({"num_haplotypes": 129}, V, "site_bits must be of 3 words a row (129 haplotypes)", "2"),
        ({"observed": np.ones(4, bool)}, V, ARRAYS["from sites"]["observed"], "shape (4,)"),
    ],
    "l2": [
        *SEARCH,
        ({"database": floats(0)}, V, f"rows of database must be {HAPLOTYPES}", "0"),
        ({"queries": floats(2, 4)}, V, "of 3 dimensions, as database", "4"),
    ],
    "dosage": [
        *MODEL,
        ascending("cumulative_rho")[0],
        *SITE_BITS,
        ({"num_haplotypes": 0}, V, HAPLOTYPES, "0"),
        ({"num_haplotypes": 2**32}, V, HAPLOTYPES, f"{2**32}"),
    ],
    "evidence": [
        *OVER_STATES_VALUES,
        ({"sites": np.array([0, 1, 2, 4, 4])}, V, "ascending and below 70", "4"),
        ({"sites": np.array([-1, 1, 2, 3, 4])}, V, "ascending and below 70", "-1"),
        ({"sites": np.array([0, 1, 2, 3, 70])}, V, "ascending and below 70", "70"),
        (
            {"sites": np.arange(4)},
            V,
            "alt_count must be a contiguous int64 (4,) array",
            "shape (5,)",
        ),
        ({"alt_count": np.array([0, 1, 2, 3, 67])}, V, "from 0 to 66", "67"),
        ({"alt_count": np.array([-1, 1, 2, 3, 4])}, V, "from 0 to 66", "-1"),
    ],
    "rates": [
        *OVER_STATES_VALUES,
        ({"iterations": 0}, V, "from 1 to 1000000", "0"),
        *(({"prior": value}, V, NOT_NEGATIVE, f"{value}") for value in (-0.5, NAN, float("inf"))),
    ],
    "phasings": [
        *(row for row in OVER_STATES_VALUES if not {"queries", "missing"} & set(row[0])),
        ({"queries": bits(6, 3)}, V, "of 2 words a row (70 sites)", "3"),
        ({"queries": bits(5)}, V, "of two rows a sample", "5"),
        ({"queries": bits(12)[::2]}, T, BITS, NOT_ADJACENT),
        ({"missing": bits(6, 1)}, V, "of 2 words a row (70 sites)", "1"),
        ({"missing": bits(3)}, V, "of as many rows as queries", "3"),
        ({"keys": np.zeros(4, np.uint64)}, V, ARRAYS["phasings"]["keys"], "shape (4,)"),
        ({"unphased": bits(3, 1)}, V, "of 2 words a row (70 sites)", "1"),
        ({"unphased": bits(4)}, V, "of a row for each sample", "4"),
        ({"unphased": bits(6)[::2]}, T, BITS, NOT_ADJACENT),
        *(({"switch_error": value}, V, RATE, f"{value}") for value in (-0.1, 1.1, NAN)),
        *(({"draws": value}, V, "from 1 to 2147483647", f"{value}") for value in (0, 2**31)),
    ],
    "states": [
        *QUERIES,
        *SITE_BITS,
        *ascending("position_cm"),
        *(
            ({name: value}, V, "from 1 to 2147483647", f"{value}")
            for name in ("num_haplotypes", "neighbours", "step")
            for value in (0, -1, 2**31)
        ),
        *(({"within_cm": value}, V, NOT_NEGATIVE, f"{value}") for value in (-0.1, NAN)),
    ],
    "states of samples": [
        ({"unphased": bits(2, 1)}, V, "of 2 words a row (70 sites)", "1"),
        ({"unphased": bits(4)}, V, "of half as many rows as queries", "4"),
        ({"unphased": bits(4)[::2]}, T, BITS, NOT_ADJACENT),
        (
            {"queries": bits(3), "exclude": None, "missing": None, "group_size": 1},
            V,
            "of an even number of rows with unphased",
            "3",
        ),
        *(({"group_size": size}, V, "from 1 to 2147483647", f"{size}") for size in (0, -2, 2**31)),
        *(({"group_size": size}, V, "a divisor of the 4 queries", f"{size}") for size in (3, 8)),
    ],
    "head": [
        ({"evidence": None}, T, EVIDENCE, "NoneType"),
        ({"evidence": np.zeros((2, 3))}, T, EVIDENCE, "dtype float64"),
        ({"evidence": floats(2, 6)[:, ::2]}, T, EVIDENCE, "an array that is not contiguous"),
        ({"evidence": floats(2, 0)}, V, EVIDENCE, "shape (2, 0)"),
        ({"evidence": np.float32(1)}, T, EVIDENCE, "float32"),
        ({"evidence": floats(2) + np.float32(NAN)}, V, "numbers", "NaN"),
        ({"evidence": floats(2, 4)}, V, f"hidden_weight must be {HEAD_ROWS}", "shape (3, 5)"),
        ({"weights": tuple(HEAD)}, T, "HeadWeights", "tuple"),
        (
            {"weights": HEAD._replace(scale=np.zeros(3, np.float32))},
            V,
            "scale must be finite and not 0",
            "[0. 0. 0.]",
        ),
        (
            {"weights": HEAD._replace(hidden_bias=np.zeros(4, np.float32))},
            V,
            "hidden_bias must be a contiguous float32 (5,) array",
            "shape (4,)",
        ),
        ({"threads": 0}, V, THREADS, "0"),
    ],
}


@pytest.mark.parametrize(
    ("function", "changes", "error", "expected", "got"),
    [(function, *row) for function, rows in VALUES.items() for row in rows],
)
def test_wrong_values(function, changes, error, expected, got):
    text = expected if " must be " in expected else f"{next(iter(changes))} must be {expected}"
    refuses(function, error, re.escape(f"{text}, got {got}"), **changes)


def test_good_states():
    for function in ("rates", "evidence", "phasings"):
        call, good = CALLS[function]
        call(**{**good, "states": states()})


def test_numbers_of_numpy_are_numbers():
    numbers = {"k": np.int64(2), "num_sites": np.uint8(100), "threads": np.int16(1)}
    search, good = CALLS["hamming"]
    assert search(**{**good, **numbers}).indices.tolist() == [[0, 1], [0, 1]]


def test_weights_of_too_large_a_sum():
    weights = np.full(100, 3e38, np.float32)
    refuses("hamming", V, "weights must be .*sum.*", weights=weights)
