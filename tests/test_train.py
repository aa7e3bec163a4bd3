"""Training end to end on a tiny panel: log, files, resuming bit for bit, early stopping."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from snvrag import log
from snvrag._installation import version_line
from snvrag.training import tables
from snvrag.training.run import train
from snvrag.training.trainer import Trainer
from training_runs import (
    LIVELY,
    Printed,
    assert_same_checkpoint,
    checkpoint,
    checkpoint_names,
    configure,
    interrupted_at,
    make_trainer,
    rows,
    run_train,
)

# Python 3.12 and later warn of every fork() of a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture(scope="module")
def run(tiny_arguments):
    """Return the function that trains in this process and returns what was printed."""

    def begin(output: Path, *arguments: str, code: int = 0) -> Printed:
        return run_train([*tiny_arguments, *LIVELY, "--output", str(output), *arguments], code)

    return begin


# --- one whole run --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def straight(tmp_path_factory, run):
    """Three epochs without a break; its folder and what it printed."""
    place = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(log, "SECONDS_BETWEEN_LINES", 0)
        printed = run(place / "deep" / "out", "--plot", "yes")
    return place / "deep" / "out", printed


def test_log_lines(straight):
    """Contract 4.6: people grep these."""
    folder, printed = straight
    assert printed.err == ""
    assert printed.lines("Epoch ") == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    form = (
        r"\[.*\] seed (\d+), rate ([\d.]+), rare sites 0.70: [\d.]+% of sites hidden \(expected\)"
    )
    masking = [re.match(form, line).groups() for line in printed.lines("[AF-Guided Masking]")]
    assert masking == [("0", "0.30"), ("1", "0.30"), ("2", "0.40")]
    cache = printed.lines("JIT cache: ")
    form = r"JIT cache: 4 builds in [\d.]+ ms, \d+ hits, [\d.]+ MiB, .* epoch switch [\d.]+ ms"
    assert all(re.match(form, line) for line in cache)
    assert ["4 stale dropped" in line for line in cache] == [False, True, True]
    lines = printed.out.splitlines()
    at = [i for i, line in enumerate(lines) if line.startswith("Validation Metrics:")]
    assert len(at) == 3
    for i in at:
        for line, stratum in zip(lines[i + 1 :], tables.STRATA, strict=False):
            value = r"[\d.na]+"
            form = rf"  {stratum} +Recall {value}  Precision {value}  F1 {value}  R2 {value}$"
            assert re.match(form, line)
    assert (folder / "train.log").read_text() == printed.out
    end = printed.out[printed.out.index("Validation, hidden sites") :].splitlines()
    for line, row in zip(end[6:9], checkpoint(folder, "ep2")["history"], strict=True):
        assert line.split()[2] == f"{row['recall_overall']:.4f}"
    assert end[9:] == [f"Plot: {folder}/metrics.png"]


def test_signs_of_life(straight):
    """Without a terminal; batches are counted, an optimizer step has two of them."""
    folder, printed = straight
    lines = printed.out.splitlines()
    assert lines[0] == version_line()
    phases = ("Baselines...", "Epoch ", "[AF-Guided", "Training...", "Validation...", "Time: ")
    seen = [line for line in lines if line.startswith(phases)]
    assert [line.split()[0] for line in seen] == ["Baselines...", *_epoch_words() * 3]
    history = checkpoint(folder, "ep2")["history"]
    begins = [i for i, line in enumerate(lines) if line == "Training..."]
    for i, row in zip(begins, history, strict=True):
        form = r"\[Batch (\d+)/(\d+)\] Loss: ([\d.]+)"
        found = [re.fullmatch(form, line) for line in lines[i + 1 : i + 12]]
        groups = [match.groups() for match in found if match]
        assert [(int(done), int(total)) for done, total, _ in groups] == [
            *((done, 12) for done in range(2, 13, 2)),
            *((done, 3) for done in range(1, 4)),
        ]
        assert groups[5][2] == f"{row['train_loss']:.4f}"
        assert groups[8][2] == f"{row['val_loss']:.4f}"


def _epoch_words() -> list[str]:
    return ["Epoch", "[AF-Guided", "Training...", "Validation...", "Time:"]


def test_share_hidden_is_the_expected_one(straight, tiny_arguments):
    """That of many masks, but for their sampling."""
    trainer = make_trainer([*tiny_arguments, *LIVELY])
    masks, af = trainer.config.masks, trainer.data.panel.af
    for line, epoch in zip(straight[1].lines("[AF-Guided Masking]"), range(3), strict=True):
        share = float(re.search(r"([\d.]+)% of sites", line)[1]) / 100
        expected = np.where(af < masks.rare_threshold, masks.rare_rate, masks.rate(epoch)).mean()
        assert share == pytest.approx(expected, abs=0.001)


def test_files(straight, tiny_arguments):
    folder = straight[0]
    names = {path.name for path in folder.iterdir() if path.name != "tensorboard"}
    assert names == {
        *("config.toml", "metrics.csv", "timing.csv", "metrics.png", "train.log"),
        *(f"rag_bert.model.{end}" for end in ("best", "ep0", "ep1", "ep2")),
    }
    # V18 wrote POP.json into the working directory.
    assert [path.name for path in folder.parents[1].iterdir()] == ["deep"]
    config = configure([*tiny_arguments, *LIVELY, "--output", str(folder), "--plot", "yes"])
    assert configure(["--config", str(folder / "config.toml")]) == config
    history = checkpoint(folder, "ep2")["history"]
    assert rows(folder) == [{name: str(row[name]) for name in tables.COLUMNS} for row in history]
    assert [row["mask_rate"] for row in history] == [0.3, 0.3, 0.4]
    assert all(math.isfinite(row["train_loss"] + row["val_loss"]) for row in history)
    timing = rows(folder, "timing.csv")
    assert [row["epoch"] for row in timing] == ["0", "1", "2"]
    assert all(0 < float(row["data_share"]) < 1 < 1 + float(row["seconds"]) for row in timing)


# --- interrupted and resumed ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, run):
    """A run stopped in the middle of its second epoch; a folder to copy."""
    folder = tmp_path_factory.mktemp("interrupted")
    with interrupted_at(9):
        printed = run(folder, code=130)
    assert "Epoch 2/3" in printed.out
    assert printed.err == (
        "snvrag train: interrupted: continue with --resume auto from the newest checkpoint\n"
    )
    assert checkpoint_names(folder) == ["best", "ep0"]
    return folder


@pytest.mark.parametrize("workers", ["0", "2"])
def test_resumed_is_uninterrupted_bit_for_bit(straight, interrupted, run, tmp_path, workers):
    """In the same folder, or with workers in another."""
    folder = tmp_path / "run"
    start = interrupted if workers == "2" else shutil.copytree(interrupted, folder)
    resume = ["--resume", str(start / "rag_bert.model.ep0"), "--resume-epoch", "1"]
    printed = run(folder, *resume, "--workers", workers)
    assert printed.lines("Epoch ") == ["Epoch 2/3", "Epoch 3/3"]
    for name in ("ep1", "ep2", "best"):
        assert_same_checkpoint(checkpoint(straight[0], name), checkpoint(folder, name))
    assert (straight[0] / "metrics.csv").read_bytes() == (folder / "metrics.csv").read_bytes()
    assert (folder / "config.toml").is_file()


def test_resumed_at_the_end_trains_no_more(straight, run, tmp_path):
    folder = shutil.copytree(straight[0], tmp_path / "run")
    printed = run(folder, "--resume", "auto", "--epochs", "4", "--dry-run")
    assert "Note: the learning rate follows the new number of epochs" in printed.out
    printed = run(folder, "--resume", str(folder / "rag_bert.model.ep2"))
    assert printed.lines("Epoch ") == []
    assert len(printed.lines("epoch 3 ")) == 1
    assert len(rows(folder)) == 3


def test_resumed_for_more_epochs(run, tmp_path):
    """At a constant rate, two epochs and one more are three."""
    constant = ["--final-rate", "1"]
    run(tmp_path / "three", *constant)
    run(tmp_path / "two", *constant, "--epochs", "2")
    last = str(tmp_path / "two" / "rag_bert.model.ep1")
    printed = run(tmp_path / "two", *constant, "--log-every", "3", "--resume", last)
    assert printed.lines("Note: ") == [
        "Note: epochs was 2, is 3",
        "Note: log_every was 10, is 3",
    ]
    assert_same_checkpoint(*(checkpoint(tmp_path / name, "ep2") for name in ("two", "three")))


def test_resumed_from_another_version(run, tmp_path):
    """The log says which; a run of the same version, as in the tests above, has no such note."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("snvrag.io.checkpoint.version_line", lambda: "snvrag 0.0.9 (commit abc)")
        run(tmp_path, "--epochs", "1")
    notes = run(tmp_path, "--resume", "auto", "--epochs", "1", "--dry-run").lines("Note: ")
    assert notes == ["Note: the checkpoint was written by snvrag 0.0.9 (commit abc)"]


