"""The command line ``python -m snvrag.evaluate``."""

from __future__ import annotations

import json

import pytest

from evaluation_files import Row, random_files, write_rows
from snvrag.evaluate import main

TRUTH = [Row(10, ["0|0", "0|1", "1|1"]), Row(20, ["1|0", "0|0", "0|1"])]
NAMES = ["a", "b", "c"]


def test_every_option_is_used(tmp_path, capsys):
    truth, imputed, panel = random_files(tmp_path, 7, num_sites=120)
    output = tmp_path / "out"
    sites = tmp_path / "sites.tsv"
    lines = [line.split("\t") for line in truth.read_text().splitlines() if line[0] != "#"]
    sites.write_text("".join("\t".join([*line[:2], *line[3:5]]) + "\n" for line in lines[1:]))
    arguments = ["--truth", str(truth), "--imputed", f"first={imputed['one']}"]
    arguments += ["--imputed", str(imputed["two"]), "--bootstrap", "50", "--output", str(output)]

    def metrics(*options):
        assert main([*arguments, *options]) == 0
        assert capsys.readouterr().err == ""
        return json.loads((output / "metrics.json").read_text())["metrics"]

    plain = metrics()
    assert [row["imputed"] for row in plain] == 9 * ["first"] + 9 * ["two"]
    assert metrics("--seed", "1")[0]["r2_low"] != plain[0]["r2_low"]
    assert "r2_low" not in metrics("--bootstrap", "0")[0]
    assert metrics("--panel", str(panel))[0]["mean_maf"] != plain[0]["mean_maf"]
    assert len(metrics("--maf-edges", "0", "0.1", "0.5")) == 2 * 6
    assert metrics("--sites", str(sites))[0]["sites"] == plain[0]["sites"] - 1
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for text in ("Dosage R2 by MAF", "first, MAF < 5%", "two, AF < 5%", f"Written to {output}"):
        assert text in printed


def test_exclude_typed(tmp_path, capsys):
    truth = write_rows(tmp_path / "truth.vcf", TRUTH, NAMES)
    rows = [TRUTH[0]._replace(info="TYPED"), TRUTH[1]]
    file = write_rows(tmp_path / "x.vcf", rows, NAMES, ["TYPED"])
    for given, num_sites in ((), 1), (("--exclude-typed",), 1), (("--exclude-typed", "no"), 2):
        assert main(["--truth", str(truth), "--imputed", str(file), *given]) == 0
        assert f"scored: {num_sites} sites" in capsys.readouterr().out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_rows(folder / "truth.vcf", TRUTH, NAMES)
    write_rows(folder / "strangers.vcf", TRUTH, list("xyz"))
    write_rows(folder / "elsewhere.vcf", [row._replace(chrom="21") for row in TRUTH], NAMES)
    write_rows(folder / "both.vcf", [*TRUTH, TRUTH[0]._replace(chrom="21")], NAMES)
    write_rows(folder / "unsorted.vcf", TRUTH[::-1], NAMES)
    write_rows(folder / "empty.vcf", [], NAMES)
    write_rows(folder / "large.vcf", [Row(10, ["0", "2.5", "1"], layout="DS")], NAMES)
    write_rows(folder / "depth.vcf", [Row(10, ["0.5"] * 3, layout="XX")], NAMES)
    write_rows(folder / "triploid.vcf", [Row(10, ["0|0|1"] * 3)], NAMES)
    write_rows(folder / "damaged.vcf", [TRUTH[0], Row(20, ["0|1"])], NAMES)
    (folder / "bad.tsv").write_text("20 10 A G\n")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--imputed", "absent.vcf"], "absent.vcf: cannot be read (No such file"),
        (["--imputed", "strangers.vcf"], "--truth truth.vcf: no sample in common with strangers"),
        (
            ["--imputed", "elsewhere.vcf"],
            "--imputed elsewhere.vcf: chromosome 21, the truth has 20",
        ),
        (["--imputed", "both.vcf"], "two chromosomes, 20 and 21"),
        (["--imputed", "unsorted.vcf"], "not sorted, 20:10 comes after 20:20"),
        (["--imputed", "empty.vcf"], "--truth truth.vcf: no site left to score (2 not in empty)"),
        (["--imputed", "large.vcf"], "dosage 2.5 of sample b at 20:10, expected 0 to 2"),
        (["--imputed", "depth.vcf"], "none of FORMAT/DS, HDS, GP and GT at 20:10"),
        (["--imputed", "triploid.vcf"], "genotypes of 3 alleles at 20:10"),
        (["--imputed", "damaged.vcf"], "damaged.vcf: damaged after 1 records"),
        (["--imputed", "x=truth.vcf", "--imputed", "x=empty.vcf"], "two files called x"),
        (["--imputed", "x="], "--imputed must be FILE or NAME=FILE, got x="),
        (["--imputed", "truth.vcf", "--panel", "elsewhere.vcf"], "--panel elsewhere.vcf: chromoso"),
        (["--imputed", "truth.vcf", "--sites", "none.tsv"], "--sites none.tsv: cannot be read"),
        (["--imputed", "truth.vcf", "--sites", "bad.tsv"], "--sites bad.tsv: line 1 must be"),
        (["--imputed", "truth.vcf", "--maf-edges", "0.5", "0"], "--maf-edges must be two or more"),
        (["--imputed", "truth.vcf", "--maf-edges", "nan", "0.5"], "--maf-edges must be"),
        (["--imputed", "truth.vcf", "--bootstrap", "-1"], "--bootstrap must be at least 0"),
        (["--imputed", "truth.vcf", "--region", "20"], "needs an index"),
        (["--imputed", "truth.vcf", "--output", "bad.tsv"], "bad.tsv: cannot be written"),
    ],
)
def test_errors_are_one_line(folder, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(folder)
    assert main(["--truth", "truth.vcf", *arguments]) == 2
    printed = capfd.readouterr()
    assert message in printed.err
    assert printed.err.startswith("snvrag evaluate: error: ")
    assert printed.err.count("\n") == 1
