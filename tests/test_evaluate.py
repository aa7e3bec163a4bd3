"""The command line ``python -m snvrag.evaluate``."""

from __future__ import annotations

from evaluation_files import Row, random_files, write_rows
from snvrag.evaluate import main

TRUTH = [Row(10, ["0|0", "0|1", "1|1"]), Row(20, ["1|0", "0|0", "0|1"])]
NAMES = ["a", "b", "c"]


def test_what_is_printed(tmp_path, capsys):
    truth, imputed, _ = random_files(tmp_path, 7, num_sites=20)
    arguments = ["--truth", str(truth), "--imputed", f"first={imputed['one']}"]
    arguments += ["--imputed", str(imputed["two"]), "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    printed, error = capsys.readouterr()
    assert error == ""
    for text in ("Dosage R2 by MAF", "first, MAF < 5%", "two, AF < 5%", f"Written to {tmp_path}"):
        assert text in printed


FILES = {
    "truth": TRUTH,
    "elsewhere": [row._replace(chrom="21") for row in TRUTH],
    "both": [*TRUTH, TRUTH[0]._replace(chrom="21")],
    "unsorted": TRUTH[::-1],
    "empty": [],
    "large": [Row(10, ["0", "2.5", "1"], layout="DS")],
    "depth": [Row(10, ["0.5"] * 3, layout="XX")],
    "triploid": [Row(10, ["0|0|1"] * 3)],
    "damaged": [TRUTH[0], Row(20, ["0|1"])],
}
REFUSED = [  # the imputed file, and options
    ("absent.vcf", "absent.vcf: cannot be read (No such file"),
    ("strangers.vcf", "--truth truth.vcf: no sample in common with strangers"),
    ("elsewhere.vcf", "--imputed elsewhere.vcf: chromosome 21, the truth has 20"),
    ("both.vcf", "two chromosomes, 20 and 21"),
    ("unsorted.vcf", "not sorted, 20:10 comes after 20:20"),
    ("empty.vcf", "--truth truth.vcf: no site left to score (2 not in empty)"),
    ("large.vcf", "dosage 2.5 of sample b at 20:10, expected 0 to 2"),
    ("depth.vcf", "none of FORMAT/DS, HDS, GP and GT at 20:10"),
    ("triploid.vcf", "genotypes of 3 alleles at 20:10"),
    ("damaged.vcf", "damaged.vcf: damaged after 1 records"),
    ("x=truth.vcf --imputed x=empty.vcf", "two files called x"),
    ("x=", "--imputed must be FILE or NAME=FILE, got x="),
    ("truth.vcf --panel elsewhere.vcf", "--panel elsewhere.vcf: chromosome 21"),
    ("truth.vcf --sites bad.tsv", "--sites bad.tsv: line 1 must be"),
    ("truth.vcf --maf-edges 0.5 0", "--maf-edges must be two or more"),
    ("truth.vcf --maf-edges nan 0.5", "--maf-edges must be"),
    ("truth.vcf --bootstrap -1", "--bootstrap must be at least 0"),
    ("truth.vcf --region 20", "needs an index"),
    ("truth.vcf --output bad.tsv", "bad.tsv: cannot be written"),
]


def test_errors_are_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for name, rows in FILES.items():
        write_rows(tmp_path / f"{name}.vcf", rows, NAMES)
    write_rows(tmp_path / "strangers.vcf", TRUTH, list("xyz"))
    (tmp_path / "bad.tsv").write_text("20 10 A G\n")
    for arguments, message in REFUSED:
        assert main(["--truth", "truth.vcf", "--imputed", *arguments.split()]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("snvrag evaluate: error: ")
        assert message in line
