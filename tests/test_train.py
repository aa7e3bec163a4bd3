"""Training end to end on a tiny panel: log, files, resuming bit for bit, early stopping."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from snvrag.training.setup import choose_device

from snvrag import train
from snvrag.train import main
from snvrag.training import tables as report
from snvrag.training import trainer
from snvrag.training.early_stopping import EarlyStopping
from snvrag.training.options import Config, parse_arguments
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import Trainer

# Python 3.12 and later warn of every fork() of a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

# Dropout draws from torch's generator and accumulation leaves a group short at an epoch's end: both
# must be as they were for a resumed run to be the same.
LIVELY = ["--dropout", "0.2", "--accumulation", "2", "--batch-size", "7", "--flank", "5"]
# In a checkpoint: what the clock decides, and paths, and the log, whose lines have times.
CHANGES_WITH_THE_CLOCK = {"seconds", "train_seconds", "waited_seconds", "data_share", "log_bytes"}


@pytest.fixture(autouse=True, scope="module")
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Printed(NamedTuple):
    out: str
    err: str


def start(arguments: list[str], code: int = 0) -> Printed:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        got = main(arguments)
    assert got == code, err.getvalue()
    return Printed(out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def run(tiny_arguments):
    """Return the function that trains in this process and returns what was printed."""

    def begin(output, *arguments, code=0):
        return start([*tiny_arguments, *LIVELY, "--output", str(output), *arguments], code)

    return begin


def checkpoint(folder: Path, name: str) -> dict:
    return torch.load(folder / f"rag_bert.model.{name}", weights_only=True)


def same(a, b, place="") -> None:
    """Equal bit for bit, NaN included, but for what the clock decides."""
    assert type(a) is type(b), place
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, place
        assert a.shape == b.shape, place
        assert a.numpy().tobytes() == b.numpy().tobytes(), place
    elif isinstance(a, dict):
        assert list(a) == list(b), place
        for name in a:
            if name not in CHANGES_WITH_THE_CLOCK:
                same(a[name], b[name], f"{place}.{name}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), place
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            same(one, other, f"{place}[{i}]")
    else:
        assert a == b or (a != a and b != b), place


def same_run(one: dict, other: dict) -> None:
    for name in one:
        if name not in ("config", "log_bytes"):
            same(one[name], other[name], name)


def table(folder: Path, name: str = "metrics.csv") -> list[dict[str, str]]:
    with open(folder / name, newline="") as stream:
        return list(csv.DictReader(stream))


# --- one whole run --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def straight(tmp_path_factory, run):
    """Three epochs without a break; its folder and what it printed."""
    folder = tmp_path_factory.mktemp("straight") / "deep" / "out"
    return folder, run(folder, "--plot", "yes")


def test_log_lines(straight):
    """Contract 4.6: people grep these."""
    out, err = straight[1]
    assert err == ""
    lines = out.splitlines()
    assert [line for line in lines if line.startswith("Epoch ")] == [
        "Epoch 1/3", "Epoch 2/3", "Epoch 3/3",
    ]  # fmt: skip
    masking = [line for line in lines if line.startswith("[AF-Guided Masking]")]
    assert [re.search(r"seed (\d+), rate ([\d.]+)", line).groups() for line in masking] == [
        ("0", "0.30"), ("1", "0.30"), ("2", "0.40"),
    ]  # fmt: skip
    assert all(re.search(r"[\d.]+% of sites hidden", line) for line in masking)
    cache = [line for line in lines if line.startswith("JIT cache: ")]
    assert len(cache) == 3
    assert all(re.match(r"JIT cache: 4 builds in [\d.]+ ms, \d+ hits, [\d.]+ MB", c) for c in cache)
    assert all(re.search(r"epoch switch [\d.]+ ms", line) for line in cache)
    assert ["4 stale dropped" in line for line in cache] == [False, True, True]
    at = [i for i, line in enumerate(lines) if line.startswith("Validation Metrics:")]
    assert len(at) == 3
    for i in at:
        for line, stratum in zip(
            lines[i + 1 : i + 5], ("overall", "rare", "common", "rare_alt"), strict=True
        ):
            assert re.match(
                rf"  {stratum} +Recall [\d.na]+  Precision [\d.na]+  F1 [\d.na]+  R2 ", line
            )
    assert (straight[0] / "train.log").read_text() == out


def test_share_hidden_is_that_of_the_masks(straight, tiny_arguments):
    config = parse_arguments(tiny_arguments)
    sources = load_run_data(config)
    windows = Trainer(config, sources).windows
    shares = re.findall(r"([\d.]+)% of sites hidden", straight[1].out)
    for epoch, share in enumerate(shares):
        hidden = []
        for w, (start, stop) in enumerate(zip(windows.starts, windows.stops, strict=True)):
            af = sources.panel.af[start:stop]
            u = np.random.Generator(np.random.Philox(key=epoch * 10_000 + w)).random(af.size)
            hidden.append(u < np.where(af < 0.05, 0.7, (0.3, 0.3, 0.4)[epoch]))
        assert float(share) == pytest.approx(100 * np.concatenate(hidden).mean(), abs=0.06)


def test_table_at_the_end(straight):
    lines = straight[1].out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Validation, hidden sites"))
    assert lines[at + 1].split()[:4] == ["Recall", "Precision", "F1", "R2"]
    names = [line[:24].strip() for line in lines[at + 2 : at + 7]]
    assert names == ["allele frequency alone", "nearest haplotype", "epoch 1", "epoch 2", "epoch 3"]
    assert all(
        re.fullmatch(r"( +(\d\.\d{4}|nan)){9}", line[24:]) for line in lines[at + 2 : at + 7]
    )


def test_metrics_csv(straight):
    rows = table(straight[0])
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    metrics = [f"{m}_{s}" for s in ("overall", "rare", "common", "rare_alt")
               for m in ("recall", "precision", "f1", "r2")]  # fmt: skip
    expected = ["epoch", "mask_rate", "train_loss", "val_loss", *metrics]
    assert list(rows[0]) == expected
    assert [float(row["mask_rate"]) for row in rows] == [0.3, 0.3, 0.4]
    for row in rows:
        assert all(math.isfinite(float(row[name])) for name in ("train_loss", "val_loss"))
        assert 0 <= float(row["f1_overall"]) <= 1
    history = checkpoint(straight[0], "ep2")["history"]
    assert [[str(row[name]) for name in expected] for row in history] == [
        [row[name] for name in expected] for row in rows
    ]


def test_timing_csv(straight):
    """Apart from metrics.csv, which is the same however often a run was interrupted."""
    rows = table(straight[0], "timing.csv")
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for row in rows:
        assert 0 < float(row["data_share"]) < 1
        assert float(row["seconds"]) > 0


def test_other_files(straight, tiny_arguments):
    folder = straight[0]
    names = {path.name for path in folder.iterdir() if path.name != "tensorboard"}
    assert names == {
        "config.toml", "metrics.csv", "timing.csv", "metrics.png", "train.log",
        "rag_bert.model.best", "rag_bert.model.ep0", "rag_bert.model.ep1", "rag_bert.model.ep2",
    }  # fmt: skip
    assert (folder / "metrics.png").read_bytes().startswith(b"\x89PNG")
    config = parse_arguments([*tiny_arguments, *LIVELY, "--output", str(folder), "--plot", "yes"])
    assert parse_arguments(["--config", str(folder / "config.toml")]) == config


def test_checkpoint_holds_what_the_contract_says(straight):
    content = checkpoint(straight[0], "ep1")
    assert set(content) == {
        "format", "epoch", "step", "config", "fingerprint", "model", "optimizer", "schedule",
        "scaler", "early_stopping", "random_state", "epoch_position", "progress", "history",
        "timing", "log_bytes",
    }  # fmt: skip
    assert content["epoch"] == 1
    steps_an_epoch = math.ceil(math.ceil(20 * 4 / 7) / 2)
    assert content["step"] == 2 * steps_an_epoch
    assert len(content["history"]) == 2
    assert len(content["optimizer"]["state"]) > 0


def test_nothing_was_written_elsewhere(tmp_path, monkeypatch, run):
    """V18 wrote POP.json into the working directory."""
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "out", "--epochs", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_same_run_twice_is_the_same(straight, run, tmp_path):
    run(tmp_path)
    same_run(checkpoint(straight[0], "ep2"), checkpoint(tmp_path, "ep2"))


def test_another_seed_is_another_run(straight, run, tmp_path):
    run(tmp_path, "--seed", "1", "--epochs", "1")
    one, other = (checkpoint(folder, "ep0")["model"] for folder in (straight[0], tmp_path))
    assert not torch.equal(one["fuse.0.weight"], other["fuse.0.weight"])


def test_workers_change_nothing(straight, run, tmp_path):
    run(tmp_path, "--workers", "2")
    same_run(checkpoint(straight[0], "ep2"), checkpoint(tmp_path, "ep2"))


# --- interrupted and resumed ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, run):
    """A run stopped by Ctrl-C in the middle of its second epoch; a folder to copy."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        step, taken = trainer.optimizer_step, []

        def stop(*arguments, **options):
            taken.append(step(*arguments, **options))
            if len(taken) == 9:
                raise KeyboardInterrupt

        patch.setattr(trainer, "optimizer_step", stop)
        out, err = run(folder, code=130)
    assert "Epoch 2/3" in out
    assert err == (
        "snvrag.train: interrupted: continue with --resume auto from the newest checkpoint\n"
    )
    assert not (folder / "rag_bert.model.ep1").exists()
    return folder


