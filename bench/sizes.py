"""How much work the benchmarks do."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Sizes:
    """The sizes of the usual panel, of a window and a chromosome, and of the large panel.

    ``full`` where the work is timed; otherwise one tiny call of everything is made.
    """

    full: bool
    num_haplotypes: int
    num_sites: int
    num_windows: int
    many_haplotypes: int

    def need_memory(self, num_bytes: float) -> None:
        """Skip the benchmark where the machine has less free memory than it needs."""
        free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if self.full and free_bytes < num_bytes:
            needed, free = (f"{size / 1e9:.1f} GB" for size in (num_bytes, free_bytes))
            pytest.skip(f"needs {needed} of memory, {free} are free")


FULL = Sizes(
    full=True, num_haplotypes=5008, num_sites=1020, num_windows=331, many_haplotypes=1_000_000
)
TINY = Sizes(full=False, num_haplotypes=200, num_sites=129, num_windows=5, many_haplotypes=3000)
