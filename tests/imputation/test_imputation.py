"""From files to a file: what is written, and what is left when it fails."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from panel_files import write_vcf
from snvrag import log
from snvrag._installation import version_line
from snvrag.errors import InputError
from snvrag.imputation import adaptation, imputation, inputs
from snvrag.io import imputed_vcf
from snvrag.io.checkpoint import load_checkpoint
from snvrag.io.matching import Outcome
from snvrag.io.model_file import load_model_file
from snvrag.io.prepare import prepare
from snvrag.network import fitting
from turns import plain

PREDICTED = r"Imputing: (\d+) sites x samples"


def check_record(
    fields: list[str], known: dict[int, list[str]], haploid: frozenset[int] = frozenset()
) -> None:
    """All that a record says agrees; ``known`` are typed genotypes by position."""
    info = dict(part.partition("=")[::2] for part in fields[7].split(";"))
    assert fields[8] == "GT:DS:HDS:GP"
    typed = int(fields[1]) in known
    assert ("TYPED" in info, "IMP" in info) == (typed, not typed)
    every = []
    for i, cell in enumerate(fields[9:]):
        gt, ds, hds_text, gp_text = cell.split(":")
        hds = [float(x) for x in hds_text.split(",")]
        gp = [float(x) for x in gp_text.split(",")]
        calls = [int(x) for x in gt.split("|")]
        ploidy = 1 if i in haploid else 2
        assert (len(hds), len(gp), len(calls)) == (ploidy, ploidy + 1, ploidy)
        assert float(ds) == pytest.approx(sum(hds), abs=1e-9)
        assert sum(gp) == pytest.approx(1, abs=1e-9)
        assert gp[sum(calls)] == max(gp)
        if ploidy == 2:
            p, q = hds
            both = gp[2]  # the mean over phasings, of which a phased sample's are nearly alike
            assert both == pytest.approx(p * q, abs=0.05)
            expected = [1 - p - q + both, p + q - 2 * both, both]
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


def test_records_agree_with_themselves_and_the_target(files, capsys):
    records = files.impute()
    assert [r[:5] for r in records] == [
        ["1", str(1000 + 37 * s), ".", "A", "G"] for s in range(200)
    ]
    known = {
        1000 + 37 * s: row[4].split() for s in files.typed for row in files.rows(files.held, [s])
    }
    for record in records:
        check_record(record, known)
    header = files.output.read_text()
    assert "\n##contig=<ID=1,length=1000000>\n" in header
    assert "##fileDate" not in header
    assert "\n##snvragCommand=the command\n" in header
    lines = capsys.readouterr().out.splitlines()
    assert "   67  matched" in lines
    assert "  133  sites of the panel: not typed" in lines
    assert lines[-1].startswith(f"Wrote {files.output}: 200 sites, 4 samples, ")
    # Better than the frequency alone.
    alleles = files.alleles.reshape(24, 2, 200)
    truth = alleles[list(files.held)].sum(1).T
    dosage = np.array([[float(c.split(":")[1]) for c in r[9:]] for r in records])
    hidden = np.arange(200) % 3 != 0
    frequency = np.delete(alleles, files.held, 0).mean((0, 1))[:, None] * 2
    error = np.square(dosage - truth)[hidden].mean()
    assert error < 0.5 * np.square(frequency - truth)[hidden].mean()
    # The same bytes again.
    files.impute()
    assert files.output.read_text() == header


@pytest.mark.parametrize("suffix", [".vcf.gz", ".bcf"])
def test_compressed_files_hold_the_same_and_are_indexed(files: Any, suffix: str) -> None:
    import cyvcf2

    files.impute()
    path = files.folder / f"out{suffix}"
    panel, target = files.compressed(files.panel), files.compressed(files.target, ".bcf")
    files.summary(output=path, panel=panel, target=target)
    plain = [str(record) for record in cyvcf2.VCF(str(files.output))]
    assert [str(record) for record in cyvcf2.VCF(str(path))] == plain
    assert len(list(cyvcf2.VCF(str(path))("1:1000-1100"))) == 3


def test_prepared_files_are_the_same_and_output_can_be_a_target(files: Any) -> None:
    """What is written is phased and complete: nothing is left to impute."""
    first = files.impute()
    prepared = {name: files.folder / f"{name}.safetensors" for name in ("panel", "target")}
    for name, path in prepared.items():
        prepare(str(getattr(files, name)), str(path))
    assert files.impute(**prepared) == first
    again = files.impute(target=files.output, output=files.folder / "again.vcf")
    assert [[c.split(":")[0] for c in r[9:]] for r in again] == [
        [c.split(":")[0] for c in r[9:]] for r in first
    ]
    assert all("TYPED" in r[7] for r in again)


def test_signs_of_life_without_a_terminal(files, capsys, monkeypatch):
    monkeypatch.setattr(log, "SECONDS_BETWEEN_LINES", 0)
    files.impute()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == version_line()
    for form, last in (("Reading: (\\d+) sites of the panel", 200), (PREDICTED, 133 * 4)):
        done = [int(found[1]) for line in lines if (found := re.fullmatch(form, line))]
        assert done == sorted(done)
        assert done[-1] == last


def body(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("##")]


def test_a_saved_model_gives_the_same_and_learns_nothing(files, capsys, monkeypatch):
    model = files.folder / "m.safetensors"
    files.impute(save_model=model)
    learned = body(files.output)
    out = capsys.readouterr().out
    described = "rates at 67 typed sites of 40 haplotypes of panel.vcf, without a head"
    assert f"Learned from the panel: {described}\n" in out
    assert f"\n##snvragLearned={described}\n" in files.output.read_text()

    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("it has learned")

    monkeypatch.setattr(imputation, "adapt", refuse)
    files.impute(model=model)
    assert body(files.output) == learned
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert f"\n##snvragModelSHA256={digest}\n" in files.output.read_text()
    with pytest.raises(AssertionError, match="it has learned"):
        files.impute()
    # Another name of the chromosome, and part of it.
    samples = [f"s{i}" for i in files.held]
    target = files.write(files.rows(files.held, files.typed, "chr1"), samples, chroms="chr1")
    files.impute(model=model, target=target)
    assert body(files.output) == learned
    given = {"panel": files.compressed(files.panel), "target": files.compressed(target)}
    files.impute(model=model, region=f"1:{1000 + 37 * 20}-{1000 + 37 * 29}", **given)
    assert body(files.output)[1:] == learned[21:31]


def test_a_model_of_other_typed_sites_is_learned_anew(files, capsys):
    model = files.folder / "m.safetensors"
    files.impute(save_model=model)
    note = "Note: the model is not of this panel's typed sites: it is learned anew"
    smaller = write_vcf(
        files.folder / "p.vcf", files.rows(range(1, 5), range(200)), [f"s{i}" for i in range(1, 5)]
    )
    names = [f"s{i}" for i in files.held]
    fewer = files.write(files.rows(files.held, list(files.typed)[:-1]), names)
    own = [i for i in range(24) if i not in files.held]
    larger = write_vcf(
        files.folder / "l.vcf",
        files.rows([*own, own[0]], range(200)),
        [f"s{i}" for i in (*own, 99)],
    )
    for changes in ({"target": fewer}, {"panel": smaller}, {"panel": larger}):
        capsys.readouterr()
        files.impute(model=model, **changes)
        again = body(files.output)
        assert note in capsys.readouterr().out
        assert "##snvragLearned=" in files.output.read_text()
        files.impute(**changes)
        assert body(files.output) == again


def test_what_is_learned_depends_on_panel_and_typed_sites_alone(files):
    """Not on the target's samples or genotypes, nor on the threads, nor on what is in memory."""
    first = files.folder / "first.safetensors"
    files.impute(save_model=first)
    one = files.write(files.rows([3], files.typed), ["s3"])
    other = files.folder / "other.safetensors"
    for changes in ({"target": one}, {"threads": 2}):
        files.impute(save_model=other, **changes)
        assert plain(vars(load_model_file(other))) == plain(vars(load_model_file(first)))


