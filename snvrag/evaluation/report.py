"""What an evaluation tells: tables, TSV, JSON and a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.atomic import atomic_file, write_text
from .accuracy import MEASURES

if TYPE_CHECKING:
    from .evaluation import Evaluation

_TITLES = {
    "r2": "R2", "site_r2": "site R2", "recall": "recall", "precision": "precision", "f1": "F1",
    "concordance": "concordance", "nonref_concordance": "non-ref concordance",
}  # fmt: skip
_STRATA = {"overall": "all", "rare": "MAF < 5%", "common": "MAF >= 5%", "rare_alt": "AF < 5%"}
# Distinct in hue and lightness, also to colour-blind eyes (after Okabe and Ito).
_COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31",
    "#7f7f7f", "#6a3d9a",
)  # fmt: skip
_MARKERS = "osD^vPX<>p"
_FEWEST_CALIBRATED = 30


def report_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield the lines of the printed report: notes, R2 by MAF bin, measures of the genotypes."""
    yield from evaluation.notes
    strata = evaluation.strata
    first_bin = len(strata.names) - len(strata.bins)
    chosen = [*range(first_bin, len(strata.names)), 0]
    any_measures = next(iter(evaluation.measures.values()))
    by_bin = ["", *(strata.names[t] for t in chosen[:-1]), "all"]
    counts = ["sites", *(f"{any_measures['sites'][t]:.0f}" for t in chosen)]
    for measure, title in (
        ("r2", "Dosage R2 by MAF: pooled, of the minor allele"),
        ("site_r2", "Mean of the R2 of single sites, by MAF"),
    ):
        yield ""
        has_intervals = any(measure in found for found in evaluation.intervals.values())
        yield title + (" (95% interval over samples)" if has_intervals else "")
        rows = [by_bin, counts]
        for name, measures in evaluation.measures.items():
            interval = evaluation.intervals[name].get(measure)
            rows.append([
                name,
                *(_number(measures[measure][t])
                  + (f" ({_number(interval[0, t])}-{_number(interval[1, t])})"
                     if interval is not None else "")
                  for t in chosen),
            ])  # fmt: skip
        yield from _aligned(rows)
    yield ""
    yield "Called genotypes; recall, precision and F1 of ALT alleles"
    rows = [["", "sites", *(_TITLES[measure] for measure in MEASURES)]]
    for name, measures in evaluation.measures.items():
        for t, stratum in enumerate(_STRATA):
            values = [_number(measures[measure][t]) for measure in MEASURES]
            rows.append([f"{name}, {_STRATA[stratum]}", f"{measures['sites'][t]:.0f}", *values])
    yield from _aligned(rows)


