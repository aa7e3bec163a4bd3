"""AF-guided masks, bit for bit against NumPy's own generators."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import frozen, unaligned
from snvrag.kernels import af_guided_mask, af_guided_masks, oracle

SIZES = [0, 1, 2, 3, 4, 5, 63, 64, 65, 127, 128, 129, 1020]
GENERATORS = ["philox", "mt19937"]


def frequencies(num_sites: int, seed: int = 0) -> np.ndarray:
    """Half rare, half common, with both ends and both sides of the threshold."""
    random = np.random.default_rng(seed)
    af = np.where(random.random(num_sites) < 0.5, 0.06, 1.0) * random.random(num_sites)
    special = [0.0, 1.0, 0.05, np.nextafter(0.05, 0), np.nextafter(0.05, 1)]
    af[3 : 3 + len(special)] = special[: max(0, num_sites - 3)]
    return af


def draws(generator: str, seed: int, window: int, num_sites: int) -> np.ndarray:
    """Return u as the contract writes it, in NumPy."""
    key = seed * 10_000 + window
    if generator == "mt19937":
        return np.random.RandomState(key).random_sample(num_sites)
    wide = (window // 10_000 << 64) + key
    return np.random.Generator(np.random.Philox(key=wide)).random(num_sites)


# --- the oracle ----------------------------------------------------------------------------------


def known_blocks(known_answers: Any) -> list[list[int]]:
    lines = (known_answers / "philox4x64_10.txt").read_text().splitlines()
    rows = [[int(word, 16) for word in line.split()] for line in lines if line[:1] not in ("#", "")]
    assert len(rows) == 3
    assert all(len(row) == 10 for row in rows)
    return rows


def test_oracle_gives_the_known_answers_of_random123(known_answers):
    for row in known_blocks(known_answers):
        assert oracle.philox4x64(row[:4], row[4:6]) == row[6:]


def test_numpy_gives_the_known_answers_of_random123(known_answers):
    for row in known_blocks(known_answers):
        counter = sum(word << 64 * i for i, word in enumerate(row[:4]))
        philox = np.random.Philox(
            counter=(counter - 1) % 2**256,
            key=sum(word << 64 * i for i, word in enumerate(row[4:6])),
        )
        assert philox.random_raw(4).tolist() == row[6:]


@given(key=st.integers(0, 2**128 - 1))
def test_oracle_block_is_numpys(key):
    raw = np.random.Philox(key=key).random_raw(8).tolist()
    halves = [key % 2**64, key >> 64]
    blocks = [oracle.philox4x64([b, 0, 0, 0], halves) for b in (1, 2)]
    assert blocks[0] + blocks[1] == raw


def test_draws_have_known_values():
    # The first double of NumPy's RandomState(42), as everybody has seen it.
    assert draws("mt19937", 0, 42, 1)[0] == 0.3745401188473625
    # Block 1 under key 0, by the plain-integer Philox.
    words = oracle.philox4x64([1, 0, 0, 0], [0, 0])
    assert draws("philox", 0, 0, 4).tolist() == [(word >> 11) / 2**53 for word in words]


@pytest.mark.parametrize("generator", GENERATORS)
def test_oracle_is_the_formula_of_the_contract(generator):
    af = frequencies(129)
    u = draws(generator, 3, 17, 129)
    expected = u < np.where(af < 0.05, 0.7, 0.4)
    got = oracle.af_guided_mask(af, seed=3, window=17, rate=0.4, generator=generator)
    assert (got == expected).all()


# --- the kernel ----------------------------------------------------------------------------------


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("num_sites", SIZES)
def test_mask_is_the_formula(num_sites, generator):
    af = frequencies(num_sites)
    for seed, window, rate in [(0, 0, 0.3), (0, 1, 0.5), (1, 0, 0.8), (2024, 330, 0.5)]:
        expected = draws(generator, seed, window, num_sites) < np.where(af < 0.05, 0.7, rate)
        got = af_guided_mask(af, seed=seed, window=window, rate=rate, generator=generator)
        assert got.dtype == np.bool_
        assert got.shape == (num_sites,)
        assert got.tolist() == expected.tolist()


def test_mask_is_long_enough_to_leave_the_first_state_of_mt19937():
    af = np.full(5_000, 0.5)
    got = af_guided_mask(af, seed=7, window=9_999, rate=0.5, generator="mt19937")
    assert (got == (draws("mt19937", 7, 9_999, 5_000) < 0.5)).all()


@given(
    seed=st.integers(0, (2**32 - 1) // 10_000 - 1),
    window=st.integers(0, 9_999),
    rate=st.floats(0, 1),
    rare_rate=st.floats(0, 1),
    rare_threshold=st.floats(-0.1, 1.1),
    num_sites=st.integers(0, 70),
    generator=st.sampled_from(GENERATORS),
)
def test_mask_is_the_formula_for_any_numbers(
    seed, window, rate, rare_rate, rare_threshold, num_sites, generator
):
    af = frequencies(num_sites, seed)
    expected = draws(generator, seed, window, num_sites) < np.where(
        af < rare_threshold, rare_rate, rate
    )
    got = af_guided_mask(
        af,
        seed=seed,
        window=window,
        rate=rate,
        rare_rate=rare_rate,
        rare_threshold=rare_threshold,
        generator=generator,
    )
    assert (got == expected).all()


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_draw_equal_to_the_rate_is_not_hidden(generator):
    # The kernel compares integers: the boundary must fall where it does for doubles.
    u = draws(generator, 5, 6, 40)
    af = np.full(40, 0.5)
    for site in range(40):
        for rate in (np.nextafter(u[site], 0), u[site], np.nextafter(u[site], 1)):
            got = af_guided_mask(af, seed=5, window=6, rate=rate, generator=generator)
            assert (got == (u < rate)).all()


@pytest.mark.parametrize("generator", GENERATORS)
def test_rate_zero_hides_nothing_and_rate_one_everything(generator):
    af = np.linspace(0, 1, 300)
    for rate in (0.0, 1.0, 0, 1):
        mask = af_guided_mask(af, seed=1, window=1, rate=rate, rare_rate=rate, generator=generator)
        assert mask.all() == bool(rate)
        assert mask.any() == bool(rate)


def test_tiny_rates_are_exact():
    u = draws("philox", 0, 0, 64)
    for rate in (5e-324, 2.0**-53, 2.0**-54, 1 - 2.0**-53):
        mask = af_guided_mask(np.full(64, 0.5), seed=0, window=0, rate=rate)
        assert (mask == (u < rate)).all()


def test_the_rare_threshold_is_exclusive():
    threshold = 0.25
    af = np.array([np.nextafter(threshold, 0), threshold, np.nextafter(threshold, 1)] * 40)
    mask = af_guided_mask(af, seed=1, window=1, rate=0.0, rare_rate=1.0, rare_threshold=threshold)
    assert mask.tolist() == [True, False, False] * 40


def test_frequencies_are_compared_in_double_precision():
    # All of these are 0.05 in float32, which is above 0.05 in float64.
    af = np.array([0.05 - 1e-9, 0.05 - 1e-16, 0.05, 0.05 + 1e-9])
    assert len(set(af.astype(np.float32))) == 1
    mask = af_guided_mask(af, seed=1, window=1, rate=0.0, rare_rate=1.0)
    assert mask.tolist() == [True, True, False, False]


# --- windows and seeds ---------------------------------------------------------------------------


def test_windows_from_10000_on_have_a_key_of_their_own():
    af = np.full(257, 0.5)
    for window in (10_000, 10_001, 19_999, 20_000, 123_456_789, 2**63 - 1):
        seed = 3 if window < 2**62 else 0
        key = [(seed * 10_000 + window) % 2**64, window // 10_000]
        words = [w for block in range(65) for w in oracle.philox4x64([block + 1, 0, 0, 0], key)]
        expected = [(word >> 11) / 2**53 < 0.5 for word in words[:257]]
        got = af_guided_mask(af, seed=seed, window=window, rate=0.5)
        assert got.tolist() == expected, window
        assert (oracle.af_guided_mask(af, seed=seed, window=window, rate=0.5) == got).all()


def test_windows_from_10000_on_do_not_meet_the_next_seed():
    af = np.full(1_020, 0.5)
    for window in (10_000, 10_007, 25_000):
        far = af_guided_mask(af, seed=1, window=window, rate=0.5)
        met = af_guided_mask(af, seed=1 + window // 10_000, window=window % 10_000, rate=0.5)
        assert 0.3 < (far == met).mean() < 0.7


def test_masks_of_other_windows_and_seeds_are_independent():
    af = np.full(1_020, 0.5)
    masks = {
        (seed, window): af_guided_mask(af, seed=seed, window=window, rate=0.5)
        for seed in (0, 1, 2024)
        for window in (0, 1, 9_999)
    }
    keys = list(masks)
    for i, one in enumerate(keys):
        for other in keys[i + 1 :]:
            # 1,020 fair coins: 0.4 and 0.6 are more than six standard deviations away.
            assert 0.4 < (masks[one] == masks[other]).mean() < 0.6


def test_share_hidden_is_the_rate():
    af = np.concatenate([np.full(100_000, 0.01), np.full(100_000, 0.5)])
    mask = af_guided_mask(af, seed=2024, window=0, rate=0.3)
    assert mask[:100_000].mean() == pytest.approx(0.7, abs=0.01)
    assert mask[100_000:].mean() == pytest.approx(0.3, abs=0.01)


# --- all windows at once -------------------------------------------------------------------------


def cut(num_sites: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    starts = np.arange(0, num_sites, length)
    return starts, np.minimum(starts + length, num_sites)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("length", [1, 65, 1_020])
def test_masks_are_the_masks_of_the_windows(length, generator):
    for threads in [None, 1, 2, 3, 4, 64]:
        af = frequencies(4_100 if length > 1 else 70)
        starts, stops = cut(af.size, length)
        got = af_guided_masks(
            af,
            starts,
            stops,
            seed=4,
            rate=0.4,
            first_window=11,
            generator=generator,
            threads=threads,
        )
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            expected = af_guided_mask(
                af[start:stop], seed=4, window=11 + i, rate=0.4, generator=generator
            )
            assert (got[start:stop] == expected).all()


def test_masks_cross_window_10000():
    af = frequencies(600)
    starts, stops = cut(600, 100)
    got = af_guided_masks(af, starts, stops, seed=4, rate=0.4, first_window=9_997)
    for i in range(6):
        part = slice(starts[i], stops[i])
        expected = oracle.af_guided_mask(af[part], seed=4, window=9_997 + i, rate=0.4)
        assert (got[part] == expected).all()


def test_masks_are_true_in_no_gap():
    af = np.full(50, 0.01)
    starts, stops = np.array([3, 10, 10, 40]), np.array([5, 10, 12, 50])
    got = af_guided_masks(af, starts, stops, seed=0, rate=1.0, rare_rate=1.0)
    inside = np.zeros(50, bool)
    for start, stop in zip(starts, stops, strict=True):
        inside[start:stop] = True
    assert (got == inside).all()


def test_masks_of_no_windows_and_of_no_sites():
    none = np.zeros(0, np.int64)
    assert not af_guided_masks(np.full(9, 0.5), none, none, seed=1, rate=1.0).any()
    empty = af_guided_masks(np.zeros(0), np.zeros(2, int), np.zeros(2, int), seed=1, rate=1.0)
    assert empty.shape == (0,)
    assert af_guided_mask(np.zeros(0), seed=1, window=1, rate=0.5).shape == (0,)


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    changed=st.integers(0, 7),
    rate=st.floats(0, 1),
    threads=st.sampled_from([1, 2, 4]),
)
def test_the_mask_of_a_window_does_not_depend_on_the_others(lengths, changed, rate, threads):
    stops = np.cumsum(lengths)
    starts = stops - lengths
    af = frequencies(int(stops[-1]))
    other = af.copy()
    changed %= len(lengths)
    part = slice(starts[changed], stops[changed])
    other[part] = 1 - other[part]
    one = af_guided_masks(af, starts, stops, seed=9, rate=rate, threads=threads)
    two = af_guided_masks(other, starts, stops, seed=9, rate=rate, threads=threads)
    outside = np.ones(af.size, bool)
    outside[part] = False
    assert (one[outside] == two[outside]).all()
    alone = af_guided_masks(
        other, starts[changed:][:1], stops[changed:][:1], seed=9, rate=rate, first_window=changed
    )
    assert (alone[part] == two[part]).all()
    assert not alone[outside].any()


def test_window_ends_of_any_integer_type():
    af = frequencies(100)
    expected = af_guided_masks(af, np.array([0, 50]), np.array([50, 100]), seed=1, rate=0.5)
    for dtype in (np.int8, np.uint8, np.int32, np.uint64):
        starts, stops = np.array([0, 50], dtype), np.array([50, 100], dtype)
        assert (af_guided_masks(af, starts, stops, seed=1, rate=0.5) == expected).all()


# --- a pure function -----------------------------------------------------------------------------


@pytest.mark.parametrize("generator", GENERATORS)
def test_no_global_random_state_is_read_or_changed(generator):
    def state() -> tuple[Any, ...]:
        name, words, *rest = np.random.get_state()  # noqa: NPY002
        return name, words.tolist(), *rest

    af = frequencies(1_020)
    first = af_guided_mask(af, seed=1, window=1, rate=0.5, generator=generator)
    before = state()
    again = af_guided_mask(af, seed=1, window=1, rate=0.5, generator=generator)
    af_guided_masks(af, *cut(1_020, 100), seed=1, rate=0.5, generator=generator)
    assert state() == before
    assert (first == again).all()


def test_another_process_makes_the_same_mask():
    code = (
        "import numpy as np; from snvrag.kernels import af_guided_mask as f;"
        "m = f(np.linspace(0, 1, 1020), seed=3, window=12, rate=0.5);"
        "print(np.packbits(m).tobytes().hex())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    here = af_guided_mask(np.linspace(0, 1, 1020), seed=3, window=12, rate=0.5)
    assert ran.stdout.strip() == np.packbits(here).tobytes().hex()


def test_input_of_any_layout_is_read_and_not_changed():
    af = frequencies(129)
    kept = af.copy()
    expected = oracle.af_guided_mask(af, seed=1, window=2, rate=0.4)
    spread = np.zeros(258)
    spread[::2] = af
    layouts = {
        "contiguous": af,
        "strided": spread[::2],
        "reversed": af[::-1].copy()[::-1],
        "read-only": frozen(af),
        "unaligned": unaligned(af),
    }
    for name, layout in layouts.items():
        got = af_guided_mask(layout, seed=1, window=2, rate=0.4)
        assert (got == expected).all(), name
        whole = af_guided_masks(
            layout, np.array([0]), np.array([129]), seed=1, rate=0.4, first_window=2
        )
        assert (whole == expected).all(), name
    assert (af == kept).all()


def test_the_last_key_is_taken():
    af = np.full(70, 0.5)
    seed, window = (2**64 - 1) // 10_000, (2**64 - 1) % 10_000
    got = af_guided_mask(af, seed=seed, window=window, rate=0.5)
    assert (got == (draws("philox", seed, window, 70) < 0.5)).all()


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("generator", GENERATORS)
def test_the_first_bad_frequency_is_named(threads, generator):
    af = np.full(100, 0.5)
    af[[37, 71, 93]] = [2.0, np.nan, -1.0]
    options = {"seed": 1, "rate": 0.5, "threads": threads, "generator": generator}
    with pytest.raises(ValueError, match=r"^af must be .*, got 2.0 at 37$"):
        af_guided_masks(af, *cut(100, 10), **options)


def test_mt19937_refuses_what_would_not_be_v18s():
    af, options = np.full(3, 0.5), {"rate": 0.5, "generator": "mt19937"}
    ends = np.array([0, 1]), np.array([1, 2])
    with pytest.raises(ValueError, match=r"^window must be below 10000 for .*, got 10000$"):
        af_guided_masks(af, *ends, seed=1, first_window=9_999, **options)
    # RandomState takes seeds below 2**32; 429496 * 10000 + 7295 is the last.
    last = af_guided_mask(af, seed=429_496, window=7_295, **options)
    assert (last == (np.random.RandomState(2**32 - 1).random_sample(3) < 0.5)).all()
    with pytest.raises(ValueError, match=r"^seed must be such that .*, got 429496$"):
        af_guided_mask(af, seed=429_496, window=7_296, **options)
