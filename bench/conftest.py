"""Fixtures of the benchmarks, and the table of comparisons that a run ends with.

A benchmark's group is the work; its name is the way in which the work is done. Names that begin
with "snvrag" are this package's, every other name of the group is a baseline, and the table has a
line for each pair. Plain ``pytest`` calls every way once, tiny and untimed, so that none breaks
unnoticed; ``pytest --benchmark-only`` times them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from libraries import load_faiss
from markdown_table import markdown_table
from mosaics import Window
from numpy.typing import NDArray
from sizes import FULL, TINY, Sizes


@dataclass(frozen=True)
class Row:
    """The median time of one way (a name in the benchmark's group) of doing some work.

    ``part_of`` names the larger piece of work, in the same group, that this is a part of; or empty.
    """

    work: str
    name: str
    seconds: float
    part_of: str

    def is_compared_with(self, other: Row) -> bool:
        """Return whether the table shows the ratio of the two."""
        if self.part_of:
            return other.name == self.part_of
        return self.name.startswith("snvrag") and not other.name.startswith("snvrag")


ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    """Time nothing without --benchmark-only, and choose the columns of pytest-benchmark's table."""
    config.stash[ROWS] = []
    if not config.getoption("benchmark_only", False):
        config.option.benchmark_disable = True
    if not any(a.startswith("--benchmark-columns") for a in config.invocation_params.args):
        config.option.benchmark_columns = ["median", "min", "max", "rounds"]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the comparisons of a timed run, and the benchmarks that were left out of it."""
    rows = config.stash[ROWS]
    if not rows:
        return
    terminalreporter.section("comparisons (medians of this run)")
    cells = [
        comparison(row, other)
        for row in rows
        for other in rows
        if row.work == other.work and row.is_compared_with(other)
    ]
    titles = ("work", "baseline", "snvrag", "ratio")
    terminalreporter.write_line(markdown_table(titles, cells, num_text=3))
    for line in left_out(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line)


def comparison(row: Row, other: Row) -> tuple[str, str, str, str]:
    """Return the cells of one line of the table."""
    if row.part_of:
        share = row.seconds / other.seconds
        ratio = f"{share:.1%} of it" if share >= 0.001 else "< 0.1% of it"
    else:
        times = other.seconds / row.seconds
        digits = 0 if times >= 100 else 1 if times >= 10 else 2
        ratio = f"{times:,.{digits}f}x"
    both = (f"{one.name}: {readable_time(one.seconds)}" for one in (other, row))
    return (row.work, *both, ratio)


def left_out(reports: list[pytest.TestReport]) -> list[str]:
    """Return a line for each benchmark that was skipped, with the reason."""
    lines = []
    for report in reports:
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if Path(report.fspath).parent.name == "bench" and "non-benchmark" not in reason:
            lines.append(f"Left out: {report.nodeid.partition('::')[2]}: {reason}")
    return lines


def readable_time(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


class Timed:
    """Times one way of doing the work that the benchmark's group names."""

    def __init__(self, benchmark: Any, rows: list[Row]) -> None:
        self._benchmark = benchmark
        self._rows = rows

    def __call__(
        self, name: str, function: Callable[[], Any], *, rounds: int = 0, part_of: str = ""
    ) -> Any:
        """Time a function, keep the row and return what the function returned.

        ``rounds`` timed calls, for slow functions, follow one call that is not timed, except where
        there is one round alone. By default pytest-benchmark chooses.
        """
        benchmark = self._benchmark
        benchmark.name = name
        if rounds:
            result = benchmark.pedantic(function, rounds=rounds, warmup_rounds=int(rounds > 1))
        else:
            result = benchmark(function)
        if benchmark.stats is not None:  # None where nothing is timed
            median = benchmark.stats.stats.median
            self._rows.append(Row(benchmark.group, name, median, part_of))
        return result


@pytest.fixture
def timed(benchmark: Any, request: pytest.FixtureRequest) -> Timed:
    """Return what times a function and keeps its row."""
    return Timed(benchmark, request.config.stash[ROWS])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Give torch one thread, as every other library has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def faiss() -> Any:
    """Return FAISS, or skip the benchmark where it is not installed."""
    pytest.importorskip("faiss")
    return load_faiss()


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    """Return the usual sizes with --benchmark-only, tiny ones otherwise."""
    return FULL if request.config.getoption("benchmark_only", False) else TINY


@pytest.fixture(scope="session")
def window(sizes: Sizes) -> Window:
    """Return one window of the usual panel."""
    return Window.make(sizes.num_haplotypes, sizes.num_sites)


@pytest.fixture(scope="session")
def haplotypes(window: Window) -> NDArray[np.int8]:
    """Return the (H, L) alleles of that window."""
    return window.haplotypes
