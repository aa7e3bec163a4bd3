"""``python -m snvrag.impute``: from files to a file, and what it says of files that do not fit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from snvrag.impute import main
from snvrag.io import imputed_vcf

MakeVcf = Callable[..., Path]
HELD = range(0, 24, 6)
KEPT = [i for i in range(24) if i not in HELD]


@dataclass
class Files:
    """A panel of 20 samples, a target of the other 4 with every third site, and a model."""

    folder: Path
    panel: Path
    target: Path
    model: Path
    alleles: NDArray[np.int8]

    def arguments(self, *more: str, **changes: Any) -> list[str]:
        named = {
            "panel": self.panel, "target": self.target, "model": self.model,
            "output": self.folder / "out.vcf", "threads": 1, "device": "cpu", **changes,
        }  # fmt: skip
        return [part for key, value in named.items() for part in (f"--{key}", str(value))] + [*more]


def _rows(
    alleles: NDArray[np.int8], samples: list[int], sites: list[int], chrom: str = "1"
) -> list[tuple[Any, ...]]:
    rows = []
    for s in sites:
        pairs = (f"{alleles[2 * i, s]}|{alleles[2 * i + 1, s]}" for i in samples)
        rows.append((chrom, 1000 + 37 * s, "A", "G", " ".join(pairs)))
    return rows


@pytest.fixture
def files(
    tmp_path: Path, tiny_alleles: NDArray[np.int8], tiny_model: Path, write_vcf: MakeVcf
) -> Files:
    names = [f"s{i}" for i in range(24)]
    panel = write_vcf(
        tmp_path / "panel.vcf",
        _rows(tiny_alleles, KEPT, list(range(200))),
        [names[i] for i in KEPT],
    )
    target = write_vcf(
        tmp_path / "target.vcf",
        _rows(tiny_alleles, list(HELD), list(range(0, 200, 3))),
        [names[i] for i in HELD],
    )
    (tmp_path / "work").mkdir()
    return Files(tmp_path / "work", panel, target, tiny_model, tiny_alleles)


def _records(path: Path) -> list[list[str]]:
    lines = path.read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def _compressed(path: Path, suffix: str = ".vcf.gz") -> Path:
    """Write a file once more, bgzipped or as BCF, and index it."""
    import cyvcf2

    out = path.with_suffix("").with_suffix(suffix)
    reader = cyvcf2.VCF(str(path))
    writer = cyvcf2.Writer(str(out), reader, "wz" if suffix == ".vcf.gz" else "wb")
    for record in reader:
        writer.write_record(record)
    writer.close()
    imputed_vcf._build_index(out, 0 if suffix == ".vcf.gz" else 14)
    return out


def _check_record(
    fields: list[str], known: dict[int, list[str]], haploid: set[int] | None = None
) -> None:
    """Everything that a record says of itself agrees; `known` are typed genotypes by position."""
    info = dict(part.partition("=")[::2] for part in fields[7].split(";"))
    assert fields[8] == "GT:DS:HDS:GP"
    typed = int(fields[1]) in known
    assert ("TYPED" in info, "IMP" in info) == (typed, not typed)
    every = []
    for i, cell in enumerate(fields[9:]):
        gt, ds_text, hds_text, gp_text = cell.split(":")
        hds = [float(x) for x in hds_text.split(",")]
        gp = [float(x) for x in gp_text.split(",")]
        ds = float(ds_text)
        ploidy = 1 if haploid and i in haploid else 2
        assert len(hds) == ploidy
        assert len(gp) == ploidy + 1
        assert 0 <= ds <= ploidy
        assert ds == pytest.approx(sum(hds), abs=1e-9)
        assert sum(gp) == pytest.approx(1, abs=1e-9)
        calls = [int(x) for x in gt.split("|")]
        assert len(calls) == ploidy
        assert gp[sum(calls)] == max(gp)
        if ploidy == 2:
            first, second = hds
            expected = [
                (1 - first) * (1 - second),
                first + second - 2 * first * second,
                first * second,
            ]
            assert gp == pytest.approx(expected, abs=0.00101)
            if sum(calls) == 1:
                assert hds[calls.index(1)] == max(hds)
        if typed and "." not in known[int(fields[1])][i]:
            assert gt == known[int(fields[1])][i]
            assert hds == calls
        every += hds
    af = float(np.mean(every))
    assert float(info["AF"]) == pytest.approx(af, abs=1e-5)
    r2 = float(np.var(every)) / (af * (1 - af)) if 0 < af < 1 else 0.0
    assert float(info["DR2"]) == pytest.approx(r2, abs=1e-3)


def test_every_record_agrees_with_itself_and_the_target(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(files.arguments()) == 0
    records = _records(files.folder / "out.vcf")
    assert [r[:5] for r in records] == [
        ["1", str(1000 + 37 * s), ".", "A", "G"] for s in range(200)
    ]
    known = {int(r[1]): r[9:] for r in _records(files.target)}
    assert len(known) == 67
    for record in records:
        _check_record(record, known)
    header = (files.folder / "out.vcf").read_text()
    assert "\n##contig=<ID=1,length=1000000>\n" in header
    assert "##fileDate" not in header
    assert "##snvragCommand=snvrag.impute --panel " in header
    lines = capsys.readouterr().out.splitlines()
    assert "   67  matched" in lines
    assert "  133  sites of the panel: imputed" in lines
    assert lines[-1].startswith(f"Wrote {files.folder / 'out.vcf'}: 200 sites, 4 samples, ")
    # Better than the frequency alone.
    truth = files.alleles.reshape(24, 2, 200)[list(HELD)].sum(1).T
    dosage = np.array([[float(c.split(":")[1]) for c in r[9:]] for r in records])
    hidden = np.arange(200) % 3 != 0
    frequency = files.alleles.reshape(24, 2, 200)[KEPT].mean((0, 1))[:, None] * 2
    error = np.square(dosage - truth)[hidden].mean()
    assert error < 0.5 * np.square(frequency - truth)[hidden].mean()


@pytest.mark.parametrize("suffix", [".vcf.gz", ".bcf"])
def test_compressed_files_hold_the_same_and_are_indexed(files: Files, suffix: str) -> None:
    import cyvcf2

    assert main(files.arguments()) == 0
    path = files.folder / f"out{suffix}"
    panel, target = _compressed(files.panel), _compressed(files.target, ".bcf")
    assert main(files.arguments(output=path, panel=panel, target=target)) == 0
    plain = [str(record) for record in cyvcf2.VCF(str(files.folder / "out.vcf"))]
    assert [str(record) for record in cyvcf2.VCF(str(path))] == plain
    assert len(list(cyvcf2.VCF(str(path))("1:1000-1100"))) == 3
    bcftools = shutil.which("bcftools")
    if bcftools is not None:
        for command in (["view"], ["index", "-f"]):
            run = subprocess.run(
                [bcftools, *command, path], capture_output=True, text=True, check=True
            )
            assert run.stderr == ""


def test_a_prepared_panel_and_target_are_the_same(files: Files) -> None:
    from snvrag.prepare import main as prepare

    assert main(files.arguments()) == 0
    prepared = {}
    for name in ("panel", "target"):
        prepared[name] = files.folder / f"{name}.safetensors"
        assert prepare([str(getattr(files, name)), str(prepared[name])]) == 0
    again = files.folder / "again.vcf"
    assert main(files.arguments(output=again, **prepared)) == 0
    assert _records(again) == _records(files.folder / "out.vcf")
    assert "\n##contig=<ID=1,length=1000000>\n" in again.read_text()


def test_output_can_be_a_target_again(files: Files) -> None:
    """What is written is phased and complete: nothing is left to impute."""
    assert main(files.arguments()) == 0
    again = files.folder / "again.vcf"
    assert main(files.arguments(target=files.folder / "out.vcf", output=again)) == 0
    first, second = _records(files.folder / "out.vcf"), _records(again)
    assert [[c.split(":")[0] for c in r[9:]] for r in first] == [
        [c.split(":")[0] for c in r[9:]] for r in second
    ]
    assert all("TYPED" in r[7] for r in second)


def test_same_run_twice_gives_the_same_bytes(files: Files) -> None:
    outputs = []
    for _ in range(2):
        assert main(files.arguments("--overwrite")) == 0
        outputs.append((files.folder / "out.vcf").read_bytes())
    assert outputs[0] == outputs[1]


# --- matching -------------------------------------------------------------------------------------


def test_sites_that_do_not_match_are_reported(
    files: Files, write_vcf: MakeVcf, capsys: pytest.CaptureFixture[str]
) -> None:
    position = [1000 + 37 * s for s in range(200)]
    rows = [
        ("chr1", 900, "A", "G", "0|1 0|0"),
        ("chr1", position[0], "A", "G", "0|1 .|0"),
        ("chr1", position[1], "G", "A", "0|1 0|0"),
        ("chr1", position[2], "T", "C", "0|1 0|0"),
        ("chr1", position[3], "A", "C", "0|1 0|0"),
        ("chr1", position[3], "A", "T", "0|1 0|0"),
        ("chr1", position[4], "A", "AT", "0|1 0|0"),
        ("chr1", position[5], "G", "A", "1|1 0|0"),
        ("chr1", position[5], "A", "G", "0|1 0|0"),
    ]
    target = write_vcf(
        files.folder / "target.vcf", rows, ["x", "y"], header="##fileformat=VCFv4.2\n"
        "##contig=<ID=chr1>\n"
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="G">\n',
    )  # fmt: skip
    report = files.folder / "report.tsv"
    assert main(files.arguments(target=target, report=report)) == 0
    records = _records(files.folder / "out.vcf")
    assert {r[0] for r in records} == {"1"}
    typed = {int(r[1]): [c.split(":")[0] for c in r[9:]] for r in records if r[7].endswith("TYPED")}
    assert set(typed) == {position[0], position[1], position[5]}
    assert typed[position[0]][0] == "0|1"
    assert typed[position[0]][1][2:] == "0"
    assert typed[position[1]] == ["1|0", "1|1"]
    assert typed[position[5]] == ["0|1", "0|0"]
    for record in records:
        _check_record(
            record,
            {position[0]: ["0|1", ".|0"], position[1]: ["1|0", "1|1"], position[5]: ["0|1", "0|0"]},
        )
    table = [line.split("\t") for line in report.read_text().splitlines()]
    assert table[0] == ["CHROM", "POS", "REF", "ALT", "REASON"]
    assert sorted(table[1:], key=lambda row: (int(row[1]), row[3])) == [
        ["chr1", "900", "A", "G", "position not in the panel"],
        ["chr1", str(position[2]), "T", "C", "on the other strand (complementary alleles)"],
        ["chr1", str(position[3]), "A", "C", "other alleles than the panel's"],
        ["chr1", str(position[3]), "A", "T", "other alleles than the panel's"],
        ["chr1", str(position[4]), "A", "AT", "not an SNV"],
        ["chr1", str(position[5]), "G", "A", "duplicate of another site"],
    ]
    out = capsys.readouterr().out
    assert "Note: chromosome chr1 of the target is 1 of the panel" in out
    assert "    1  matched with REF and ALT swapped (flipped)\n" in out
    assert "    1  missing alleles at typed sites, imputed\n" in out
    assert [p.name for p in files.folder.iterdir() if "tmp" in p.name] == []


@pytest.mark.parametrize("name", ["1", "chr1"])
def test_region(
    files: Files, write_vcf: MakeVcf, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = _rows(files.alleles, list(HELD), list(range(0, 200, 3)), "chr1")
    header = (
        "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n"
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="G">\n'
    )
    target = write_vcf(files.folder / "t.vcf", rows, [f"s{i}" for i in HELD], header=header)
    changes = {"panel": _compressed(files.panel), "target": _compressed(target)}
    region = f"{name}:{1000 + 37 * 50}-{1000 + 37 * 59}"
    assert main(files.arguments(region=region, **changes)) == 0
    records = _records(files.folder / "out.vcf")
    assert [int(r[1]) for r in records] == [1000 + 37 * s for s in range(50, 60)]
    assert sum("TYPED" in r[7] for r in records) == 3
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.endswith((" matched", "panel: imputed"))] == [
        "  3  matched",
        "  7  sites of the panel: imputed",
    ]
    # What is around it is read: the same as without a region.
    assert main(files.arguments(output=files.folder / "all.vcf", **changes)) == 0
    assert records == _records(files.folder / "all.vcf")[50:60]
    # To the end of the chromosome, one site alone of which the target has nothing, and none.
    for first, count in ((190, 10), (199, 1)):
        region = f"{name}:{1000 + 37 * first}-"
        assert main(files.arguments("--overwrite", region=region, **changes)) == 0
        assert len(_records(files.folder / "out.vcf")) == count
    capsys.readouterr()
    assert main(files.arguments("--overwrite", region=f"{name}:1001-1002", **changes)) == 2
    assert f"--region {name}:1001-1002: " in capsys.readouterr().err


def test_a_target_of_many_chromosomes_is_read_where_the_panel_is(
    files: Files, write_vcf: MakeVcf
) -> None:
    rows = _rows(files.alleles, list(HELD), list(range(0, 200, 3)))
    rows += _rows(files.alleles, list(HELD), [1, 2, 4], "2")
    target = _compressed(write_vcf(files.folder / "t.vcf", rows, [f"s{i}" for i in HELD]))
    assert main(files.arguments(target=target)) == 0
    assert len(_records(files.folder / "out.vcf")) == 200


def test_errors_are_of_the_chromosome_that_is_read(
    files: Files, write_vcf: MakeVcf, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither another chromosome of the target nor the other name of this one is complained of."""
    header = (
        "##fileformat=VCFv4.2\n##contig=<ID=2>\n##contig=<ID=chr1>\n"
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="G">\n'
    )
    rows = [("2", 5, "A", "G", "0|1"), ("chr1", 1000, "A", "G", "0/1")]
    target = _compressed(write_vcf(files.folder / "t.vcf", rows, ["a"], header=header))
    panel = _compressed(files.panel)
    for region in ([], ["--region", "1"]):
        assert main(files.arguments(*region, panel=panel, target=target)) == 2
        assert "sample a has an unphased genotype at chr1:1000" in capsys.readouterr().err
    only = header.replace("##contig=<ID=chr1>\n", "")
    target = _compressed(write_vcf(files.folder / "u.vcf", rows[:1], ["a"], header=only))
    assert main(files.arguments(panel=panel, target=target)) == 2
    assert "chromosome 2, the panel has 1" in capsys.readouterr().err


