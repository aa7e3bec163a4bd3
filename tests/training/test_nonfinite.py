"""A loss that is not finite ends the run, with its keys named and the state of before it saved."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from snvrag.batches.batch import Batch
from snvrag.batches.keys import KeySampler
from snvrag.errors import InputError
from snvrag.io.checkpoint import load_checkpoint
from snvrag.training import step, trainer
from snvrag.training.nonfinite import NonFiniteGuard, StepState
from snvrag.training.options import parse_arguments
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import Trainer

LIVELY = ["--dropout", "0.2", "--accumulation", "2", "--batch-size", "7", "--epochs", "2"]
BATCHES_AN_EPOCH = 12


@pytest.fixture(scope="module")
def world(tiny_arguments):
    arguments = [*tiny_arguments, *LIVELY]
    sources = load_run_data(parse_arguments(arguments))

    def make(output, *options, reads_late=False) -> Trainer:
        config = parse_arguments([*arguments, "--output", str(output), *options])
        made = Trainer(config, sources)
        made.reads_late = reads_late
        made.optimizer = torch.optim.Adam(made.network.parameters(), fused=reads_late)
        return made

    return make


@pytest.fixture(scope="module", params=[False, True], ids=["cpu", "as on a GPU"])
def straight(request, world, tmp_path_factory):
    """A run without a bad loss."""
    made = world(tmp_path_factory.mktemp("straight"), reads_late=request.param)
    made.fit()
    return made


def spoil(monkeypatch, at: int, value: float) -> None:
    """Make the loss of the training's batch ``at`` infinite or not a number."""
    loss, calls = step.imputation_loss, []

    def spoilt(*arguments):
        calls.append(None)
        right = loss(*arguments)
        return right * value if len(calls) == at + 1 else right

    monkeypatch.setattr(step, "imputation_loss", spoilt)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (5, float("nan")),
        (BATCHES_AN_EPOCH - 1, float("nan")),  # which nobody looks at before the epoch's end
        (BATCHES_AN_EPOCH + 4, float("inf")),
    ],
)
def test_state_of_before_is_saved(world, straight, tmp_path, monkeypatch, at, value):
    output, reads_late = tmp_path, straight.reads_late
    with monkeypatch.context() as patch:
        spoil(patch, at, value)
        with pytest.raises(InputError) as stopped:
            world(output, "--log-every", "4", reads_late=reads_late).fit()
    path = output / "rag_bert.model.step"
    content = load_checkpoint(path)
    epoch, batch = divmod(at, BATCHES_AN_EPOCH)
    assert (content["epoch"] + 1, content["epoch_position"]) == (epoch, batch // 2 * 2)
    assert content["step"] == at // 2

    line = str(stopped.value)
    assert "\n" not in line
    assert f"step {at // 2}, epoch index {epoch}, batch {batch} " in line
    assert str(path) in line
    sampler = KeySampler(4, 20, 7, seed=0, shuffle="full")
    sampler.epoch = epoch
    samples = straight.sources.train.haplotypes.samples
    keys = [f"{key.window} {samples[key.sample]}" for key in list(sampler)[batch]]
    assert f"keys: {', '.join(keys)})" in line

    resumed = world(output, reads_late=reads_late)
    resumed.restore(content)
    resumed.fit()
    assert (output / "metrics.csv").read_bytes() == (straight.folder / "metrics.csv").read_bytes()
    pairs = zip(resumed.network.parameters(), straight.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_gradient_that_is_not_finite(world, tmp_path, monkeypatch):
    """Of a loss that is: the parameters would be lost all the same."""
    monkeypatch.setattr(
        trainer.torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("inf"))
    )
    with pytest.raises(InputError, match="loss or its gradient is not finite at step 0"):
        world(tmp_path).fit()


def test_nothing_is_read_between():
    watch = NonFiniteGuard(torch.device("cpu"))
    fine, norm = torch.tensor(1.0), torch.tensor(2.0)
    for n in range(3):
        watch.note(StepState(n, 2 * n, {}), torch.stack([fine, fine]), norm)
    assert watch.first_bad() is None
    watch.note(StepState(3, 6, {}), torch.stack([fine, fine]), norm)
    watch.note(StepState(4, 8, {}), torch.stack([fine, fine * torch.nan]), norm)
    watch.note(StepState(5, 10, {}), torch.stack([fine, fine]), norm)
    assert float(watch.bad) == 1  # what comes after is skipped too
    assert watch.first_bad() == (StepState(4, 8, {}), 1)
    watch = NonFiniteGuard(torch.device("cpu"))
    watch.note(StepState(0, 0, {}), torch.stack([fine, fine]), norm * torch.inf)
    assert watch.first_bad() == (StepState(0, 0, {}), 0)


def test_no_sum_takes_a_bad_step(world, tmp_path):
    made = world(tmp_path)
    made.take_step([next(made.train_loader.epoch(0))])
    before = made.sums.state()
    made.sums.add(made.sums, torch.tensor(1.0))
    assert all(torch.equal(before[k], v) for k, v in made.sums.state().items())
    made.sums.add(made.sums, torch.tensor(0.0))
    assert torch.equal(made.sums.loss, 2 * before["loss"])


class Reads(TorchDispatchMode):
    """Counts what waits for a device: a number that is read, a shape that values decide."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "equal", "masked_select", "unique"):
            self.seen.append(name)
        return function(*arguments, **(options or {}))


def test_a_step_reads_nothing_from_the_device(world, tmp_path, monkeypatch):
    """Forward, backward, optimizer, metrics: with all of it on a GPU, the host would never wait."""
    made = world(tmp_path, reads_late=True)
    made.network.train()
    group = list(made.train_loader.epoch(0))[:2]
    num_scored = group[0][0].num_scored  # of a batch that is still on the CPU, where it is free
    monkeypatch.setattr(Batch, "num_scored", num_scored)
    with Reads() as reads:
        made.take_step(group)
    assert reads.seen == []
    with reads:
        made._check_finite()
        assert made.sums.mean_loss > 0
    assert len(reads.seen) == 2
