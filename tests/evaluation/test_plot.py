"""The plot shows the evaluation's numbers: lines and labels are read back."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation_files import Row, evaluated, random_files, write_rows
from snvrag.evaluation.plot import accuracy_figure


def test_lines_are_the_measures(tmp_path):
    truth, imputed, panel = random_files(tmp_path, 4, num_sites=90)
    found = evaluated(truth, imputed, panel=str(panel), bootstrap=50)
    by_maf, calibration = accuracy_figure(found).axes
    assert "R2" in by_maf.get_ylabel()
    assert [text.get_text() for text in by_maf.get_xticklabels()] == [
        f"{100 * stop:g}%" for _, stop in found.strata.bins
    ]
    files = zip(found.measures, by_maf.get_lines(), by_maf.collections, strict=True)
    for name, line, bars in files:
        r2, maf = (found.measures[name][key] for key in ("r2", "mean_maf"))
        drawn = np.flatnonzero(~np.isnan(r2))
        drawn = drawn[drawn >= found.strata.first_bin]
        assert drawn.size > 1
        assert line.get_label() == name
        assert line.get_ydata() == pytest.approx(r2[drawn])
        assert line.get_xdata() == pytest.approx(maf[drawn], rel=0.06)  # files stand side by side
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        low, high = found.intervals[name]["r2"][:, drawn]
        assert ends[:, 0] == pytest.approx(np.minimum(low, r2[drawn]))
        assert ends[:, 1] == pytest.approx(np.maximum(high, r2[drawn]))
    assert "predicted" in calibration.get_xlabel()
    *lines, _ = calibration.get_lines()
    for (name, rows), line in zip(found.calibration.items(), lines, strict=True):
        drawn = [row for row in rows if row["genotypes"] >= 30]
        assert 2 < len(drawn) < len(rows)
        assert line.get_label() == name
        assert line.get_xdata() == pytest.approx([row["predicted"] for row in drawn])
        assert line.get_ydata() == pytest.approx([row["observed"] for row in drawn])


def test_more_files_than_colours(tmp_path):
    rows = [Row(10, ["0|0", "0|1", "1|1"]), Row(20, ["1|0", "0|0", "0|1"])]
    truth = write_rows(tmp_path / "truth.vcf", rows, list("abc"))
    figure = accuracy_figure(evaluated(truth, {f"x{i}": truth for i in range(12)}))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"x{i}" for i in range(12)]
    assert figure.axes[0].get_title() == "Accuracy"
