"""Draw search time against the size of the panel: ``python bench/plot_search_scaling.py``.

48 held-out queries, k = 8, 1,020 sites of which 60% are hidden, one thread. FAISS searches rows as
packed, and rows padded to 64 bytes, for which it has a faster loop. Answers are compared before
they are timed. The times are printed as a table; a library that is not installed is left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from libraries import FAISS, FAISS_64, SEARCHES, USEARCH
from markdown_table import markdown_table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mosaics import NUM_QUERIES, Window

K, NUM_SITES = 8, 1020
OURS = "snvrag"
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
# Label, colour and marker. Okabe and Ito's colours can be told apart with any colour vision.
STYLES = {
    USEARCH: ("usearch, exact", "#CC79A7", "^"),
    FAISS: ("FAISS IndexBinaryFlat", "#E69F00", "s"),
    FAISS_64: ("FAISS IndexBinaryFlat,\nrows padded to 64 bytes", "#D55E00", "D"),
    OURS: ("snvrag HammingIndex", "#0072B2", "o"),
}


def make_search(name: str, window: Window) -> Callable[[], Any]:
    """Return a function that searches a window."""
    if name != OURS:
        return SEARCHES[name][1](window, K)
    index = window.index()
    return lambda: index.search(window.query_bits, K, threads=1)


def median_milliseconds(search: Callable[[], Any]) -> float:
    """Time a search for about a second, 5 to 200 times."""
    search()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < 1 and len(times) < 200):
        start = time.perf_counter()
        search()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def measure(sizes: tuple[int, ...]) -> dict[str, list[float]]:
    """Return milliseconds by the name of the search, one for each size."""
    largest = Window.make(sizes[-1], NUM_SITES)
    times: dict[str, list[float]] = {}
    for name in STYLES:
        if name == OURS or find_spec(SEARCHES[name][0]):
            times[name] = []
        else:
            print(f"Left out: {name}: {SEARCHES[name][0]} is not installed")
    for size in sizes:
        window = largest.head(size)
        expected = make_search(OURS, window)()[0]
        for name in times:
            search = make_search(name, window)
            np.testing.assert_array_equal(np.asarray(search()[0], np.int64), expected)
            times[name].append(median_milliseconds(search))
    return times


def draw(sizes: tuple[int, ...], times: dict[str, list[float]], path: Path) -> None:
    """Draw the lines, both axes logarithmic."""
    figure = Figure(figsize=(8.3, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, milliseconds in times.items():
        label, colour, marker = STYLES[name]
        axes.plot(sizes, milliseconds, color=colour, marker=marker, lw=2, ms=6, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("haplotypes in the panel")
    axes.set_ylabel(f"time of {NUM_QUERIES} queries (ms)")
    axes.set_title(
        f"Exact search, {NUM_SITES:,} sites, 60% hidden, k = {K}, one thread", fontsize=11
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(which="major", color="0.85", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, labelspacing=1.0)
    figure.savefig(path)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("search_scaling.png")
    )
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="most haplotypes")
    arguments = parser.parse_args()
    sizes = tuple(size for size in SIZES if size <= arguments.largest)
    times = measure(sizes)
    titles = ["haplotypes", *(f"{STYLES[name][0]}, ms".replace("\n", " ") for name in times)]
    rows = (
        [f"{size:,}", *(f"{value:,.4g}" for value in row)]
        for size, *row in zip(sizes, *times.values(), strict=True)
    )
    print(markdown_table(titles, rows, num_text=0))
    draw(sizes, times, arguments.output)


if __name__ == "__main__":
    main()
