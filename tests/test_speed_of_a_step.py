"""What makes a step fast: fused attention, static shapes, nothing read from the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from snvrag.batches.keys import VALIDATION_SEED
from snvrag.network.loss import imputation_loss
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import Trainer
from training_runs import configure, make_trainer


@pytest.fixture(scope="module")
def make(tiny_arguments):
    """Return the function that makes a trainer; 200 sites in windows of 66 and 67."""
    data = load_run_data(configure(tiny_arguments))

    def build(*arguments: str) -> Trainer:
        windows = ("--window-size", "67", "--batch-size", "7")
        return make_trainer([*tiny_arguments, *windows, *arguments], data)

    return build


# --- attention ------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_attention_is_fused(make, masked, training):
    """A layer works where only the fused kernel is allowed: no (L, L) matrix is formed."""
    block = make("--dropout", "0.1").network.blocks[0].train(training)
    valid = torch.ones(3, 65, dtype=torch.bool)
    valid[1, 60:] = False
    x = torch.randn(3, 65, 16, requires_grad=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        block(x, valid if masked else None).sum().backward()
    assert x.grad is not None


# --- compiled layers ------------------------------------------------------------------------------


class Compilations:
    """A backend of `torch.compile` that counts the graphs it is given and runs them unchanged."""

    def __init__(self) -> None:
        self.num_graphs = 0

    def __call__(self, graph: Any, _inputs: list[Any]) -> Any:
        self.num_graphs += 1
        return graph.forward


@pytest.fixture
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_no_batch_compiles_anew(make):
    """Full batches and the last ones, whole windows and padded ones, training and validation."""
    plain, compiled = (make("--layers", "3") for _ in range(2))
    backend = Compilations()
    compiled.network.compile_blocks(backend=backend)
    assert list(compiled.network.state_dict()) == list(plain.network.state_dict())
    # The largest batch first, as the order of an epoch has it: the others are padded to its size.
    pairs = {
        training: sorted(loader.batches(seed), key=lambda pair: -pair[0].num_samples)
        for training, loader, seed in (
            (True, plain.train_loader, 0),
            (False, plain.val_loader, VALIDATION_SEED),
        )
    }
    assert {batch.num_samples for batch, _ in pairs[True]} == {7, 6}
    assert {batch.is_padded for batch, _ in pairs[True]} == {False, True}
    num_graphs = []
    for _ in range(2):
        for training, batches in pairs.items():
            for batch, neighbours in batches:
                answers = [one.network.train(training) for one in (plain, compiled)]
                with torch.set_grad_enabled(training):
                    answers = [network(batch, neighbours) for network in answers]
                torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)
                if training:
                    gradients = [
                        gradient_of(one, answer, batch)
                        for one, answer in zip((plain, compiled), answers, strict=True)
                    ]
                    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)
        num_graphs.append(backend.num_graphs)
    assert num_graphs == [4, 4]


def gradient_of(trainer: Trainer, prediction: Any, batch: Any) -> torch.Tensor:
    trainer.network.zero_grad()
    imputation_loss(prediction, batch, 0.0).backward()
    parts = [p.grad.flatten() for p in trainer.network.parameters() if p.grad is not None]
    return torch.cat(parts)


# --- waits ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_does_not_wait_for_the_device(make):
    trainer = make("--device", "cuda", "--log-every", "1000")
    trainer.network.train()
    groups = trainer.train_loader.groups(0, 1)
    trainer.take_step(next(groups))  # which loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            trainer.take_step(next(groups))
    finally:
        torch.cuda.set_sync_debug_mode("default")
