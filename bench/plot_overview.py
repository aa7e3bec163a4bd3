"""Draw the README's picture of imputation: ``python bench/plot_overview.py``.

It shows one held-out haplotype of the demo panel: its alleles and what a chip types of them, the
states with their posterior along the region, and the probability of the minor allele before and
after the head.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_data import chip_sites, hold_out
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from snvrag.demo import DEMO_PANEL, demo_file
from snvrag.imputation.adaptation import AdaptationRegion, adapt
from snvrag.io.reading import read_panel
from snvrag.kernels import head_log_odds, li_stephens_evidence, pack_haplotypes, unpack_haplotypes
from snvrag.li_stephens.rates import map_rho, rho_between
from snvrag.panel.panel import Panel

NUM_STATES = 10
CHIP_KB = 5.0
SHOWN_BP = 300_000
TYPED, MINOR, BEFORE, AFTER = "#8a8a8a", "#b3261e", "#9db4c8", "#0b5394"


def posterior(
    query: NDArray[np.int8], alleles: NDArray[np.int8], rho: NDArray[np.float64], mismatch: float
) -> NDArray[np.float64]:
    """Return (T, H): the posterior of the copied haplotype at each of T typed sites."""
    emission = np.where(query[:, None] == alleles.T, 1 - mismatch, mismatch)
    jump = -np.expm1(-np.diff(rho))

    def forward(emission: NDArray[np.float64], jump: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = [emission[0] / emission[0].sum()]
        for at, change in zip(emission[1:], jump, strict=True):
            row = at * ((1 - change) * rows[-1] + change / rows[-1].size)
            rows.append(row / row.sum())
        return np.array(rows)

    backward = forward(emission[::-1], jump[::-1])[::-1] / emission
    both = forward(emission, jump) * backward
    return both / both.sum(1, keepdims=True)


def most_corrected(position: NDArray[np.int64], correction: NDArray[np.float64]) -> int:
    """Return where the stretch of SHOWN_BP begins in which the head corrects most."""
    starts = position[position <= max(position[0], position[-1] - SHOWN_BP)]
    first, last = (np.searchsorted(position, starts + length) for length in (0, SHOWN_BP))
    total = np.concatenate([[0], np.cumsum(correction)])
    return int(starts[np.argmax(total[last] - total[first])])


def probabilities(*log_odds: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a row of probabilities for each array of log-odds."""
    return 1 / (1 + np.exp(-np.array(log_odds, np.float64)))


def bare(axes: Any, title: str) -> None:
    """Name a row of the figure at its left, and leave its frame out."""
    axes.set_ylabel(title, rotation=0, ha="right", va="center")
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw(panel: Panel, truth: NDArray[np.int8], observed: NDArray[np.bool_]) -> Figure:
    """Draw one haplotype (S,) that is not in the panel, where the head does most."""
    model = adapt([AdaptationRegion(panel, observed, 0, panel.num_sites)])
    sites, hidden = np.flatnonzero(observed), np.flatnonzero(~observed)
    prior = map_rho(panel.position, panel.num_haplotypes)
    rho = rho_between(prior, sites, model.cumulative_rho)
    count = panel.alt_count[hidden]
    evidence = li_stephens_evidence(
        pack_haplotypes(truth[None]),
        panel.haplotype_rows,
        observed=observed,
        sites=hidden,
        alt_count=count,
        cumulative_rho=rho,
        mismatch=model.mismatch,
    )[0]
    before = evidence[:, 0]
    after = before if model.head is None else head_log_odds(evidence, model.head)
    is_minor = (truth[hidden] == 1) == (2 * count <= panel.num_haplotypes)
    correction = np.abs(np.diff(probabilities(before, after), axis=0)[0])
    start = most_corrected(panel.position[hidden], correction)
    alleles = unpack_haplotypes(panel.haplotype_rows, panel.num_sites)
    share = posterior(truth[sites], alleles[:, sites], rho[sites], model.mismatch)
    inside = (panel.position[sites] >= start) & (panel.position[sites] <= start + SHOWN_BP)

    kb = panel.position / 1e3
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True, height_ratios=[0.8, 3, 2.6])
    draw_truth(axes[0], kb[sites], kb[hidden][is_minor])
    draw_states(axes[1], kb[sites][inside], share[inside])
    draw_probabilities(axes[2], kb[hidden], before, after, is_minor)
    axes[2].set_xlim(start / 1e3, (start + SHOWN_BP) / 1e3)
    axes[2].set_xlabel("position (kb)")
    return figure


def draw_truth(axes: Any, typed: NDArray[np.float64], minor: NDArray[np.float64]) -> None:
    """Draw where the sites are that the chip types, and the minor alleles that are hidden."""
    axes.vlines(typed, 0.55, 1, color=TYPED, lw=1.2)
    axes.vlines(minor, 0, 0.45, color=MINOR, lw=1.2)
    axes.set_yticks([0.22, 0.78], ["hidden minor alleles", "typed sites"])
    axes.tick_params(left=False, bottom=False)
    bare(axes, "")


def draw_states(axes: Any, typed: NDArray[np.float64], share: NDArray[np.float64]) -> None:
    """Draw the (T, H) posterior of the states copied most, in the order in which they are."""
    best = np.argsort(-share.max(0))[:NUM_STATES]
    best = best[np.argsort(np.arange(len(share)) @ share[:, best] / share[:, best].sum(0))]
    edges = np.concatenate([typed[:1], (typed[1:] + typed[:-1]) / 2, typed[-1:]])
    axes.pcolormesh(
        edges, np.arange(NUM_STATES + 1), share[:, best].T, cmap="Blues", vmin=0, vmax=1
    )
    axes.invert_yaxis()
    axes.set_yticks(np.arange(NUM_STATES) + 0.5, [f"haplotype {h}" for h in best], fontsize=7)
    axes.tick_params(left=False, bottom=False)
    bare(axes, "")


def draw_probabilities(
    axes: Any,
    hidden: NDArray[np.float64],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    is_minor: NDArray[np.bool_],
) -> None:
    """Draw the probabilities of the minor allele at hidden sites, from both log-odds."""
    first, last = probabilities(before, after)
    shown = is_minor | (np.maximum(first, last) > 0.05)
    axes.vlines(hidden[shown], first[shown], last[shown], color=BEFORE, lw=0.8)
    axes.plot(hidden[shown], first[shown], "o", ms=4, mfc="white", mec=BEFORE, label="Li-Stephens")
    for of, colour, label in (
        (shown & is_minor, MINOR, "after the head; carries the minor allele"),
        (shown & ~is_minor, AFTER, "after the head; does not"),
    ):
        axes.plot(hidden[of], last[of], "o", ms=4, color=colour, label=label)
    axes.set_ylim(-0.03, 1.03)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=3, frameon=False, fontsize=8)
    axes.set_ylabel("probability of\nthe minor allele")
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--haplotype", type=int, default=13, help="which held-out one to show")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "overview.png")
    options = parser.parse_args()
    split = hold_out(read_panel(Path(demo_file(DEMO_PANEL)))[0], 0.1, 0)
    observed = chip_sites(split.panel, CHIP_KB, 0.05)
    row = split.truth.haplotype_bits(np.array([options.haplotype]), 0, split.truth.num_sites)
    truth = unpack_haplotypes(row, split.truth.num_sites)[0]
    draw(split.panel, truth, observed).savefig(options.output, dpi=110)


if __name__ == "__main__":
    main()
