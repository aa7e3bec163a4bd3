"""Dense retrieval as a whole: its benchmark, and a run that is stopped and resumed."""

from __future__ import annotations

import os
import signal

import dense_retrieval
import torch

from snvrag.training import trainer as trainer_module
from training_runs import assert_same_checkpoint, checkpoint, run_train

DENSE = [
    "--retrieval",
    "dense",
    "--save-every-minutes",
    "0",
]


def test_benchmark(tiny_vcf, tmp_path, capsys):
    """Hamming copies the same haplotypes in every epoch; learned weights change what is copied."""
    sizes = ["--width", "8", "--heads", "1", "--window-size", "64", "--epochs", "2"]
    rate = ["--learning-rate", "0.05", "--warmup-steps", "1"]
    where = ["--panel", str(tiny_vcf), "--val-fraction", "0.2", "--output", str(tmp_path)]
    dense_retrieval.main([*sizes, *rate, *where, "--threads", "1"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[-4:]]
    assert [row[:2] for row in rows] == [
        [retrieval, f"epoch {epoch}"] for retrieval in ("hamming", "dense") for epoch in (1, 2)
    ]
    copied = [row[2:4] for row in rows]
    assert copied[0] == copied[1] != copied[3]


def test_a_resumed_run_is_the_same(tiny_arguments, tmp_path, monkeypatch):
    """Bit for bit: the weights of the search are among what is saved."""
    arguments = [*tiny_arguments, *DENSE, "--epochs", "2"]
    run_train([*arguments, "--output", str(tmp_path / "whole")])
    take, taken = trainer_module.optimizer_step, []

    def interrupt(*given):
        take(*given)
        taken.append(None)
        if len(taken) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "optimizer_step", interrupt)
        run_train([*arguments, "--output", str(tmp_path / "cut")], code=143)
    run_train([*arguments, "--output", str(tmp_path / "cut"), "--resume", "auto"])
    whole, cut = (checkpoint(tmp_path / name, "ep1") for name in ("whole", "cut"))
    assert_same_checkpoint(whole, cut)
    scale = whole["model"]["site_scale.perceptron.2.weight"]
    assert not torch.equal(scale, torch.zeros_like(scale))
