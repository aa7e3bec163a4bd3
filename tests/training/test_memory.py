"""A device without memory for a batch gets it in pieces, with the same gradient."""

from __future__ import annotations

import pytest
import torch

from snvrag.errors import InputError
from snvrag.training import tables as report
from snvrag.training.options import parse_arguments
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import Trainer

BATCH = 16


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


@pytest.fixture(scope="module")
def sources(tiny_arguments):
    return load_run_data(parse_arguments(tiny_arguments))


@pytest.fixture
def make(tiny_arguments, sources, tmp_path):
    def build(*options) -> Trainer:
        arguments = [*tiny_arguments, "--batch-size", str(BATCH), "--accumulation", "2", *options]
        return Trainer(parse_arguments([*arguments, "--output", str(tmp_path)]), sources)

    return build


def weights(made: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in made.network.parameters()])


class Told:
    """The log's lines."""

    def __init__(self, monkeypatch) -> None:
        self.lines: list[str] = []
        monkeypatch.setattr(
            report.log, "info", lambda text, *values: self.lines.append(text % values)
        )

    @property
    def notes(self) -> list[str]:
        return [line for line in self.lines if line.startswith("Note: ")]


def test_gradient_stays_the_same(make, monkeypatch):
    """Whichever batch of the group fails, and however often."""
    told = Told(monkeypatch)
    whole, cut = make(), make()
    group = list(whole.train_loader.epoch(0))[:2]
    # A large step would make a difference of the last digit a large one.
    for made in (whole, cut):
        made.optimizer = torch.optim.SGD(made.network.parameters(), lr=1.0)
    device = Device(5)
    cut.network.register_forward_pre_hook(device)
    whole.take_step(group)
    before = weights(make())
    cut.take_step(group)
    assert (device.refused, device.sizes) == (2, [4] * 8)
    moved = weights(whole) - before
    assert moved.norm() > 0
    torch.testing.assert_close(
        weights(cut) - before, moved, rtol=1e-3, atol=1e-4 * float(moved.abs().max())
    )
    assert torch.equal(cut.sums.num_scored, whole.sums.num_scored)
    torch.testing.assert_close(cut.sums.loss, whole.sums.loss, rtol=1e-6, atol=0)
    assert len(told.notes) == 2

    cut.take_step(group)  # it goes on in pieces, without another word
    assert (device.refused, device.sizes) == (2, [4] * 16)
    assert len(told.notes) == 2
    assert "in 4 pieces, with the same gradient" in told.notes[-1]


def test_a_failure_within_backward_leaves_no_half_of_a_gradient(make, monkeypatch):
    whole, cut = make(), make()
    group = list(whole.train_loader.epoch(0))[:2]
    backward, calls = torch.autograd.backward, []

    def fail(loss):
        calls.append(None)
        backward(loss)
        if len(calls) == 2:  # the second batch: gradients were added already
            raise torch.cuda.OutOfMemoryError("out of memory")

    before = weights(make())
    # Not Adam, which makes a step of whatever rounding leaves of a gradient that cancels.
    for made in (whole, cut):
        made.optimizer = torch.optim.SGD(made.network.parameters(), lr=1.0)
    whole.take_step(group)
    monkeypatch.setattr(torch.autograd, "backward", fail)
    cut.take_step(group)
    assert len(calls) == 2 + 4
    moved = weights(whole) - before
    torch.testing.assert_close(
        weights(cut) - before, moved, rtol=1e-3, atol=1e-4 * float(moved.abs().max())
    )


def test_dropout_begins_again(make):
    """A step that was tried again draws what it would have drawn in pieces from the start."""
    one, other = make("--dropout", "0.3"), make("--dropout", "0.3")
    group = list(one.train_loader.epoch(0))[:2]
    other.pieces.parts = 2
    one.network.register_forward_pre_hook(Device(8))
    state = torch.get_rng_state()
    one.take_step(group)
    torch.set_rng_state(state)
    other.take_step(group)
    assert torch.equal(weights(one), weights(other))


def test_a_whole_training(make, monkeypatch):
    told = Told(monkeypatch)
    made = make("--epochs", "1")
    device = Device(3)
    made.network.register_forward_pre_hook(device)
    made.fit()
    assert len(made.history) == 1
    assert max(device.sizes) <= 3
    assert len(told.notes) == 3
    assert any(line.startswith("Validation Metrics:") for line in told.lines)


def test_no_memory_for_one_sample(make):
    made = make()
    made.network.register_forward_pre_hook(Device(0))
    with pytest.raises(InputError, match="out of memory with one sample") as refused:
        made.take_step(list(made.train_loader.epoch(0))[:1])
    assert "\n" not in str(refused.value)
