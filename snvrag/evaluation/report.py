"""Reports of an evaluation: printed tables, TSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..io.atomic import write_text
from .accuracy import MEASURES
from .evaluation import Evaluation
from .figures import NO_MATPLOTLIB, save_figure
from .plot import accuracy_figure
from .strata import STRATA

_STRATUM_TITLES = ("all", "MAF < 5%", "MAF >= 5%", "AF < 5%")


def report_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield the lines of the printed report: notes, R2 by MAF bin, measures of the genotypes."""
    yield from evaluation.notes
    yield ""
    yield from _by_maf(evaluation, "r2", "Dosage R2 by MAF: pooled, of the minor allele")
    yield ""
    yield from _by_maf(evaluation, "site_r2", "Mean of the R2 of single sites, by MAF")
    yield ""
    yield "Called genotypes; recall, precision and F1 of ALT alleles"
    rows = [["", "sites", *MEASURES.values()]]
    for name, measures in evaluation.measures.items():
        for t, title in enumerate(_STRATUM_TITLES):
            values = [_number(measures[measure][t]) for measure in MEASURES]
            rows.append([f"{name}, {title}", f"{measures['sites'][t]:.0f}", *values])
    yield from _aligned(rows)


def _by_maf(evaluation: Evaluation, measure: str, title: str) -> Iterator[str]:
    """Yield a table of one measure: a row a file, a column a MAF bin, all sites last."""
    has_intervals = any(measure in found for found in evaluation.intervals.values())
    yield title + (" (95% interval over samples)" if has_intervals else "")
    names = evaluation.strata.names
    columns = [*range(evaluation.strata.first_bin, len(names)), STRATA.index("overall")]
    sites = next(iter(evaluation.measures.values()))["sites"]
    rows = [
        ["", *(names[t] for t in columns[:-1]), "all"],
        ["sites", *(f"{sites[t]:.0f}" for t in columns)],
    ]
    for name, measures in evaluation.measures.items():
        cells = [_number(measures[measure][t]) for t in columns]
        if (interval := evaluation.intervals[name].get(measure)) is not None:
            ends = ("-".join(map(_number, interval[:, t])) for t in columns)
            cells = [f"{cell} ({both})" for cell, both in zip(cells, ends, strict=True)]
        rows.append([name, *cells])
    yield from _aligned(rows)


def write_reports(folder: Path, evaluation: Evaluation) -> str:
    """Write metrics.tsv, calibration.tsv, metrics.json and accuracy.png; return a line on them.

    Files of these names are replaced, each through a temporary name; the plot needs matplotlib.

    Raises
    ------
    InputError, OSError
        If a file or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metrics = _metric_rows(evaluation)
    calibration = [
        {"imputed": name, **row} for name, rows in evaluation.calibration.items() for row in rows
    ]
    content = {
        "num_sites": evaluation.num_sites,
        "num_samples": evaluation.num_samples,
        "notes": list(evaluation.notes),
        "metrics": metrics,
        "calibration": calibration,
    }
    write_text(folder / "metrics.tsv", tsv_text(metrics))
    write_text(folder / "calibration.tsv", tsv_text(calibration))
    write_text(folder / "metrics.json", json_text(content))
    written = f"Written to {folder}: metrics.tsv, calibration.tsv, metrics.json"
    figure = accuracy_figure(evaluation)
    if figure is None:
        return f"{written}; no plot: {NO_MATPLOTLIB}"
    save_figure(folder / "accuracy.png", figure)
    return f"{written}, accuracy.png"


def _metric_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return one row for each file and stratum."""
    rows = []
    for name, measures in evaluation.measures.items():
        for t, stratum in enumerate(evaluation.strata.names):
            row: dict[str, Any] = {"imputed": name, "stratum": stratum}
            row |= {count: int(measures[count][t]) for count in ("sites", "genotypes")}
            row["mean_maf"] = float(measures["mean_maf"][t])
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
