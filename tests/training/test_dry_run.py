"""A dry run tells what would be done and does nothing."""

from __future__ import annotations

import re

import pytest
import torch

from snvrag.train import main
from snvrag.training import dry_run as plan
from snvrag.training.distributed import Ranks
from snvrag.training.dry_run import plan_lines
from snvrag.training.memory import activation_bytes, peak_bytes
from snvrag.training.options import parse_arguments
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import Trainer

OPTIONS = ["--batch-size", "7", "--accumulation", "2"]


@pytest.fixture(autouse=True, scope="module")
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def dry(tiny_arguments, tmp_path, capsys):
    def run(*options, output=tmp_path / "out"):
        arguments = [*tiny_arguments, *OPTIONS, "--output", str(output), *options, "--dry-run"]
        assert main(arguments) == 0
        return capsys.readouterr().out

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
        "memory, panel: 0.0 MB",
        "Dry run: nothing was trained, nothing was written",
    ):
        assert line in text
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_of_a_run(dry, tiny_arguments, tmp_path, capsys):
    output = tmp_path / "run"
    arguments = [*tiny_arguments, *OPTIONS, "--output", str(output)]
    assert main([*arguments, "--epochs", "1"]) == 0

    def written():
        return {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}

    before = written()
    capsys.readouterr()
    text = dry("--resume", "auto", output=output)
    assert text.startswith(
        f"Resumed from {output}/rag_bert.model.ep0: continuing at epoch index 1\n"
    )
    assert "Note: --epochs was 1, is 3" in text
    assert "epochs: 2 to train, at most 12 steps in all" in text
    assert written() == before


def test_wrong_options_are_refused_as_ever(dry, tiny_arguments, tmp_path, capsys):
    assert main([*tiny_arguments, "--dry-run", "--window-size", "999"]) == 2
    assert "--window-size 999" in capsys.readouterr().err


def test_sizes_are_those_of_the_things(tiny_arguments):
    config = parse_arguments([*tiny_arguments, *OPTIONS])
    trainer = Trainer(config, load_run_data(config))
    text = "\n".join(plan_lines(trainer))
    parameters = sum(p.numel() for p in trainer.network.parameters())
    found = re.search(
        r"memory, (\d+) parameters, gradients and optimizer: ([\d.]+) MB; a checkpoint: ([\d.]+)",
        text,
    )
    assert int(found[1]) == parameters
    assert float(found[2]) == pytest.approx(16 * parameters / 1e6, abs=0.06)
    trainer.take_step([next(trainer.train_loader.epoch(0))])
    state = trainer.optimizer.state_dict()["state"]
    moments = sum(t.nbytes for values in state.values() for t in values.values() if t.dim())
    assert float(found[3]) == pytest.approx((4 * parameters + moments) / 1e6, abs=0.06)


def test_li_stephens_models_take_memory(tiny_arguments, monkeypatch):
    """On one thread: the kept forward probabilities of 64 x 1 haplotypes at 2 sqrt(200) sites, and
    the answers for 14 queries and two models, over all 200 sites twice and a window of 50 once."""
    options = ["--li-stephens-flank", "-1", "--ne", "1e4", "1e5", "--threads", "1"]

    def line(*more: str) -> str:
        config = parse_arguments([*tiny_arguments, *OPTIONS, *options, *more])
        lines = plan_lines(Trainer(config, load_run_data(config)))
        return next((line for line in lines if "Li-Stephens" in line), "")

    working, answers = 8 * 15 * 64, 4 * 14 * 2 * (2 * 200 + 50)
    monkeypatch.setattr(plan, "_MB", 1.0)
    assert line() == (
        f"memory, Li-Stephens models: at most {working + answers}.0 MB (over 200 sites, threads: 1)"
    )
    assert f" {2 * working + answers}.0 MB" in line("--workers", "2")
    assert line("--li-stephens", "no") == ""


def test_ranks_share_a_batch(tiny_arguments):
    config = parse_arguments([*tiny_arguments, "--batch-size", "12"])
    sources = load_run_data(config)
    texts = ["\n".join(plan_lines(Trainer(config, sources, Ranks(0, n)))) for n in (1, 3)]
    alone, shared = (int(re.search(r"batch: about (\d+) MB", text)[1]) for text in texts)
    assert shared == pytest.approx(alone / 3, abs=1)
    assert alone > 3


def test_nothing_is_compiled(dry, monkeypatch):
    """What one sample needs would else be what a batch needs: it would be filled up."""
    monkeypatch.setenv("CXX", "true")  # there is a compiler, and it makes nothing
    lines = [text.splitlines() for text in (dry(), dry("--compile", "yes"))]
    assert lines[0] == lines[1]


def test_activations_grow_with_the_batch(tiny_arguments):
    config = parse_arguments([*tiny_arguments, "--batch-size", "12"])
    trainer = Trainer(config, load_run_data(config))
    batch, neighbours = next(trainer.train_loader.epoch(0))
    network = trainer.network.train()
    sizes = [activation_bytes(network, batch.rows(0, n), neighbours.rows(0, n)) for n in (1, 2, 12)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[2] == pytest.approx(12 * sizes[0], rel=0.3)
    # At the least, the inputs of both feed-forward layers of every block.
    assert sizes[2] > 12 * 2 * batch.alleles.shape[2] * config.layers * 5 * config.width * 4


def test_peak_is_of_this_process():
    before = peak_bytes()
    assert 10e6 < before < 1e12
    block = torch.ones(int(before + 50e6) // 4)
    assert peak_bytes() > before
    del block