def test_auto_starts_afresh_where_nothing_is_intact(run, straight, tmp_path):
    """With its own log and table, whatever the broken run left."""
    folder = shutil.copytree(straight[0], tmp_path / "run")
    for path in folder.glob("rag_bert.model.*"):
        path.write_bytes(path.read_bytes()[:-1])
    printed = run(folder, "--resume", "auto")
    warnings = printed.lines("Warning: skipped ")
    assert len(warnings) == 4
    assert all("damaged" in line for line in warnings)
    assert (folder / "train.log").read_text() == printed.out
    assert (folder / "metrics.csv").read_bytes() == (straight[0] / "metrics.csv").read_bytes()
    assert_same_checkpoint(checkpoint(straight[0], "ep2"), checkpoint(folder, "ep2"))


# --- early stopping and the best ------------------------------------------------------------------


@pytest.fixture
def scored(monkeypatch):
    """Return the function that sets the F1 of the epochs to come, in which nothing is trained."""
    monkeypatch.setattr(Trainer, "_train_epoch", lambda _: None)

    def score(*values: float) -> None:
        left = iter(values)
        monkeypatch.setattr(
            Trainer,
            "_validate",
            lambda _: (1.0, {**dict.fromkeys(tables.COLUMNS, 0.5), "f1_overall": next(left)}),
        )

    return score