@pytest.fixture
def broken_off(interrupted, tmp_path):
    return shutil.copytree(interrupted, tmp_path / "run")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_resumed_is_uninterrupted_bit_for_bit(straight, broken_off, run, workers):
    out, _ = run(
        broken_off, "--resume", str(broken_off / "rag_bert.model.ep0"), "--resume-epoch", "1",
        "--workers", workers,
    )  # fmt: skip
    assert [line for line in out.splitlines() if line.startswith("Epoch ")] == [
        "Epoch 2/3", "Epoch 3/3",
    ]  # fmt: skip
    for name in ("ep1", "ep2", "best"):
        same_run(checkpoint(straight[0], name), checkpoint(broken_off, name))
    for name in ("metrics.csv",):
        assert (straight[0] / name).read_bytes() == (broken_off / name).read_bytes()
    end = straight[1].out.index("Validation, hidden sites")
    assert (
        straight[1].out[end:].splitlines()[:7] == out[out.index("Validation, h") :].splitlines()[:7]
    )


def test_resumed_into_another_folder(straight, interrupted, run, tmp_path):
    run(tmp_path / "new", "--resume", str(interrupted / "rag_bert.model.ep0"))
    same_run(checkpoint(straight[0], "ep2"), checkpoint(tmp_path / "new", "ep2"))
    assert len(table(tmp_path / "new")) == 3
    assert (tmp_path / "new" / "config.toml").is_file()


