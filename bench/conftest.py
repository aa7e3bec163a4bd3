"""Shared by the benchmarks: sizes, haplotypes, the smoke run of plain ``pytest``, the summary."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

# What the benchmarks share lies beside them and is part of no package.
sys.path.insert(0, str(Path(__file__).parent))

from libraries import load_faiss
from mosaics import Window


@dataclass(frozen=True)
class Row:
    """One timed way of doing a piece of work.

    Attributes
    ----------
    work, name : str
        The group, and which way it is.
    seconds : float
        Median.
    targets : dict
        By the name of another way of the group: how many times faster than it this one has to be,
        or None for a comparison without a target.
    at_most : float or None
        Seconds that this one may take.
    per : int
        Pieces of work that one timing stands for.
    share_of : str
        The way of the group that this one is a part of.
    most_share : float or None
        The share of it that this one may take.
    """

    work: str
    name: str
    seconds: float
    targets: dict[str, float | None]
    at_most: float | None
    per: int
    share_of: str
    most_share: float | None


ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    """Without --benchmark-only, run each benchmark once, tiny and untimed, so that none rots."""
    config.stash[ROWS] = []
    if not config.getoption("benchmark_only", False):
        config.option.benchmark_disable = True
    if not any(a.startswith("--benchmark-columns") for a in config.invocation_params.args):
        config.option.benchmark_columns = ["median", "min", "max", "rounds"]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print one markdown table: every declared comparison, its ratio and its target."""
    lines = summary_table(config.stash[ROWS])
    if lines:
        terminalreporter.section("comparisons (medians of this run)")
        terminalreporter.write_line("\n".join(lines))


def summary_table(rows: list[Row]) -> list[str]:
    """Return the lines of the table, or none without comparisons."""
    by_name = {(row.work, row.name): row.seconds for row in rows}
    lines = []
    for row in rows:
        ours = row.seconds / row.per
        for name, least in row.targets.items():
            reference = by_name.get((row.work, name))
            if reference is None:
                continue  # not run or not installed
            ratio = reference / row.seconds
            lines.append(
                f"| {row.work} | {name}: {readable_time(reference / row.per)} | "
                f"{row.name}: {readable_time(ours)} | {readable_ratio(ratio)} | "
                + ("| |" if least is None else f"{least:,g}x | {verdict(ratio >= least)} |")
            )
        whole = by_name.get((row.work, row.share_of))
        if whole is not None:
            share, most = row.seconds / whole, row.most_share
            lines.append(
                f"| {row.work} | {row.share_of}: {readable_time(whole)} | "
                f"{row.name}: {readable_time(ours)} | {readable_share(share)} of it | "
                + ("| |" if most is None else f"at most {most:.0%} | {verdict(share <= most)} |")
            )
        if row.at_most is not None:
            lines.append(
                f"| {row.work} | | {row.name}: {readable_time(ours)} | | "
                f"at most {readable_time(row.at_most)} | {verdict(ours <= row.at_most)} |"
            )
    if not lines:
        return []
    header = [
        "| work | reference | ours | ratio | target | |",
        "| --- | --- | --- | --: | --: | --- |",
    ]
    return header + lines


def verdict(is_met: bool) -> str:
    """Say whether a target is met."""
    return "met" if is_met else "**missed**"


def readable_time(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def readable_share(share: float) -> str:
    """Return a share in per cent."""
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def readable_ratio(ratio: float) -> str:
    """Return a ratio with two or three digits."""
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.1f}x" if ratio >= 10 else f"{ratio:.2f}x"


class Timed:
    """Times one way of doing the work that the benchmark's group names."""

    def __init__(self, benchmark: Any, rows: list[Row]) -> None:
        self._benchmark = benchmark
        self._rows = rows

    def __call__(
        self,
        name: str,
        function: Callable[[], Any],
        *,
        rounds: int = 0,
        targets: dict[str, float | None] | None = None,
        at_most: float | None = None,
        per: int = 1,
        share_of: str = "",
        most_share: float | None = None,
    ) -> Any:
        """Time a function under a name and keep the row; return its result.

        ``rounds`` is for slow ones: so many calls and no more, after one that is not timed, unless
        it is a single one. The other arguments are those of `Row`.
        """
        benchmark = self._benchmark
        benchmark.name = name
        if rounds:
            result = benchmark.pedantic(function, rounds=rounds, warmup_rounds=int(rounds > 1))
        else:
            result = benchmark(function)
        if benchmark.stats is not None:  # None in the smoke run
            median = benchmark.stats.stats.median
            row = Row(
                benchmark.group, name, median, targets or {}, at_most, per, share_of, most_share
            )
            self._rows.append(row)
        return result


@pytest.fixture
def timed(benchmark: Any, request: pytest.FixtureRequest) -> Timed:
    """Times one way and declares what it is compared with."""
    return Timed(benchmark, request.config.stash[ROWS])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Everyone has one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def faiss() -> Any:
    """FAISS on one thread; the test is skipped where it is not installed."""
    try:
        return load_faiss()
    except ImportError:
        return pytest.skip("FAISS is not installed")


@dataclass(frozen=True)
class Sizes:
    """How much work a benchmark does.

    Attributes
    ----------
    full : bool
        Whether timings are taken.
    num_haplotypes, num_sites, num_windows : int
    many_haplotypes : int
        Of the large panel.
    """

    full: bool
    num_haplotypes: int
    num_sites: int
    num_windows: int
    many_haplotypes: int

    def need_memory(self, num_bytes: float) -> None:
        """Skip where so much memory is not free."""
        if self.full:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            if free < num_bytes:
                pytest.skip(
                    f"needs {num_bytes / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
                )


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    """The usual sizes with --benchmark-only, tiny ones otherwise."""
    if request.config.getoption("benchmark_only", False):
        return Sizes(True, 5008, 1020, 331, 1_000_000)
    return Sizes(False, 200, 129, 5, 3000)


@pytest.fixture(scope="session")
def window(sizes: Sizes) -> Window:
    """One window of the usual panel."""
    return Window.make(sizes.num_haplotypes, sizes.num_sites)


@pytest.fixture(scope="session")
def haplotypes(window: Window) -> NDArray[np.int8]:
    """(H, L) haplotypes of that window."""
    return window.haplotypes
