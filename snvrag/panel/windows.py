"""Windows: how a panel is cut along its sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config.options import Options, option
from ..errors import InputError


@dataclass(frozen=True, kw_only=True)
class WindowConfig(Options):
    """How a panel is cut into windows."""

    title = "Windows"

    window_size: int = option(1020, "most sites in a window; windows are of equal length", least=1)
    flank: int = option(0, "sites read on each side of a window, but not predicted there", least=0)


@dataclass(frozen=True)
class Windows:
    """Consecutive windows that cover a panel, read with flanks on both sides.

    Attributes
    ----------
    starts, stops : (N,) int64
        Window i is the half-open range of sites [starts[i], stops[i]): what is predicted.
    flanked_starts, flanked_stops : (N,) int64
        The range that is read: the window and its flanks, cut at the panel's ends.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    flanked_starts: NDArray[np.int64]
    flanked_stops: NDArray[np.int64]

    @classmethod
    def split(cls, num_sites: int, size: int, flank: int = 0) -> Windows:
        """Cut ``num_sites`` sites into the fewest windows of at most ``size``, of equal length.

        Lengths differ by one at the most, so no window at the end is too short to be of use.
        """
        if size > num_sites:
            raise InputError(
                f"must be at most {num_sites}, the number of the panel's sites, got {size}",
                argument="window_size",
            )
        count = -(-num_sites // size)
        cuts = np.arange(count + 1, dtype=np.int64) * num_sites // count
        starts, stops = cuts[:-1], cuts[1:]
        return cls(
            starts,
            stops,
            np.maximum(starts - flank, 0),
            np.minimum(stops + flank, num_sites),
        )

    def __len__(self) -> int:
        return int(self.starts.shape[0])

    @property
    def length(self) -> int:
        """The most sites that a window is read with: the static length of a batch."""
        return int((self.flanked_stops - self.flanked_starts).max())
