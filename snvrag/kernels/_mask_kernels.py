"""Numba code of the AF-guided masks; ``masking.py`` has the public functions.

One function for each generator takes any number of windows. Without inner functions, slices or
NumPy calls, it compiles in half the time; the first mask after an installation waits for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ._numba import kernel

PHILOX_WORDS = 1024  # words drawn at a time: they stay in the first-level cache
MT19937_WORDS = 624

_U = np.uint64  # any other operand would convert the result to a signed number or a double
_0, _1, _2, _3, _4, _7 = map(_U, (0, 1, 2, 3, 4, 7))
_11, _15, _18, _26, _30 = map(_U, (11, 15, 18, 26, 30))
_KEYS_A_SEED = _U(10_000)
_ROOM = _U(PHILOX_WORDS)

# Philox: multipliers and Weyl increments.
_M0, _M1 = _U(0xD2E7470EE14C6C93), _U(0xCA5A826395121157)
_W0, _W1 = _U(0x9E3779B97F4A7C15), _U(0xBB67AE8584CAA73B)

# mt19937: seeding, twist and tempering of 32-bit words kept in 64.
_LOW_32, _INIT = _U(0xFFFFFFFF), _U(1812433253)
_UPPER, _LOWER, _TWIST = _U(0x80000000), _U(0x7FFFFFFF), _U(0x9908B0DF)
_TEMPER_0, _TEMPER_1 = _U(0x9D2C5680), _U(0xEFC60000)


def _wide_product(_typing_context: Any, _a: Any, _b: Any) -> Any:
    """Return the upper and lower 64 bits of a 64 x 64 bit product, in one machine instruction."""
    pair: Any = types.UniTuple(types.uint64, 2)  # type: ignore[no-untyped-call]

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        return context.make_tuple(builder, pair, [high, builder.trunc(product, word)])

    return pair(types.uint64, types.uint64), generate


_multiply: Any = intrinsic(_wide_product)


@kernel
def philox_windows(  # Numba takes arrays and numbers, not objects
    af: Any,
    starts: Any,
    stops: Any,
    mask: Any,
    seed: np.uint64,
    first_window: np.uint64,
    rare_threshold: float,
    rare_limit: np.uint64,
    common_limit: np.uint64,
    words: Any,
) -> int:
    """Write the masks of consecutive windows.

    The limits are ceil(p * 2**53): a draw of 53 bits is below p exactly if it is below the limit.
    ``words`` has space for `PHILOX_WORDS` words. Returns -1, or an index at or before the first
    value outside [0, 1], in the same window.
    """
    for i in range(starts.shape[0]):
        window = first_window + np.uint64(i)
        key_low = seed * _KEYS_A_SEED + window
        key_high = window // _KEYS_A_SEED
        # Unsigned, so that no negative-index check is compiled.
        site = np.uint64(starts[i])
        stop = np.uint64(stops[i])
        counter = _0
        while site < stop:
            size = stop - site
            if size > _ROOM:
                size = _ROOM
            # Multiplications, one per cycle, are the bottleneck: this loop does nothing else, and
            # the comparisons below are vectorised.
            place = _0
            while place < size:
                counter += _1
                word0 = counter
                word1 = _0
                word2 = _0
                word3 = _0
                low = key_low
                high = key_high
                for _ in range(10):
                    high0, low0 = _multiply(_M0, word0)
                    high1, low1 = _multiply(_M1, word2)
                    word0 = high1 ^ word1 ^ low
                    word1 = low1
                    word2 = high0 ^ word3 ^ high
                    word3 = low0
                    low += _W0
                    high += _W1
                words[place] = word0
                words[place + _1] = word1
                words[place + _2] = word2
                words[place + _3] = word3
                place += _4
            bad = 0
            for j in range(size):
                frequency = af[site + j]
                bad += not 0.0 <= frequency <= 1.0
                limit = rare_limit if frequency < rare_threshold else common_limit
                mask[site + j] = (words[j] >> _11) < limit
            if bad > 0:
                found: int = np.int64(site)
                return found
            site += size
    return -1


@kernel
def mt19937_windows(  # as above
    af: Any,
    starts: Any,
    stops: Any,
    mask: Any,
    seed: np.uint64,
    first_window: np.uint64,
    rare_threshold: float,
    rare_limit: np.uint64,
    common_limit: np.uint64,
    state: Any,
) -> int:
    """Write the masks of consecutive windows from the draws of ``numpy.random.RandomState``.

    Arguments and result as in `philox_windows`; ``state`` has space for `MT19937_WORDS` words.
    Matsumoto and Nishimura, "Mersenne Twister" (ACM TOMACS 8, 1998), seeded by its 2002
    ``init_genrand``, whose doubles take 27 and 26 bits of two words.
    """
    for i in range(starts.shape[0]):
        word = seed * _KEYS_A_SEED + first_window + np.uint64(i)
        for j in range(624):
            state[j] = word
            word = (_INIT * (word ^ (word >> _30)) + np.uint64(j + 1)) & _LOW_32
        position = 624
        for site in range(starts[i], stops[i]):
            frequency = af[site]
            if not 0.0 <= frequency <= 1.0:
                return site
            draw = _0
            for half in range(2):
                if position == 624:
                    position = 0
                    for j in range(624):
                        after = j + 1 if j < 623 else 0
                        far = j + 397 if j < 227 else j - 227
                        bits = (state[j] & _UPPER) | (state[after] & _LOWER)
                        state[j] = state[far] ^ (bits >> _1) ^ ((bits & _1) * _TWIST)
                word = state[position]
                position += 1
                word ^= word >> _11
                word ^= (word << _7) & _TEMPER_0
                word ^= (word << _15) & _TEMPER_1
                word ^= word >> _18
                draw = (draw << _26) | (word >> np.uint64(5 + half))
            mask[site] = draw < (rare_limit if frequency < rare_threshold else common_limit)
    return -1
