"""Windows: consecutive ranges of a panel's sites."""

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

    window_size: int = option(1020, "most sites in a window", least=1)
    flank: int = option(0, "sites read on each side of a window, but not predicted there", least=0)
    equal_windows: bool = option(
        True,
        "windows of nearly equal length; no: each has the most sites, and the last what is left, "
        "as V18's",
        v18=False,
    )


@dataclass(frozen=True)
class Windows:
    """Consecutive windows that cover a panel, each with a flank on both sides.

    Attributes
    ----------
    starts, stops : (num_windows,) int64
        Window i is the half-open range of sites [starts[i], stops[i]), which is predicted.
    flanked_starts, flanked_stops : (num_windows,) int64
        The range that is read: the window and its flanks, clipped at the ends of the panel.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    flanked_starts: NDArray[np.int64]
    flanked_stops: NDArray[np.int64]

    @classmethod
    def split(
        cls, num_sites: int, window_size: int, flank: int = 0, *, equal: bool = True
    ) -> Windows:
        """Divide ``num_sites`` sites into the fewest windows of at most ``window_size`` sites.

        If ``equal``, their lengths differ by one at the most, so that no window at the end is
        short; else all but the last have ``window_size`` sites. Raises InputError if a window is
        larger than the panel.
        """
        if window_size > num_sites:
            raise InputError(
                f"must be at most {num_sites}, the number of sites of the panel, got {window_size}",
                argument="window_size",
            )
        count = -(-num_sites // window_size)
        cuts = np.arange(count + 1, dtype=np.int64)
        cuts = cuts * num_sites // count if equal else np.minimum(cuts * window_size, num_sites)
        starts, stops = cuts[:-1], cuts[1:]
        return cls(
            starts, stops, np.maximum(starts - flank, 0), np.minimum(stops + flank, num_sites)
        )

    def overlapping(self, start: int, stop: int) -> range:
        """Return the windows that have some of the sites [start, stop)."""
        first = int(np.searchsorted(self.stops, start, side="right"))
        return range(first, int(np.searchsorted(self.starts, stop, side="left")))

    def __len__(self) -> int:
        return int(self.starts.shape[0])

    @property
    def length(self) -> int:
        """Sites of the longest window with its flanks, the length to which batches are padded."""
        return int((self.flanked_stops - self.flanked_starts).max())
