"""Evaluation of imputed files: against a slow twin, known answers, and how files meet."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from snvrag.evaluate import main
from snvrag.evaluation import report as evaluation_report
from snvrag.evaluation.evaluation import evaluate_files

HEADER = (
    "##fileformat=VCFv4.2\n"
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    '##FORMAT=<ID=DS,Number=1,Type=Float,Description="Dosage">\n'
    '##FORMAT=<ID=HDS,Number=.,Type=Float,Description="Haploid dosages">\n'
    '##FORMAT=<ID=GP,Number=G,Type=Float,Description="Genotype probabilities">\n'
)


class Row(NamedTuple):
    """A record: genotypes are texts in the order of the file's samples."""

    position: int
    cells: Sequence[str]
    ref: str = "A"
    alt: str = "G"
    info: str = "."
    layout: str = "GT"
    chrom: str = "20"


def write(
    path: Path, rows: Sequence[Row], samples: Sequence[str], flags: Sequence[str] = ()
) -> Path:
    header = HEADER + "".join(
        f'##INFO=<ID={flag},Number=0,Type=Flag,Description="A flag">\n' for flag in flags
    )
    chroms = dict.fromkeys(row.chrom for row in rows)
    header += "".join(f"##contig=<ID={chrom}>\n" for chrom in chroms)
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines = ["\t".join([*columns, *samples])]
    for row in rows:
        fixed = [row.chrom, str(row.position), ".", row.ref, row.alt, ".", ".", row.info]
        lines.append("\t".join([*fixed, row.layout, *row.cells]))
    path.write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
    return path


# --- The slow twin --------------------------------------------------------------------------------


def parse(path: Path) -> dict[tuple[str, str, str], dict[str, dict[str, str]]]:
    """Return FORMAT fields by site and sample, of plain text."""
    sites: dict[tuple[str, str, str], dict[str, dict[str, str]]] = {}
    samples: list[str] = []
    for line in path.read_text().splitlines():
        fields = line.split("\t")
        if line.startswith("#CHROM"):
            samples = fields[9:]
        elif not line.startswith("#"):
            names = fields[8].split(":")
            cells = [dict(zip(names, cell.split(":"), strict=False)) for cell in fields[9:]]
            sites[fields[1], fields[3], fields[4]] = dict(zip(samples, cells, strict=True))
    return sites


def alleles(text: str) -> list[int] | None:
    found = text.replace("/", "|").split("|")
    return None if "." in found else [int(allele) for allele in found]


def correlation2(pairs: list[tuple[float, float]]) -> float:
    x, y = (np.array(side) for side in zip(*pairs, strict=True)) if pairs else ([], [])
    if len(x) == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def twin(true: Any, files: dict[str, Any], frequencies: Any, stratum: Any) -> Any:
    """Return every measure of one stratum, a condition on (maf, af), by loops over genotypes."""
    results = {}
    for name, file in files.items():
        pairs, site_r2, counts, num_sites = [], [], dict.fromkeys("hfmenr", 0), 0
        for site, genotypes in true.items():
            known = [a for cell in frequencies[site].values() for a in alleles(cell["GT"]) or []]
            maf = min(sum(known), len(known) - sum(known)) / len(known)
            if not stratum(maf, sum(known) / len(known)):
                continue
            num_sites += 1
            here = []
            for sample, cell in genotypes.items():
                own = alleles(cell["GT"])
                others = [other[site][sample]["DS"] for other in files.values()]
                if own is None or "." in others:
                    continue
                x, y = sum(own), float(np.float32(file[site][sample]["DS"]))
                call = sum(alleles(file[site][sample]["GT"]) or [])
                counts["h"] += min(x, call)
                counts["f"] += max(call - x, 0)
                counts["m"] += max(x - call, 0)
                counts["e"] += x == call
                counts["n"] += x > 0 or call > 0
                counts["r"] += x == call and x > 0
                minor = 2 * sum(known) <= len(known)
                here.append((x, y) if minor else (len(own) - x, len(own) - y))
            pairs += here
            if len({x for x, _ in here}) > 1:
                constant = len({y for _, y in here}) == 1
                site_r2.append(0.0 if constant else correlation2(here))
        hit, false, missed = counts["h"], counts["f"], counts["m"]
        results[name] = {
            "sites": num_sites,
            "genotypes": len(pairs),
            "r2": correlation2(pairs),
            "site_r2": share(sum(site_r2), len(site_r2)),
            "recall": share(hit, hit + missed),
            "precision": share(hit, hit + false),
            "f1": share(2 * hit, 2 * hit + false + missed),
            "concordance": share(counts["e"], len(pairs)),
            "nonref_concordance": share(counts["r"], counts["n"]),
        }
    return results