def test_training_stops_early(run, tmp_path, scored):
    """Without a gain above the minimum; and resumed, it does not go on."""
    options = ["--patience", "2", "--epochs", "9"]
    scored(0.5, 0.55, 0.59, 0.62, 0.63, 0.64)
    assert run(tmp_path / "low", *options, "--min-gain", "0.1").lines("Early stopping") == [
        "Early stopping: F1 gained no more than 0.1 in 2 epochs (best: epoch 3, 0.5900)"
    ]
    assert len(rows(tmp_path / "low")) == 3
    scored(0.5, 0.55, 0.59, 0.62, 0.63, 0.64)
    printed = run(tmp_path / "high", *options, "--min-gain", "0.025")
    assert len(rows(tmp_path / "high")) == 6
    last = str(tmp_path / "high" / "rag_bert.model.ep5")
    again = run(tmp_path / "high", *options, "--min-gain", "0.025", "--resume", last)
    assert again.lines("Epoch ") == []
    assert again.lines("Early stopping") == printed.lines("Early stopping")


def test_best_is_the_epoch_with_the_best_f1(run, tmp_path, scored):
    """V18's lagged an epoch behind. Resumed from before it, it is of no epoch in the history."""
    scored(0.5, 0.4, 0.9, 0.4)
    saved = run(tmp_path).lines("Saved ")
    assert ["best so far" in line for line in saved] == [True, False, True]
    assert_same_checkpoint(checkpoint(tmp_path, "ep2"), checkpoint(tmp_path, "best"), but=())
    assert checkpoint(tmp_path, "best")["early_stopping"]["best_epoch"] == 2
    run(tmp_path, "--epochs", "2", "--resume", str(tmp_path / "rag_bert.model.ep0"))
    assert checkpoint(tmp_path, "best")["epoch"] == 0


