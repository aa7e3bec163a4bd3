"""Numba code of the AF-guided masks; ``masking.py`` is the way in."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ._numba import kernel

_LOW = np.uint64(0xFFFFFFFF)
_WORDS = 1024  # drawn at a time: they stay in the first-level cache


def _wide_product(_typing_context: Any, _a: Any, _b: Any) -> Any:
    """Upper and lower 64 bits of a 64 x 64 bit product, which one machine instruction gives.

    Taken from two products, they would be two instructions.
    """
    pair = types.UniTuple(types.uint64, 2)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        return context.make_tuple(builder, pair, [high, builder.trunc(product, word)])

    return pair(types.uint64, types.uint64), generate


_multiply: Any = intrinsic(_wide_product)


@kernel
def philox_window(
    af: Any,
    mask: Any,
    key_low: np.uint64,
    key_high: np.uint64,
    rare_threshold: float,
    rare_limit: np.uint64,
    common_limit: np.uint64,
) -> int:
    """Write one window's mask; return the first index whose af is not in [0, 1], or -1.

    The limits are ceil(p * 2**53): a draw of 53 bits is below p exactly if it is below that.
    """
    n = af.shape[0]
    shift = np.uint64(11)
    words = np.empty(_WORDS, np.uint64)
    for start in range(0, n, _WORDS):
        # Slices, whose indices from 0 the compiler knows not to count from the end.
        part_af = af[start : start + _WORDS]
        part_mask = mask[start : start + _WORDS]
        size = part_af.shape[0]
        # The multiplications, one a cycle, are the limit here: nothing else is in their way, and
        # the comparisons below are left to vector instructions.
        for place in range(0, size, 4):
            word0 = np.uint64((start + place) // 4 + 1)
            word1 = np.uint64(0)
            word2 = np.uint64(0)
            word3 = np.uint64(0)
            low = key_low
            high = key_high
            for _ in range(10):
                high0, low0 = _multiply(np.uint64(0xD2E7470EE14C6C93), word0)
                high1, low1 = _multiply(np.uint64(0xCA5A826395121157), word2)
                word0 = high1 ^ word1 ^ low
                word1 = low1
                word2 = high0 ^ word3 ^ high
                word3 = low0
                low += np.uint64(0x9E3779B97F4A7C15)
                high += np.uint64(0xBB67AE8584CAA73B)
            words[place] = word0
            words[place + 1] = word1
            words[place + 2] = word2
            words[place + 3] = word3
        bad = 0
        for i in range(size):
            frequency = part_af[i]
            bad += not 0.0 <= frequency <= 1.0
            limit = rare_limit if frequency < rare_threshold else common_limit
            part_mask[i] = (words[i] >> shift) < limit
        if bad > 0:
            for i in range(size):
                if not 0.0 <= part_af[i] <= 1.0:
                    return start + i
    return -1


@kernel
def mt19937_window(
    af: Any,
    mask: Any,
    seed: np.uint32,
    rare_threshold: float,
    rare_limit: np.uint64,
    common_limit: np.uint64,
) -> int:
    """The same with the draws of ``numpy.random.RandomState(seed)``.

    Matsumoto and Nishimura, "Mersenne Twister" (ACM TOMACS 8, 1998), seeded by its 2002
    ``init_genrand``, whose doubles take 27 and 26 bits of two words.
    """
    state = np.empty(624, np.uint64)
    state[0] = np.uint64(seed)
    for i in range(1, 624):
        previous = state[i - 1]
        state[i] = (
            np.uint64(1812433253) * (previous ^ (previous >> np.uint64(30))) + np.uint64(i)
        ) & _LOW
    position = 624
    for site in range(af.shape[0]):
        frequency = af[site]
        if not 0.0 <= frequency <= 1.0:
            return site
        draw = np.uint64(0)
        for half in range(2):
            if position == 624:
                for i in range(624):
                    bits = (state[i] & np.uint64(0x80000000)) | (
                        state[(i + 1) % 624] & np.uint64(0x7FFFFFFF)
                    )
                    state[i] = (
                        state[(i + 397) % 624]
                        ^ (bits >> np.uint64(1))
                        ^ ((bits & np.uint64(1)) * np.uint64(0x9908B0DF))
                    )
                position = 0
            word = state[position]
            position += 1
            word ^= word >> np.uint64(11)
            word ^= (word << np.uint64(7)) & np.uint64(0x9D2C5680)
            word ^= (word << np.uint64(15)) & np.uint64(0xEFC60000)
            word ^= word >> np.uint64(18)
            if half == 0:
                draw = (word >> np.uint64(5)) << np.uint64(26)
            else:
                draw |= word >> np.uint64(6)
        mask[site] = draw < (rare_limit if frequency < rare_threshold else common_limit)
    return -1


@kernel
def philox_windows(
    af: Any,
    starts: Any,
    stops: Any,
    mask: Any,
    seed: np.uint64,
    first_window: np.uint64,
    rare_threshold: float,
    rare_limit: np.uint64,
    common_limit: np.uint64,
) -> int:
    """Masks of consecutive windows; return the first bad index of af, or -1."""
    for i in range(starts.shape[0]):
        window = first_window + np.uint64(i)
        bad = philox_window(
            af[starts[i] : stops[i]],
            mask[starts[i] : stops[i]],
            seed * np.uint64(10_000) + window,
            window // np.uint64(10_000),
            rare_threshold,
            rare_limit,
            common_limit,
        )
        if bad >= 0:
            return int(starts[i]) + bad
    return -1


@kernel
def mt19937_windows(
    af: Any,
    starts: Any,
    stops: Any,
    mask: Any,
    seed: np.uint64,
    first_window: np.uint64,
    rare_threshold: float,
    rare_limit: np.uint64,
    common_limit: np.uint64,
) -> int:
    """The same with NumPy's older generator."""
    for i in range(starts.shape[0]):
        bad = mt19937_window(
            af[starts[i] : stops[i]],
            mask[starts[i] : stops[i]],
            np.uint32(seed * np.uint64(10_000) + first_window + np.uint64(i)),
            rare_threshold,
            rare_limit,
            common_limit,
        )
        if bad >= 0:
            return int(starts[i]) + bad
    return -1