SAMPLES = [f"s{i}" for i in range(9)]


def random_files(
    folder: Path, seed: int, num_sites: int = 400
) -> tuple[Path, dict[str, Path], Path]:
    """Sites of all frequencies; missing and haploid genotypes; a constant dosage at some sites."""
    random = np.random.default_rng(seed)
    rows: dict[str, list[Row]] = {name: [] for name in ("truth", "one", "two", "panel")}
    for s in range(num_sites):
        frequency = random.beta(0.3, 0.5)
        position = 100 + 7 * (s // 2)
        alt = "GC"[s % 2]  # two sites at every position
        draw = lambda: int(random.random() < frequency)  # noqa: B023, E731
        haplotypes = [[draw()] if i == 4 else [draw(), draw()] for i in range(len(SAMPLES))]
        truth = ["|".join(map(str, pair)) for pair in haplotypes]
        if s % 5 == 0:
            truth[int(random.integers(9))] = ".|."
        rows["truth"].append(Row(position, truth, alt=alt))
        constant = random.random() < 0.1
        for name in ("one", "two"):
            cells = []
            for pair in haplotypes:
                noisy = [abs(allele - 0.45 * random.random() ** 2) for allele in pair]
                called = [int(random.random() < dosage) for dosage in noisy]
                dosage = frequency * len(pair) if constant else sum(noisy)
                cells.append(f"{'|'.join(map(str, called))}:{dosage:.3f}")
            if s % 7 == 0:
                cells[int(random.integers(9))] = ".|.:."
            rows[name].append(Row(position, cells, alt=alt, layout="GT:DS"))
        chosen = (random.random((200, 2)) < frequency).astype(int).tolist()
        rows["panel"].append(Row(position, [f"{a}|{b}" for a, b in chosen], alt=alt))
    panel_samples = [f"p{i}" for i in range(200)]
    paths = {
        name: write(folder / f"{name}.vcf", kept, panel_samples if name == "panel" else SAMPLES)
        for name, kept in rows.items()
    }
    return paths["truth"], {name: paths[name] for name in ("one", "two")}, paths["panel"]


EDGES = (0.0, 0.005, 0.02, 0.2, 0.5)


@pytest.mark.parametrize("seed", [1, 2])
def test_against_the_slow_twin(tmp_path, seed):
    truth, imputed, panel = random_files(tmp_path, seed)
    found = evaluate_files(truth, imputed, panel=panel, maf_edges=EDGES, num_resamples=0)
    strata = {
        "overall": lambda maf, af: True,
        "rare": lambda maf, af: maf < 0.05,
        "common": lambda maf, af: maf >= 0.05,
        "rare_alt": lambda maf, af: af < 0.05,
        "0-0.5%": lambda maf, af: maf < 0.005,
        "0.5-2%": lambda maf, af: 0.005 <= maf < 0.02,
        "2-20%": lambda maf, af: 0.02 <= maf < 0.2,
        "20-50%": lambda maf, af: maf >= 0.2,
    }
    assert list(found.strata.names) == list(strata)
    parsed = (parse(truth), {name: parse(path) for name, path in imputed.items()}, parse(panel))
    for t, condition in enumerate(strata.values()):
        for name, expected in twin(*parsed, condition).items():
            assert expected["sites"] > 10
            for measure, value in expected.items():
                assert found.measures[name][measure][t] == pytest.approx(
                    value, rel=1e-9, nan_ok=True
                ), (name, measure, found.strata.names[t])


def test_calibration_against_loops(tmp_path):
    truth, imputed, panel = random_files(tmp_path, 3, num_sites=80)
    found = evaluate_files(truth, imputed, panel=panel, num_resamples=0)
    true, files = parse(truth), {name: parse(path) for name, path in imputed.items()}
    for name, file in files.items():
        bins: list[list[tuple[float, float]]] = [[] for _ in range(20)]
        for site, genotypes in true.items():
            for sample, cell in genotypes.items():
                own = alleles(cell["GT"])
                if own is None or any(other[site][sample]["DS"] == "." for other in files.values()):
                    continue
                predicted = float(np.float32(file[site][sample]["DS"])) * 2 / len(own)
                bins[min(int(predicted * 10), 19)].append((predicted, sum(own) * 2 / len(own)))
        for row, pairs in zip(found.calibration[name], bins, strict=True):
            assert row["genotypes"] == len(pairs)
            for key, side in (("predicted", 0), ("observed", 1)):
                mean = np.mean([pair[side] for pair in pairs]) if pairs else math.nan
                assert row[key] == pytest.approx(mean, nan_ok=True)


# --- Known answers --------------------------------------------------------------------------------


def score(folder: Path, true: list[list[int]], dosage: list[list[float]], **options: Any) -> Any:
    """Return the measures over all sites, of diploid genotypes given by their ALT alleles."""
    samples = [f"s{i}" for i in range(len(true[0]))]
    texts = ("0|0", "0|1", "1|1")
    truth = [Row(10 + s, [texts[x] for x in row]) for s, row in enumerate(true)]
    imputed = [Row(10 + s, [f"{y}" for y in row], layout="DS") for s, row in enumerate(dosage)]
    found = evaluate_files(
        write(folder / "truth.vcf", truth, samples),
        {"x": write(folder / "imputed.vcf", imputed, samples)},
        num_resamples=0,
        **options,
    )
    return {measure: values[0] for measure, values in found.measures["x"].items()}


def test_perfect_is_1(tmp_path):
    true = [[0, 1, 2, 0, 1], [2, 2, 2, 1, 2], [0, 0, 0, 0, 1]]
    results = score(tmp_path, true, true)
    for measure in ("r2", "site_r2", "recall", "precision", "f1", "concordance"):
        assert results[measure] == pytest.approx(1, abs=1e-12)
    assert results["nonref_concordance"] == 1


def test_frequency_alone(tmp_path):
    """AF 0.1 and 0.3. Var y = 0.04, cov = 0.04, var x = 0.4 x 0.6: R2 = 0.04 / 0.24."""
    true = [[1, 1] + 8 * [0], 6 * [1] + 4 * [0]]
    results = score(tmp_path, true, [10 * [0.2], 10 * [0.6]])
    assert results["r2"] == pytest.approx(1 / 6, rel=1e-6)
    assert results["site_r2"] == 0  # nothing is told of the samples of a site
    assert results["recall"] == pytest.approx(6 / 8)
    assert results["precision"] == pytest.approx(6 / 10)


def test_folding_to_the_minor_allele(tmp_path):
    """At AF 0.01 and 0.99 the sites' own difference must not pass for accuracy."""
    true = [[1] + 49 * [0], [1] + 49 * [2]]
    dosage = [[0, 1] + 48 * [0], [2, 1] + 48 * [2]]
    assert score(tmp_path, true, dosage)["r2"] == pytest.approx(1 / 49**2, rel=1e-6)
    assert np.corrcoef(np.ravel(true), np.ravel(dosage))[0, 1] ** 2 > 0.9


def test_a_constant_dosage_has_no_r2(tmp_path):
    results = score(tmp_path, [[0, 1, 1, 0]], [4 * [0.1]])
    assert math.isnan(results["r2"])
    assert results["site_r2"] == 0
    assert math.isnan(results["precision"])  # nothing was called ALT
    assert results["f1"] == 0


# --- What a file says -----------------------------------------------------------------------------

TRUTH = [Row(10, ["0|0", "0|1", "1|1"]), Row(20, ["1|0", "0|0", "0|1"])]
NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("layout", "cells"),
    [
        ("GT:DS:HDS:GP", ["0|0:.1:1,1:0,0,1", "0|1:1:0,0:0,0,1", "1|1:1.5:0,0:1,0,0"]),
        ("DS", ["0.1", "1.0", "1.5"]),
        ("GT:HDS:GP", ["0|0:.05,.05:0,0,1", "0|1:.3,.7:0,0,1", "1|1:.75,.75:1,0,0"]),
        ("HDS", ["0.05,0.05", "0.3,0.7", "0.75,0.75"]),
        ("GT:GP", ["0|0:.9,.1,0", "0|1:0,1,0", "1|1:0,.5,.5"]),
        ("GP", [".92,.06,.02", ".25,.5,.25", ".1,.3,.6"]),
    ],
)
def test_dosage_fields(tmp_path, layout, cells):
    """DS comes before HDS, HDS before GP, whatever else stands there."""
    truth = write(tmp_path / "truth.vcf", TRUTH[:1], NAMES)
    imputed = write(tmp_path / "imputed.vcf", [Row(10, cells, layout=layout)], NAMES)
    found = evaluate_files(truth, {"x": imputed}, num_resamples=0)
    expected = np.corrcoef([0, 1, 2], [0.1, 1, 1.5])[0, 1] ** 2
    assert found.measures["x"]["r2"][0] == pytest.approx(expected, rel=1e-6)
    assert found.measures["x"]["concordance"][0] == pytest.approx(1)


