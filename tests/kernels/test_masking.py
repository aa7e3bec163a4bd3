"""AF-guided masks, bit for bit against NumPy's own generators."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import frozen, unaligned
from snvrag.kernels import af_guided_mask, af_guided_masks, oracle

# MT19937 leaves its first state after 312 draws.
SIZES = [0, 1, 2, 3, 4, 5, 63, 64, 65, 127, 128, 129, 1020, 5_000]
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


def test_known_answers_of_random123(known_answers):
    lines = (known_answers / "philox4x64_10.txt").read_text().splitlines()
    rows = [[int(word, 16) for word in line.split()] for line in lines if line[:1] not in ("#", "")]
    assert [len(row) for row in rows] == [10] * 3
    for row in rows:
        assert oracle.philox4x64(row[:4], row[4:6]) == row[6:]
        counter, key = (sum(w << 64 * i for i, w in enumerate(x)) for x in (row[:4], row[4:6]))
        numpys = np.random.Philox(counter=(counter - 1) % 2**256, key=key)
        assert numpys.random_raw(4).tolist() == row[6:]


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


# --- the kernel ----------------------------------------------------------------------------------


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("num_sites", SIZES)
def test_mask_is_the_formula(num_sites, generator):
    af = frequencies(num_sites)
    for seed, window, rate in [(0, 0, 0.3), (0, 1, 0.5), (1, 0, 0.8), (2024, 330, 0.5)]:
        expected = draws(generator, seed, window, num_sites) < np.where(af < 0.05, 0.7, rate)
        options = {"seed": seed, "window": window, "rate": rate, "generator": generator}
        got = af_guided_mask(af, **options)
        assert got.dtype == np.bool_
        assert got.tolist() == expected.tolist()
        if num_sites == 129:
            assert (oracle.af_guided_mask(af, **options) == expected).all()


@given(
    st.integers(0, 70),
    st.fixed_dictionaries(
        {
            "seed": st.integers(0, (2**32 - 1) // 10_000 - 1),
            "window": st.integers(0, 9_999),
            "rate": st.floats(0, 1),
            "rare_rate": st.floats(0, 1),
            "rare_threshold": st.floats(-0.1, 1.1),
            "generator": st.sampled_from(GENERATORS),
        }
    ),
)
def test_mask_is_the_formula_for_any_numbers(num_sites, options):
    af = frequencies(num_sites, options["seed"])
    u = draws(options["generator"], options["seed"], options["window"], num_sites)
    rare = af < options["rare_threshold"]
    expected = u < np.where(rare, options["rare_rate"], options["rate"])
    assert (af_guided_mask(af, **options) == expected).all()


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_draw_equal_to_the_rate_is_not_hidden(generator):
    # The kernel compares integers: the boundary must fall where it does for doubles.
    u = draws(generator, 5, 6, 40)
    af = np.full(40, 0.5)
    for site in range(40):
        for rate in (np.nextafter(u[site], 0), u[site], np.nextafter(u[site], 1)):
            got = af_guided_mask(af, seed=5, window=6, rate=rate, generator=generator)
            assert (got == (u < rate)).all()
    for rate in (0.0, 1.0, 0, 1, 5e-324, 2.0**-53, 2.0**-54, 1 - 2.0**-53):
        got = af_guided_mask(af, seed=5, window=6, rate=rate, generator=generator)
        assert (got == (u < rate)).all()


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
    seed, window = (2**64 - 1) // 10_000, (2**64 - 1) % 10_000  # the last key
    got = af_guided_mask(af, seed=seed, window=window, rate=0.5)
    assert (got == (draws("philox", seed, window, 257) < 0.5)).all()


def test_masks_of_other_windows_and_seeds_are_independent():
    """From window 10,000 on, too, where seed * 10,000 + window is that of another seed's window."""
    af = np.full(1_020, 0.5)
    masks = [
        af_guided_mask(af, seed=seed, window=window, rate=0.5)
        for seed in (0, 1, 2, 2024)
        for window in (0, 1, 9_999, 10_000, 10_001)
    ]
    for one, other in itertools.combinations(masks, 2):
        # 1,020 fair coins: 0.4 and 0.6 are more than six standard deviations away.
        assert 0.4 < (one == other).mean() < 0.6


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
    af = frequencies(4_100 if length > 1 else 70)
    starts, stops = cut(af.size, length)
    options = {"seed": 4, "rate": 0.4, "generator": generator}
    expected = [
        af_guided_mask(af[start:stop], window=11 + i, **options)
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True))
    ]
    for threads in [None, 1, 2, 3, 4, 64]:
        got = af_guided_masks(af, starts, stops, first_window=11, threads=threads, **options)
        assert (got == np.concatenate(expected)).all()


def test_masks_cross_window_10000():
    af = frequencies(600)
    starts, stops = cut(600, 100)
    got = af_guided_masks(af, starts, stops, seed=4, rate=0.4, first_window=9_997)
    for i in range(6):
        part = slice(starts[i], stops[i])
        expected = oracle.af_guided_mask(af[part], seed=4, window=9_997 + i, rate=0.4)
        assert (got[part] == expected).all()


def test_masks_are_true_in_no_gap():
    starts, stops = np.array([3, 10, 10, 40]), np.array([5, 10, 12, 50])
    inside = ((starts <= np.arange(50)[:, None]) & (np.arange(50)[:, None] < stops)).any(axis=1)
    rates = {"rate": 1.0, "rare_rate": 1.0}
    expected = inside.tolist()
    for dtype in (np.int64, np.int8, np.uint8, np.int32, np.uint64):
        ends = starts.astype(dtype), stops.astype(dtype)
        assert af_guided_masks(np.full(50, 0.01), *ends, seed=0, **rates).tolist() == expected


def test_masks_of_no_windows_and_of_no_sites():
    none = np.zeros(0, np.int64)
    assert not af_guided_masks(np.full(9, 0.5), none, none, seed=1, rate=1.0).any()
    empty = af_guided_masks(np.zeros(0), np.zeros(2, int), np.zeros(2, int), seed=1, rate=1.0)
    assert empty.shape == (0,)


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
    options = {"seed": 9, "rate": rate}
    one = af_guided_masks(af, starts, stops, threads=threads, **options)
    two = af_guided_masks(other, starts, stops, threads=threads, **options)
    outside = np.ones(af.size, bool)
    outside[part] = False
    assert (one[outside] == two[outside]).all()
    ends = starts[changed:][:1], stops[changed:][:1]
    alone = af_guided_masks(other, *ends, first_window=changed, **options)
    assert (alone[part] == two[part]).all()
    assert not alone[outside].any()


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


def test_input_of_any_layout_is_read_and_not_changed():
    af = frequencies(129)
    kept, ends = af.copy(), (np.array([0]), np.array([129]))
    expected = oracle.af_guided_mask(af, seed=1, window=2, rate=0.4)
    layouts = {
        "strided": np.repeat(af, 2)[::2],
        "reversed": af[::-1].copy()[::-1],
        "read-only": frozen(af),
        "unaligned": unaligned(af),
    }
    for name, layout in layouts.items():
        got = af_guided_mask(layout, seed=1, window=2, rate=0.4)
        assert (got == expected).all(), name
        got = af_guided_masks(layout, *ends, seed=1, rate=0.4, first_window=2)
        assert (got == expected).all(), name
    assert (af == kept).all()


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
