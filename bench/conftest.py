"""Shared by the benchmarks: sizes, haplotypes, and the smoke run of plain ``pytest``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray


def pytest_configure(config: pytest.Config) -> None:
    """Without --benchmark-only, run each benchmark once, tiny and untimed, so that none rots."""
    if not config.getoption("benchmark_only", False):
        config.option.benchmark_disable = True


@dataclass(frozen=True)
class Sizes:
    """How much work a benchmark does.

    Attributes
    ----------
    full : bool
        Whether timings are taken.
    num_haplotypes, num_sites, num_windows : int
    """

    full: bool
    num_haplotypes: int
    num_sites: int
    num_windows: int


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    """Sizes of DESIGN section 9 with --benchmark-only, tiny ones otherwise."""
    if request.config.getoption("benchmark_only", False):
        return Sizes(True, 5008, 1020, 331)
    return Sizes(False, 200, 129, 5)


def mosaic_haplotypes(num_haplotypes: int, num_sites: int, seed: int) -> NDArray[np.int8]:
    """(H, S) haplotypes with linkage disequilibrium: mosaics of 60 founders, few new mutations."""
    rng = np.random.default_rng(seed)
    frequency = rng.beta(0.25, 1.0, num_sites)
    founders = (rng.random((60, num_sites)) < frequency).astype(np.int8)
    switches = rng.random((num_haplotypes, num_sites)) < 4 / num_sites
    switches[:, 0] = True
    # Each haplotype keeps its founder until the next switch.
    last = np.maximum.accumulate(np.where(switches, np.arange(num_sites), 0), axis=1)
    founder = rng.integers(0, 60, (num_haplotypes, num_sites))
    copied = np.take_along_axis(founder, last, axis=1)
    haplotypes = founders[copied, np.arange(num_sites)]
    haplotypes ^= rng.random(haplotypes.shape) < 5e-4
    return haplotypes


@pytest.fixture(scope="session")
def haplotypes(sizes: Sizes) -> NDArray[np.int8]:
    """(H, S) haplotypes of one window."""
    return mosaic_haplotypes(sizes.num_haplotypes, sizes.num_sites, seed=0)