def test_a_panel_that_is_read_again(files, monkeypatch):
    """As it is too large for memory: the same output and the same table of dropped sites."""
    report, model = files.folder / "r.tsv", files.folder / "m.safetensors"
    rows = [("1", 900, "A", "G", "0|1 0|0 0|0 0|0"), *files.rows(files.held, files.typed)]
    target = files.write(rows, [f"s{i}" for i in files.held])
    files.impute(target=target, report=report, save_model=model)
    expected = body(files.output), report.read_text()
    learned = plain(vars(load_model_file(model)))
    monkeypatch.setattr(inputs, "_HELD_BYTES", 100)
    summary = files.summary(target=target, report=report, save_model=model)
    assert (body(files.output), report.read_text()) == expected
    assert plain(vars(load_model_file(model))) == learned
    assert (summary.num_panel_sites, summary.outcomes[Outcome.NOT_IN_PANEL]) == (200, 1)
    files.impute(target=target, model=model)
    assert body(files.output) == expected[0]


@pytest.mark.usefixtures("fixed_rates")
@pytest.mark.parametrize("num_samples", [1, 2, 3])
@pytest.mark.parametrize("typed", [[7], [0], [7, 8], range(0, 200, 3), range(200)])
def test_small_panels_and_few_typed_sites(files, num_samples, typed):
    """Site 0 has one allele in the panel; a genotype is missing where it is typed alone."""
    files.alleles = files.alleles.copy()
    files.alleles[: 2 * num_samples, 0] = 1
    names = [f"p{i}" for i in range(num_samples)]
    panel = write_vcf(files.folder / "p.vcf", files.rows(range(num_samples), range(200)), names)
    first = []
    for samples in ([6, 12, 18], [6]):
        rows = files.rows(samples, typed)
        rows[-1] = (*rows[-1][:4], " ".join([".|.", *rows[-1][4].split()[1:]]))
        target = files.write(rows, [f"t{i}" for i in samples])
        records = files.impute(panel=panel, target=target, threads=2)
        assert len(records) == 200
        for record in records:
            check_record(record, {row[1]: row[4].split() for row in rows})
        first.append([record[9] for record in records])
    assert first[0] == first[1]


