"""Windows cover a panel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snvrag.errors import InputError
from snvrag.panel.windows import Windows


@given(st.integers(1, 3000), st.data(), st.integers(0, 200))
def test_every_site_is_in_one_window(num_sites, data, flank):
    size = data.draw(st.integers(1, num_sites))
    windows = Windows.split(num_sites, size, flank)
    covered = np.zeros(num_sites, int)
    for start, stop in zip(windows.starts, windows.stops, strict=True):
        covered[start:stop] += 1
    assert (covered == 1).all()
    lengths = windows.stops - windows.starts
    assert lengths.min() >= 1
    assert lengths.max() <= size
    assert np.ptp(lengths) <= 1
    assert len(windows) == -(-num_sites // size)
    np.testing.assert_array_equal(windows.flanked_starts, np.maximum(0, windows.starts - flank))
    np.testing.assert_array_equal(
        windows.flanked_stops, np.minimum(num_sites, windows.stops + flank)
    )
    assert windows.length == max(windows.flanked_stops - windows.flanked_starts)


@given(st.integers(1, 3000), st.data(), st.integers(0, 200))
def test_unequal_windows_have_the_size_but_for_the_last(num_sites, data, flank):
    size = data.draw(st.integers(1, num_sites))
    windows = Windows.split(num_sites, size, flank, equal=False)
    starts = list(range(0, num_sites, size))
    assert windows.starts.tolist() == starts
    assert windows.stops.tolist() == [*starts[1:], num_sites]
    np.testing.assert_array_equal(windows.flanked_starts, np.maximum(0, windows.starts - flank))
    np.testing.assert_array_equal(
        windows.flanked_stops, np.minimum(num_sites, windows.stops + flank)
    )


def test_window_larger_than_the_panel():
    with pytest.raises(InputError, match=r"window_size must be at most 64, .*, got 65"):
        Windows.split(64, 65)
