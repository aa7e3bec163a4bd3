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


def test_records(refused, tmp_path, tiny_vcf):
    site = ("1", 10, "A", "C", GOOD)
    for records, words in (
        ([("1", 20, "A", "C", "0|0 0|0 0/1")], ["unphased", "sample c", "1:20"]),
        # htslib warns on standard error of a contig that the header lacks
        ([("chr9", 20, "A", "C", "0|0 0|0 0/1")], ["unphased", "chr9:20"]),
        ([site, ("1", 20, "A", "C", "0|0 0|0 1")], ["haploid", "sample c"]),
        (
            [("1", 10, "A", "CT", GOOD), ("1", 20, "A", "C", "0|0 .|. 0|0")],
            ["left", "1 not an SNV", "1 missing genotype"],
        ),
        (
            [("1", 10, "A", "C", "0|1 0|0 0|0"), ("1", 20, "A", "C", "1|1 1|1 1|1")],
            ["no site is polymorphic in the 2 reference samples"],
        ),
        ([site, ("2", 10, "A", "C", GOOD)], ["chromosomes"]),
        ([("1", 20, "A", "C", GOOD), site], ["not sorted"]),
        ([site, ("1", "ten", "A", "C", GOOD)], []),
    ):
        path = write_vcf(tmp_path / "bad.vcf", records)
        refused("--panel", path, words=[path, *words])
    path.write_bytes(tiny_vcf.read_bytes()[:5000])
    refused("--panel", path, words=[path, "damaged"])
    write_vcf(path, [("1", 10, "A", "C", "0|1")], samples=["a"])
    refused("--panel", path, words=["--val-fraction must leave", "of the 1 samples"])
    write_vcf(path, [("2", 1000, "A", "G", "0|1 1|1")], ["x", "y"])
    refused("--train", path, words=[f"--train {path}: must have the panel's chromosome 1, got 2"])


# --- sizes, numbers and names ---------------------------------------------------------------------


def test_options(refused):
    for option, value, words in (
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
    ):
        refused(option, value, words=[option, *words])
    refused("--region", "1:5-10", words=["index"])


def test_v18s_masks_end_at_window_10_000(refused, tmp_path):
    """Contract 4.1: mt19937 refuses windows from 10,000 on."""
    alleles = np.tile(np.array([[0], [1]], np.int8), (3, 10_001))
    panel = make_panel(alleles, position=np.arange(1, 10_002))
    path = write_panel_vcf(tmp_path / "many.vcf", panel, alleles)
    options = ["--k", 2, "--window-size", 1, "--mask-generator", "mt19937"]
    refused("--panel", path, *options, words=["--mask-generator"])


def test_tables_of_samples(refused, tmp_path):
    path = tmp_path / "table"
    of_x = ["--population-column", "x"]
    for option, content, words, *more in (
        ("--populations", None, ["--populations", "No such file"]),
        ("--populations", "sample\tpop\ns0\tA\n", ["no column 'population'", "sample, pop"]),
        ("--populations", "sample\tpop\ns0\tA\n", ["no column 'x'"], *of_x),
        (
            "--populations",
            "sample\tpopulation\ns0\tA\n",
            [f"--populations {path}: no line for sample s1 (23 of 24 samples have none)"],
        ),
        ("--val-samples", None, ["--val-samples", "No such file"]),
        ("--val-samples", "s1\nnobody\n", ["nobody"]),
        ("--val-samples", "\n", ["no names"]),
    ):
        path.unlink(missing_ok=True) if content is None else path.write_text(content)
        refused(option, path, *more, words=[path, *words])
    path.write_text("\n".join(f"s{i}" for i in range(24)))
    refused("--val-samples", path, words=["--val-samples must leave", "24 of the 24 samples"])


# --- checkpoints ----------------------------------------------------------------------------------


def test_checkpoints(refused, tiny_model, tmp_path, tiny_alleles):
    """Of another configuration, panel or epoch; damaged."""
    options = ("--width", 32, "--k", 3)
    words = [f"--resume {tiny_model}: ", "k was 4, is 3; width was 16, is 32"]
    refused("--resume", tiny_model, *options, words=words)
    words = ["--resume-epoch must be", tiny_model, "got 9"]
    refused("--resume", tiny_model, "--resume-epoch", 9, words=words)
    alleles = tiny_alleles.copy()
    alleles[30, 100] ^= 1
    path = write_panel_vcf(tmp_path / "other.vcf", make_panel(alleles), alleles)
    words = [f"{tiny_model}: trained with another panel:"]
    refused("--resume", tiny_model, "--panel", path, words=words)

    path = tmp_path / "rag_bert.model.ep0"
    refused("--resume", path, words=[path, "no such file"])
    intact = tiny_model.read_bytes()
    for share in (0.0, 0.01, 0.5, 0.999):
        path.write_bytes(intact[: int(len(intact) * share)])
        refused("--resume", path, words=[path, "damaged"])
    torch.save({"state_dict": {}}, path)
    refused("--resume", path, words=[path, "not a checkpoint"])


# --- output folders -------------------------------------------------------------------------------


def test_outputs(refused, tiny_vcf, tiny_model, tmp_path, monkeypatch):
    """Below a file; of too long a name; of an earlier run; one that takes no files."""
    for output in (tiny_vcf / "out", tiny_vcf):
        refused(output=output, words=[f"--output {output}: cannot be written"])
    refused(output=tmp_path / "a" / "b" / ("x" * 300), words=["--output"])
    assert not (tmp_path / "a").exists()  # no part of its path is left
    folder = tiny_model.parent
    refused(output=folder, words=[f"--output {folder}: has the checkpoints of an earlier run"])

    def fail(*_, **__):  # as a folder without permission does, which root can write
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", fail)
    refused(words=["--output", "Permission denied"])


@pytest.mark.parametrize(
    ("name", "after"),
    [
        *(("rag_bert.model.ep1", 0), ("metrics.csv", 2)),
        *(("config.toml", 0), ("rag_bert.model.step", 0), ("metrics.png", 0)),
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


@pytest.mark.parametrize("name", ["/dev/full", "train.log", "config.toml", "metrics.csv"])
def test_files_that_take_nothing(tmp_path, tiny_arguments, name):
    """A log on a full disk, or a folder in the place of a file."""
    if name == "/dev/full":
        (tmp_path / "train.log").symlink_to(name)
        words = f"{tmp_path / 'train.log'}: cannot be written (No space left on device)"
    else:
        (tmp_path / name).mkdir()
        words = str(tmp_path / name)
    error = run_train([*tiny_arguments, "--output", str(tmp_path)], code=2).err
    assert error.count("\n") == 1
    assert words in error


def test_a_file_system_without_hard_links(tmp_path, tiny_arguments, monkeypatch):
    """FAT, and some network folders: the best checkpoint is a copy."""

    def fail(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    run_train([*tiny_arguments, "--epochs", "1", "--output", str(tmp_path)])
    assert (tmp_path / "rag_bert.model.best").is_file()


def test_by_subprocess(tmp_path):
    command = [sys.executable, "-m", "snvrag.train", "--panel", "none.vcf"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=python_environment(), capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1), ran.stderr
    assert "none.vcf: no such file" in ran.stderr
    assert list(tmp_path.iterdir()) == []
