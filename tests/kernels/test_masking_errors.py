"""Wrong arguments of the masks, by name."""

from __future__ import annotations

import re

import numpy as np
import pytest

from snvrag.kernels import af_guided_mask, af_guided_masks

GENERATORS = ["philox", "mt19937"]

AF = "a float64 (L,) array of frequencies from 0 to 1"

BAD = [
    ({"af": [0.5]}, TypeError, f"af must be {AF}, got list"),
    ({"af": None}, TypeError, f"af must be {AF}, got NoneType"),
    ({"af": np.zeros(3, np.float32)}, TypeError, f"af must be {AF}, got dtype float32"),
    ({"af": np.zeros(3, np.int64)}, TypeError, f"af must be {AF}, got dtype int64"),
    ({"af": np.zeros(3, ">f8")}, TypeError, f"af must be {AF}, got dtype >f8"),
    ({"af": np.zeros(3, object)}, TypeError, f"af must be {AF}, got dtype object"),
    ({"af": np.zeros((3, 1))}, ValueError, f"af must be {AF}, got shape (3, 1)"),
    ({"af": np.array(0.5)}, ValueError, f"af must be {AF}, got shape ()"),
    ({"af": np.array([0.1, np.nan, 7.0])}, ValueError, f"af must be {AF}, got nan at 1"),
    ({"af": np.array([0.1] * 6 + [-1e-300])}, ValueError, f"af must be {AF}, got -1e-300 at 6"),
    ({"af": np.array([0.1] * 9 + [1.5])}, ValueError, f"af must be {AF}, got 1.5 at 9"),
    ({"af": np.array([np.inf])}, ValueError, f"af must be {AF}, got inf at 0"),
    ({"seed": 1.0}, TypeError, "seed must be an int, got float"),
    ({"seed": True}, TypeError, "seed must be an int, got bool"),
    ({"seed": None}, TypeError, "seed must be an int, got NoneType"),
    ({"seed": -1}, ValueError, "seed must be from 0 to 1844674407370955, got -1"),
    (
        {"seed": 1844674407370956},
        ValueError,
        "seed must be from 0 to 1844674407370955, got 1844674407370956",
    ),
    ({"window": 0.0}, TypeError, "window must be an int, got float"),
    ({"window": -1}, ValueError, "window must be from 0 to 9223372036854775807, got -1"),
    (
        {"window": 2**63},
        ValueError,
        "window must be from 0 to 9223372036854775807, got 9223372036854775808",
    ),
    ({"rate": "0.5"}, TypeError, "rate must be a float, got str"),
    ({"rate": None}, TypeError, "rate must be a float, got NoneType"),
    ({"rate": True}, TypeError, "rate must be a float, got bool"),
    ({"rate": -0.1}, ValueError, "rate must be from 0 to 1, got -0.1"),
    ({"rate": 1.01}, ValueError, "rate must be from 0 to 1, got 1.01"),
    ({"rate": float("nan")}, ValueError, "rate must be from 0 to 1, got nan"),
    ({"rare_rate": 2}, ValueError, "rare_rate must be from 0 to 1, got 2"),
    ({"rare_threshold": "x"}, TypeError, "rare_threshold must be a float, got str"),
    ({"rare_threshold": True}, TypeError, "rare_threshold must be a float, got bool"),
    (
        {"rare_threshold": np.complex128(0.1)},
        TypeError,
        "rare_threshold must be a float, got complex128",
    ),
    ({"generator": "pcg"}, ValueError, "generator must be 'philox' or 'mt19937', got 'pcg'"),
]


@pytest.mark.parametrize(("wrong", "error", "text"), BAD)
def test_wrong_arguments_of_one_mask(wrong, error, text):
    good = {"af": np.full(3, 0.5), "seed": 1, "window": 1, "rate": 0.5}
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        af_guided_mask(**{**good, **wrong})
    if "seed" not in wrong and "window" not in wrong:  # mt19937 has tighter limits
        with pytest.raises(error, match="^" + re.escape(text) + "$"):
            af_guided_mask(**{**good, "generator": "mt19937", **wrong})


