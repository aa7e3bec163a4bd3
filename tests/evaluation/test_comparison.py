"""How files are matched, what is read of them and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation_files import Row, evaluated, write_rows
from panel_files import convert_vcf
from snvrag.evaluation.evaluation import Evaluation
from snvrag.io import htslib

TRUTH = [Row(10, ["0|0", "0|1", "1|1"]), Row(20, ["1|0", "0|0", "0|1"])]
NAMES = ["a", "b", "c"]


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.position)


def sites_of(evaluation: Evaluation) -> dict[str, float]:
    return dict(zip(evaluation.strata.names, evaluation.measures["x"]["sites"], strict=True))


def test_dosage_fields(tmp_path):
    """DS comes before HDS, HDS before GP, GP before GT."""
    truth = write_rows(tmp_path / "truth.vcf", TRUTH[:1], NAMES)
    expected = np.corrcoef([0, 1, 2], [0.1, 1, 1.5])[0, 1] ** 2
    for layout, cells in (
        ("GT:DS:HDS:GP", ["0|0:.1:1,1:0,0,1", "0|1:1:0,0:0,0,1", "1|1:1.5:0,0:1,0,0"]),
        ("DS", ["0.1", "1.0", "1.5"]),
        ("GT:HDS:GP", ["0|0:.05,.05:0,0,1", "0|1:.3,.7:0,0,1", "1|1:.75,.75:1,0,0"]),
        ("HDS", ["0.05,0.05", "0.3,0.7", "0.75,0.75"]),
        ("GT:GP", ["0|0:.9,.1,0", "0|1:0,1,0", "1|1:0,.5,.5"]),
        ("GP", [".92,.06,.02", ".25,.5,.25", ".1,.3,.6"]),
    ):
        imputed = write_rows(tmp_path / "imputed.vcf", [Row(10, cells, layout=layout)], NAMES)
        found = evaluated(truth, {"x": imputed}).measures["x"]
        assert found["r2"][0] == pytest.approx(expected, rel=1e-6), layout
        assert found["concordance"][0] == pytest.approx(1), layout
    imputed = write_rows(tmp_path / "imputed.vcf", [Row(10, ["0/0", "1/1", "0/1"])], NAMES)
    found = evaluated(truth, {"x": imputed}).measures["x"]
    assert found["r2"][0] == pytest.approx(np.corrcoef([0, 1, 2], [0, 2, 1])[0, 1] ** 2)
    assert found["concordance"][0] == pytest.approx(1 / 3)
    assert found["recall"][0] == pytest.approx(2 / 3)


def test_haploid_genotypes(tmp_path):
    """A haploid truth meets haploid and diploidly coded dosages alike; folding knows its ploidy."""
    samples = list("abcd")
    truth = write_rows(tmp_path / "truth.vcf", [Row(10, ["0", "1", "1", "1"])], samples)
    rows = {
        "haploid": Row(10, ["0:.1", "1:.8", "1:.9", "0:.4"], layout="GT:DS"),
        "diploid": Row(10, ["0|0:.2", "1|1:1.6", "1|1:1.8", "0|0:.8"], layout="GT:DS"),
        "HDS": Row(10, [".1", ".8", ".9", ".4"], layout="HDS"),
        "DS": Row(10, [".1", ".8", ".9", ".4"], layout="DS"),
    }
    files = {
        name: write_rows(tmp_path / f"{name}.vcf", [row], samples) for name, row in rows.items()
    }
    found = evaluated(truth, files)
    expected = np.corrcoef([0, 1, 1, 1], [0.1, 0.8, 0.9, 0.4])[0, 1] ** 2
    for name, measures in found.measures.items():
        assert measures["r2"][0] == pytest.approx(expected, rel=1e-5), name
        assert measures["concordance"][0] == pytest.approx(3 / 4)
        bins = [row for row in found.calibration[name] if row["genotypes"]]
        means = {round(row["predicted"], 3): row["observed"] for row in bins}
        assert means == {0.2: 0, 0.8: 2, 1.6: 2, 1.8: 2}


FLAGS = [
    (["TYPED", "IMP"], "TYPED", "IMP"),
    (["IMP"], ".", "IMP"),
    (["TYPED"], "TYPED", "."),
    (["TYPED_ONLY", "IMPUTED"], "TYPED_ONLY", "IMPUTED"),
]


@pytest.mark.parametrize(("flags", "typed", "imputed"), FLAGS)
def test_typed_sites_are_left_out(tmp_path, flags, typed, imputed):
    rows = [Row(10, ["0|0"] * 3, info=typed), Row(20, ["1|0", "0|0", "0|1"], info=imputed)]
    truth = write_rows(tmp_path / "truth.vcf", TRUTH, NAMES)
    file = write_rows(tmp_path / "x.vcf", rows, NAMES, flags)
    silent = write_rows(tmp_path / "silent.vcf", [row._replace(info=".") for row in rows], NAMES)
    found = evaluated(truth, {"x": file, "silent": silent})
    assert found.num_sites == 1
    assert found.measures["silent"]["concordance"][0] == 1
    assert any("1 typed" in note for note in found.notes)
    (note,) = (note for note in found.notes if "does not tell" in note)
    assert "note: silent" in note
    assert evaluated(truth, {"x": file}, exclude_typed=False).num_sites == 2


def test_sites_typed_in_any_file_are_left_out(tmp_path):
    """Each of three files has another site as typed: the fourth site alone is scored."""
    truth = [Row(10 * s, ["0|0", "0|1", "1|1"]) for s in range(1, 5)]
    imputed = {}
    for i, name in enumerate("xyz"):
        rows = [row._replace(info="TYPED" if s == i else ".") for s, row in enumerate(truth)]
        imputed[name] = write_rows(tmp_path / f"{name}.vcf", rows, NAMES, ["TYPED"])
    found = evaluated(write_rows(tmp_path / "truth.vcf", truth, NAMES), imputed)
    assert found.num_sites == 1
    assert any("left out: 3 typed" in note for note in found.notes)


def test_matching_and_what_is_left_out(tmp_path):
    """chr20 and 20 match; alleles and order of samples count; the rest is left out and counted."""
    right, wrong = ["0|0", "0|1", "1|1"], ["1|1", "0|0", "0|0"]
    truth = [Row(20, wrong, alt="C"), Row(60, right, alt="G,T"), Row(70, [".|."] * 3)]
    truth = in_order([*(Row(position, right) for position in (10, 20, 30, 40, 50)), *truth])
    one = [Row(position, right) for position in (10, 20, 30, 50, 70)]
    one += [Row(position, wrong) for position in (5, 30, 45, 80, 90)]
    one = in_order([*one, Row(20, wrong, alt="T"), Row(40, wrong, ref="G", alt="A")])
    truth = [row._replace(cells=[*row.cells, "1|1"]) for row in truth]
    one = [row._replace(chrom="chr20", cells=[*row.cells[::-1], "1|1"]) for row in one]
    two = [Row(10, right), Row(20, right), Row(20, wrong, alt="C"), Row(30, right), Row(70, right)]
    imputed = {
        "one": write_rows(tmp_path / "one.vcf", one, [*NAMES[::-1], "only one"]),
        "two": write_rows(tmp_path / "two.vcf", two, NAMES),
    }
    found = evaluated(write_rows(tmp_path / "truth.vcf", truth, [*NAMES, "only truth"]), imputed)
    assert (found.num_sites, found.num_samples) == (3, 3)
    for measures in found.measures.values():
        assert measures["concordance"][0] == 1
    text = "\n".join(found.notes)
    assert "8 records, 4 samples; left out: 1 multi-allelic, 1 samples not in every file" in text
    assert "12 records, 4 samples; left out: 1 duplicate, 6 not in the truth, 1 samples" in text
    assert "3 sites, 3 samples; left out: 2 not in one, 1 not in two, 1 with no known" in text


def test_frequencies_of_the_panel(tmp_path):
    truth = write_rows(tmp_path / "truth.vcf", TRUTH, NAMES)
    genotypes = ["0|0"] * 30 + ["0|1"]
    panel = write_rows(tmp_path / "panel.vcf", [Row(10, genotypes)], list(map(str, range(31))))
    found = evaluated(truth, {"x": truth}, panel=str(panel))
    sites = sites_of(found)
    assert (sites["overall"], sites["1-5%"], sites["5-50%"]) == (1, 1, 0)
    assert any("1 not in the panel" in note for note in found.notes)
    assert sites_of(evaluated(truth, {"x": truth}))["5-50%"] == 2
    # At an edge they are exact: 456 of 480 alleles have MAF 24 / 480 = 0.05, as 24 of 480 have.
    rows = [Row(10, 24 * ["0|1"] + 216 * ["0|0"]), Row(20, 24 * ["0|1"] + 216 * ["1|1"])]
    truth = write_rows(tmp_path / "truth.vcf", rows, list(map(str, range(240))))
    sites = sites_of(evaluated(truth, {"x": truth}))
    assert (sites["common"], sites["rare"], sites["5-50%"]) == (2, 0, 2)


def test_list_of_sites(tmp_path):
    """Only the sites of the list are scored, typed ones too."""
    truth = write_rows(tmp_path / "truth.vcf", TRUTH, NAMES)
    rows = [row._replace(info="TYPED") for row in TRUTH]
    typed = write_rows(tmp_path / "x.vcf", rows, NAMES, ["TYPED"])
    sites = tmp_path / "sites.tsv"
    sites.write_text("#CHROM\tPOS\tREF\tALT\nchr20\t20\ta\tg\n20\t10\tA\tC\n21\t10\tA\tG\n")
    found = evaluated(truth, {"x": typed}, sites=str(sites))
    assert found.num_sites == 1
    assert any("1 not in the list of sites" in note for note in found.notes)


def test_region(tmp_path):
    paths = []
    for chrom in ("20", "chr20"):
        rows = [row._replace(chrom=chrom) for row in TRUTH] + [TRUTH[0]._replace(chrom="21")]
        text = write_rows(tmp_path / f"{chrom}.vcf", rows, NAMES)
        paths.append(convert_vcf(text, tmp_path / f"{chrom}.vcf.gz", "wz"))
        htslib.build_index(paths[-1], 0)
    for region in ("20:15-25", "chr20:15-25"):
        assert evaluated(paths[0], {"x": paths[1]}, region=region).num_sites == 1