def test_a_head_is_learned_and_kept(files, capsys, monkeypatch):
    monkeypatch.setattr(adaptation, "_LEAST_ROWS", 1)
    monkeypatch.setattr(log, "SECONDS_BETWEEN_LINES", 0)
    model = files.folder / "m.safetensors"
    # As if it were better than the expert alone on the samples kept back.
    losses = iter((2.0, 1.0, 1.0, 2.0))
    monkeypatch.setattr(adaptation, "_loss", lambda *_: next(losses))
    files.impute(save_model=model)
    learned = body(files.output)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith(", with a head") for line in lines)
    phases = [line.partition(": ")[0] for line in lines]
    for phase in ("Reading", "Learning rates", "Learning the head", "Imputing"):
        assert phase in phases
    files.impute(model=model)
    assert body(files.output) == learned
    files.impute()
    assert body(files.output) != learned  # without a head


def test_a_trained_head_is_a_start(files, capsys, monkeypatch, head_model):
    """Of a checkpoint: what is learned begins with its weights."""
    monkeypatch.setattr(adaptation, "_LEAST_ROWS", 1)
    losses = iter((2.0, 1.0))
    monkeypatch.setattr(adaptation, "_loss", lambda *_: next(losses))
    started = []
    real = fitting.fit_head

    def spy(*rows: Any, start: Any, on_step: Any) -> Any:
        started.append(start)
        return real(*rows, start=start, on_step=on_step, fit=fitting.Fit(steps=1))

    monkeypatch.setattr(fitting, "fit_head", spy)
    model = files.folder / "m.safetensors"
    files.impute(model=head_model, save_model=model)
    trained = load_checkpoint(head_model)["model"]
    assert np.array_equal(started[0].hidden_weight.T, trained["head.hidden.weight"].numpy())
    learned = load_model_file(model).head
    assert learned is not None
    assert np.array_equal(learned.mean, trained["head.mean"].numpy())


def test_sites_that_do_not_match_are_reported(files, capsys):
    position = [1000 + 37 * s for s in range(6)]
    rows = [
        ("chr1", 900, "A", "G", "0|1 0|0"),
        ("chr1", position[0], "A", "G", "0|1 .|0"),
        ("chr1", position[1], "G", "A", "0|1 0|0"),
        ("chr1", position[2], "T", "C", "0|1 0|0"),
        ("chr1", position[3], "A", "C", "0|1 0|0"),
        ("chr1", position[4], "A", "AT", "0|1 0|0"),
        ("chr1", position[5], "G", "A", "1|1 0|0"),
        ("chr1", position[5], "A", "G", "0|1 0|0"),
    ]
    report = files.folder / "report.tsv"
    records = files.impute(target=files.write(rows, ["x", "y"], chroms="chr1"), report=report)
    assert {r[0] for r in records} == {"1"}
    known = {position[0]: ["0|1", ".|0"], position[1]: ["1|0", "1|1"], position[5]: ["0|1", "0|0"]}
    for record in records:
        check_record(record, known)
    assert records[0][10][2:4] == "0:"  # of a half-missing genotype, the known allele
    table = [line.split("\t") for line in report.read_text().splitlines()]
    assert table[0] == ["CHROM", "POS", "REF", "ALT", "REASON"]
    assert sorted(table[1:], key=lambda row: int(row[1])) == [
        ["chr1", "900", "A", "G", "position not in the panel"],
        ["chr1", str(position[2]), "T", "C", "on the other strand (complementary alleles)"],
        ["chr1", str(position[3]), "A", "C", "other alleles than the panel's"],
        ["chr1", str(position[4]), "A", "AT", "not an SNV"],
        ["chr1", str(position[5]), "G", "A", "duplicate of another site"],
    ]
    out = capsys.readouterr().out
    assert "Note: chromosome chr1 of the target is 1 of the panel" in out
    assert "    1  matched with REF and ALT swapped (flipped)\n" in out
    assert "    1  missing alleles at typed sites\n" in out


