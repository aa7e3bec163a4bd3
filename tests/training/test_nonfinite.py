"""A loss that is not finite ends the run, with its keys named and the state before it saved."""

from __future__ import annotations

import pytest
import torch

from emulated_cuda import DeviceReads
from snvrag.errors import InputError
from snvrag.io.checkpoint import load_checkpoint
from snvrag.network.transformer import ImputationNetwork
from snvrag.training.nonfinite import NonFiniteGuard, StepState
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import Trainer
from training_runs import LIVELY, configure, make_trainer, weights

BATCHES_PER_EPOCH = 12


@pytest.fixture(scope="module")
def make(tiny_arguments):
    arguments = [*tiny_arguments, *LIVELY, "--epochs", "2"]
    data = load_run_data(configure(arguments))

    def build(output, *options, reads_late=False) -> Trainer:
        made = make_trainer([*arguments, "--output", str(output), *options], data)
        made.reads_late = reads_late
        made.optimizer = torch.optim.Adam(made.network.parameters(), fused=reads_late)
        return made

    return build


@pytest.fixture(scope="module", params=[False, True], ids=["cpu", "as on a GPU"])
def straight(request, make, tmp_path_factory):
    """A run without a bad loss."""
    made = make(tmp_path_factory.mktemp("straight"), reads_late=request.param)
    made.fit()
    return made


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (5, float("nan")),
        (BATCHES_PER_EPOCH - 1, float("nan")),  # read only at the end of the epoch
        (BATCHES_PER_EPOCH + 4, float("inf")),
    ],
)
def test_the_state_before_is_saved(make, straight, tmp_path, monkeypatch, at, value):
    loss, calls = ImputationNetwork.loss, []

    def spoilt(prediction, *arguments):
        if prediction.haplotypes.requires_grad:  # of training
            calls.append(None)
        return loss(prediction, *arguments) * (value if len(calls) == at + 1 else 1)

    with monkeypatch.context() as patch:
        patch.setattr(ImputationNetwork, "loss", staticmethod(spoilt))
        with pytest.raises(InputError) as stopped:
            make(tmp_path, "--log-every", "4", reads_late=straight.reads_late).fit()
    path = tmp_path / "rag_bert.model.step"
    content = load_checkpoint(path)
    epoch, batch = divmod(at, BATCHES_PER_EPOCH)
    assert (content["epoch"] + 1, content["num_batches_done"]) == (epoch, batch // 2 * 2)
    assert content["step"] == at // 2

    line = str(stopped.value)
    assert "\n" not in line
    assert f"step {at // 2}, epoch index {epoch}, batch {batch} " in line
    assert str(path) in line
    samples = straight.data.train.haplotypes.samples
    bad = list(straight.train_loader.sampler.batches(epoch))[batch]
    keys = ", ".join(f"{key.window} {samples[key.sample]}" for key in bad)
    assert f"keys: {keys})" in line

    resumed = make(tmp_path, reads_late=straight.reads_late)
    resumed.restore(content)
    resumed.fit()
    assert (tmp_path / "metrics.csv").read_bytes() == (straight.folder / "metrics.csv").read_bytes()
    assert torch.equal(weights(resumed), weights(straight))


def test_a_gradient_that_is_not_finite(make, tmp_path, monkeypatch):
    """Of a loss that is: the parameters would be lost all the same."""
    infinite = torch.tensor(float("inf"))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: infinite)
    with pytest.raises(InputError, match="loss or its gradient is not finite at step 0"):
        make(tmp_path).fit()


def test_the_first_bad_step_is_found_later():
    guard = NonFiniteGuard(torch.device("cpu"))
    fine, norm = torch.ones(2), torch.tensor(2.0)
    for n in range(3):
        guard.record(StepState(n, 2 * n, {}), fine, norm)
    assert guard.first_bad() is None
    guard.record(StepState(3, 6, {}), fine, norm)
    guard.record(StepState(4, 8, {}), fine * torch.tensor([1, torch.nan]), norm)
    guard.record(StepState(5, 10, {}), fine, norm)
    assert float(guard.bad) == 1  # what comes after is skipped too
    assert guard.first_bad() == (StepState(4, 8, {}), 1)
    guard = NonFiniteGuard(torch.device("cpu"))
    guard.record(StepState(0, 0, {}), fine, norm * torch.inf)
    assert guard.first_bad() == (StepState(0, 0, {}), 0)


def test_a_step_reads_nothing_from_the_device(make, tmp_path, monkeypatch):
    """Forward, backward, optimizer, metrics: with all of it on a GPU, the host would never wait."""
    made = make(tmp_path, reads_late=True)
    made.network.train()
    group = list(made.train_loader.batches(0))[:2]
    with DeviceReads() as reads:
        made.take_step(group)
    assert reads.seen == []
    with reads:
        made._check_finite()
        assert made.sums.mean_loss > 0
    assert len(reads.seen) == 2