def test_genotypes_alone(tmp_path):
    truth = write(tmp_path / "truth.vcf", TRUTH[:1], NAMES)
    imputed = write(tmp_path / "imputed.vcf", [Row(10, ["0/0", "1/1", "0/1"])], NAMES)
    found = evaluate_files(truth, {"x": imputed}, num_resamples=0).measures["x"]
    assert found["r2"][0] == pytest.approx(np.corrcoef([0, 1, 2], [0, 2, 1])[0, 1] ** 2)
    assert found["concordance"][0] == pytest.approx(1 / 3)
    assert found["recall"][0] == pytest.approx(2 / 3)


def test_haploid_genotypes(tmp_path):
    """A haploid truth meets haploid and diploidly coded dosages alike; folding knows its ploidy."""
    truth = write(tmp_path / "truth.vcf", [Row(10, ["0", "1", "1", "1"])], list("abcd"))
    haploid = [Row(10, ["0:.1", "1:.8", "1:.9", "0:.4"], layout="GT:DS")]
    diploid = [Row(10, ["0|0:.2", "1|1:1.6", "1|1:1.8", "0|0:.8"], layout="GT:DS")]
    bare = [Row(10, [".1", ".8", ".9", ".4"], layout="HDS")]
    untold = [Row(10, [".1", ".8", ".9", ".4"], layout="DS")]
    files = {
        name: write(tmp_path / f"{name}.vcf", rows, list("abcd"))
        for name, rows in (
            ("haploid", haploid),
            ("diploid", diploid),
            ("bare", bare),
            ("untold", untold),
        )
    }
    found = evaluate_files(truth, files, num_resamples=0)
    expected = np.corrcoef([0, 1, 1, 1], [0.1, 0.8, 0.9, 0.4])[0, 1] ** 2
    for name, measures in found.measures.items():
        assert measures["r2"][0] == pytest.approx(expected, rel=1e-5), name
        assert measures["concordance"][0] == pytest.approx(3 / 4)
        filled = {
            round(row["predicted"], 3): row["observed"]
            for row in found.calibration[name] if row["genotypes"]
        }  # fmt: skip
        assert filled == {0.2: 0, 0.8: 2, 1.6: 2, 1.8: 2}