def test_samples_of_the_panel_are_not_copied_from(
    files: Files, write_vcf: MakeVcf, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = _rows(files.alleles, [1, 2], list(range(0, 200, 3)))
    named = write_vcf(files.folder / "named.vcf", rows, ["s1", "s2"])
    renamed = write_vcf(files.folder / "renamed.vcf", rows, ["x", "y"])
    dosage = {}
    for path in (named, renamed):
        output = files.folder / f"out_{path.name}"
        assert main(files.arguments(target=path, output=output)) == 0
        dosage[path] = [r[9:] for r in _records(output)]
    assert "Note: 2 samples are in the panel by name" in capsys.readouterr().out
    assert dosage[named] != dosage[renamed]


# --- haploid samples and unphased genotypes -------------------------------------------------------


def test_haploid_samples_have_one_allele(files: Files, write_vcf: MakeVcf) -> None:
    rows = []
    for s in range(0, 200, 3):
        a = files.alleles[:, s]
        rows.append(("1", 1000 + 37 * s, "A", "G", f"{a[0]} {a[12]}|{a[13]} {a[24]}"))
    target = write_vcf(files.folder / "t.vcf", rows, ["x", "y", "z"])
    for suffix in (".vcf", ".vcf.gz"):
        assert main(files.arguments(target=target, output=files.folder / f"out{suffix}")) == 0
    known = {row[1]: row[4].split() for row in rows}
    for record in _records(files.folder / "out.vcf"):
        _check_record(record, known, haploid={0, 2})


def test_unphased_genotypes(
    files: Files, write_vcf: MakeVcf, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = _rows(files.alleles, list(HELD), list(range(0, 200, 3)))
    rows[5] = (*rows[5][:4], "0|0 0/1 0/0 1|0")
    target = write_vcf(files.folder / "t.vcf", rows, ["a", "b", "c", "d"])
    assert main(files.arguments(target=target)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"snvrag.impute: error: {target}: sample b has an unphased genotype at ")
    assert "phase the file first" in line
    assert "--allow-unphased" in line
    assert list(files.folder.iterdir()) == [target]
    assert main(files.arguments("--allow-unphased", target=target)) == 0
    record = next(r for r in _records(files.folder / "out.vcf") if int(r[1]) == rows[5][1])
    _check_record(record, {rows[5][1]: ["0|0", "./.", "0|0", "1|0"]})
    out = capsys.readouterr().out
    assert "1 unphased genotypes hidden" in out
    assert "    2  missing alleles at typed sites, imputed\n" in out


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"panel": "none.vcf"}, "none.vcf: no such file"),
        ({"target": "none.vcf"}, "none.vcf: no such file"),
        ({"model": "none"}, "--model none: no such file"),
        ({"output": "out.txt"}, "--output out.txt: must end in .vcf.gz, .bcf or .vcf"),
        ({"output": "/none/out.vcf"}, "--output /none/out.vcf: there is no folder /none"),
        ({"report": "/none/r.tsv"}, "--report /none/r.tsv: there is no folder /none"),
        ({"threads": "-1"}, "--threads must be from 0 to 1024, got -1"),
        ({"threads": "x"}, "argument --threads: invalid int value: 'x' (see --help)"),
        ({"device": "tpu"}, "--device must be cpu, cuda, cuda:N or auto, got tpu"),
        ({"genetic-map": "none"}, "--genetic-map none: cannot be read"),
        ({"region": "1:1-2"}, "panel.vcf: --region needs an index"),
    ],
)
def test_errors_are_one_line(
    files: Files, capsys: pytest.CaptureFixture[str], changes: dict[str, str], expected: str
) -> None:
    assert main(files.arguments(**changes)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("snvrag.impute: error: ")
    assert expected in line
    assert list(files.folder.iterdir()) == []


def test_names_that_are_not_utf_8(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """Htslib's binding takes none; elsewhere they do no harm."""
    odd = files.folder / os.fsdecode(b"odd\xff.vcf")
    for name in ("output", "target"):
        if name == "target":
            odd.write_bytes(files.target.read_bytes())
        assert main(files.arguments(**{name: odd})) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert r"odd\udcff.vcf: " in line
        assert "must be UTF-8" in line
    odd.unlink()
    odd.write_bytes(files.model.read_bytes())
    assert main(files.arguments(model=odd)) == 0
    assert r"odd\udcff.vcf" in (files.folder / "out.vcf").read_text()


def test_a_writer_that_cannot_be_opened_leaves_nothing(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imputed_vcf, "_MODES", {".vcf": "w", ".bcf": "no such mode"})
    assert main(files.arguments(output=files.folder / "out.bcf")) == 2
    assert "out.bcf: cannot be written" in capsys.readouterr().err
    assert list(files.folder.iterdir()) == []


def test_files_with_nothing_in_common(
    files: Files, write_vcf: MakeVcf, capsys: pytest.CaptureFixture[str]
) -> None:
    for chrom, position, expected in (
        ("2", 1000, "chromosome 2, the panel has 1"),
        ("1", 1001, "no site in common with the panel"),
    ):
        target = write_vcf(files.folder / "t.vcf", [(chrom, position, "A", "G", "0|1")], ["a"])
        assert main(files.arguments(target=target)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert expected in line
        assert list(files.folder.iterdir()) == [target]


def test_what_is_there_stays_without_overwrite(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("output", "report"):
        old = files.folder / "old.vcf"
        old.write_text("old")
        assert main(files.arguments(**{name: old})) == 2
        assert f"--{name} {old}: is there already" in capsys.readouterr().err
        assert old.read_text() == "old"
        assert main(files.arguments("--overwrite", **{name: old})) == 0
        assert old.read_text() != "old"


@pytest.mark.parametrize(
    ("name", "other"), [("output", "panel"), ("report", "target"), ("report", "model")]
)
def test_what_is_read_is_not_written(
    files: Files, capsys: pytest.CaptureFixture[str], name: str, other: str
) -> None:
    path = getattr(files, other)
    before = path.read_bytes()
    assert main(files.arguments("--overwrite", **{name: path})) == 2
    assert f"--{name} {path}: is also --{other}" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_damaged_target_leaves_nothing(files: Files) -> None:
    """What is wrong only shows after some sites have been written."""
    lines = files.target.read_text().splitlines()
    target = files.folder / "t.vcf"
    target.write_text("\n".join([*lines, lines[20]]) + "\n")
    report = files.folder / "r.tsv"
    assert main(files.arguments(target=target, report=report)) == 2
    assert list(files.folder.iterdir()) == [target]


@pytest.mark.parametrize("how", [KeyboardInterrupt, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(
    files: Files, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    write = imputed_vcf.ImputedWriter.write

    def interrupted(self: Any, *arguments: Any) -> None:
        write(self, *arguments)
        assert list(files.folder.iterdir()) != []
        if how is KeyboardInterrupt:
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(imputed_vcf.ImputedWriter, "write", interrupted)
    arguments = files.arguments(output=files.folder / "out.bcf", report=files.folder / "r.tsv")
    if how is KeyboardInterrupt:
        assert main(arguments) == 130
    else:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 143
    assert list(files.folder.iterdir()) == []


def test_it_runs_as_a_module(files: Files) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "snvrag.impute", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--allow-unphased" in run.stdout
