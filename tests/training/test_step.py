"""A gradient does not depend on how its group is divided; a step follows it."""

from __future__ import annotations

import math

import pytest
import torch

from snvrag.errors import InputError
from snvrag.log import log
from snvrag.training.options import TrainingConfig
from snvrag.training.progress import EpochSums
from snvrag.training.run_data import load_run_data
from snvrag.training.step import learning_rate, micro_batches, optimizer_step
from snvrag.training.trainer import Trainer
from training_runs import configure, make_trainer, weights

EPOCH = 4


@pytest.fixture(scope="module")
def make(tiny_arguments, tmp_path_factory):
    """Return the function that makes a trainer; all have the same data."""
    data = load_run_data(configure(tiny_arguments))
    output = str(tmp_path_factory.mktemp("out"))

    def build(*options: str) -> Trainer:
        trainer = make_trainer([*tiny_arguments, *options, "--output", output], data)
        # Not Adam: it magnifies what rounding leaves of a gradient that cancels.
        trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=1.0)
        return trainer

    return build


@pytest.fixture(scope="module")
def trainer(make):
    made = make("--batch-size", "12", "--flank", "5", "--focal-gamma", "0.5")
    made.network.train()
    return made


@pytest.fixture(scope="module")
def batches(trainer):
    made = list(trainer.train_loader.batches(EPOCH))
    assert len({int(batch.num_scored) for batch, _ in made}) > 1  # else a mean of means would do
    return made


def gradient(trainer, group, num_scored) -> tuple[torch.Tensor, EpochSums]:
    trainer.network.zero_grad(set_to_none=True)
    sums, losses = trainer.runner.backward(group, num_scored)
    assert losses.shape == (len(group),)
    parts = [p.grad.flatten() for p in trainer.network.parameters() if p.grad is not None]
    return torch.cat(parts), sums