@pytest.mark.parametrize(
    ("flags", "typed", "imputed"),
    [
        (["TYPED", "IMP"], "TYPED", "IMP"),
        (["TYPED", "IMPUTED"], "TYPED", "IMPUTED"),
        (["IMP"], ".", "IMP"),
        (["TYPED"], "TYPED", "."),
        (["TYPED_ONLY", "IMPUTED"], "TYPED_ONLY", "IMPUTED"),
    ],
)
def test_typed_sites_are_left_out(tmp_path, flags, typed, imputed):
    rows = [Row(10, ["0|0"] * 3, info=typed), Row(20, ["1|0", "0|0", "0|1"], info=imputed)]
    truth = write(tmp_path / "truth.vcf", TRUTH, NAMES)
    file = write(tmp_path / "x.vcf", rows, NAMES, flags)
    silent = write(tmp_path / "silent.vcf", [row._replace(info=".") for row in rows], NAMES)
    found = evaluate_files(truth, {"x": file, "silent": silent}, num_resamples=0)
    assert found.num_sites == 1
    assert found.measures["silent"]["concordance"][0] == 1
    assert any("1 typed" in note for note in found.notes)
    assert [note for note in found.notes if "does not tell" in note] == [
        note for note in found.notes if "silent does not tell" in note
    ]
    everything = evaluate_files(truth, {"x": file}, exclude_typed=False, num_resamples=0)
    assert everything.num_sites == 2


