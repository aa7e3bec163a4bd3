"""What a run tells: log lines, the table at the end, metrics.csv, timing.csv and the plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..io.atomic import atomic_file, write_text
from ..log import log
from .metrics import STRATA

METRICS = ("recall", "precision", "f1", "r2")
COLUMNS = ("epoch", "mask_rate", "train_loss", "val_loss",
           *(f"{metric}_{stratum}" for stratum in STRATA for metric in METRICS))  # fmt: skip
TIMING_COLUMNS = ("epoch", "seconds", "data_share")
# Lines that tell of the machine and of interruptions begin with these; all others tell of the
# result, and are the same in every run of the same configuration on a CPU.
RUN_LINES = ("JIT cache: ", "Time: ", "Memory: ", "Saved ", "Resumed ", "Note: ", "Warning: ",
             "Plot: ", "No plot: ")  # fmt: skip


def result_lines(text: str) -> list[str]:
    """Return the lines of a log that tell of the result, not of the machine or interruptions."""
    return [line for line in text.splitlines() if not line.startswith(RUN_LINES)]


def metrics_lines(results: dict[str, float]) -> list[str]:
    """Return one line a stratum."""
    return [
        f"  {stratum:<9}"
        + "  ".join(f"{_TITLES[metric]} {results[f'{metric}_{stratum}']:.4f}" for metric in METRICS)
        for stratum in STRATA
    ]


_TITLES = {"recall": "Recall", "precision": "Precision", "f1": "F1", "r2": "R2"}


def summary_table(
    history: Sequence[dict[str, Any]], baselines: dict[str, dict[str, float]]
) -> list[str]:
    """Return the table of all epochs beside the baselines, line by line."""
    columns = [
        ("recall", "overall"), ("precision", "overall"), ("f1", "overall"), ("r2", "overall"),
        ("f1", "rare"), ("r2", "rare"), ("f1", "rare_alt"), ("f1", "common"), ("r2", "common"),
    ]  # fmt: skip
    titles = ["Recall", "Precision", "F1", "R2", "F1 rare", "R2 rare", "F1 rare ALT", "F1 common",
              "R2 common"]  # fmt: skip
    rows = [("allele frequency alone", baselines["allele frequency"])]
    rows.append(("nearest haplotype", baselines["nearest haplotype"]))
    rows += [(f"epoch {row['epoch'] + 1}", row) for row in history]
    lines = [f"{'':<24}" + "".join(f"{title:>12}" for title in titles)]
    for name, results in rows:
        values = (results[f"{metric}_{stratum}"] for metric, stratum in columns)
        lines.append(f"{name:<24}" + "".join(f"{value:>12.4f}" for value in values))
    return lines


def log_summary(
    history: Sequence[dict[str, Any]], baselines: dict[str, dict[str, float]], plot: Path | None
) -> None:
    """End a log with the table of all epochs, and draw it to ``plot`` if there is one."""
    log.info("")
    log.info("Validation, hidden sites, by epoch and beside the baselines:")
    for line in summary_table(history, baselines):
        log.info("%s", line)
    if plot and plot_metrics(plot, history, baselines):
        log.info("Plot: %s", plot)
    elif plot:
        log.info("No plot: matplotlib is not installed (pip install 'snvrag[plot]')")


def write_table(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write a CSV file anew: one line a row, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: row[name] for name in columns} for row in rows)
    write_text(path, text.getvalue())


def plot_metrics(
    path: Path, history: Sequence[dict[str, Any]], baselines: dict[str, dict[str, float]]
) -> bool:
    """Draw recall, F1 and R2 by epoch; return False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(12, 4.1), layout="constrained")
    FigureCanvasAgg(figure)
    colors = {"overall": "#1f4e79", "rare": "#c0504d", "common": "#4f9d69"}
    epochs = [row["epoch"] + 1 for row in history]
    nearest = baselines["nearest haplotype"]
    for axes, metric in zip(figure.subplots(1, 3), ("recall", "f1", "r2"), strict=True):
        for stratum, color in colors.items():
            values = [row[f"{metric}_{stratum}"] for row in history]
            axes.plot(epochs, values, color=color, marker="o", markersize=4, label=stratum)
            axes.axhline(nearest[f"{metric}_{stratum}"], color=color, linestyle=":", linewidth=1.2)
        axes.set_title({"recall": "ALT recall", "f1": "ALT F1", "r2": "dosage R2"}[metric])
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
    axes.plot([], [], color="grey", linestyle=":", label="copying the nearest")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    with atomic_file(path) as stream:
        figure.savefig(stream, dpi=130, format="png")
    return True
