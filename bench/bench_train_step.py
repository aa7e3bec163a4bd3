"""A training step, and the share of it that is not the network's, on one thread.

Steps are those of the default preset, the head on whole samples, and of ``--preset v18`` (width
384, 12 layers and heads, windows of 1,020 sites, 8 samples, one neighbour). The data part is what
the loader does between two steps: evidence of the Li-Stephens model for the head; for V18 the batch
of some keys (masks, alleles, frequencies) and its neighbours. Indexes are in the cache, as for all
but the first batches of an epoch (17,500 steps at V18's sizes; bench_epoch_switch.py times building
them). Metrics are the counts added up for every batch. The rest is forward pass, loss, backward
pass, clipping and the optimizer's step.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gpu_training import Table, time_loops
from sizes import Sizes
from training_steps import Steps

from snvrag.config.options import preset_values
from snvrag.training.options import Config

BATCHES = "data: batches (masks, alleles, frequencies)"
RETRIEVAL = "data: neighbours"
NETWORK, STEP = "forward, backward, optimizer, metrics", "whole step"


@pytest.fixture(scope="module", params=["small", "v18"])
def preset(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def steps(sizes: Sizes, preset: str) -> Steps:
    tiny = {} if sizes.full else {"width": 48, "layers": 2}
    return Steps(sizes, {**preset_values(Config, preset), **tiny})


@pytest.fixture
def rounds(benchmark: Any, sizes: Sizes, preset: str) -> int:
    """Name the group; return how often a whole step is timed."""
    benchmark.group = f"training step, --preset {preset}, H = {sizes.num_haplotypes:,}"
    return 6 if preset == "small" else 1


def test_whole_step(timed: Any, rounds: int, steps: Steps) -> None:
    assert torch.isfinite(timed(STEP, steps.step, rounds=rounds))


def test_network(timed: Any, rounds: int, steps: Steps) -> None:
    loss = timed(NETWORK, lambda: steps.network(*steps.example), rounds=rounds, part_of=STEP)
    assert torch.isfinite(loss)


@pytest.mark.usefixtures("rounds")
@pytest.mark.parametrize("preset", ["v18"], indirect=True)
def test_batches(timed: Any, steps: Steps) -> None:
    timed(BATCHES, steps.batch, rounds=20, part_of=STEP)


@pytest.mark.usefixtures("rounds")
@pytest.mark.parametrize("preset", ["v18"], indirect=True)
def test_retrieval(timed: Any, steps: Steps) -> None:
    batch, expected = steps.example
    again = timed(RETRIEVAL, lambda: steps.neighbours(batch), rounds=20, part_of=STEP)
    assert torch.equal(again.alleles, expected.alleles)  # the same from a warm cache


@pytest.mark.usefixtures("rounds")
def test_metrics(timed: Any, steps: Steps) -> None:
    sums = timed("metrics", steps.metrics, rounds=20, part_of=STEP)
    assert sums.num_scored == steps.example[0].num_scored


@pytest.mark.usefixtures("rounds")
def test_all_but_network(timed: Any, steps: Steps) -> None:
    timed("data and metrics: all but the network", steps.all_but_network, rounds=20, part_of=STEP)


def test_gpu_training_on_a_cpu() -> None:
    """gpu_training.py runs, tiny, on a machine without a GPU."""
    table = Table(torch.device("cpu"), 1, 1e12)
    tiny = {**preset_values(Config, "v18"), "width": 24, "layers": 2, "heads": 2, "batch_size": 3}
    time_loops(table, Sizes(False, 60, 65, 2, 0), tiny, compiled=False)
    assert len(table.rows) == 6
    assert all(seconds > 0 for seconds in table.seconds.values())