# --- How files meet -------------------------------------------------------------------------------


def test_matching_and_what_is_left_out(tmp_path):
    """chr20 and 20 meet; alleles and order of samples count; the rest is left out and counted."""
    right, wrong = ["0|0", "0|1", "1|1"], ["1|1", "0|0", "0|0"]
    truth = [
        Row(10, right), Row(20, right), Row(20, wrong, alt="C"), Row(30, right), Row(40, right),
        Row(50, right), Row(60, right, alt="G,T"), Row(70, [".|."] * 3),
    ]  # fmt: skip
    one = [
        Row(5, wrong), Row(10, right), Row(20, right), Row(20, wrong, alt="T"), Row(30, right),
        Row(30, wrong), Row(40, wrong, ref="G", alt="A"), Row(45, wrong), Row(50, right),
        Row(70, right), Row(80, wrong), Row(90, wrong),
    ]  # fmt: skip
    one = [row._replace(chrom="chr20", cells=[*row.cells[::-1], "1|1"]) for row in one]
    two = [Row(10, right), Row(20, right), Row(20, wrong, alt="C"), Row(30, right), Row(70, right)]
    paths = [
        write(tmp_path / "truth.vcf", [row._replace(cells=[*row.cells, "1|1"]) for row in truth],
              [*NAMES, "only truth"]),
        write(tmp_path / "one.vcf", one, [*NAMES[::-1], "only one"]),
        write(tmp_path / "two.vcf", two, NAMES),
    ]  # fmt: skip
    found = evaluate_files(paths[0], {"one": paths[1], "two": paths[2]}, num_resamples=0)
    assert (found.num_sites, found.num_samples) == (3, 3)
    for measures in found.measures.values():
        assert measures["concordance"][0] == 1
    text = "\n".join(found.notes)
    assert "8 records, 4 samples; left out: 1 multi-allelic, 1 samples not in every file" in text
    assert "12 records, 4 samples; left out: 1 duplicate, 6 not in the truth, 1 samples" in text
    assert "3 sites, 3 samples; left out: 2 not in one, 1 not in two, 1 with no known" in text


def test_frequencies_of_the_panel(tmp_path):
    truth = write(tmp_path / "truth.vcf", TRUTH, NAMES)
    panel = write(
        tmp_path / "panel.vcf", [Row(10, ["0|0"] * 30 + ["0|1"])], list(map(str, range(31)))
    )
    found = evaluate_files(truth, {"x": truth}, panel=panel, num_resamples=0)
    sites = dict(zip(found.strata.names, found.measures["x"]["sites"], strict=True))
    assert (sites["overall"], sites["1-5%"], sites["5-50%"]) == (1, 1, 0)
    assert any("1 not in --panel" in note for note in found.notes)
    own = evaluate_files(truth, {"x": truth}, num_resamples=0)
    assert dict(zip(own.strata.names, own.measures["x"]["sites"], strict=True))["5-50%"] == 2


def test_frequencies_at_an_edge_are_exact(tmp_path):
    """456 of 480 alleles have MAF 24 / 480 = 0.05, which is common, as 24 of 480 have."""
    rows = [Row(10, 24 * ["0|1"] + 216 * ["0|0"]), Row(20, 24 * ["0|1"] + 216 * ["1|1"])]
    truth = write(tmp_path / "truth.vcf", rows, list(map(str, range(240))))
    found = evaluate_files(truth, {"x": truth}, num_resamples=0)
    sites = dict(zip(found.strata.names, found.measures["x"]["sites"], strict=True))
    assert (sites["common"], sites["rare"], sites["5-50%"]) == (2, 0, 2)


