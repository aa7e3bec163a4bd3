"""Reports of a run: log lines of metrics, the closing table, CSV files and the plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..evaluation.figures import NO_MATPLOTLIB, add_legend, empty_figure, save_figure
from ..evaluation.strata import STRATA
from ..io.atomic import write_text
from ..log import log
from .baselines import LI_STEPHENS, UNTRAINED

History = Sequence[dict[str, Any]]
Baselines = dict[str, dict[str, float]]

_METRICS = {"recall": "Recall", "precision": "Precision", "f1": "F1", "r2": "R2"}
COLUMNS = (
    "epoch",
    "mask_rate",
    "train_loss",
    "val_loss",
    *(f"{metric}_{stratum}" for stratum in STRATA for metric in _METRICS),
)
TIMING_COLUMNS = ("epoch", "seconds", "data_share")

# Columns of the closing table by title.
_SUMMARY = {
    **{title: f"{metric}_overall" for metric, title in _METRICS.items()},
    **{"F1 rare": "f1_rare", "R2 rare": "r2_rare", "F1 rare ALT": "f1_rare_alt"},
    **{"F1 common": "f1_common", "R2 common": "r2_common"},
}
# What is drawn: metrics by the title of their axes, strata by their colour, baselines by the style
# of their lines.
_PLOTTED = {"recall": "ALT recall", "f1": "ALT F1", "r2": "dosage R2"}
_COLORS = {"overall": "#1f4e79", "rare": "#c0504d", "common": "#4f9d69"}
_STYLES = {"nearest haplotype": ":", LI_STEPHENS: "--"}


def metrics_lines(results: dict[str, float]) -> list[str]:
    """Return one line a stratum."""
    return [
        f"  {stratum:<9}"
        + "  ".join(
            f"{title} {results[f'{metric}_{stratum}']:.4f}" for metric, title in _METRICS.items()
        )
        for stratum in STRATA
    ]


def summary_table(history: History, baselines: Baselines) -> list[str]:
    """Return the table of all epochs beside the baselines, line by line."""
    rows = {**baselines, **{f"epoch {row['epoch'] + 1}": row for row in history}}
    lines = [f"{'':<24}" + "".join(f"{title:>12}" for title in _SUMMARY)]
    for name, results in rows.items():
        values = (results[column] for column in _SUMMARY.values())
        lines.append(f"{name:<24}" + "".join(f"{value:>12.4f}" for value in values))
    return lines


def log_summary(history: History, baselines: Baselines, plot: Path | None) -> None:
    """End a log with the table of all epochs, and draw it to ``plot`` if there is one."""
    log.info("")
    log.info("Validation, hidden sites, by epoch and beside the baselines:")
    for line in summary_table(history, baselines):
        log.info("%s", line)
    if plot and plot_metrics(plot, history, baselines):
        log.info("Plot: %s", plot)
    elif plot:
        log.info("No plot: %s", NO_MATPLOTLIB)


def write_table(path: Path, columns: Sequence[str], rows: History) -> None:
    """Write a CSV file of these columns, a line a row; a file of that name is replaced."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: row[name] for name in columns} for row in rows)
    write_text(path, text.getvalue())


def plot_metrics(path: Path, history: History, baselines: Baselines) -> bool:
    """Write the figure of `metrics_figure`; return False where matplotlib is missing."""
    figure = metrics_figure(history, baselines)
    if figure is not None:
        save_figure(path, figure)
    return figure is not None


def metrics_figure(history: History, baselines: Baselines) -> Any:
    """Return a figure of recall, F1 and R2 by epoch, or None where matplotlib is missing.

    Epoch 0 is the untrained network; an untrained head is the Li-Stephens model. Level lines of the
    same colours show the nearest haplotype and the Li-Stephens model alone.
    """
    figure = empty_figure(12, 4.1)
    if figure is None:
        return None
    epochs = [0, *(row["epoch"] + 1 for row in history)]
    rows = [baselines.get(UNTRAINED, baselines[LI_STEPHENS]), *history]
    for axes, (metric, title) in zip(figure.subplots(1, 3), _PLOTTED.items(), strict=True):
        for stratum, color in _COLORS.items():
            column = f"{metric}_{stratum}"
            values = [row[column] for row in rows]
            axes.plot(epochs, values, color=color, marker="o", markersize=4, label=stratum)
            for name, style in _STYLES.items():
                level = baselines[name][column]
                axes.axhline(level, color=color, linestyle=style, linewidth=1.2)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
    for name, style in _STYLES.items():
        axes.plot([], [], color="grey", linestyle=style, label=name)
    add_legend(figure, axes, len(_COLORS) + len(_STYLES))
    return figure
