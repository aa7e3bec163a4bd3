"""Reports of a run show each metric under its own title."""

from __future__ import annotations

import csv
import re
import sys

import pytest

from snvrag.training import tables

METRICS = ("recall", "precision", "f1", "r2")
STRATA = ("overall", "rare", "common", "rare_alt")


def results(base: float) -> dict[str, float]:
    """Return a value of its own for each metric and stratum."""
    names = [f"{metric}_{stratum}" for metric in METRICS for stratum in STRATA]
    return {name: base + i / 100 for i, name in enumerate(names)}


HISTORY = [{"epoch": epoch, **results(0.2 + 0.3 * epoch)} for epoch in range(2)]
BASELINES = {
    "allele frequency alone": results(0.01),
    "nearest haplotype": results(0.8),
    "Li-Stephens model alone": results(0.82),
    "untrained network": results(0.4),
}


def column_of(title: str) -> str:
    """Return the column of a title: ``f1_rare_alt`` of F1 rare ALT."""
    metric, *stratum = title.lower().split()
    return f"{metric}_{'_'.join(stratum) or 'overall'}"


def test_metrics_lines():
    found = {}
    for line in tables.metrics_lines(HISTORY[0]):
        stratum, rest = line.split(maxsplit=1)
        found |= {f"{m.lower()}_{stratum}": float(v) for m, v in re.findall(r"(\w+) (\S+)", rest)}
    assert found == pytest.approx(results(0.2))


def test_summary_table():
    """Titles and values, read by the width of the columns."""
    lines = tables.summary_table(HISTORY, BASELINES)
    cells = [[line[i : i + 12].strip() for i in range(24, len(line), 12)] for line in lines]
    columns = [column_of(title) for title in cells[0]]
    assert len(set(columns)) == len(columns)
    assert {f"{metric}_overall" for metric in METRICS} <= set(columns)
    rows = [*BASELINES.values(), *HISTORY]
    for name, values, row in zip(lines[1:], cells[1:], rows, strict=True):
        assert values == [f"{row[column]:.4f}" for column in columns], name
    names = [line[:24].strip() for line in lines[1:]]
    assert names == [*BASELINES, "epoch 1", "epoch 2"]


def test_figure():
    """Lines over epochs from the untrained network on, and levels in the same colours."""
    panels = tables.metrics_figure(HISTORY, BASELINES).axes
    titles = [axes.get_title() for axes in panels]
    assert [title.split()[-1] for title in titles] == ["recall", "F1", "R2"]
    for axes, title in zip(panels, titles, strict=True):
        metric = title.split()[-1].lower()
        every = axes.get_lines()
        levels = {
            (line.get_linestyle(), line.get_color()): line.get_ydata()
            for line in every
            if line.get_linestyle() != "-"
        }
        strata = [line for line in every if line.get_label() in STRATA]
        assert len({line.get_color() for line in strata}) == len(strata) == 3
        for line in strata:
            column = f"{metric}_{line.get_label()}"
            assert list(line.get_xdata()) == [0, 1, 2]
            rows = [BASELINES["untrained network"], *HISTORY]
            assert list(line.get_ydata()) == [row[column] for row in rows]
            for style, name in ((":", "nearest haplotype"), ("--", "Li-Stephens model alone")):
                assert set(levels[style, line.get_color()]) == {BASELINES[name][column]}


def test_log_summary(tmp_path, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(tables.log, "info", lambda text, *values: lines.append(text % values))
    path = tmp_path / "metrics.png"
    tables.log_summary(HISTORY, BASELINES, None)
    assert lines[-1] == tables.summary_table(HISTORY, BASELINES)[-1]
    tables.log_summary(HISTORY, BASELINES, path)
    assert lines[-1] == f"Plot: {path}"
    assert path.stat().st_size > 0
    path.unlink()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    tables.log_summary(HISTORY, BASELINES, path)
    assert lines[-1].startswith("No plot: matplotlib is not installed")
    assert not path.exists()


def test_csv(tmp_path):
    rows = [{**row, "mask_rate": 0.3, "train_loss": 1.5, "val_loss": 0.1} for row in HISTORY]
    tables.write_table(tmp_path / "metrics.csv", tables.COLUMNS, rows)
    with open(tmp_path / "metrics.csv", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [{name: float(cell) for name, cell in row.items()} for row in found] == rows