def test_sites_file(tmp_path):
    truth = write(tmp_path / "truth.vcf", TRUTH, NAMES)
    typed = write(
        tmp_path / "x.vcf", [row._replace(info="TYPED") for row in TRUTH], NAMES, ["TYPED"]
    )
    sites = tmp_path / "sites.tsv"
    sites.write_text("#CHROM\tPOS\tREF\tALT\nchr20\t20\ta\tg\n20\t10\tA\tC\n21\t10\tA\tG\n")
    found = evaluate_files(truth, {"x": typed}, sites=sites, num_resamples=0)
    assert found.num_sites == 1
    assert any("1 not in --sites" in note for note in found.notes)


@pytest.mark.skipif(not shutil.which("bcftools"), reason="bcftools is not installed")
@pytest.mark.parametrize("region", ["20:15-25", "chr20:15-25"])
def test_region(tmp_path, region):
    paths = []
    for chrom in ("20", "chr20"):
        plain = [row._replace(chrom=chrom) for row in TRUTH] + [TRUTH[0]._replace(chrom="21")]
        text = write(tmp_path / f"{chrom}.vcf", plain, NAMES)
        paths.append(tmp_path / f"{chrom}.vcf.gz")
        subprocess.run(["bcftools", "view", "-Oz", "-o", paths[-1], text], check=True)
        subprocess.run(["bcftools", "index", paths[-1]], check=True)
    found = evaluate_files(paths[0], {"x": paths[1]}, region=region, num_resamples=0)
    assert found.num_sites == 1


# --- Intervals and reports ------------------------------------------------------------------------


def test_intervals(tmp_path):
    truth, imputed, panel = random_files(tmp_path, 4, num_sites=300)
    options: dict[str, Any] = {"panel": panel, "num_resamples": 200}
    found = evaluate_files(truth, imputed, seed=5, **options)
    again = evaluate_files(truth, imputed, seed=5, **options)
    other = evaluate_files(truth, imputed, seed=6, **options)
    for name in imputed:
        low, high = found.intervals[name]["r2"]
        assert low[0] < found.measures[name]["r2"][0] < high[0] < low[0] + 0.2
        assert np.array_equal(found.intervals[name]["r2"], again.intervals[name]["r2"], True)
        assert not np.array_equal(found.intervals[name]["r2"], other.intervals[name]["r2"], True)
        assert "site_r2" not in found.intervals[name]


