"""One training step, and how much of it is not the network, on one thread.

Of the default preset and of ``--preset v18`` (width 384, 12 layers and heads, windows of 1,020, 8
samples, one neighbour). The data part is what `snvrag.feed.Feed` does between two steps: the batch
from its keys (masks, alleles, frequencies) and the neighbours, with match features where the
network weighs neighbours by them. The indexes are in the cache, as they are for all but the first
batches of an epoch (an epoch has 17,500 steps at this size; what building them costs is in
bench_epoch_switch.py). Metrics are what is added up of every batch. The rest is forward, loss,
backward, clipping and the optimizer's step.

Limits, a batch of 16 samples of mixed windows: 16 windows x 4 segments x 2 queries, each 5,008
haplotypes of 4 to 5 words of observed sites, 3 million word comparisons; 512 neighbours x 1,020
sites x 6 features of 4 bytes are 12.5 MB written. The network is bound by its multiplications,
whose number `snvrag.flops` tells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mosaics import Founders
from numpy.typing import NDArray

from snvrag.batch import Batch
from snvrag.config import PRESETS, Config
from snvrag.dataset import Targets
from snvrag.kernels import pack_haplotypes, unpack_haplotypes
from snvrag.keys import Key
from snvrag.panel import Panel
from snvrag.retriever import Neighbours
from snvrag.sources import Sources
from snvrag.sums import EpochSums
from snvrag.trainer import Trainer

NUM_WINDOWS = 20
EPOCH = 4  # half of the common sites are hidden
BATCHES = "data: batches (masks, alleles, frequencies)"
RETRIEVAL = "data: neighbours and their features"
METRICS, REST = "metrics", "data and metrics: all but the network"
NETWORK, STEP = "forward, backward, optimizer, metrics", "whole step"

pytestmark = pytest.mark.benchmark


def panel_of(alleles: NDArray[np.int8], prefix: str) -> Panel:
    """Return a panel of (H, S) alleles."""
    num_haplotypes, num_sites = alleles.shape
    return Panel(
        chrom="1",
        position=np.arange(1, num_sites + 1, dtype=np.int64) * 100,
        alleles=np.tile(np.array([["A", "G"]]), (num_sites, 1)),
        samples=tuple(f"{prefix}{i}" for i in range(num_haplotypes // 2)),
        site_bits=pack_haplotypes(alleles.T),
    )


class Steps:
    """A trainer, and batches of an epoch's keys taken in turn."""

    preset = ""

    def __init__(self, sizes: Any, settings: dict[str, Any], device: str = "cpu") -> None:
        config = Config(
            **{**settings, "window_size": sizes.num_sites, "threads": 1, "device": device}
        )
        num_windows = NUM_WINDOWS if sizes.full else 2
        num_sites = sizes.num_sites * num_windows
        founders = Founders(num_sites, seed=11)
        panel, held_out = (
            panel_of(unpack_haplotypes(founders.descendants(n, seed=seed), num_sites), prefix)
            for n, seed, prefix in ((sizes.num_haplotypes, 11, "p"), (8, 12, "v"))
        )
        everything = np.ones(num_sites, bool)
        train = Targets(
            panel, everything, np.arange(panel.num_samples), np.zeros(panel.num_samples, np.int64)
        )
        absent = np.full(held_out.num_samples, -1)
        validation = Targets(held_out, everything, absent, np.zeros(absent.size, np.int64))
        self.trainer = Trainer(config, Sources(panel, train, validation, ()))
        self.feed = self.trainer.train_feed
        self.feed.sampler.epoch = EPOCH
        self.trainer.network.train()
        batches = iter(self.feed.sampler)
        self._keys = [next(batches) for _ in range(20 if sizes.full else 2)]
        self._turn = 0
        for window in range(num_windows):  # every index into the cache
            self.neighbours(self.feed.dataset.__getitems__([Key(EPOCH, window, 0)]))
        self.example = self.data()
        with torch.no_grad():
            self.prediction = self.trainer.network(*self.example)

    def batch(self) -> Batch:
        self._turn = (self._turn + 1) % len(self._keys)
        return self.feed.dataset.__getitems__(self._keys[self._turn])

    def neighbours(self, batch: Batch) -> Neighbours:
        return self.feed.retriever.retrieve(batch)

    def data(self) -> tuple[Batch, Neighbours]:
        batch = self.batch()
        return batch, self.neighbours(batch)

    def network(self, batch: Batch, neighbours: Neighbours) -> torch.Tensor:
        self.trainer.take_step([(batch, neighbours)])
        return self.trainer.sums.loss

    def step(self) -> torch.Tensor:
        return self.network(*self.data())

    def metrics(self) -> EpochSums:
        sums = EpochSums(self.trainer.device)
        sums.add_batch(torch.ones(()), self.prediction, self.example[0])
        self.trainer.sums.add(sums, self.trainer._watch.bad)
        return sums

    def rest(self) -> EpochSums:
        self.data()
        return self.metrics()


@pytest.fixture(scope="module", params=["small", "v18"])
def steps(sizes: Any, request: pytest.FixtureRequest) -> Steps:
    tiny = {} if sizes.full else {"width": 48, "layers": 2}
    made = Steps(sizes, {**PRESETS[request.param], **tiny})
    made.preset = request.param
    return made


@pytest.fixture(autouse=True)
def rounds(benchmark: Any, steps: Steps, sizes: Any) -> int:
    """Name the group; return how often a slow thing is timed."""
    benchmark.group = f"training step, --preset {steps.preset}, H = {sizes.num_haplotypes:,}"
    return 6 if steps.preset == "small" else 1


def test_whole_step(timed: Any, steps: Steps, rounds: int) -> None:
    assert torch.isfinite(timed(STEP, steps.step, rounds=rounds))


def test_network(timed: Any, steps: Steps, rounds: int) -> None:
    assert torch.isfinite(timed(NETWORK, lambda: steps.network(*steps.example), rounds=rounds))


def test_batches(timed: Any, steps: Steps) -> None:
    timed(BATCHES, steps.batch, rounds=20, share_of=STEP)


def test_retrieval(timed: Any, steps: Steps) -> None:
    batch = steps.example[0]
    again, expected = steps.neighbours(batch), steps.example[1]
    assert torch.equal(again.indices, expected.indices)  # the same from a warm cache
    timed(RETRIEVAL, lambda: steps.neighbours(batch), rounds=20, share_of=STEP)


def test_metrics(timed: Any, steps: Steps) -> None:
    sums = timed(METRICS, steps.metrics, rounds=20, share_of=STEP)
    assert sums.num_scored == steps.example[0].num_scored


def test_all_but_the_network(timed: Any, steps: Steps) -> None:
    most = 0.03 if steps.preset == "v18" else None
    timed(REST, steps.rest, rounds=20, share_of=STEP, most_share=most)
    assert steps.feed.retriever.statistics.num_builds == len(steps.trainer.windows)
