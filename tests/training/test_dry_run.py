"""A dry run reports what would be done and does nothing."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch

from helpers import mosaic_haplotypes
from snvrag._installation import version_line
from snvrag.training import dry_run, memory
from snvrag.training.distributed import Ranks
from snvrag.training.dry_run import plan_lines
from snvrag.training.memory import PeakBytes, pass_bytes
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import Trainer
from training_runs import configure, make_trainer, run_train

OPTIONS = ["--batch-size", "7", "--accumulation", "2"]


def _pass(text: str) -> int:
    """Return the memory of a pass in a plan, in MB."""
    return int(re.search(r"pass of a batch: about (\d+) MB", text)[1])


@pytest.fixture
def dry(tiny_arguments, tmp_path):
    def run(*options, output=tmp_path / "out"):
        arguments = [*tiny_arguments, *OPTIONS, "--output", str(output), *options, "--dry-run"]
        return run_train(arguments).out

    return run


def test_the_plan(dry, tmp_path):
    text = dry()
    for line in (
        "200 records, 200 kept",
        "reference panel: 20 samples, 40 haplotypes, 200 sites (0 monomorphic dropped)",
        "windows: 4 of at most 64 sites; network: ",
        "training: 20 samples x 4 windows = 12 batches of at most 7 samples = 6 steps an epoch",
        "validation: 4 samples, 3 batches an epoch",
        "epochs: 3 to train, at most 18 steps in all, 4 of warm-up",
        "Dry run: nothing was trained, nothing was written",
    ):
        assert line in text
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_of_a_run(dry, tiny_arguments, tiny_model):
    output = tiny_model.parent

    def written():
        return {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}

    before = written()
    options = ["--batch-size", "16", "--accumulation", "1", "--epochs", "5"]
    text = dry("--resume", "auto", *options, output=output)
    start = f"Resumed from {output}/rag_bert.model.ep2: continuing at epoch index 3\n"
    assert text.startswith(f"{version_line()}\n{start}")
    assert "Note: epochs was 3, is 5" in text
    assert "epochs: 2 to train, at most 16 steps in all" in text
    assert written() == before


def test_sizes_are_those_of_the_things(tiny_arguments):
    trainer = make_trainer([*tiny_arguments, *OPTIONS])
    text = "\n".join(plan_lines(trainer))
    parameters = sum(p.numel() for p in trainer.network.parameters())
    form = r"memory, (\d+) parameters, gradients and optimizer: ([\d.]+) MB; a checkpoint: ([\d.]+)"
    found = re.search(form, text)
    assert int(found[1]) == parameters
    assert float(found[2]) == pytest.approx(16 * parameters / 1e6, abs=0.06)
    trainer.take_step([next(trainer.train_loader.batches(0))])
    state = trainer.optimizer.state_dict()["state"]
    moments = sum(t.nbytes for values in state.values() for t in values.values() if t.dim())
    assert float(found[3]) == pytest.approx((4 * parameters + moments) / 1e6, abs=0.06)


def test_li_stephens_takes_memory(head_arguments, monkeypatch):
    """On one thread: the kept forward probabilities of 64 x 1 haplotypes at sqrt(200) sites."""

    def line(*more: str) -> str:
        lines = plan_lines(make_trainer([*head_arguments, *more]))
        return next(line for line in lines if "Li-Stephens" in line)

    monkeypatch.setattr(dry_run, "_MB", 1.0)
    name = "memory, Li-Stephens model: at most"
    assert line() == f"{name} {8 * 15 * 64}.0 MB (threads: 1)"
    assert line("--workers", "2") == (
        f"{name} {2 * 8 * 15 * 64}.0 MB (threads: 2), in the worker processes"
    )


def test_the_plan_of_a_head(head_arguments):
    text = "\n".join(plan_lines(make_trainer(head_arguments)))
    assert "20 samples x 4 windows = 5 batches of at most 4 samples = 5 steps an epoch" in text
    assert "validation: 4 samples, 1 batches an epoch" in text


def test_ranks_share_a_batch(tiny_arguments):
    config = configure([*tiny_arguments, "--batch-size", "12"])
    data = load_run_data(config)
    texts = ["\n".join(plan_lines(Trainer(config, data, Ranks(0, n)))) for n in (1, 3)]
    alone, shared = map(_pass, texts)
    assert alone > 3
    # A pass of validation has all 12 samples, but keeps nothing for a backward pass.
    assert alone / 3 - 1 <= shared < alone / 2


def test_nothing_is_compiled(dry, monkeypatch):
    """A compiled network would pad one sample to a batch."""
    monkeypatch.setenv("CXX", "true")  # there is a compiler, and it makes nothing
    assert _pass(dry()) == _pass(dry("--compile"))


def test_memory_is_what_a_run_takes(tmp_path, make_panel, write_panel_vcf):
    """The peak of a training in a process of its own, one step, and validation."""
    alleles = mosaic_haplotypes(40, 800, seed=1)
    panel = write_panel_vcf(tmp_path / "panel.vcf", make_panel(alleles), alleles)
    options = ["--panel", str(panel), "--preset", "v18", "--width", "48", "--layers", "3"]
    options += ["--heads", "2", "--batch-size", "32", "--val-fraction", "0.2", "--epochs", "1"]
    options += ["--window-size", "500", "--threads", "1", "--output", str(tmp_path / "out")]

    def megabytes(form: str, *more: str) -> int:
        command = [sys.executable, "-m", "snvrag.train", *options, *more]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return int(re.search(form, printed)[1])

    said = megabytes(r"(?m)^memory, in all: about (\d+) MB resident$", "--dry-run")
    measured = megabytes(r"Memory: at most (\d+) MB resident")
    assert said == pytest.approx(measured, rel=0.25)
    # Most of it is what the network works in.
    assert measured > 600


def test_peak_of_a_backward_pass():
    """Of y = tanh(x)**2 the backward pass holds x's gradient beside what is kept and temporaries;
    tensors that were there before do not count."""
    x = torch.zeros(1000, requires_grad=True)
    with PeakBytes(x.device, [x]) as measured:
        y = x.tanh().square()
        assert measured.peak == 2 * x.nbytes
        del y
        z = x.tanh()
        assert measured.peak == 2 * x.nbytes  # y is gone
        torch.autograd.backward(z.square().sum())
    assert measured.peak >= 4 * x.nbytes


def test_a_pass_is_linear_in_the_samples(tiny_arguments):
    trainer = make_trainer([*tiny_arguments, "--batch-size", "12"])
    batch, neighbours = next(trainer.train_loader.batches(0))
    said = pass_bytes(trainer.runner, (batch, neighbours), 12)
    for parameter in trainer.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    fields = [*vars(batch).values(), *vars(neighbours).values()]
    existing = [*trainer.network.parameters(), *(p.grad for p in trainer.network.parameters())]
    existing += [field for field in fields if isinstance(field, torch.Tensor)]
    with PeakBytes(trainer.device, existing) as measured:
        trainer.runner.backward([(batch, neighbours)], batch.num_scored)
    assert said == pytest.approx(memory._WITH_GAPS * measured.peak, rel=0.02)