def test_only_the_newest_and_the_best_are_kept(run, tmp_path, scored):
    scored(0.9, 0.7, 0.6, 0.5)
    run(tmp_path, "--keep", "1")
    assert checkpoint_names(tmp_path) == ["best", "ep2"]
    run(tmp_path, "--keep", "2", "--resume", "auto", "--epochs", "4")
    assert checkpoint_names(tmp_path) == ["best", "ep2", "ep3"]
    assert checkpoint(tmp_path, "best")["epoch"] == 0
    assert len(rows(tmp_path)) == 4


# --- learning -------------------------------------------------------------------------------------


def test_it_learns(tmp_path, tiny_arguments):
    """It beats the untrained network and the frequency."""
    arguments = [*tiny_arguments, "--learning-rate", "0.01"]
    arguments += ["--batch-size", "8", "--epochs", "6", "--output", str(tmp_path)]
    untrained = make_trainer(arguments)
    loss, _ = untrained._validate()
    last = train(configure(arguments))[-1]
    assert last["val_loss"] < loss / 2
    baselines = checkpoint(tmp_path, "best")["baselines"]
    for name in ("allele frequency alone", "untrained network"):
        assert last["f1_overall"] > 0.02 + baselines[name]["f1_overall"], name


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--window-size", "10", "--k", "38", "--batch-size", "400"], "windows: 20 of"),
        (["--window-size", "200", "--flank", "300"], "windows: 1 of at most 200 sites, flanks of"),
        (["--warmup-steps", "0", "--accumulation", "100", "--cache-mb", "1e-3"], "windows: 4 of"),
    ],
)
def test_options_at_their_edges(run, tmp_path, arguments, expected):
    printed = run(tmp_path, "--epochs", "1", *arguments)
    assert len(printed.lines(expected)) == 1
    row = checkpoint(tmp_path, "ep0")["history"][0]
    assert 0 < row["train_loss"] < 10


def test_nothing_is_hidden(run, tmp_path):
    """No site is scored: losses are 0, metrics undefined, and the weights do not move."""
    options = ["--val-rate", "0", "--rare-rate", "0", "--mask-rates", "0", "--epochs", "1"]
    run(tmp_path, *options)
    content = checkpoint(tmp_path, "ep0")
    row = content["history"][0]
    assert (row["train_loss"], row["val_loss"]) == (0, 0)
    assert math.isnan(row["f1_overall"])
    before = make_trainer(["--config", str(tmp_path / "config.toml")]).network.state_dict()
    assert all(torch.equal(before[name], value) for name, value in content["model"].items())


def test_training_samples_of_another_file(run, tmp_path, make_panel, write_panel_vcf, tiny_alleles):
    """Without any site of the second window."""
    alleles = tiny_alleles[2:14]
    sites = np.setdiff1d(np.arange(200), np.arange(48, 105))
    other = make_panel(alleles, prefix="x").select_sites(sites)
    path = write_panel_vcf(tmp_path / "train.vcf", other, alleles[:, sites])
    printed = run(tmp_path / "out", "--train", str(path), "--epochs", "1")
    assert "training: 6 samples, 0 left out" in printed.out
    assert "  143  sites of the panel: typed" in printed.lines("  143  sites")
    assert checkpoint(tmp_path / "out", "ep0")["history"][0]["train_loss"] > 0


# --- output folders -------------------------------------------------------------------------------


def test_an_earlier_run_is_not_overwritten(straight, run, tmp_path):
    folder = shutil.copytree(straight[0], tmp_path / "run")
    (folder / "notes.txt").write_text("mine")

    def written() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = written()
    error = run(folder, code=2).err
    assert error.count("\n") == 1
    assert error.startswith(f"snvrag train: error: --output {folder}: ")
    assert written() == before
    run(folder, "--overwrite", "--epochs", "1")
    assert checkpoint_names(folder) == ["best", "ep0"]
    assert len(rows(folder)) == 1
    assert (folder / "notes.txt").read_text() == "mine"