def write_reports(folder: Path, evaluation: Evaluation) -> str:
    """Write metrics.tsv, calibration.tsv, metrics.json and accuracy.png; return what to say.

    Files there are replaced, each through a temporary name; the plot needs matplotlib.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "metrics.tsv", tsv_text(_metric_rows(evaluation)))
    calibration = [
        {"imputed": name, **row} for name, rows in evaluation.calibration.items() for row in rows
    ]
    write_text(folder / "calibration.tsv", tsv_text(calibration))
    content = {
        "num_sites": evaluation.num_sites,
        "num_samples": evaluation.num_samples,
        "notes": list(evaluation.notes),
        "metrics": _metric_rows(evaluation),
        "calibration": calibration,
    }
    write_text(folder / "metrics.json", json_text(content))
    plotted = plot_accuracy(folder / "accuracy.png", evaluation)
    return f"Written to {folder}: metrics.tsv, calibration.tsv, metrics.json" + (
        ", accuracy.png" if plotted
        else "; no plot: matplotlib is not installed (pip install 'snvrag[plot]')"
    )  # fmt: skip


def plot_accuracy(path: Path, evaluation: Evaluation) -> bool:
    """Draw R2 by MAF and calibration; return False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    by_maf, calibration = figure.subplots(1, 2, width_ratios=[1.45, 1])
    num_files = len(evaluation.measures)
    first_bin = len(evaluation.strata.names) - len(evaluation.strata.bins)
    for i, (name, measures) in enumerate(evaluation.measures.items()):
        style: dict[str, Any] = {
            "color": _COLORS[i % len(_COLORS)], "marker": _MARKERS[i % len(_MARKERS)],
            "markersize": 4.5, "linewidth": 1.4, "label": name,
        }  # fmt: skip
        r2, maf = measures["r2"][first_bin:], measures["mean_maf"][first_bin:]
        drawn = ~np.isnan(r2) & (maf > 0)
        # Side by side, so that intervals do not hide one another.
        place = maf[drawn] * min(1.05, 1.3 ** (1 / num_files)) ** (i - (num_files - 1) / 2)
        interval = evaluation.intervals[name].get("r2")
        spread = None
        if interval is not None:
            low, high = interval[:, first_bin:][:, drawn]
            spread = np.maximum(0, np.nan_to_num([r2[drawn] - low, high - r2[drawn]]))
        by_maf.plot(place, r2[drawn], **style)
        if spread is not None:
            by_maf.errorbar(place, r2[drawn], yerr=spread, fmt="none", ecolor=style["color"],
                            elinewidth=1, alpha=0.5)  # fmt: skip
        rows = [
            row for row in evaluation.calibration[name] if row["genotypes"] >= _FEWEST_CALIBRATED
        ]
        calibration.plot([row["predicted"] for row in rows], [row["observed"] for row in rows],
                         **{**style, "markersize": 3, "linewidth": 1})  # fmt: skip
    by_maf.set_xscale("log")
    edges = [edge for pair in evaluation.strata.bins for edge in pair if edge > 0]
    edges = sorted(set(edges))
    by_maf.set_xticks(edges, [f"{100 * edge:g}%" for edge in edges])
    by_maf.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    by_maf.set_ylim(0, 1.02)
    by_maf.set_xlabel("minor allele frequency (ticks: edges of the bins)")
    by_maf.set_ylabel("dosage R2, pooled, of the minor allele")
    by_maf.set_title(
        "Accuracy" + (", 95% intervals over samples" if any(evaluation.intervals.values()) else ""),
        fontsize=11,
    )
    calibration.plot([0, 2], [0, 2], color="grey", linewidth=0.9, linestyle=":", zorder=0)
    calibration.set_xlabel("predicted dosage, mean of the bin")
    calibration.set_ylabel("true dosage, mean of the bin")
    calibration.set_title("Calibration", fontsize=11)
    calibration.set_aspect("equal")
    calibration.set_xticks([0, 0.5, 1, 1.5, 2])
    calibration.set_yticks([0, 0.5, 1, 1.5, 2])
    for axes in (by_maf, calibration):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = calibration.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, num_files), fontsize=9)
    with atomic_file(path) as stream:
        figure.savefig(stream, dpi=130, format="png")
    return True


def _metric_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return one row for each file and stratum."""
    rows = []
    for name, measures in evaluation.measures.items():
        for t, stratum in enumerate(evaluation.strata.names):
            row: dict[str, Any] = {
                "imputed": name,
                "stratum": stratum,
                "sites": int(measures["sites"][t]),
                "genotypes": int(measures["genotypes"][t]),
                "mean_maf": float(measures["mean_maf"][t]),
            }
            for measure in MEASURES:
                row[measure] = float(measures[measure][t])
                interval = evaluation.intervals[name].get(measure)
                if interval is not None:
                    row[f"{measure}_low"], row[f"{measure}_high"] = interval[:, t].tolist()
            rows.append(row)
    return rows


def _number(value: float) -> str:
    return f"{value:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()


def tsv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows with the same keys as a table with a header; None is empty, NaN ``nan``."""
    lines = ["\t".join(rows[0])]
    lines += ["\t".join(map(_cell, row.values())) for row in rows]
    return "\n".join(lines) + "\n"


def json_text(content: Any) -> str:
    """Return JSON with null for NaN, which JSON does not know."""
    return json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