def assert_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.norm() > 0
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_parts", [2, 5, 12])
def test_gradient_does_not_depend_on_the_batches(trainer, batches, num_parts):
    group = batches[:3]
    total = sum(batch.num_scored for batch, _ in group)
    expected, sums = gradient(trainer, group, total)
    cut = [part for pair in group for part in micro_batches(pair, num_parts)]
    assert max(batch.num_samples for batch, _ in cut) == -(-12 // num_parts)
    got, again = gradient(trainer, cut, total)
    assert_close(got, expected)
    torch.testing.assert_close(again.loss, sums.loss, rtol=1e-6, atol=0)
    assert torch.equal(again.num_scored, sums.num_scored)
    assert float(sums.num_scored) == total
    assert sums.mean_loss == pytest.approx(float(sums.loss) / total)


def test_gradient_is_of_the_mean_over_all_scored_sites(trainer, batches):
    """Not the mean of the batches' means."""
    group = batches[-2:]
    counts = [batch.num_scored for batch, _ in group]
    whole, _ = gradient(trainer, group, sum(counts))
    alone = [gradient(trainer, [pair], n)[0] for pair, n in zip(group, counts, strict=True)]
    assert_close((counts[0] * alone[0] + counts[1] * alone[1]) / sum(counts), whole)
    assert not torch.allclose(whole, (alone[0] + alone[1]) / 2, rtol=1e-3)


def test_nothing_scored_gives_no_gradient(trainer, batches):
    batch, neighbours = batches[0]
    empty = batch.rows(0, 4)
    empty.scored = torch.zeros_like(empty.scored)
    got, sums = gradient(trainer, [(empty, neighbours.rows(0, 4))], empty.num_scored)
    assert not got.any()
    assert sums.mean_loss == 0
    assert list(micro_batches((batch.rows(0, 0), neighbours.rows(0, 0)), 1)) == []


# --- too little memory ----------------------------------------------------------------------------


class Device:
    """A network's pre-forward hook that has memory for so many samples only."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.refused = 0
        self.sizes: list[int] = []

    def __call__(self, _module, arguments) -> None:
        size = arguments[0].num_samples
        if size > self.num_samples:
            self.refused += 1
            raise torch.cuda.OutOfMemoryError("out of memory")
        self.sizes.append(size)


@pytest.fixture
def notes(monkeypatch):
    """Return the list of what the log notes."""
    lines: list[str] = []
    monkeypatch.setattr(log, "info", lambda text, *values: lines.append(text % values))
    return lambda: [line for line in lines if line.startswith("Note: ")]


def test_smaller_parts_give_the_same_step(make, notes):
    """Whichever batch of the group fails, and however often."""
    whole, cut = make(), make()
    group = list(whole.train_loader.batches(0))[:2]
    device = Device(5)
    cut.network.register_forward_pre_hook(device)
    before = weights(cut)
    for trainer in (whole, cut):
        trainer.take_step(group)
    assert (device.refused, device.sizes) == (2, [4] * 8)
    assert_close(weights(cut) - before, weights(whole) - before)
    assert torch.equal(cut.sums.num_scored, whole.sums.num_scored)
    torch.testing.assert_close(cut.sums.loss, whole.sums.loss, rtol=1e-6, atol=0)
    assert len(notes()) == 2
    cut.take_step(group)  # it goes on in parts, and says no more
    assert (device.refused, device.sizes) == (2, [4] * 16)
    assert "in 4 micro-batches, with the same gradient" in notes()[-1]
    assert len(notes()) == 2


def test_a_failure_within_backward_leaves_no_half_of_a_gradient(make, monkeypatch):
    whole, cut = make(), make()
    group = list(whole.train_loader.batches(0))[:2]
    before = weights(cut)
    whole.take_step(group)
    backward, calls = torch.autograd.backward, []

    def fail(loss):
        calls.append(None)
        backward(loss)
        if len(calls) == 2:  # the second batch: gradients were added already
            raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.autograd, "backward", fail)
    cut.take_step(group)
    assert len(calls) == 2 + 4
    assert_close(weights(cut) - before, weights(whole) - before)


def test_dropout_starts_over(make):
    """A step that is repeated draws what it would have drawn in parts from the start."""
    one, other = make("--dropout", "0.3"), make("--dropout", "0.3")
    group = list(one.train_loader.batches(0))[:2]
    other.runner.num_parts = 2
    one.network.register_forward_pre_hook(Device(8))
    for trainer in (one, other):
        trainer.network.train()
        trainer.take_step(group)
    assert torch.equal(weights(one), weights(other))


def test_a_whole_training_in_parts(make, notes):
    trainer = make("--epochs", "1")
    device = Device(3)
    trainer.network.register_forward_pre_hook(device)
    trainer.fit()
    assert len(trainer.history) == 1
    assert max(device.sizes) <= 3  # in validation too
    assert len(notes()) == 3
    device.num_samples = 0
    with pytest.raises(InputError, match="out of memory with one sample") as refused:
        trainer.take_step(list(trainer.train_loader.batches(0))[:1])
    assert "\n" not in str(refused.value)


# --- the update -----------------------------------------------------------------------------------


def test_a_step_follows_the_gradient_and_clears_it():
    network = torch.nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=99.0)
    before = network.weight.detach().clone()
    network.weight.grad = torch.tensor([[3.0, 0.0, 4.0]])
    optimizer_step(optimizer, 0.5, None)
    torch.testing.assert_close(network.weight.detach(), before - torch.tensor([[1.5, 0.0, 2.0]]))
    assert network.weight.grad is None


def test_the_gradient_is_clipped(make):
    trainer = make("--clip", "1e-3", "--learning-rate", "1")
    before = weights(trainer)
    trainer.take_step([next(trainer.train_loader.batches(0))])
    rate = learning_rate(trainer.config.training, 0, trainer.steps_per_epoch)
    assert float((weights(trainer) - before).norm()) == pytest.approx(1e-3 * rate, rel=1e-2)


@pytest.mark.parametrize("bad", [0.0, 1.0])
def test_the_device_skips_a_bad_step(bad):
    """By the fused optimizer of a GPU, which the CPU has too."""
    network = torch.nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    for value in (1.0, float("nan") if bad else 2.0):
        before = network.weight.detach().clone()
        network.weight.grad = torch.full((1, 3), value)
        optimizer_step(optimizer, 0.1, torch.tensor(bad if value != 1 else 0.0))
    assert torch.equal(before, network.weight.detach()) == bool(bad)
    (state,) = optimizer.state.values()
    assert float(state["step"]) == (1 if bad else 2)
    assert torch.isfinite(state["exp_avg"]).all()


def test_learning_rate_rises_then_follows_a_cosine():
    config = TrainingConfig(learning_rate=0.5, warmup_steps=4, epochs=2, final_rate=0.2)
    rates = [learning_rate(config, step, 10) for step in range(25)]
    assert rates[0] == pytest.approx(0.5 / 4)
    assert rates[10] == pytest.approx(0.5 * 0.6)
    assert rates[15] == pytest.approx(0.5 * (0.2 + 0.8 * 0.5 * (1 + math.cos(0.75 * math.pi))))
    assert rates[20] == rates[24] == pytest.approx(0.1)
    flat = TrainingConfig(learning_rate=0.5, warmup_steps=0, final_rate=1)
    assert {learning_rate(flat, step, 10) for step in range(100)} == {0.5}
