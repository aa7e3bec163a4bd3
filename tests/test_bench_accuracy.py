"""Tests of bench/accuracy.py: held-out samples, targets, commands and the table."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
from itertools import product

import accuracy
import accuracy_data
import accuracy_methods
import numpy as np
import phase
import pytest
import vcf_files

from snvrag.errors import InputError
from snvrag.io.genotypes import SiteStream
from snvrag.kernels import af_guided_mask
from snvrag.training.run_data import held_out

needs_bgzip = pytest.mark.skipif(
    not (shutil.which("bgzip") and shutil.which("tabix")), reason="bgzip or tabix is not installed"
)


@pytest.fixture
def panel(make_panel, tiny_alleles):
    return make_panel(tiny_alleles)


@pytest.mark.parametrize(("fraction", "count", "number"), [(0.25, 0, 6), (0.2, 3, 3)])
def test_hold_out(panel, tiny_alleles, fraction, count, number):
    split = accuracy_data.hold_out(panel, fraction, count)
    chosen = held_out(24, count / 24 if count else fraction)
    assert chosen[0] == 0
    assert split.truth.samples == tuple(f"s{i}" for i in chosen)
    assert len(split.truth.samples) == number
    assert set(split.panel.samples) | set(split.truth.samples) == set(panel.samples)
    assert not set(split.panel.samples) & set(split.truth.samples)
    rows = np.repeat(~np.isin(np.arange(24), chosen), 2)
    polymorphic = np.flatnonzero(np.ptp(tiny_alleles[rows], axis=0))
    assert np.array_equal(split.panel.position, panel.position[polymorphic])
    assert np.array_equal(split.truth.af, tiny_alleles[~rows][:, polymorphic].mean(axis=0))
    assert np.array_equal(split.everyone.af, tiny_alleles[:, polymorphic].mean(axis=0))
    for nobody_left in (0.0, 1.0):
        with pytest.raises(InputError, match="at least one sample on each side"):
            accuracy_data.hold_out(panel, nobody_left, 0)


def test_chip(make_panel):
    """By hand: MAF 1/10, 5/10, 5/10, 9/10 of ALT, ...; at least 1 kb from the one before."""
    counts = [1, 5, 5, 8, 5, 10, 2, 5]
    position = np.array([100, 200, 1199, 1200, 1300, 2200, 2300, 3400])
    alleles = (np.arange(10)[:, None] < np.array(counts)).astype(np.int8)
    chip = accuracy_data.chip_sites(make_panel(alleles, position=position), 1, 0.2)
    assert chip.tolist() == [False, True, False, True, False, False, True, True]


def test_masks_are_those_of_the_validation(make_panel):
    alleles = (np.random.default_rng(0).random((40, 1500)) < 0.2).astype(np.int8)
    observed = accuracy_data.mask_sites(make_panel(alleles), 0.5)
    af = alleles.mean(axis=0)
    masks = [
        af_guided_mask(part, seed=2024, window=w, rate=0.5)
        for w, part in enumerate((af[:750], af[750:]))
    ]
    assert np.array_equal(observed, ~np.concatenate(masks))


def test_copying_the_nearest(panel, tiny_alleles):
    reference, truth = panel.select_samples(np.arange(4, 24)), panel.select_samples(np.arange(4))
    observed = np.random.default_rng(1).random(200) < 0.3
    for window_size in (64, 200, 1000):
        copied = accuracy_data.copy_nearest(reference, truth, observed, window_size)
        found = copied.sample_alleles(np.arange(4), 0, 200).reshape(8, 200)
        for start in range(0, 200, window_size):
            part = slice(start, start + window_size)
            differs = tiny_alleles[:8, None, part] != tiny_alleles[None, 8:, part]
            nearest = (differs & observed[part]).sum(axis=2).argmin(axis=1)
            assert np.array_equal(found[:, part], tiny_alleles[8:][nearest][:, part])


def test_genetic_map(tmp_path):
    source = tmp_path / "map.gmap"
    source.write_text("pos\tchr\tcM\n100\tchr20\t0.5\n200\tchr20\t0.75\n")
    accuracy_data.write_maps(tmp_path, accuracy_data.read_map(source), "20")
    assert (tmp_path / "map.plink").read_text() == "20 . 0.5 100\n20 . 0.75 200\n"
    shapeit4 = (tmp_path / "map.shapeit4").read_text()
    assert shapeit4 == "pos chr cM\n100 20 0.5\n200 20 0.75\n"
    eagle = (tmp_path / "map.eagle").read_text()
    assert eagle.splitlines()[1:] == ["20 100 0 0.5", "20 200 0 0.75"]
    source.write_text("position\tcM\n")
    with pytest.raises(InputError, match="expected a column pos"):
        accuracy_data.read_map(source)


def test_unphased_genotypes_hide_the_order():
    alleles = np.array([[0, 0, 0, 1, 1, 0, 1, 1]], np.int8)
    assert next(vcf_files.genotype_columns(alleles)) == b"\t0|0\t0|1\t1|0\t1|1"
    unphased = next(vcf_files.genotype_columns(alleles, phased=False))
    assert unphased == b"\t0/0\t0/1\t0/1\t1/1"


def test_switch_error_by_hand():
    """Five heterozygotes and a homozygote: a switch, no switch, one unphased, one called 1|1."""
    truth = np.array([[0, 1], [1, 0], [0, 0], [0, 1], [1, 0], [0, 1]], np.int8)
    calls = np.array([[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 0, 1], [0, 1, 1]], np.int16)
    others = calls.copy()
    assert phase.switch_error(truth[:, None], calls[:, None]) == 1 / 4
    others[4, 2] = 0
    assert phase.switch_error(truth[:, None], others[:, None]) == (1 + 0 + 2 * 0.5) / 4
    both = np.stack([calls, others], axis=1)
    assert phase.switch_error(np.stack([truth, truth], axis=1), both) == 3 / 8
    calls[5, :2] = 1
    assert phase.switch_error(truth[:, None], calls[:, None]) == (1 + 0 + 0 + 0.5) / 4
    assert np.isnan(phase.switch_error(truth[:1, None], calls[:1, None]))


@needs_bgzip
def test_switched_phase(panel, tmp_path):
    observed = np.random.default_rng(2).random(200) < 0.3
    typed = panel.select_sites(np.flatnonzero(observed))
    assert phase.switch_phase(panel, observed, 0.0) is panel
    for rate, least, most in ((1.0, 1.0, 1.0), (0.2, 0.1, 0.3)):
        switched = phase.switch_phase(panel, observed, rate)
        before, after = (p.sample_alleles(np.arange(24), 0, 200) for p in (panel, switched))
        assert np.array_equal(np.sort(before, axis=1), np.sort(after, axis=1))
        path = tmp_path / "switched.vcf.gz"
        accuracy_data.write_panel(path, switched)
        assert least <= phase.switch_error_of(path, typed) <= most
    accuracy_data.write_panel(path, panel, phased=False)
    assert phase.switch_error_of(path, typed) == 0.5
    accuracy_data.write_frequencies(path, panel, panel, observed)
    assert np.isnan(phase.switch_error_of(path, typed))


def test_cost_of_a_process(tmp_path):
    """The peak is the program's own, whatever this process holds; failures tell the last line."""
    ballast = np.ones(40 << 20, np.uint8)
    small = [sys.executable, "-S", "-c", "print('said')"]
    cost = accuracy_methods.run_process(small, tmp_path / "log", 1, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "said\n"
    assert ballast.nbytes / 2**20 > cost.peak_mib > 1
    assert cost.cpu_seconds > 0
    large = [sys.executable, "-S", "-c", "x = b'1' * (80 << 20)"]
    assert accuracy_methods.run_process(large, tmp_path / "log", 1).peak_mib > 80
    broken = [sys.executable, "-c", "import sys; sys.exit('out of luck')"]
    with pytest.raises(RuntimeError, match="exit code 1: out of luck"):
        accuracy_methods.run_process(broken, tmp_path / "log", 1)
    with pytest.raises(RuntimeError, match=r"exit code 1: .*no-such-program"):
        accuracy_methods.run_process(["no-such-program"], tmp_path / "log", 1)


def test_finished_work_is_kept(panel, tmp_path):
    runner = accuracy_methods.Methods(tmp_path, accuracy_data.hold_out(panel, 0.2, 0))
    output, log = tmp_path / "out.txt", tmp_path / "log"
    script = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.open('a').write('x')"
    command = [sys.executable, "-S", "-c", script, str(output)]
    another = [*command, "another"]
    first = runner._process(output, command, log)
    assert runner._process(output, command, log) == first
    assert output.read_text() == "x"
    runner._process(output, another, log)
    assert output.read_text() == "xx"
    prepared = tmp_path / "model"
    prepared.write_text("trained again")
    now = prepared.stat().st_mtime_ns
    for newer, expected in ((False, "xx"), (True, "xxx")):
        record = (tmp_path / "out.txt.cost.json").stat().st_mtime_ns
        os.utime(prepared, ns=(now, record + (1 if newer else -1)))
        runner._process(output, another, log, prepared)
        assert output.read_text() == expected
    with pytest.raises(RuntimeError, match="exit code"):
        runner._process(output, [sys.executable, "-c", "x"], log)
    runner._process(output, another, log)  # what failed may have written
    assert output.read_text() == "xxxx"
    with pytest.raises(RuntimeError, match="succeeded without writing"):
        runner._process(tmp_path / "absent", [sys.executable, "-c", ""], log)


def test_commands_of_snvrag(panel, tmp_path, monkeypatch):
    split = accuracy_data.hold_out(panel, 0.2, 0)
    ran = []

    def stand_in(self, output, command, *_, **__):
        ran.append(command[1:])
        return accuracy_methods.Cost("", 1.0, 2.0, 3.0)

    monkeypatch.setattr(accuracy_methods.Methods, "_process", stand_in)
    monkeypatch.setattr(accuracy_methods, "_without_head", lambda path: path.with_suffix(".rates"))
    target = accuracy_methods.Target(tmp_path / "chip", np.ones(200, bool), split.truth)
    methods = accuracy_methods.Methods(tmp_path, split, has_map=True, impute_options="-x")
    for name in accuracy_methods.SNVRAG:
        methods.run(name, target)
    learned, with_map, prepare, saved, rates, rates_of_map = ran
    assert learned == [
        *("-m", "snvrag.impute", "--panel", str(tmp_path / "panel.vcf.gz")),
        *("--target", str(tmp_path / "chip" / "target.vcf.gz")),
        *("--save-model", str(tmp_path / "chip" / "snvrag.safetensors")),
        *("--output", str(tmp_path / "chip" / "snvrag.vcf.gz"), "--overwrite", "--threads", "1"),
        "-x",
    ]
    model_of_map = str(tmp_path / "chip" / "snvrag-map.safetensors")
    assert with_map[with_map.index("--save-model") + 1] == model_of_map
    assert with_map[with_map.index("--genetic-map") + 1] == str(tmp_path / "map.plink")
    prepared = str(tmp_path / "panel.snvrag")
    assert prepare == ["-m", "snvrag.prepare", str(tmp_path / "panel.vcf.gz"), prepared]
    assert saved[saved.index("--panel") + 1] == prepared
    assert saved[saved.index("--model") + 1] == learned[learned.index("--save-model") + 1]
    for command, of in ((rates, "snvrag"), (rates_of_map, "snvrag-map")):
        assert command[command.index("--model") + 1] == str(tmp_path / "chip" / f"{of}.rates")


def test_phasing_before_minimac4(panel, tmp_path, monkeypatch):
    """Minimac4 is given what the program has phased, with a map of its own; costs are summed."""
    ran = []

    def stand_in(self, output, command, *_, **__):
        ran.append(command)
        return accuracy_methods.Cost(command[0], len(ran), 10.0 * len(ran), 100.0 * len(ran))

    monkeypatch.setattr(accuracy_methods.Methods, "_process", stand_in)
    monkeypatch.setattr(accuracy_methods, "index", lambda path: None)
    split = accuracy_data.hold_out(panel, 0.2, 0)
    methods = accuracy_methods.Methods(tmp_path, split, has_map=True, unphased=True)
    target = accuracy_methods.Target(tmp_path, np.ones(200, bool), None)
    for program, name in (("shapeit4", "shapeit4"), ("bio-eagle", "eagle")):
        for end in ("", "-map"):
            ran.clear()
            result = methods.run(f"{name}-minimac4{end}", target)
            phasing, _, minimac4 = ran
            assert phasing[0] == program
            assert str(target.path) in phasing
            assert (str(tmp_path / f"map.{name}") in phasing) is bool(end)
            assert minimac4[2] == str(result.phased) == str(tmp_path / f"{name}-phased{end}.vcf.gz")
            assert ("--map" in minimac4) is bool(end)
            assert result.cost == accuracy_methods.Cost(f"{program} && minimac4", 4, 40, 300)
    assert "phased target" in methods.why_not("minimac4")
    phased = accuracy_methods.Methods(tmp_path, split)
    assert phased.why_not("eagle-minimac4") == "the target is phased"


@needs_bgzip
def test_an_unphased_target(tiny_vcf, tmp_path, capsys):
    folder = tmp_path / "out"
    arguments = [
        *("--panel", str(tiny_vcf), "--output", str(folder), "--chip-kb", "0.2"),
        *("--only", "frequency", "nearest-255"),
    ]
    assert accuracy.main([*arguments, "--unphased"]) == 0
    assert "nearest-255: left out: it needs a phased target" in capsys.readouterr().err
    with gzip.open(folder / "chip" / "target.vcf.gz", "rt") as stream:
        genotypes = {call for line in stream if line[0] != "#" for call in line.split()[9:]}
    assert genotypes == {"0/0", "0/1", "1/1"}
    for other in ([], ["--switch-error", "0.1"]):
        assert accuracy.main([*arguments, *other]) == 2
        assert "made with other settings" in capsys.readouterr().err


@needs_bgzip
def test_the_whole_table(tiny_vcf, tmp_path, capsys):
    folder = tmp_path / "out"
    arguments = [
        *("--panel", str(tiny_vcf), "--output", str(folder), "--chip-kb", "0.2"),
        *("--mask-rate", "0.5", "--only", "frequency", "nearest-255", "beagle-map"),
    ]
    assert accuracy.main(arguments) == 0
    printed = capsys.readouterr()
    assert "chip, beagle-map: left out: no --map" in printed.err
    table = (folder / "accuracy.md").read_text()
    assert table in printed.out
    assert len(table.splitlines()) == 2 + 2 * 2
    rows = json.loads((folder / "accuracy.json").read_text())
    cases = product(("chip", "mask-0.5"), ("frequency", "nearest-255"))
    assert [(row["target"], row["method"]) for row in rows] == list(cases)
    assert all(0 < row["r2 all"] < 1 for row in rows)
    assert len({row["r2 all"] for row in rows}) == len(rows)
    assert (folder / "chip" / "accuracy.png").exists()

    stream = SiteStream("imputed", folder / "chip" / "nearest-255.vcf.gz")
    target = SiteStream("imputed", folder / "chip" / "target.vcf.gz")
    stream.advance(), target.advance()
    while not stream.at_end:
        observed = target.position == stream.position
        assert stream.is_typed(next(iter(stream.records.values()))) is observed
        if observed:
            target.advance()
        stream.advance()
    assert target.at_end
    assert target.num_records > 20

    before = (folder / "chip" / "nearest-255.vcf.gz").stat().st_mtime_ns
    assert accuracy.main(arguments) == 0
    assert (folder / "chip" / "nearest-255.vcf.gz").stat().st_mtime_ns == before
    assert accuracy.main([*arguments, "--chip-kb", "1"]) == 2
    assert "made with other settings" in capsys.readouterr().err