def test_command_line(tmp_path, capsys):
    truth, imputed, panel = random_files(tmp_path, 7, num_sites=120)
    output = tmp_path / "new" / "out"
    code = main([
        *("--truth", str(truth), "--imputed", f"first={imputed['one']}"),
        *("--imputed", str(imputed["two"]), "--panel", str(panel), "--bootstrap", "50"),
        *("--maf-edges", "0", "0.0001", "0.05", "0.5", "--output", str(output)),
    ])  # fmt: skip
    assert code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for text in ("Dosage R2 by MAF", "first, MAF < 5%", "two, AF < 5%", "0.01-5%", "typed from"):
        assert text in printed.out
    content = json.loads((output / "metrics.json").read_text(), parse_constant=pytest.fail)
    lines = (output / "metrics.tsv").read_text().splitlines()
    titles = lines[0].split("\t")
    assert len(lines) - 1 == len(content["metrics"]) == 2 * 7
    for line, row in zip(lines[1:], content["metrics"], strict=True):
        cells = dict(zip(titles, line.split("\t"), strict=True))
        assert (cells["imputed"], cells["stratum"]) == (row["imputed"], row["stratum"])
        if row["r2"] is not None:
            assert float(cells["r2"]) == pytest.approx(row["r2"], rel=1e-5)
            assert row["r2_low"] <= row["r2_high"]
    assert (output / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert not list(output.glob("*.tmp"))


def test_undefined_values(tmp_path):
    """A bin without sites, and one with constant truth."""
    truth = write(tmp_path / "truth.vcf", [Row(10, ["0|0"] * 3)], NAMES)
    output = tmp_path / "out"
    assert main(["--truth", str(truth), "--imputed", str(truth), "--output", str(output)]) == 0
    content = json.loads((output / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert all(row["r2"] is None and row["r2_low"] is None for row in content["metrics"])
    assert "nan" in (output / "metrics.tsv").read_text()
    assert any(row["genotypes"] == 0 and row["predicted"] is None for row in content["calibration"])
    assert "\tnan\tnan" in (output / "calibration.tsv").read_text()


def test_without_matplotlib(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    truth = write(tmp_path / "truth.vcf", TRUTH, NAMES)
    assert main(["--truth", str(truth), "--imputed", str(truth), "--output", str(tmp_path)]) == 0
    assert "matplotlib is not installed" in capsys.readouterr().out
    assert not (tmp_path / "accuracy.png").exists()


def test_more_files_than_colours(tmp_path):
    truth = write(tmp_path / "truth.vcf", TRUTH, NAMES)
    found = evaluate_files(truth, {f"x{i}": truth for i in range(12)}, num_resamples=0)
    assert evaluation_report.plot_accuracy(tmp_path / "plot.png", found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--imputed", "absent.vcf"], "absent.vcf: cannot be read (No such file"),
        (["--imputed", "strangers.vcf"], "no sample in common with strangers.vcf"),
        (["--imputed", "elsewhere.vcf"], "elsewhere.vcf: chromosome 21, the truth has 20"),
        (["--imputed", "both.vcf"], "two chromosomes, 20 and 21: choose one by --region"),
        (["--imputed", "unsorted.vcf"], "not sorted, 20:10 comes after 20:20"),
        (["--imputed", "empty.vcf"], "no site left to score (2 not in empty)"),
        (["--imputed", "large.vcf"], "dosage 2.5 of sample b at 20:10, expected 0 to 2"),
        (["--imputed", "depth.vcf"], "none of FORMAT/DS, HDS, GP and GT at 20:10"),
        (["--imputed", "triploid.vcf"], "genotypes of 3 alleles at 20:10"),
        (["--imputed", "damaged.vcf"], "damaged.vcf: damaged after 1 records"),
        (["--imputed", "x=truth.vcf", "--imputed", "x=empty.vcf"], "two files called x"),
        (["--imputed", "x="], "--imputed must be FILE or NAME=FILE, got x="),
        (["--imputed", "truth.vcf", "--sites", "none.tsv"], "--sites none.tsv: cannot be read"),
        (["--imputed", "truth.vcf", "--sites", "bad.tsv"], "--sites bad.tsv: line 1 must be"),
        (["--imputed", "truth.vcf", "--maf-edges", "0.5", "0"], "--maf-edges must be two or more"),
        (["--imputed", "truth.vcf", "--maf-edges", "nan", "0.5"], "--maf-edges must be"),
        (["--imputed", "truth.vcf", "--bootstrap", "-1"], "--bootstrap must be at least 0"),
        (["--imputed", "truth.vcf", "--region", "20"], "--region needs an index"),
        (["--imputed", "truth.vcf", "--output", "bad.tsv"], "bad.tsv: cannot be written"),
    ],
)
def test_errors_are_one_line(tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    folder = Path()
    write(folder / "truth.vcf", TRUTH, NAMES)
    write(folder / "strangers.vcf", TRUTH, list("xyz"))
    write(folder / "elsewhere.vcf", [row._replace(chrom="21") for row in TRUTH], NAMES)
    write(folder / "both.vcf", [*TRUTH, TRUTH[0]._replace(chrom="21")], NAMES)
    write(folder / "unsorted.vcf", TRUTH[::-1], NAMES)
    write(folder / "empty.vcf", [], NAMES)
    write(folder / "large.vcf", [Row(10, ["0", "2.5", "1"], layout="DS")], NAMES)
    write(folder / "depth.vcf", [Row(10, ["0.5"] * 3, layout="XX")], NAMES)
    write(folder / "triploid.vcf", [Row(10, ["0|0|1"] * 3)], NAMES)
    write(folder / "damaged.vcf", [TRUTH[0], Row(20, ["0|1"])], NAMES)
    (folder / "bad.tsv").write_text("20 10 A G\n")
    assert main(["--truth", "truth.vcf", *arguments]) == 2
    printed = capfd.readouterr()
    assert message in printed.err
    assert printed.err.startswith("snvrag.evaluate: error: ")
    assert printed.err.count("\n") == 1
