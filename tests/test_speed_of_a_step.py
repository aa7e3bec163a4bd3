"""What makes a step quick: fused attention, static shapes, nothing read back; and its FLOPs."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import pytest
import torch
from snvrag.training.flops import TRAINING, forward_flops
from snvrag.training.setup import check_compiler
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from snvrag.errors import InputError
from snvrag.network.loss import imputation_loss
from snvrag.network.transformer import Block, NetworkConfig
from snvrag.training.options import parse_arguments
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import Trainer

SIZES = {
    "local": NetworkConfig(width=16, num_neighbours=4, span=0, dropout=0.1),
    "Li-Stephens": NetworkConfig(width=16, num_neighbours=4, span=0, num_models=2),
    "span": NetworkConfig(width=16, num_neighbours=4, span=32, layers=3),
    "as V18": NetworkConfig(
        width=48,
        layers=3,
        heads=4,
        num_neighbours=4,
        span=0,
        weighting="rank",
        neighbour_prior=False,
    ),
}


@pytest.fixture(scope="module")
def make_trainer(tiny_arguments):
    """Return the function that makes a trainer; 200 sites in windows of 66 and 67."""
    sources = load_run_data(parse_arguments(tiny_arguments))

    def make(*arguments: str) -> Trainer:
        windows = ("--window-size", "67", "--batch-size", "7", "--shuffle", "window")
        return Trainer(parse_arguments([*tiny_arguments, *windows, *arguments]), sources)

    return make


def with_size(size: NetworkConfig) -> list[str]:
    plain = dataclasses.asdict(size)
    plain["k"] = plain.pop("num_neighbours")
    neighbour_prior, num_models = plain.pop("neighbour_prior"), plain.pop("num_models")
    options = [word for name, value in plain.items() for word in (f"--{name}", str(value))]
    options += ["--neighbour-prior", "yes" if neighbour_prior else "no"]
    if num_models:
        options += ["--ne", *(str(10.0**i) for i in range(4, 4 + num_models))]
    return [*options, "--li-stephens", "yes" if num_models else "no"]


# --- attention ------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_attention_is_fused(masked, training):
    """Where only the fused kernel is allowed, the layer works: no (L, L) matrix comes to be."""
    block = Block(16, 2, dropout=0.1, span=0, shift=0).train(training)
    valid = torch.ones(3, 65, dtype=torch.bool)
    valid[1, 60:] = False
    x = torch.randn(3, 65, 16, requires_grad=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        block(x, valid if masked else None).sum().backward()
    assert x.grad is not None


def test_attention_with_dropout_inside_would_not_be():
    """Why there is none: the test above can tell."""
    q = torch.randn(1, 2, 65, 8)
    attend = torch.nn.functional.scaled_dot_product_attention
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="No available kernel"):
            attend(q, q, q, dropout_p=0.1)


# --- compiled layers ------------------------------------------------------------------------------


class Compilations:
    """A backend of `torch.compile` that counts what it is given and runs it as it is."""

    def __init__(self) -> None:
        self.shapes: list[Any] = []

    def __call__(self, graph: Any, inputs: list[Any]) -> Any:
        self.shapes.append([tuple(x.shape) for x in inputs if isinstance(x, torch.Tensor)])
        return graph.forward


@pytest.fixture
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("name", ["span", "as V18"])
def test_no_batch_compiles_anew(make_trainer, name):
    """Full batches and the last ones, whole windows and padded ones, training and validation."""
    plain = make_trainer(*with_size(SIZES[name]), "--dropout", "0")
    trainer = make_trainer(*with_size(SIZES[name]), "--dropout", "0")
    counter = Compilations()
    trainer.network.compile_blocks(7, backend=counter)
    assert list(trainer.network.state_dict()) == list(plain.network.state_dict())
    trainer.network.load_state_dict(plain.network.state_dict())

    seen = set()
    counts = []
    for _ in range(2):
        for training in (True, False):
            loader = trainer.train_loader if training else trainer.val_loader
            for batch, neighbours in loader.epoch(0 if training else 2024):
                seen.add((batch.num_samples, batch.is_padded, training))
                for one in (plain, trainer):
                    one.network.train(training)
                    one.network.zero_grad()
                with torch.set_grad_enabled(training):
                    a, b = (one.network(batch, neighbours) for one in (plain, trainer))
                torch.testing.assert_close(a.haplotypes, b.haplotypes, rtol=1e-4, atol=1e-5)
                if training:
                    for prediction in (a, b):
                        imputation_loss(prediction, batch, 0.0).backward()
                    for p, q in zip(
                        plain.network.parameters(), trainer.network.parameters(), strict=True
                    ):
                        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-3)
        counts.append(len(counter.shapes))
    sizes = {size for size, _, training in seen if training}
    assert len(sizes) == 2  # 7 and what is left
    assert {padded for _, padded, _ in seen} == {False, True}
    kinds = 2 if SIZES[name].span else 1  # every other layer is shifted
    assert counts == [4 * kinds, 4 * kinds]


def test_compilers_are_looked_for(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"^--compile yes: no C\+\+ compiler no-such-compiler"):
        check_compiler(torch.device("cpu"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match="Triton"):
        check_compiler(torch.device("cuda"))


# --- waits and FLOPs ------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_does_not_wait_for_the_device(make_trainer):
    trainer = make_trainer("--device", "cuda", "--log-every", "1000")
    trainer.network.train()
    groups = list(trainer.train_loader.groups(0, 1))
    trainer.take_step(groups[0])  # which loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        for group in groups[1:4]:
            trainer.take_step(group)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", SIZES)
def test_flops_are_those_that_torch_counts(make_trainer, name):
    """With attention by single products, which its counter knows on every device."""
    size = SIZES[name]
    trainer = make_trainer(*with_size(size))
    trainer.network.train()
    batch, neighbours = next(trainer.train_loader.epoch(0))
    expected = forward_flops(size, batch.num_samples, trainer.windows.length)
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            trainer.network(batch, neighbours)
        with FlopCounterMode(display=False) as both:
            prediction = trainer.network(batch, neighbours)
            imputation_loss(prediction, batch, 0.0).backward()
    assert forward.get_total_flops() == expected
    # The first layers need no gradient of their inputs.
    assert 0.9 * TRAINING < both.get_total_flops() / expected <= TRAINING


def test_flops_at_the_sizes_of_v18():
    """About 2 operations a parameter and token, and a tenth more for attention."""
    size = NetworkConfig(384, 12, 12, 0.1, 0, 1, "rank", False)
    tokens = 2 * 8 * 1020
    per_token = forward_flops(size, 8, 1020) / tokens
    layers, attention = 2 * 12 * 12 * 384**2, 12 * 4 * 384 * 1020
    assert layers + attention < per_token < 1.1 * (layers + attention)
