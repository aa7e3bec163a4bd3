"""The plot of an evaluation: R2 by MAF, and calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from .evaluation import Evaluation
from .figures import add_legend, empty_figure

# Distinct in hue and lightness, also to colour-blind eyes (after Okabe and Ito).
_COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"),
    *("#56b4e9", "#000000", "#8c6d31", "#7f7f7f", "#6a3d9a"),
)
_MARKERS = "osD^vPX<>p"
_MIN_CALIBRATED = 30  # genotypes of a bin whose mean is drawn


def accuracy_figure(evaluation: Evaluation) -> Any:
    """Return a figure of R2 by MAF and of calibration, or None where matplotlib is missing."""
    figure = empty_figure(10.5, 4.6)
    if figure is None:
        return None
    by_maf, calibration = figure.subplots(1, 2, width_ratios=[1.45, 1])
    _draw_r2(by_maf, evaluation)
    _draw_calibration(calibration, evaluation)
    for axes in (by_maf, calibration):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    add_legend(figure, calibration, min(4, len(evaluation.measures)))
    return figure


def _draw_r2(axes: Any, evaluation: Evaluation) -> None:
    """Draw each file's R2 against the mean MAF of the bins."""
    first_bin, num_files = evaluation.strata.first_bin, len(evaluation.measures)
    for i, (name, measures) in enumerate(evaluation.measures.items()):
        style = _style(i, name)
        r2, maf = measures["r2"][first_bin:], measures["mean_maf"][first_bin:]
        defined = ~np.isnan(r2) & (maf > 0)
        # Side by side, so that intervals do not hide one another.
        place = maf[defined] * min(1.05, 1.3 ** (1 / num_files)) ** (i - (num_files - 1) / 2)
        axes.plot(place, r2[defined], markersize=4.5, linewidth=1.4, **style)
        interval = evaluation.intervals[name].get("r2")
        if interval is None:
            continue
        low, high = interval[:, first_bin:][:, defined]
        spread = np.maximum(0, np.nan_to_num([r2[defined] - low, high - r2[defined]]))
        bars = {"fmt": "none", "ecolor": style["color"], "elinewidth": 1, "alpha": 0.5}
        axes.errorbar(place, r2[defined], yerr=spread, **bars)
    axes.set_xscale("log")
    edges = sorted({edge for pair in evaluation.strata.bins for edge in pair if edge > 0})
    axes.set_xticks(edges, [f"{100 * edge:g}%" for edge in edges])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("minor allele frequency (ticks: edges of the bins)")
    axes.set_ylabel("dosage R2, pooled, of the minor allele")
    has_intervals = any(evaluation.intervals.values())
    title = "Accuracy, 95% intervals over samples" if has_intervals else "Accuracy"
    axes.set_title(title, fontsize=11)


def _draw_calibration(axes: Any, evaluation: Evaluation) -> None:
    """Draw each file's true dosage against the predicted one, by bin of the predicted one."""
    for i, (name, bins) in enumerate(evaluation.calibration.items()):
        rows = [row for row in bins if row["genotypes"] >= _MIN_CALIBRATED]
        predicted, observed = ([row[key] for row in rows] for key in ("predicted", "observed"))
        axes.plot(predicted, observed, markersize=3, linewidth=1, **_style(i, name))
    axes.plot([0, 2], [0, 2], color="grey", linewidth=0.9, linestyle=":", zorder=0)
    axes.set_xlabel("predicted dosage, mean of the bin")
    axes.set_ylabel("true dosage, mean of the bin")
    axes.set_title("Calibration", fontsize=11)
    axes.set_aspect("equal")
    axes.set_xticks([0, 0.5, 1, 1.5, 2])
    axes.set_yticks([0, 0.5, 1, 1.5, 2])


def _style(index: int, label: str) -> dict[str, str]:
    """Return how the lines of one file look."""
    return {
        "color": _COLORS[index % len(_COLORS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "label": label,
    }