def test_resumed_at_the_end_trains_no_more(straight, run, tmp_path):
    folder = shutil.copytree(straight[0], tmp_path / "run")
    out, _ = run(folder, "--resume", str(folder / "rag_bert.model.ep2"))
    assert not re.search("^Epoch ", out, re.MULTILINE)
    assert "epoch 3" in out
    assert len(table(folder)) == 3


def test_resumed_for_more_epochs(straight, run, tmp_path):
    """At a constant rate, three epochs and two more are five."""
    constant = ["--final-rate", "1"]
    run(tmp_path / "five", *constant, "--epochs", "5")
    run(tmp_path / "three", *constant)
    out, _ = run(tmp_path / "three", *constant, "--epochs", "5", "--log-every", "3",
                 "--resume", str(tmp_path / "three" / "rag_bert.model.ep2"))  # fmt: skip
    notes = [line for line in out.splitlines() if line.startswith("Note: ")]
    assert notes == ["Note: --epochs was 3, is 5", "Note: --log-every was 10, is 3"]
    one, other = (checkpoint(tmp_path / name, "ep4") for name in ("five", "three"))
    same_run(one, other)


def test_best_is_never_that_of_a_run_that_was_given_up(tmp_path, run, monkeypatch):
    """Resumed from before it, a best checkpoint of later epochs is of no epoch in the history."""
    scores = iter([0.5, 0.4, 0.9, 0.4])
    monkeypatch.setattr(
        Trainer, "_validate", lambda _: (1.0, {**_no_metrics(), "f1_overall": next(scores)})
    )
    run(tmp_path)
    assert checkpoint(tmp_path, "best")["epoch"] == 2
    run(tmp_path, "--epochs", "2", "--resume", str(tmp_path / "rag_bert.model.ep0"))
    best = checkpoint(tmp_path, "best")
    assert best["epoch"] == 0


