"""Bad input: one line on standard error that names it, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from panel_files import make_panel, write_panel_vcf, write_vcf
from snvrag.io import atomic
from snvrag.io.checkpoint import load_checkpoint
from snvrag.train import main
from training_runs import python_environment, run_train

GOOD = "0|0 0|1 1|1"


@pytest.fixture
def refused(tmp_path, tiny_arguments, capfd):
    """Return the function that runs the command line, checks the contract and returns the line."""

    def run(*arguments, words=(), output=tmp_path / "out"):
        capfd.readouterr()
        before = sorted(os.listdir(output)) if os.path.isdir(output) else []
        try:
            code = main([*tiny_arguments, "--output", str(output), *map(str, arguments)])
        except SystemExit as stopped:
            code = stopped.code
        printed, error = capfd.readouterr()
        assert code == 2, error
        assert error.startswith("snvrag train: error: "), error
        assert error.count("\n") == 1, error
        assert error.endswith("\n")
        assert printed == ""
        for word in map(str, words):
            assert word in error, error
        assert before == (sorted(os.listdir(output)) if os.path.isdir(output) else [])
        return error

    return run


# --- files of haplotypes --------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--panel", "--train"])
def test_not_a_panel(refused, tmp_path, option):
    path = tmp_path / "thing.vcf"
    refused(option, path, words=[path, "no such file"])
    for content in (b"", b"##fileformat=VCFv4.2\nno header\n", b"\x1f\x8b\x08\x00" + b"\xff" * 50):
        path.write_bytes(content)
        refused(option, path, words=[path])
    refused(option, tmp_path, words=[tmp_path, "folder"])


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([("1", 20, "A", "C", "0|0 0|0 0/1")], ["unphased", "sample c", "1:20"]),
        # htslib warns on standard error of a contig that the header lacks
        ([("chr9", 20, "A", "C", "0|0 0|0 0/1")], ["unphased", "chr9:20"]),
        ([("1", 10, "A", "C", GOOD), ("1", 20, "A", "C", "0|0 0|0 1")], ["haploid", "sample c"]),
        ([("1", 10, "A", "CT", GOOD), ("1", 20, "A", "C", "0|0 .|. 0|0")],
         ["left", "1 not an SNV", "1 missing genotype"]),
        ([("1", 10, "A", "C", "0|1 0|0 0|0"), ("1", 20, "A", "C", "1|1 1|1 1|1")],
         ["no site is polymorphic in the 2 reference samples"]),
        ([("1", 10, "A", "C", GOOD), ("2", 10, "A", "C", GOOD)], ["chromosomes"]),
        ([("1", 20, "A", "C", GOOD), ("1", 10, "A", "C", GOOD)], ["not sorted"]),
        ([("1", 10, "A", "C", GOOD), ("1", "ten", "A", "C", GOOD)], []),
    ],
)  # fmt: skip
def test_records(refused, tmp_path, records, words):
    path = write_vcf(tmp_path / "bad.vcf", records)
    refused("--panel", path, words=[path, *words])


def test_truncated(refused, tmp_path, tiny_vcf):
    path = tmp_path / "cut.vcf"
    path.write_bytes(tiny_vcf.read_bytes()[:5000])
    refused("--panel", path, words=[path, "damaged"])


def test_a_region_without_an_index(refused):
    refused("--region", "1:5-10", words=["index"])


def test_training_file_of_another_chromosome(refused, tmp_path):
    path = write_vcf(tmp_path / "t.vcf", [("2", 1000, "A", "G", "0|1 1|1")], ["x", "y"])
    refused("--train", path, words=[f"--train {path}: chromosome 2, the panel has 1"])


# --- sizes, numbers and names ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--window-size", 201, ["at most 200", "got 201"]),
        ("--k", 39, ["at most 38", "40 haplotypes", "got 39"]),
        ("--heads", 5, ["divisor of the width 16", "got 5"]),
        ("--epochs", 0, ["at least 1", "got 0"]),
        ("--mask-rates", 2, ["from 0 to 1", "got 2.0"]),
        ("--seed", 2**70, []),
        ("--cache-mb", "inf", []),
        ("--width", "a", []),
        ("--device", "abacus", ["cuda:N", "got abacus"]),
        ("--resume-epoch", 3, ["checkpoint"]),
        ("--bogus", 1, []),
    ],
)
def test_options(refused, option, value, words):
    refused(option, value, words=[option, *words])


def test_v18s_masks_end_at_window_10_000(refused, tmp_path):
    """Contract 4.1: mt19937 refuses windows from 10,000 on."""
    alleles = np.tile(np.array([[0], [1]], np.int8), (3, 10_001))
    panel = make_panel(alleles, position=np.arange(1, 10_002))
    path = write_panel_vcf(tmp_path / "many.vcf", panel, alleles)
    options = ["--k", 2, "--window-size", 1, "--mask-generator", "mt19937"]
    refused("--panel", path, *options, words=["--mask-generator"])


# --- tables ---------------------------------------------------------------------------------------


def test_populations(refused, tmp_path):
    table = tmp_path / "table.tsv"
    refused("--populations", table, words=["--populations", table, "No such file"])
    table.write_text("sample\tpop\ns0\tA\n")
    refused("--populations", table, words=[table, "no column 'population'", "sample, pop"])
    refused("--populations", table, "--population-column", "x", words=[table, "no column 'x'"])
    table.write_text("sample\tpopulation\ns0\tA\n")
    refused(
        *("--populations", table),
        words=[f"--populations {table}: no line for sample s1 (23 of 24 samples have none)"],
    )


def test_validation_samples(refused, tmp_path):
    names = tmp_path / "names"
    refused("--val-samples", names, words=["--val-samples", names, "No such file"])
    names.write_text("s1\nnobody\n")
    refused("--val-samples", names, words=[names, "nobody"])
    names.write_text("\n")
    refused("--val-samples", names, words=[names, "no names"])
    names.write_text("\n".join(f"s{i}" for i in range(24)))
    refused("--val-samples", names, words=["--val-samples must leave", "24 of the 24 samples"])
    single = write_vcf(tmp_path / "bad.vcf", [("1", 10, "A", "C", "0|1")], samples=["a"])
    refused("--panel", single, words=["--val-fraction must leave", "of the 1 samples"])


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_arguments):
    folder = tmp_path_factory.mktemp("trained")
    run_train([*tiny_arguments, "--epochs", "1", "--output", str(folder)])
    return folder / "rag_bert.model.ep0"


def test_checkpoint_of_another_configuration(refused, trained):
    refused(
        *("--resume", trained, "--width", 32, "--k", 3),
        words=[f"--resume {trained}: ", "k was 4, is 3; width was 16, is 32"],
    )


def test_checkpoint_of_another_panel(refused, trained, tmp_path, tiny_alleles):
    alleles = tiny_alleles.copy()
    alleles[30, 100] ^= 1
    path = write_panel_vcf(tmp_path / "other.vcf", make_panel(alleles), alleles)
    refused("--resume", trained, "--panel", path, words=[f"{trained}: trained with another panel:"])


def test_damaged_checkpoints(refused, trained, tmp_path):
    path = tmp_path / "rag_bert.model.ep0"
    refused("--resume", path, words=[path, "no such file"])
    intact = trained.read_bytes()
    for share in (0.0, 0.01, 0.5, 0.999):
        path.write_bytes(intact[: int(len(intact) * share)])
        refused("--resume", path, words=[path, "damaged"])
    torch.save({"state_dict": {}}, path)
    refused("--resume", path, words=[path, "not a checkpoint"])


def test_resume_epoch_that_does_not_follow(refused, trained):
    refused(
        *("--resume", trained, "--resume-epoch", 3),
        words=["--resume-epoch must be 1", trained, "got 3"],
    )


# --- output folders -------------------------------------------------------------------------------


def test_output_below_a_file(refused, tiny_vcf):
    for output in (tiny_vcf / "out", tiny_vcf):
        refused(output=output, words=[f"--output {output}: cannot be written"])


def test_output_that_cannot_be_made_leaves_no_part_of_its_path(refused, tmp_path):
    refused(output=tmp_path / "a" / "b" / ("x" * 300), words=["--output"])
    assert not (tmp_path / "a").exists()


def test_output_that_takes_no_files(refused, monkeypatch):
    """As a folder without permission does, which root can write."""

    def fail(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", fail)
    refused(words=["--output", "Permission denied"])


def test_output_of_an_earlier_run(refused, trained):
    folder = trained.parent
    refused(output=folder, words=[f"--output {folder}: has the checkpoints of an earlier run"])


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("rag_bert.model.ep1", 0),
        ("metrics.csv", 2),
        ("timing.csv", 1),
        ("config.toml", 0),
        ("rag_bert.model.step", 0),
        ("metrics.png", 0),
    ],
)
def test_a_disk_that_fills_up(tmp_path, tiny_arguments, monkeypatch, name, after):
    """One line, no half of a file, and the older checkpoints intact."""
    opened = []

    def full(path, mode):
        if path.name == f"{name}.tmp":
            opened.append(path)
            if len(opened) > after:
                return open("/dev/full", mode)
        return open(path, mode)

    monkeypatch.setattr(atomic, "open", full, raising=False)
    folder = tmp_path / "out"
    options = ["--save-every-minutes", "1e-9"] if name.endswith("step") else []
    options += ["--plot", "yes"] if name.endswith("png") else []
    error = run_train([*tiny_arguments, *options, "--output", str(folder)], code=2).err
    assert error == (
        f"snvrag train: error: {folder / name}: cannot be written (No space left on device)\n"
    )
    assert not list(folder.glob("*.tmp"))
    for path in folder.glob("rag_bert.model.*"):
        load_checkpoint(path)
    if name.endswith("ep1"):
        assert (folder / "rag_bert.model.ep0").exists()
    monkeypatch.undo()
    run_train([*tiny_arguments, "--resume", "auto", "--output", str(folder)])
    assert (folder / "metrics.csv").read_text().count("\n") == 4


def test_a_disk_that_fills_up_with_the_log(tmp_path, tiny_arguments):
    (tmp_path / "train.log").symlink_to("/dev/full")
    error = run_train([*tiny_arguments, "--output", str(tmp_path)], code=2).err
    assert error.count("\n") == 1
    assert f"{tmp_path / 'train.log'}: cannot be written (No space left on device)" in error


@pytest.mark.parametrize("name", ["train.log", "config.toml", "metrics.csv"])
def test_a_folder_in_the_place_of_a_file(tmp_path, tiny_arguments, name):
    (tmp_path / name).mkdir(parents=True)
    error = run_train([*tiny_arguments, "--output", str(tmp_path)], code=2).err
    assert error.count("\n") == 1
    assert str(tmp_path / name) in error


def test_a_file_system_without_hard_links(tmp_path, tiny_arguments, monkeypatch):
    """FAT, and some network folders: the best checkpoint is a copy."""

    def fail(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    run_train([*tiny_arguments, "--epochs", "1", "--output", str(tmp_path)])
    assert (tmp_path / "rag_bert.model.best").is_file()


# --- by the command line itself -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--panel", "none.vcf"], "none.vcf: no such file"), (["--frobnicate"], "--frobnicate")],
)
def test_by_subprocess(tmp_path, arguments, words):
    ran = subprocess.run(
        [sys.executable, "-m", "snvrag.train", *arguments],
        cwd=tmp_path,
        env=python_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert words in ran.stderr
    assert list(tmp_path.iterdir()) == []
