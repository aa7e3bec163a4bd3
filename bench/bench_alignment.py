"""Alignment of the sites of a file with those of a panel: 337,566 into 1,000,000, on one thread.

V18 calls `numpy.searchsorted` once a window, on positions alone, which cannot tell apart sites that
share a position. Scripts usually build a dictionary with (position, REF, ALT) as keys; it is timed
with and without building it. Our kernel compares positions and both alleles, given as integer codes
of one byte. Its answers equal the dictionary's everywhere, and those of `searchsorted` where one
site alone has the position. A process aligns its first 3 million sites by NumPy, without Numba: the
medians of a timed run are those of Numba.

Limits: 16 MB read and written once (8 bytes of position and 2 of codes for 1.34 million sites,
8 bytes of answer), 0.8 ms at 20 GB/s; a merge takes 1.34 million steps with branches that cannot be
predicted: at 20% of 15 cycles each and 3 cycles otherwise, 2.2 ms at 3.7 GHz.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from snvrag.kernels import align_sites

PER_WINDOW = "V18: numpy.searchsorted a window, positions only"
DICTIONARY = "dict of (position, REF, ALT), built and searched"
LOOK_UPS = "dict of (position, REF, ALT), searched"
CODES, STRINGS, POSITIONS = "snvrag, integer codes", "snvrag, strings", "snvrag, positions only"

pytestmark = pytest.mark.benchmark(group="align 337,566 sites into 1,000,000")


@dataclass(frozen=True)
class Sites:
    """Positions and allele codes (0 to 3 for A, C, G and T) of a file and of a panel."""

    position: NDArray[np.int64]
    codes: NDArray[np.uint8]
    panel_position: NDArray[np.int64]
    panel_codes: NDArray[np.uint8]
    window_size: int

    def keys(self, position: NDArray[np.int64], codes: NDArray[np.uint8]) -> list[Any]:
        return list(zip(position.tolist(), codes[:, 0].tolist(), codes[:, 1].tolist(), strict=True))

    def dictionary(self) -> dict[Any, int]:
        index: dict[Any, int] = {}
        for i, key in enumerate(self.keys(self.panel_position, self.panel_codes)):
            index.setdefault(key, i)
        return index

    def look_up(self, index: dict[Any, int], keys: list[Any]) -> NDArray[np.int64]:
        return np.fromiter((index.get(key, -1) for key in keys), np.int64, len(keys))

    def search_per_window(self) -> NDArray[np.int64]:
        out = np.empty(self.position.size, np.int64)
        last = self.panel_position.size - 1
        for start in range(0, self.position.size, self.window_size):
            wanted = self.position[start : start + self.window_size]
            at = np.minimum(np.searchsorted(self.panel_position, wanted), last)
            out[start : start + self.window_size] = np.where(
                self.panel_position[at] == wanted, at, -1
            )
        return out


@pytest.fixture(scope="module")
def sites(sizes: Any) -> Sites:
    """Return a panel of a million sites, of which one in 200 shares its position with the last.

    The file has a third of them, as an array has; the panel lacks one in 50 of its sites, by
    position or by alleles.
    """
    rng = np.random.default_rng(4)
    panel_size, size = (1_000_000, 337_566) if sizes.full else (3_000, 1_000)
    gaps = 1 + rng.geometric(1 / 60, panel_size)
    gaps[rng.random(panel_size) < 1 / 200] = 0
    panel_position = 10_000 + np.cumsum(gaps)
    ref = rng.integers(0, 4, panel_size)
    alt = (ref + rng.integers(1, 4, panel_size)) % 4
    same = np.flatnonzero(gaps[1:] == 0) + 1  # the same REF, another ALT
    for i in same:
        ref[i] = ref[i - 1]
        alt[i] = next(a for a in range(4) if a not in (ref[i - 1], alt[i - 1]))
    panel_codes = np.stack([ref, alt], axis=1).astype(np.uint8)
    chosen = np.sort(rng.choice(panel_size, size, replace=False))
    position, codes = panel_position[chosen], panel_codes[chosen]
    moved = rng.random(size) < 0.01
    other = rng.random(size) < 0.01
    position = np.maximum.accumulate(position + moved)
    codes[other] = codes[other][:, ::-1]
    return Sites(position, codes, panel_position, panel_codes, sizes.num_sites)


@pytest.fixture(scope="module")
def expected(sites: Sites) -> NDArray[np.int64]:
    return sites.look_up(sites.dictionary(), sites.keys(sites.position, sites.codes))


def test_per_window(timed: Any, sites: Sites, expected: NDArray[np.int64]) -> None:
    found = timed(PER_WINDOW, sites.search_per_window)
    only = np.bincount(sites.panel_position - sites.panel_position[0])
    is_known = (found >= 0) & (expected >= 0)
    is_known &= only[sites.position - sites.panel_position[0]] == 1
    assert is_known.mean() > 0.9
    np.testing.assert_array_equal(found[is_known], expected[is_known])


@pytest.mark.parametrize("name", [DICTIONARY, LOOK_UPS, CODES, STRINGS])
def test_by_allele(name: str, timed: Any, sites: Sites, expected: NDArray[np.int64]) -> None:
    index = sites.dictionary() if name == LOOK_UPS else {}
    keys = sites.keys(sites.position, sites.codes)
    letters = np.array(["A", "C", "G", "T"])
    alleles, panel_alleles = letters[sites.codes], letters[sites.panel_codes]
    position, panel_position = sites.position, sites.panel_position
    work, rounds = {
        DICTIONARY: (
            lambda: sites.look_up(sites.dictionary(), sites.keys(sites.position, sites.codes)),
            3,
        ),
        LOOK_UPS: (lambda: sites.look_up(index, keys), 5),
        CODES: (lambda: align_sites(position, panel_position, sites.codes, sites.panel_codes), 0),
        STRINGS: (lambda: align_sites(position, panel_position, alleles, panel_alleles), 0),
    }[name]
    np.testing.assert_array_equal(timed(name, work, rounds=rounds), expected)


def test_positions(timed: Any, sites: Sites) -> None:
    panel_position = np.unique(sites.panel_position)  # without alleles, positions must differ
    position = np.unique(sites.position)
    at = np.minimum(np.searchsorted(panel_position, position), panel_position.size - 1)
    np.testing.assert_array_equal(
        timed(POSITIONS, lambda: align_sites(position, panel_position)),
        np.where(panel_position[at] == position, at, -1),
    )