def test_learning_rate_is_a_function_of_the_step(straight, tiny_arguments):
    config = parse_arguments([*tiny_arguments, *LIVELY])
    steps_an_epoch = math.ceil(math.ceil(20 * 4 / 7) / 2)
    total = 3 * steps_an_epoch
    for epoch in range(3):
        content = checkpoint(straight[0], f"ep{epoch}")
        step = content["step"] - 1
        warmup = min(1, (step + 1) / config.warmup_steps)
        decay = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / total))
        rate = content["optimizer"]["param_groups"][0]["lr"]
        assert rate == pytest.approx(config.learning_rate * warmup * decay, rel=1e-12)


# --- early stopping and the best ------------------------------------------------------------------


def _no_metrics() -> dict[str, float]:
    return {name: 0.5 for name in report.COLUMNS if re.match("recall|precision|f1|r2", name)}


def test_early_stopping_counts_epochs_without_gain():
    stopping = EarlyStopping(patience=2, min_gain=0.01)
    assert [stopping.update(e, f1) for e, f1 in enumerate([0.5, 0.505, 0.52, 0.52, 0.525])] == [
        True, True, True, False, True,
    ]  # fmt: skip
    assert stopping.should_stop
    assert (stopping.best_epoch, stopping.best_f1) == (4, 0.525)
    never = EarlyStopping(patience=0, min_gain=0.0)
    for epoch in range(50):
        never.update(epoch, 0.1)
    assert not never.should_stop


def test_slow_gains_add_up():
    """Each is below the minimum gain, together they are not."""
    stopping = EarlyStopping(patience=3, min_gain=0.01)
    assert all(stopping.update(e, 0.5 + 0.006 * e) for e in range(9))
    assert not stopping.should_stop


def test_training_stops_early(run, tmp_path):
    out, _ = run(tmp_path, "--patience", "1", "--min-gain", "1", "--epochs", "9")
    assert out.count("Validation Metrics:") == 2
    assert re.search(r"^Early stopping: F1 gained no more than 1.0 in 1 epochs", out, re.MULTILINE)
    assert len(table(tmp_path)) == 2
    # Resumed, it does not go on.
    out, _ = run(
        tmp_path, "--patience", "1", "--min-gain", "1", "--epochs", "9",
        "--resume", str(tmp_path / "rag_bert.model.ep1"),
    )  # fmt: skip
    assert "Validation Metrics:" not in out
    assert "Early stopping" in out


def test_best_is_the_epoch_with_the_best_f1(run, tmp_path, monkeypatch):
    """V18's lagged an epoch behind."""
    scores = iter([0.5, 0.7, 0.6])
    monkeypatch.setattr(
        Trainer, "_validate", lambda _: (1.0, {**_no_metrics(), "f1_overall": next(scores)})
    )
    out, _ = run(tmp_path)
    assert [("best so far" in line) for line in out.splitlines() if line.startswith("Saved ")] == [
        True, True, False,
    ]  # fmt: skip
    same(checkpoint(tmp_path, "ep1"), checkpoint(tmp_path, "best"))
    assert checkpoint(tmp_path, "best")["early_stopping"]["best_epoch"] == 1


def test_only_the_newest_and_the_best_are_kept(run, tmp_path, monkeypatch):
    scores = iter([0.9, 0.7, 0.6, 0.5])
    monkeypatch.setattr(
        Trainer, "_validate", lambda _: (1.0, {**_no_metrics(), "f1_overall": next(scores)})
    )

    def kept():
        return sorted(p.name.removeprefix("rag_bert.model.") for p in tmp_path.glob("rag_bert*"))

    run(tmp_path, "--keep", "1")
    assert kept() == ["best", "ep2"]
    run(tmp_path, "--keep", "2", "--resume", "auto", "--epochs", "4")
    assert kept() == ["best", "ep2", "ep3"]
    assert checkpoint(tmp_path, "best")["epoch"] == 0
    assert len(table(tmp_path)) == 4


