"""Reports of an evaluation say what it holds."""

from __future__ import annotations

import json
import sys

import pytest

from evaluation_files import Row, evaluated, random_files, write_rows
from snvrag.evaluation.report import report_lines, write_reports


def tables(folder):
    """Return metrics.tsv, calibration.tsv as lists of dicts, and metrics.json."""
    found = []
    for name in ("metrics.tsv", "calibration.tsv"):
        titles, *lines = (line.split("\t") for line in (folder / name).read_text().splitlines())
        found.append([dict(zip(titles, line, strict=True)) for line in lines])
    content = json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    return *found, content


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    truth, imputed, panel = random_files(tmp_path_factory.mktemp("files"), 7, num_sites=120)
    edges = (0.0, 0.0001, 0.05, 0.5)
    return evaluated(truth, imputed, panel=str(panel), bootstrap=50, maf_edges=edges)


def test_files_hold_every_measure(tmp_path, evaluation):
    line = write_reports(tmp_path / "new" / "out", evaluation)
    metrics, calibration, content = tables(tmp_path / "new" / "out")
    assert all(path.name in line for path in (tmp_path / "new" / "out").iterdir())
    rows = [(name, t) for name in ("one", "two") for t in range(len(evaluation.strata.names))]
    for (name, t), cells, row in zip(rows, metrics, content["metrics"], strict=True):
        assert row["imputed"] == cells["imputed"] == name
        assert row["stratum"] == cells["stratum"] == evaluation.strata.names[t]
        for measure, values in evaluation.measures[name].items():
            assert row[measure] == (pytest.approx(values[t]) if values[t] == values[t] else None)
            assert float(cells[measure]) == pytest.approx(values[t], rel=1e-5, nan_ok=True)
        for measure, ends in evaluation.intervals[name].items():
            found = [float(cells[f"{measure}_{end}"]) for end in ("low", "high")]
            assert found == pytest.approx(ends[:, t], rel=1e-5, nan_ok=True)
    assert len(calibration) == len(content["calibration"]) == 2 * 20
    assert content["notes"] == list(evaluation.notes)


def test_printed_tables(evaluation):
    lines = list(report_lines(evaluation))
    assert lines[: len(evaluation.notes)] == list(evaluation.notes)
    cells = [line.split() for line in lines]
    (bins,) = {tuple(row) for row in cells if row and row[-1] == "all"}
    assert bins == ("0-0.01%", "0.01-5%", "5-50%", "all")
    one, two = evaluation.measures["one"], evaluation.measures["two"]
    places = [evaluation.strata.names.index(name) for name in (*bins[:-1], "overall")]
    site_r2 = [row for row in cells if row[:1] == ["two"]][1]
    assert site_r2[1:] == [f"{two['site_r2'][t]:.4f}" for t in places]
    r2 = next(row for row in cells if row[:1] == ["one"])
    low, high = evaluation.intervals["one"]["r2"]
    assert r2[1::2] == [f"{one['r2'][t]:.4f}" for t in places]
    assert r2[2::2] == [f"({low[t]:.4f}-{high[t]:.4f})" for t in places]
    rare = next(row for row in cells if row[:4] == ["one,", "AF", "<", "5%"])
    measures = ("r2", "site_r2", "recall", "precision", "f1", "concordance", "nonref_concordance")
    t = evaluation.strata.names.index("rare_alt")
    assert rare[4:] == [f"{one['sites'][t]:.0f}", *(f"{one[name][t]:.4f}" for name in measures)]


def test_undefined_values(tmp_path):
    """Bins without sites, and one with constant truth."""
    truth = write_rows(tmp_path / "truth.vcf", [Row(10, ["0|0"] * 3)], list("abc"))
    write_reports(tmp_path, evaluated(truth, {"x": truth}, bootstrap=5))
    metrics, calibration, content = tables(tmp_path)
    assert all(row["r2"] is None and row["r2_low"] is None for row in content["metrics"])
    assert {row["r2"] for row in metrics} == {"nan"}
    assert any(row["genotypes"] == 0 and row["predicted"] is None for row in content["calibration"])
    assert calibration[-1]["predicted"] == calibration[-1]["observed"] == "nan"


def test_without_matplotlib(tmp_path, evaluation, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "matplotlib is not installed" in write_reports(tmp_path, evaluation)
    assert not (tmp_path / "accuracy.png").exists()
