"""An optimizer step: the gradient of a group, however it is cut, and the rate of learning."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch

from snvrag.training.options import Config, parse_arguments
from snvrag.training.run_data import load_run_data
from snvrag.training.step import add_gradients, learning_rate, optimizer_step
from snvrag.training.sums import EpochSums
from snvrag.training.trainer import Trainer

CPU = torch.device("cpu")
EPOCH = 4


@pytest.fixture(scope="module")
def trainer(tiny_arguments):
    arguments = [*tiny_arguments, "--batch-size", "12", "--flank", "5", "--dropout", "0"]
    config = parse_arguments(arguments)
    return Trainer(config, load_run_data(config))


@pytest.fixture(scope="module")
def batches(trainer):
    made = list(trainer.train_loader.epoch(EPOCH))
    counts = {batch.num_scored for batch, _ in made}
    assert len(counts) > 1  # else a mean of means would be as good
    return made


def gradient(trainer, group, num_scored) -> tuple[torch.Tensor, EpochSums]:
    network = trainer.network.train()
    network.zero_grad(set_to_none=True)
    sums = EpochSums(CPU)
    add_gradients(
        network, group, num_scored, gamma=0.5, device=CPU, autocast=nullcontext(), sums=sums
    )
    parts = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return torch.cat(parts), sums


def cut(pair, size):
    batch, neighbours = pair
    cuts = range(0, batch.num_samples, size)
    return [(batch.rows(a, a + size), neighbours.rows(a, a + size)) for a in cuts]


@pytest.mark.parametrize("size", [1, 5, 11])
def test_gradient_does_not_depend_on_the_cuts(trainer, batches, size):
    group = batches[:3]
    total = sum(batch.num_scored for batch, _ in group)
    expected, sums = gradient(trainer, group, total)
    pieces = [piece for pair in group for piece in cut(pair, size)]
    assert sum(batch.num_scored for batch, _ in pieces) == total
    got, again = gradient(trainer, pieces, total)
    assert expected.norm() > 0
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    torch.testing.assert_close(again.loss, sums.loss, rtol=1e-6, atol=0)
    assert torch.equal(again.num_scored, sums.num_scored)
    assert torch.equal(again.metrics.sums[:, :3], sums.metrics.sums[:, :3])


def test_gradient_is_of_the_mean_over_all_scored_sites(trainer, batches):
    """Not the mean of the batches' means."""
    group = batches[-2:]
    counts = [batch.num_scored for batch, _ in group]
    whole, _ = gradient(trainer, group, sum(counts))
    alone = [gradient(trainer, [pair], n)[0] for pair, n in zip(group, counts, strict=True)]
    weighed = (counts[0] * alone[0] + counts[1] * alone[1]) / sum(counts)
    torch.testing.assert_close(whole, weighed, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))
    assert not torch.allclose(whole, (alone[0] + alone[1]) / 2, rtol=1e-3)


def test_sums_are_those_of_the_batches(trainer, batches):
    _, sums = gradient(trainer, batches, sum(batch.num_scored for batch, _ in batches))
    assert float(sums.num_scored) == sum(batch.num_scored for batch, _ in batches)
    assert sums.mean_loss == pytest.approx(float(sums.loss) / float(sums.num_scored))


def test_nothing_scored_gives_no_gradient(trainer, batches):
    batch, neighbours = batches[0]
    empty = batch.rows(0, 4)
    empty.scored = torch.zeros_like(empty.scored)
    assert empty.num_scored == 0
    got, sums = gradient(trainer, [(empty, neighbours.rows(0, 4))], 0)
    assert not got.any()
    assert sums.mean_loss == 0


def test_a_step_follows_the_gradient_and_clears_it():
    network = torch.nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=99.0)
    before = network.weight.detach().clone()
    network.weight.grad = torch.tensor([[3.0, 0.0, 4.0]])
    optimizer_step(optimizer, 0.5, None)
    torch.testing.assert_close(network.weight.detach(), before - torch.tensor([[1.5, 0.0, 2.0]]))
    assert network.weight.grad is None


def test_the_gradient_is_clipped(tiny_arguments):
    config = parse_arguments([*tiny_arguments, "--clip", "1e-3", "--learning-rate", "1"])
    made = Trainer(config, load_run_data(config))
    made.optimizer = torch.optim.SGD(made.network.parameters(), lr=1.0)
    before = [p.detach().clone() for p in made.network.parameters()]
    made.take_step([next(made.train_loader.epoch(0))])
    pairs = zip(made.network.parameters(), before, strict=True)
    moved = torch.cat([(p.detach() - q).flatten() for p, q in pairs])
    rate = learning_rate(config, 0, made.steps_an_epoch)
    assert float(moved.norm()) == pytest.approx(1e-3 * rate, rel=1e-2)


@pytest.mark.parametrize("bad", [0.0, 1.0])
def test_the_device_skips_a_bad_step(bad):
    """By the fused optimizer of a GPU, which the CPU has too."""
    network = torch.nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    for value in (1.0, float("nan") if bad else 2.0):
        before = network.weight.detach().clone()
        network.weight.grad = torch.full((1, 3), value)
        optimizer_step(optimizer, 0.1, torch.tensor(bad if value != 1 else 0.0))
        after = network.weight.detach().clone()
    assert torch.equal(before, after) == bool(bad)
    (state,) = optimizer.state.values()
    assert float(state["step"]) == (1 if bad else 2)
    assert torch.isfinite(state["exp_avg"]).all()


def test_learning_rate_rises_then_follows_a_cosine():
    config = Config(learning_rate=0.5, warmup_steps=4, epochs=2, final_rate=0.2)
    rates = [learning_rate(config, step, 10) for step in range(25)]
    assert rates[0] == pytest.approx(0.5 / 4)
    assert rates[10] == pytest.approx(0.5 * 0.6)
    assert rates[15] == pytest.approx(0.5 * (0.2 + 0.8 * 0.5 * (1 + math.cos(0.75 * math.pi))))
    assert rates[20] == rates[24] == pytest.approx(0.1)
    flat = Config(learning_rate=0.5, warmup_steps=0, final_rate=1)
    assert {learning_rate(flat, step, 10) for step in range(100)} == {0.5}
