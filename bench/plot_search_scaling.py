"""Draw search time against the size of the panel: ``python bench/plot_search_scaling.py``.

48 held-out queries, k = 8, 1,020 sites of which 60% are hidden, one thread: ours beside FAISS
IndexBinaryFlat (on rows as packed, and on rows padded to the 64 bytes it has a faster loop for) and
usearch's exact search. Answers are compared before they are timed; the numbers are printed, too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from libraries import faiss_search, usearch_search
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mosaics import NUM_QUERIES, Window

from snvrag.kernels import HammingIndex

K, NUM_SITES = 8, 1020
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
# Okabe and Ito's colours, told apart with any colour vision.
STYLES = {
    "usearch, exact": ("#CC79A7", "^"),
    "FAISS IndexBinaryFlat": ("#E69F00", "s"),
    "FAISS IndexBinaryFlat,\nrows padded to 64 bytes": ("#D55E00", "D"),
    "snvrag HammingIndex": ("#0072B2", "o"),
}


def snvrag_search(window: Window) -> Callable[[], Any]:
    """Return our search."""
    index = HammingIndex(window.bits, num_sites=window.num_sites, observed=window.observed)
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
    """Return milliseconds by name, one for each size."""
    everyone = Window.make(sizes[-1], NUM_SITES)
    makers = (
        lambda window: usearch_search(window, K),
        lambda window: faiss_search(window, K),
        lambda window: faiss_search(window, K, 64),
        snvrag_search,
    )
    times: dict[str, list[float]] = {name: [] for name in STYLES}
    for size in sizes:
        window = everyone.head(size)
        expected = snvrag_search(window)()[0]
        for name, make in zip(STYLES, makers, strict=True):
            search = make(window)
            np.testing.assert_array_equal(np.asarray(search()[0], np.int64), expected)
            times[name].append(median_milliseconds(search))
    return times


def draw(sizes: tuple[int, ...], times: dict[str, list[float]], path: Path) -> None:
    """Draw the lines, both axes logarithmic."""
    figure = Figure(figsize=(8.3, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, (colour, marker) in STYLES.items():
        axes.plot(sizes, times[name], color=colour, marker=marker, lw=2, ms=6, label=name)
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
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("search_scaling.png")
    )
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="haplotypes")
    arguments = parser.parse_args()
    sizes = tuple(size for size in SIZES if size <= arguments.largest)
    times = measure(sizes)
    names = [name.replace("\n", " ") for name in STYLES]
    print("| haplotypes | " + " | ".join(f"{name}, ms" for name in names) + " |")
    print("| ---: |" + " ---: |" * len(names))
    for size, *row in zip(sizes, *times.values(), strict=True):
        print(f"| {size:,} | " + " | ".join(f"{value:,.4g}" for value in row) + " |")
    draw(sizes, times, arguments.output)


if __name__ == "__main__":
    main()