def test_auto_starts_afresh_where_nothing_is_whole(run, straight, tmp_path):
    """With its own log and table, whatever the broken run left."""
    folder = shutil.copytree(straight[0], tmp_path / "run")
    for path in folder.glob("rag_bert.model.*"):
        path.write_bytes(path.read_bytes()[:-1])
    out, _ = run(folder, "--resume", "auto")
    warnings = [line for line in out.splitlines() if line.startswith("Warning: passed over ")]
    assert len(warnings) == 4
    assert all("damaged" in line for line in warnings)
    assert (folder / "train.log").read_text() == out
    assert (folder / "metrics.csv").read_bytes() == (straight[0] / "metrics.csv").read_bytes()
    same_run(checkpoint(straight[0], "ep2"), checkpoint(folder, "ep2"))


# --- learning -------------------------------------------------------------------------------------


def test_it_learns(tmp_path, tiny_arguments):
    """With frozen masks, the training loss falls, and validation beats the frequency alone."""
    arguments = [*tiny_arguments, "--epochs", "6", "--mask-rates", "0.5", "--layers", "1"]
    history = train.train(parse_arguments([*arguments, "--output", str(tmp_path)]))
    losses = [row["train_loss"] for row in history]
    assert losses[-1] < losses[0]
    assert history[-1]["f1_overall"] > 0.6
    assert history[-1]["val_loss"] < history[0]["val_loss"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--weighting", "rank", "--neighbour-prior", "no", "--k", "1", "--segment-size", "0"],
        ["--shuffle", "window", "--focal-gamma", "2", "--mask-generator", "mt19937"],
        ["--window-size", "1", "--k", "38", "--batch-size", "400"],
        ["--window-size", "200", "--flank", "300", "--span", "0"],
        ["--val-rate", "0", "--rare-rate", "0", "--mask-rates", "0"],
        ["--warmup-steps", "0", "--accumulation", "100", "--cache-mb", "0.001"],
    ],
)
def test_options_at_their_edges(run, tmp_path, arguments):
    run(tmp_path, "--epochs", "1", "--span", "0", *arguments)
    row = table(tmp_path)[0]
    assert math.isfinite(float(row["train_loss"]))
    assert math.isfinite(float(row["val_loss"]))


def test_training_samples_of_another_file(run, tmp_path, make_panel, write_panel_vcf, tiny_alleles):
    """Without any site of the second window."""
    rows = tiny_alleles[2:14]
    sites = np.setdiff1d(np.arange(200), np.arange(48, 105))
    other = make_panel(rows, prefix="x").select_sites(sites)
    path = write_panel_vcf(tmp_path / "train.vcf", other, rows[:, sites])
    out, _ = run(tmp_path / "out", "--train", str(path), "--epochs", "1")
    assert "training: 6 samples, 143 of the panel's 200 sites" in out
    assert math.isfinite(float(table(tmp_path / "out")[0]["train_loss"]))


# --- output folders -------------------------------------------------------------------------------


def test_an_earlier_run_is_not_overwritten(straight, run, tmp_path):
    folder = shutil.copytree(straight[0], tmp_path / "run")

    def written():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = written()
    _, err = run(folder, code=2)
    assert err.count("\n") == 1
    assert str(folder) in err
    assert "--overwrite yes" in err
    assert written() == before
    run(folder, "--overwrite", "yes", "--epochs", "1")
    assert not (folder / "rag_bert.model.ep1").exists()
    assert len(table(folder)) == 1


def test_other_files_in_the_folder_are_left_alone(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    run(tmp_path, "--epochs", "1", "--overwrite", "yes")
    assert (tmp_path / "notes.txt").read_text() == "mine"


# --- parts ----------------------------------------------------------------------------------------


def test_choose_device():
    assert choose_device("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto") == torch.device(expected)


def test_plot_without_matplotlib(run, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "plot_metrics", lambda *_: False)
    out, _ = run(tmp_path, "--plot", "yes", "--epochs", "1")
    assert "No plot: matplotlib is not installed (pip install 'snvrag[plot]')" in out


def test_every_option_is_read_somewhere():
    """An option that nothing reads would be a promise without a keeper."""
    folder = Path(train.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    unread = [field.name for field in fields(Config) if f"config.{field.name}" not in text]
    assert unread == []
