"""Training a head end to end: what it learns, resuming bit for bit, workers and ranks."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from snvrag.errors import InputError
from snvrag.network.head_network import HeadNetwork
from snvrag.training.signals import TrainingInterrupted
from training_runs import (
    assert_same_checkpoint,
    checkpoint,
    ended_train,
    interrupted_at,
    make_trainer,
    rows,
    run_train,
)

# Python 3.12 and later warn of every fork() of a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
# 20 samples are 7 batches an epoch, the last of 2 samples, and 4 steps.
LIVELY = ["--batch-size", "3", "--accumulation", "2", "--genetic-map"]


@pytest.fixture(scope="module")
def arguments(head_arguments, tmp_path_factory) -> list[str]:
    path = tmp_path_factory.mktemp("map") / "map.txt"
    path.write_text("1 . 0 900\n1 . 2 3000\n1 . 2.1 9000\n")
    return [*head_arguments, *LIVELY, str(path)]


@pytest.fixture(scope="module")
def straight(arguments, tmp_path_factory) -> tuple[Path, Any]:
    """Three epochs without a break; the folder and what was printed."""
    folder = tmp_path_factory.mktemp("straight") / "out"
    return folder, run_train([*arguments, "--output", str(folder)])


def test_the_log(straight):
    """The cache builds what samples share once an epoch."""
    folder, printed = straight
    assert printed.lines("Epoch ") == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    form = r"JIT cache: 1 builds in [\d.]+ ms, 6 hits, [\d.]+ MiB, (\d) stale dropped, "
    form += r"Li-Stephens [\d.]+ ms, epoch switch [\d.]+ ms"
    cache = [re.fullmatch(form, line)[1] for line in printed.lines("JIT cache: ")]
    assert cache == ["0", "1", "1"]
    titles, *table = printed.out.splitlines()[-7:]
    assert titles.split()[0] == "Recall"
    assert [line[:10] for line in table] == [
        *("allele fre", "nearest ha", "Li-Stephen"),
        *("epoch 1   ", "epoch 2   ", "epoch 3   "),
    ]
    assert (folder / "train.log").read_text() == printed.out


def test_it_learns(head_arguments, tmp_path):
    """It is better than the model that it starts from."""
    options = ["--epochs", "4", "--learning-rate", "0.01", "--output", str(tmp_path)]
    untrained = make_trainer([*head_arguments, *options])
    before, _ = untrained._validate()
    run_train([*head_arguments, *options])
    content = checkpoint(tmp_path, "ep3")
    assert content["history"][-1]["val_loss"] < 0.97 * before
    model = content["baselines"]["Li-Stephens model alone"]
    for name in ("allele frequency alone", "nearest haplotype"):
        assert content["baselines"][name]["f1_overall"] < model["f1_overall"]


@pytest.mark.parametrize("step", [1, 4, 7])
def test_resumed_at_any_step_it_is_the_same_run(arguments, straight, tmp_path, step):
    """Bit for bit, within an epoch and at its end."""
    options = [*arguments, "--output", str(tmp_path)]
    trainer = make_trainer(options)
    take = trainer.take_step

    def stopping(group):
        take(group)
        if trainer.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.take_step = stopping
    with pytest.raises(TrainingInterrupted):
        trainer.fit()
    printed = run_train([*options, "--resume", "auto"])
    assert "Learning rates..." not in printed.out
    assert_same_checkpoint(checkpoint(tmp_path, "ep2"), checkpoint(straight[0], "ep2"))
    assert rows(tmp_path) == rows(straight[0])


def test_a_killed_run_goes_on_from_its_last_epoch(arguments, straight, tmp_path):
    options = [*arguments, "--output", str(tmp_path)]
    with interrupted_at(6):
        assert ended_train(options)[0] == 130
    run_train([*options, "--resume", "auto"])
    assert_same_checkpoint(checkpoint(tmp_path, "ep2"), checkpoint(straight[0], "ep2"))


@pytest.mark.parametrize(
    "more", [["--workers", "2"], ["--workers", "1", "--start-method", "spawn"]]
)
def test_workers_change_nothing(arguments, straight, tmp_path, monkeypatch, more):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of spawned workers
    run_train([*arguments, *more, "--output", str(tmp_path)])
    assert_same_checkpoint(checkpoint(tmp_path, "ep2"), checkpoint(straight[0], "ep2"))


def test_a_loss_that_is_not_finite_names_the_samples(arguments, tmp_path, monkeypatch):
    loss = HeadNetwork.loss
    spoilt = staticmethod(lambda *given: loss(*given) * float("nan"))
    monkeypatch.setattr(HeadNetwork, "loss", spoilt)
    trainer = make_trainer([*arguments, "--output", str(tmp_path)])
    with pytest.raises(InputError, match=r"batch 0 \(its samples: s\d+, s\d+, s\d+\): the state"):
        trainer.fit()


def test_nothing_is_hidden(head_arguments, tmp_path):
    """No site is scored: losses are 0, metrics undefined, and the weights do not move."""
    options = ["--val-rate", "0", "--rare-rate", "0", "--mask-rates", "0", "--epochs", "1"]
    run_train([*head_arguments, *options, "--output", str(tmp_path)])
    content = checkpoint(tmp_path, "ep0")
    assert (content["history"][0]["train_loss"], content["history"][0]["val_loss"]) == (0, 0)
    weight = content["model"]["head.output.weight"]
    assert not weight.any()


def test_everything_is_hidden(head_arguments, tmp_path):
    """No site is observed: what is left is the frequency."""
    options = ["--val-rate", "1", "--rare-rate", "1", "--mask-rates", "1", "--epochs", "1"]
    run_train([*head_arguments, *options, "--output", str(tmp_path)])
    row = checkpoint(tmp_path, "ep0")["history"][0]
    assert 0 < row["train_loss"] < 2


def test_training_samples_of_another_file(
    head_arguments, tmp_path, make_panel, write_panel_vcf, tiny_alleles
):
    """Sites that the file lacks are hidden and not scored."""
    other = make_panel(tiny_alleles[2:14, 30:], prefix="x")
    path = write_panel_vcf(tmp_path / "train.vcf", other, tiny_alleles[2:14, 30:])
    options = ["--train", str(path), "--epochs", "1", "--output", str(tmp_path / "out")]
    run_train([*head_arguments, *options])
    assert checkpoint(tmp_path / "out", "ep0")["history"][0]["train_loss"] > 0
