"""Evaluation of files: against a slow twin and known answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation_files import Row, evaluated, random_files, write_rows
from snvrag.io.imputed_vcf import ImputedWriter
from snvrag.io.vcf_writer import Provenance


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


def genotypes_of(true: Any, files: dict[str, Any], name: str, site: Any) -> Any:
    """Yield (true alleles, called alleles, dosage) of a file where all files have a dosage."""
    for sample, cell in true[site].items():
        own = alleles(cell["GT"])
        if own is not None and all(file[site][sample]["DS"] != "." for file in files.values()):
            cell = files[name][site][sample]
            yield own, alleles(cell["GT"]) or [], float(np.float32(cell["DS"]))


def twin(true: Any, files: dict[str, Any], frequencies: Any, stratum: Any) -> Any:
    """Return every measure of one stratum, a condition on (maf, af), by loops over genotypes."""
    results = {}
    for name in files:
        pairs, site_r2, counts, num_sites = [], [], dict.fromkeys("hfmenr", 0), 0
        for site in true:
            known = [a for cell in frequencies[site].values() for a in alleles(cell["GT"]) or []]
            af = sum(known) / len(known)
            if not stratum(min(af, (len(known) - sum(known)) / len(known)), af):
                continue
            num_sites += 1
            here = []
            for own, called, y in genotypes_of(true, files, name, site):
                x, call = sum(own), sum(called)
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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path], Path]:
    return random_files(tmp_path_factory.mktemp("files"), 1, num_sites=400)


def test_measures_against_the_slow_twin(files):
    truth, imputed, panel = files
    found = evaluated(truth, imputed, panel=str(panel), maf_edges=(0.0, 0.005, 0.02, 0.2, 0.5))
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
                got = found.measures[name][measure][t]
                assert got == pytest.approx(value, rel=1e-9, nan_ok=True), (name, measure, t)


def test_calibration_against_loops(files):
    truth, imputed, panel = files
    found = evaluated(truth, imputed, panel=str(panel))
    true, dosages = parse(truth), {name: parse(path) for name, path in imputed.items()}
    for name in imputed:
        bins: list[list[tuple[float, float]]] = [[] for _ in range(20)]
        for site in true:
            for own, _, dosage in genotypes_of(true, dosages, name, site):
                predicted = dosage * 2 / len(own)
                bins[min(int(predicted * 10), 19)].append((predicted, sum(own) * 2 / len(own)))
        for row, pairs in zip(found.calibration[name], bins, strict=True):
            assert row["genotypes"] == len(pairs)
            for key, side in (("predicted", 0), ("observed", 1)):
                mean = np.mean([pair[side] for pair in pairs]) if pairs else math.nan
                assert row[key] == pytest.approx(mean, nan_ok=True)


def test_intervals(files):
    truth, imputed, panel = files
    options: dict[str, Any] = {"panel": str(panel), "bootstrap": 200}
    found, again, other = (evaluated(truth, imputed, seed=seed, **options) for seed in (5, 5, 6))
    for name in imputed:
        low, high = found.intervals[name]["r2"]
        assert low[0] < found.measures[name]["r2"][0] < high[0] < low[0] + 0.2
        assert np.array_equal(found.intervals[name]["r2"], again.intervals[name]["r2"], True)
        assert not np.array_equal(found.intervals[name]["r2"], other.intervals[name]["r2"], True)
        assert "site_r2" not in found.intervals[name]


def score(folder: Path, true: list[list[int]], dosage: list[list[float]]) -> Any:
    """Return the measures over all sites, of diploid genotypes given by their ALT alleles."""
    samples = [f"s{i}" for i in range(len(true[0]))]
    texts = ("0|0", "0|1", "1|1")
    truth = [Row(10 + s, [texts[x] for x in row]) for s, row in enumerate(true)]
    imputed = [Row(10 + s, [f"{y}" for y in row], layout="DS") for s, row in enumerate(dosage)]
    found = evaluated(
        write_rows(folder / "truth.vcf", truth, samples),
        {"x": write_rows(folder / "imputed.vcf", imputed, samples)},
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
    assert results["site_r2"] == 0  # the frequency does not tell a site's samples apart
    assert results["recall"] == pytest.approx(6 / 8)
    assert results["precision"] == pytest.approx(6 / 10)


def test_folding_to_the_minor_allele(tmp_path):
    """At AF 0.01 and 0.99 the sites' own difference must not pass for accuracy."""
    true = [[1] + 49 * [0], [1] + 49 * [2]]
    dosage = [[0, 1] + 48 * [0], [2, 1] + 48 * [2]]
    assert score(tmp_path, true, dosage)["r2"] == pytest.approx(1 / 49**2, rel=1e-6)
    assert np.corrcoef(np.ravel(true), np.ravel(dosage))[0, 1] ** 2 > 0.9
    # ALT is the minor allele at AF 0.5.
    true, dosage = [[0, 1, 2, 1], [0, 0, 1, 0]], [[0.5, 1, 1.5, 0], [0, 0.5, 1, 0]]
    expected = np.corrcoef(np.ravel(true), np.ravel(dosage))[0, 1] ** 2
    assert score(tmp_path, true, dosage)["r2"] == pytest.approx(expected, rel=1e-6)