def test_samples_of_the_panel_are_not_copied_from(files, capsys):
    rows = files.rows([1, 2], files.typed)
    renamed = files.impute(target=files.write(rows, ["x", "y"]))
    assert "are in the panel by name" not in capsys.readouterr().out
    named = files.impute(target=files.write(rows, ["s1", "s2"]))
    assert "Note: 2 samples are in the panel by name" in capsys.readouterr().out
    assert named != renamed


def test_haploid_samples_have_one_allele(files: Any) -> None:
    rows = []
    for s in files.typed:
        a = files.alleles[:, s]
        rows.append(("1", 1000 + 37 * s, "A", "G", f"{a[0]} {a[12]}|{a[13]} {a[24]}"))
    known = {row[1]: row[4].split() for row in rows}
    for record in files.impute(target=files.write(rows, ["x", "y", "z"])):
        check_record(record, known, haploid=frozenset({0, 2}))


def test_unphased_genotypes(files: Any) -> None:
    rows = files.rows(files.held, files.typed)
    rows[5] = (*rows[5][:4], "0|0 0/1 0/. 1|0")
    summary = files.summary(target=files.write(rows, ["a", "b", "c", "d"]))
    assert (summary.num_missing, summary.outcomes[Outcome.MATCHED]) == (1, 67)


def test_what_exists_stays_unless_it_is_overwritten(files: Any) -> None:
    for name in ("output", "report"):
        old = files.folder / f"{name}.vcf"
        old.write_text("old")
        with pytest.raises(InputError, match="already") as raised:
            files.impute(**{name: old}, overwrite=False)
        assert (raised.value.argument, old.read_text()) == (name, "old")
        files.summary(**{name: old})
        assert old.read_text() != "old"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("output", "panel"),
        ("output", "target"),
        ("report", "model"),
        ("report", "output"),
        ("save_model", "model"),
        ("save_model", "target"),
    ],
)
def test_what_is_read_is_not_overwritten(files: Any, name: str, other: str) -> None:
    path = files.output if other == "output" else getattr(files, other)
    if name == "output":  # by another name, which is allowed for an output
        link = files.folder / "link.vcf"
        link.symlink_to(path)
        path = link
    files.model.write_text("a model")
    before = path.read_bytes() if path.exists() else None
    given = {"model": files.model} if other == "model" else {}
    with pytest.raises(InputError, match="is also the"):
        files.impute(**given, **{name: path})
    assert (path.read_bytes() if path.exists() else None) == before


def test_names_that_are_not_utf_8(files: Any) -> None:
    """htslib's binding takes none; elsewhere they do no harm."""
    odd = files.folder / os.fsdecode(b"odd\xff.vcf")
    for name in ("output", "target"):
        if name == "target":
            odd.write_bytes(files.target.read_bytes())
        with pytest.raises(InputError, match="must be UTF-8"):
            files.impute(**{name: odd})
    odd = files.folder / os.fsdecode(b"odd\xff.model")
    files.impute(save_model=odd)
    assert len(files.impute(model=odd)) == 200


@pytest.mark.parametrize("suffix", [".vcf", ".bcf"])
def test_a_failure_leaves_nothing(files: Any, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """A target that turns out damaged after some sites were written, and a writer that fails."""

    def full(*_arguments: object) -> bytes:
        raise OSError(28, "No space left on device")

    lines = files.target.read_text().splitlines()
    target = files.folder / "t.vcf"
    target.write_text("\n".join([*lines, lines[20]]) + "\n")
    expected = "not sorted"
    if suffix == ".bcf":
        monkeypatch.setattr(imputed_vcf, "record_lines", full)
        expected = "cannot be written"
    with pytest.raises(InputError, match=expected):
        files.impute(
            target=target if suffix == ".vcf" else files.target,
            report=files.folder / "r.tsv",
            output=files.folder / f"out{suffix}",
        )
    assert list(files.folder.iterdir()) == [target]