def test_mt19937_refuses_what_would_not_be_v18s():
    af = np.full(3, 0.5)
    with pytest.raises(ValueError, match=r"^window must be below 10000 for .*, got 10000$"):
        af_guided_mask(af, seed=1, window=10_000, rate=0.5, generator="mt19937")
    ends = np.array([0, 1]), np.array([1, 2])
    with pytest.raises(ValueError, match=r"^window must be below 10000 for .*, got 10000$"):
        af_guided_masks(af, *ends, seed=1, rate=0.5, first_window=9_999, generator="mt19937")
    # RandomState takes seeds below 2**32; 429496 * 10000 + 7295 is the last.
    last = af_guided_mask(af, seed=429_496, window=7_295, rate=0.5, generator="mt19937")
    assert (last == (np.random.RandomState(2**32 - 1).random_sample(3) < 0.5)).all()
    with pytest.raises(ValueError, match=r"^seed must be such that .*, got 429496$"):
        af_guided_mask(af, seed=429_496, window=7_296, rate=0.5, generator="mt19937")


BAD_WINDOWS = [
    ([0, 3], [4, 9], "[3, 9) at 1"),
    ([3, 0], [9, 3], "[0, 3) at 1"),
    ([5], [4], "[5, 4) at 0"),
    ([-1], [4], "[-1, 4) at 0"),
    ([0, 8], [4, 11], "[8, 11) at 1"),
    ([11], [11], "[11, 11) at 0"),
]


@pytest.mark.parametrize(("starts", "stops", "got"), BAD_WINDOWS)
def test_windows_that_overlap_descend_or_leave_the_panel(starts, stops, got):
    text = f"starts, stops must be ascending, not overlapping windows within 10 sites, got {got}"
    with pytest.raises(ValueError, match=re.escape(text) + "$"):
        af_guided_masks(np.full(10, 0.5), np.array(starts), np.array(stops), seed=1, rate=0.5)


@pytest.mark.parametrize(("wrong", "error", "text"), BAD)
def test_wrong_arguments_of_many_masks(wrong, error, text):
    wrong = {("first_window" if name == "window" else name): v for name, v in wrong.items()}
    ends = {"starts": np.array([0, 5]), "stops": np.array([5, 10])}
    good = {"af": np.full(10, 0.5), **ends, "seed": 1, "rate": 0.5}
    if isinstance(wrong.get("af"), np.ndarray) and wrong["af"].ndim == 1:
        good["starts"], good["stops"] = np.array([0]), np.array([wrong["af"].size])
    pattern = re.escape(text) + "$"
    if "seed" in wrong or "first_window" in wrong:
        pattern = " must be .*, got "  # the limits depend on the number of windows
    with pytest.raises(error, match=pattern):
        af_guided_masks(**{**good, **wrong})


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("generator", GENERATORS)
def test_the_first_bad_frequency_is_named(threads, generator):
    starts = np.arange(0, 100, 10)
    af = np.full(100, 0.5)
    af[[37, 71, 93]] = [2.0, np.nan, -1.0]
    with pytest.raises(ValueError, match=re.escape(f"af must be {AF}, got 2.0 at 37") + "$"):
        af_guided_masks(
            af, starts, starts + 10, seed=1, rate=0.5, threads=threads, generator=generator
        )


MORE_BAD = [
    ({"starts": [0]}, TypeError, "starts must be an integer (N,) array, got list"),
    ({"starts": np.zeros(2)}, TypeError, "starts must be an integer (N,) array, got dtype float64"),
    (
        {"stops": np.zeros((1, 1), int)},
        ValueError,
        "stops must be an integer (N,) array, got shape (1, 1)",
    ),
    ({"stops": np.array([5])}, ValueError, "stops must be of starts' shape (2,), got shape (1,)"),
    ({"threads": 0}, ValueError, "threads must be from 1 to 4096, got 0"),
    ({"threads": -1}, ValueError, "threads must be from 1 to 4096, got -1"),
    ({"threads": 1.0}, TypeError, "threads must be an int, got float"),
]


@pytest.mark.parametrize(("wrong", "error", "text"), MORE_BAD)
def test_wrong_windows_and_threads(wrong, error, text):
    good = {"starts": np.array([0, 5]), "stops": np.array([5, 10])}
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        af_guided_masks(np.full(10, 0.5), **{**good, **wrong}, seed=1, rate=0.5)