def test_a_constant_dosage_has_no_r2(tmp_path):
    results = score(tmp_path, [[0, 1, 1, 0]], [4 * [0.1]])
    assert math.isnan(results["r2"])
    assert results["site_r2"] == 0
    assert math.isnan(results["precision"])  # nothing was called ALT
    assert results["f1"] == 0


def test_files_with_phase_sets(tmp_path):
    """What `ImputedWriter` writes for unphased targets is read like a file of GT and DS alone."""
    random = np.random.default_rng(3)
    names, num_sites = [f"s{i}" for i in range(6)], 40
    true = random.integers(0, 2, (num_sites, 6, 2))
    position = 100 + 7 * np.arange(num_sites)
    cells = [["|".join(map(str, pair)) for pair in row] for row in true.tolist()]
    truth = [Row(p, row) for p, row in zip(position.tolist(), cells, strict=True)]
    truth = write_rows(tmp_path / "truth.vcf", truth, names)
    dosage = np.abs(true * 1000 - random.integers(0, 600, true.shape)).astype(np.uint16)
    hom_alt = random.integers(0, 1001, (num_sites, 6)).astype(np.uint16)
    path = tmp_path / "sets.vcf"
    provenance = Provenance("1.2.3", "a command")
    place = {"chrom": "20", "contig_length": None, "provenance": provenance}
    with ImputedWriter(path, names, np.zeros(6, bool), phase_sets=True, **place) as writer:
        letters = np.full((num_sites, 2), ["A", "G"])
        sets = np.where(random.random((num_sites, 6)) < 0.5, 0, position[:, None]).astype(np.int32)
        ids, typed = ["."] * num_sites, np.zeros(num_sites, bool)
        writer.write(position, ids, letters, typed, dosage, hom_alt, sets)
    lines = [line.split("\t") for line in path.read_text().splitlines() if line[0] != "#"]
    assert {line[8] for line in lines} == {"GT:DS:HDS:GP:PS"}
    plain = [
        Row(int(line[1]), [":".join(cell.split(":")[:2]) for cell in line[9:]], layout="GT:DS")
        for line in lines
    ]
    # As of other programs, in another order.
    order = [0, 1, 3, 2, 4]
    other = [
        row._replace(
            cells=[":".join(np.array(cell.split(":"))[order]) for cell in line[9:]],
            layout="GT:DS:GP:HDS:PS",
        )
        for row, line in zip(plain, lines, strict=True)
    ]
    imputed = {
        "sets": path,
        "plain": write_rows(tmp_path / "plain.vcf", plain, names),
        "other": write_rows(tmp_path / "other.vcf", other, names),
    }
    result = evaluated(truth, imputed)
    assert result.num_sites == num_sites
    for name in ("sets", "other"):
        for measure, values in result.measures["plain"].items():
            np.testing.assert_array_equal(result.measures[name][measure], values)
        assert result.calibration[name] == result.calibration["plain"]
    assert np.nanmin(result.measures["sets"]["r2"]) < 0.95
