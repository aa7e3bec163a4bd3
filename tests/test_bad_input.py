"""Bad input: one line on standard error that names the thing, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snvrag.io import atomic as files
from snvrag.io.checkpoint import load_checkpoint
from snvrag.train import main

GOOD = "0|0 0|1 1|1"


@pytest.fixture(autouse=True, scope="module")
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def refused(tmp_path, tiny_arguments, capfd):
    """Return the function that runs the command line, checks the contract and returns the line."""
    output = tmp_path / "out"

    def run(*arguments, words=(), output=output):
        capfd.readouterr()
        before = sorted(os.listdir(output)) if os.path.isdir(output) else []
        try:
            code = main([*tiny_arguments, "--output", str(output), *map(str, arguments)])
        except SystemExit as stopped:
            code = stopped.code
        printed, error = capfd.readouterr()
        assert code == 2, error
        assert error.count("\n") == 1, error
        assert error.endswith("\n")
        assert "Traceback" not in error
        assert "error" in error
        assert printed == ""
        for word in map(str, words):
            assert word in error, error
        after = sorted(os.listdir(output)) if os.path.isdir(output) else []
        assert after == before
        return error

    return run


@pytest.fixture
def bad_vcf(tmp_path, write_vcf):
    def write(*records, **options):
        return write_vcf(tmp_path / "bad.vcf", list(records), **options)

    return write


# --- files of haplotypes --------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--panel", "--train"])
def test_no_such_file(refused, tmp_path, option):
    path = tmp_path / "none.vcf.gz"
    refused(option, path, words=[path, "no such file"])


@pytest.mark.parametrize("option", ["--panel", "--train"])
@pytest.mark.parametrize(
    "content",
    [b"", b"sample\tpopulation\n", b"\x89PNG\r\n", b"##fileformat=VCFv4.2\nno header\n",
     b"##fileformat=VCFv4.2\n", b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 50],
    ids=["empty", "table", "image", "bad header", "half a header", "bad gzip"],
)  # fmt: skip
def test_not_a_vcf(refused, tmp_path, option, content):
    path = tmp_path / "thing.vcf"
    path.write_bytes(content)
    refused(option, path, words=[path])


@pytest.mark.parametrize("option", ["--panel", "--train"])
def test_a_folder(refused, tmp_path, option):
    refused(option, tmp_path, words=[tmp_path, "folder"])


def test_no_samples(refused, bad_vcf):
    path = bad_vcf(("1", 10, "A", "C", ""), samples=())
    refused("--panel", path, words=[path, "no samples"])


def test_unphased(refused, bad_vcf):
    path = bad_vcf(("1", 10, "A", "C", GOOD), ("1", 20, "A", "C", "0|0 0|0 0/1"))
    refused("--panel", path, words=[path, "unphased", "sample c", "1:20", "phase"])


def test_unphased_with_contigs_missing_from_the_header(refused, bad_vcf):
    """htslib warns of these on standard error."""
    path = bad_vcf(("chr9", 20, "A", "C", "0|0 0|0 0/1"))
    refused("--panel", path, words=[path, "unphased", "chr9:20"])


def test_ploidy_that_changes(refused, bad_vcf):
    path = bad_vcf(("1", 10, "A", "C", GOOD), ("1", 20, "A", "C", "0|0 0|0 1"))
    refused("--panel", path, words=[path, "haploid", "sample c"])


def test_empty_after_filtering(refused, bad_vcf):
    path = bad_vcf(("1", 10, "A", "CT", GOOD), ("1", 20, "A", "C", "0|0 .|. 0|0"))
    refused("--panel", path, words=[path, "left", "1 not an SNV", "1 missing genotype"])


def test_nothing_polymorphic(refused, bad_vcf):
    path = bad_vcf(("1", 10, "A", "C", "0|1 0|0 0|0"), ("1", 20, "A", "C", "1|1 1|1 1|1"))
    refused("--panel", path, words=[path, "polymorphic"])


def test_two_chromosomes(refused, bad_vcf):
    path = bad_vcf(("1", 10, "A", "C", GOOD), ("2", 10, "A", "C", GOOD))
    refused("--panel", path, words=[path, "two chromosomes, 1 and 2", "--region"])


def test_not_sorted(refused, bad_vcf):
    path = bad_vcf(("1", 20, "A", "C", GOOD), ("1", 10, "A", "C", GOOD))
    refused("--panel", path, words=[path, "not sorted", "sort"])


def test_truncated(refused, tmp_path, tiny_vcf):
    path = tmp_path / "cut.vcf"
    path.write_bytes(tiny_vcf.read_bytes()[:5000])
    refused("--panel", path, words=[path, "damaged"])


def test_malformed_line(refused, bad_vcf):
    path = bad_vcf(("1", 10, "A", "C", GOOD), ("1", "ten", "A", "C", GOOD))
    refused("--panel", path, words=[path])


def test_a_single_sample(refused, bad_vcf):
    path = bad_vcf(("1", 10, "A", "C", "0|1"), samples=["a"])
    refused("--panel", path, words=[path, "1 samples"])


def test_region_without_index(refused):
    refused("--region", "1:5-10", words=["--region", "index"])


def test_region_that_is_not_there(tmp_path, shared_data):
    ran = subprocess.run(
        [sys.executable, "-m", "snvrag.train", "--panel",
         str(shared_data / "kgp_chr20" / "panel.vcf.gz"), "--region", "chr21", "--output", "out"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert "chr21" in ran.stderr
    assert not (tmp_path / "out").exists()


# --- sizes ----------------------------------------------------------------------------------------


def test_window_larger_than_the_panel(refused):
    refused("--window-size", 201, words=["--window-size 201", "200"])


def test_k_larger_than_the_panel(refused):
    refused("--k", 41, words=["--k 41", "40", "38"])
    refused("--k", 39, words=["--k 39", "38"])


def test_nobody_to_train_on(refused, tmp_path):
    names = tmp_path / "names"
    names.write_text("\n".join(f"s{i}" for i in range(24)))
    refused("--val-samples", names, words=["--val-samples"])


@pytest.mark.parametrize(
    ("option", "value"),
    [("--heads", "5"), ("--epochs", "0"), ("--learning-rate", "-1"), ("--mask-rates", "2"),
     ("--seed", str(2**70)), ("--cache-mb", "inf"), ("--threads", "5000"), ("--width", "a"),
     ("--device", "abacus"), ("--bogus", "1")],
)  # fmt: skip
def test_numbers_and_names(refused, option, value):
    refused(option, value, words=[option])


def test_v18s_masks_end_at_window_10_000(refused, tmp_path, make_panel, write_panel_vcf):
    """Contract 4.1: mt19937 refuses windows from 10,000 on; the command line says it in a line."""
    alleles = np.tile(np.array([[0], [1]], np.int8), (3, 10_001))
    path = write_panel_vcf(
        tmp_path / "many.vcf", make_panel(alleles, position=np.arange(1, 10_002)), alleles
    )
    refused("--panel", path, "--k", 2, "--window-size", 1, "--mask-generator", "mt19937",
            words=["--mask-generator"])  # fmt: skip


# --- tables ---------------------------------------------------------------------------------------


def test_unknown_population_columns(refused, tmp_path):
    table = tmp_path / "table.tsv"
    table.write_text("sample\tpop\ns0\tA\n")
    refused("--populations", table, words=[table, "no column 'population'", "sample, pop",
                                           "--population-column"])  # fmt: skip
    refused("--populations", table, "--population-column", "super",
            words=[table, "no column 'super'"])  # fmt: skip
    table.write_text("name\tpopulation\ns0\tA\n")
    refused("--populations", table, words=[table, "no column 'sample'"])


def test_population_table_without_a_sample(refused, tmp_path):
    table = tmp_path / "table.tsv"
    table.write_text("sample\tpopulation\ns0\tA\n")
    refused("--populations", table, words=[table, "s1", "23 of 24"])


@pytest.mark.parametrize("option", ["--populations", "--val-samples"])
def test_no_such_table(refused, tmp_path, option):
    path = tmp_path / "none"
    refused(option, path, words=[option, path, "No such file"])


def test_validation_samples_that_are_not_there(refused, tmp_path):
    names = tmp_path / "names"
    names.write_text("s1\nnobody\n")
    refused("--val-samples", names, words=[names, "nobody"])
    names.write_text("\n")
    refused("--val-samples", names, words=[names, "no names"])


def test_training_file_of_another_chromosome(refused, tmp_path, write_vcf):
    path = write_vcf(tmp_path / "t.vcf", [("2", 1000, "A", "G", "0|1 1|1")], ["x", "y"])
    refused("--train", path, words=[path, "chromosome 2"])


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_arguments):
    folder = tmp_path_factory.mktemp("trained")
    assert main([*tiny_arguments, "--epochs", "1", "--output", str(folder)]) == 0
    return folder / "rag_bert.model.ep0"


def test_checkpoint_of_another_configuration(refused, trained):
    refused("--resume", trained, "--width", 32, words=[trained, "--width was 16, is 32"])


def test_checkpoint_of_another_panel(
    refused, trained, tmp_path, make_panel, write_panel_vcf, tiny_alleles
):
    alleles = tiny_alleles.copy()
    alleles[30, 100] ^= 1
    path = write_panel_vcf(tmp_path / "other.vcf", make_panel(alleles), alleles)
    refused("--resume", trained, "--panel", path, words=[trained, "another panel"])


def test_checkpoint_of_other_samples(refused, trained, tmp_path):
    names = tmp_path / "names"
    names.write_text("s1\ns7\ns13\ns19\n")
    refused("--resume", trained, "--val-samples", names, words=[trained, "other samples"])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_checkpoint(refused, trained, tmp_path, share):
    path = tmp_path / "rag_bert.model.ep0"
    whole = trained.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused("--resume", path, words=[path, "damaged"])


def test_no_such_checkpoint(refused, trained):
    path = trained.with_name("rag_bert.model.ep9")
    refused("--resume", path, words=[path, "no such file"])


def test_a_checkpoint_of_something_else(refused, tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {}}, path)
    refused("--resume", path, words=[path, "not a checkpoint"])


def test_resume_epoch_that_does_not_follow(refused, trained):
    line = refused("--resume", trained, "--resume-epoch", 3, words=["--resume-epoch 3", trained])
    assert " 1" in line
    refused("--resume-epoch", 3, words=["--resume-epoch", "--resume"])


# --- output folders -------------------------------------------------------------------------------


def test_output_below_a_file(refused, tiny_vcf):
    refused(output=tiny_vcf / "out", words=["--output", tiny_vcf, "cannot be written"])
    refused(output=tiny_vcf, words=["--output", tiny_vcf, "cannot be written"])


def test_output_that_cannot_be_made_leaves_no_part_of_its_path(refused, tmp_path):
    refused(output=tmp_path / "a" / "b" / ("x" * 300), words=["--output"])
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_without_permission(refused, tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    refused(output=folder / "out", words=["--output", folder, "Permission denied"])
    refused(output=folder, words=["--output", folder, "Permission denied"])


def test_output_of_an_earlier_run(refused, trained):
    refused(output=trained.parent, words=["--output", trained.parent, "--resume", "--overwrite"])


def test_output_that_takes_no_files(refused, monkeypatch):
    """As a folder without permission does, whose tests root cannot run."""

    def fail(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", fail)
    refused(words=["--output", "Permission denied"])


@pytest.mark.parametrize(
    ("name", "after"),
    [("rag_bert.model.ep1", 0), ("metrics.csv", 2), ("timing.csv", 1), ("config.toml", 0),
     ("rag_bert.model.step", 0), ("metrics.png", 0)],
)  # fmt: skip
def test_a_disk_that_fills_up(tmp_path, tiny_arguments, monkeypatch, capfd, name, after):
    """One line, no half of a file, and the older checkpoints whole."""
    opened = []

    def full(path, mode):
        if path.name == f"{name}.tmp":
            opened.append(path)
            if len(opened) > after:
                return open("/dev/full", mode)
        return open(path, mode)

    monkeypatch.setattr(files, "open", full, raising=False)
    folder = tmp_path / "out"
    options = ["--save-every-minutes", "1e-9"] if name.endswith("step") else []
    options += ["--plot", "yes"] if name.endswith("png") else []
    assert main([*tiny_arguments, *options, "--output", str(folder)]) == 2
    error = capfd.readouterr().err
    assert (
        error
        == f"snvrag.train: error: {folder / name}: cannot be written (No space left on device)\n"
    )
    assert not list(folder.glob("*.tmp"))
    for path in folder.glob("rag_bert.model.*"):
        load_checkpoint(path)
    if name.endswith("ep1"):
        assert (folder / "rag_bert.model.ep0").exists()
    monkeypatch.undo()
    assert main([*tiny_arguments, "--resume", "auto", "--output", str(folder)]) == 0
    assert (folder / "metrics.csv").read_text().count("\n") == 4


def test_a_disk_that_fills_up_with_the_log(tmp_path, tiny_arguments, capfd):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "train.log").symlink_to("/dev/full")
    assert main([*tiny_arguments, "--output", str(folder)]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert f"{folder / 'train.log'}: cannot be written (No space left on device)" in error


@pytest.mark.parametrize("name", ["train.log", "config.toml", "metrics.csv"])
def test_a_folder_in_the_place_of_a_file(tmp_path, tiny_arguments, capfd, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    assert main([*tiny_arguments, "--epochs", "1", "--output", str(tmp_path / "out")]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert name in error


def test_a_file_system_without_hard_links(tmp_path, tiny_arguments, monkeypatch, capfd):
    """FAT, and some network folders: the best checkpoint must come another way."""

    def fail(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    assert main([*tiny_arguments, "--epochs", "1", "--output", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "rag_bert.model.best").is_file()


# --- by the command line itself -------------------------------------------------------------------


def command(folder: Path, *arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snvrag.train", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--panel", "none.vcf"], "none.vcf: no such file"),
        (["--k", "0"], "--k must be at least 1, got 0"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_by_subprocess(tmp_path, arguments, words):
    ran = command(tmp_path, *arguments)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert words in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_by_subprocess(tmp_path):
    ran = command(tmp_path, "--help")
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert ran.stdout.startswith("usage: python -m snvrag.train")
    assert "--panel" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 100
