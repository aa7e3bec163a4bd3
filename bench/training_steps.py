"""A trainer on a simulated panel, whose steps and their parts can be called one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mosaics import Founders, make_panel
from sizes import Sizes

from snvrag.batches.batch import Batch, Neighbours
from snvrag.batches.dataset import Targets
from snvrag.batches.keys import Key
from snvrag.config.options import build
from snvrag.kernels import pack_haplotypes, unpack_haplotypes
from snvrag.training.loader import Inputs
from snvrag.training.options import Config
from snvrag.training.progress import EpochSums
from snvrag.training.run_data import RunData
from snvrag.training.trainer import Trainer

NUM_WINDOWS = 20
EPOCH = 4  # half of the common sites are hidden


class Steps:
    """A trainer with options by name, and the batches of an epoch in turn."""

    def __init__(self, sizes: Sizes, settings: dict[str, Any], device: str = "cpu") -> None:
        num_windows = NUM_WINDOWS if sizes.full else 2
        founders = Founders(sizes.num_sites * num_windows, seed=11)
        panel, held_out = (
            make_panel(self._site_bits(founders, count, seed), count, prefix)
            for count, seed, prefix in ((sizes.num_haplotypes, 11, "p"), (8, 12, "v"))
        )
        train, validation = (
            Targets(
                samples,
                np.ones(panel.num_sites, bool),
                panel_sample,
                np.zeros(samples.num_samples, np.int64),
            )
            for samples, panel_sample in (
                (panel, np.arange(panel.num_samples)),
                (held_out, np.full(held_out.num_samples, -1)),
            )
        )
        options = {"window_size": sizes.num_sites, "threads": 1, "device": device}
        config = build(Config, {**settings, **options})
        self.trainer = Trainer(config, RunData(panel, train, validation))
        self.trainer.network.train()
        self.loader = self.trainer.train_loader
        batches = self.loader.keys(EPOCH)
        self._keys = [next(batches) for _ in range(20 if sizes.full else 2)]
        self._turn = 0
        for window in range(num_windows):  # puts every index into the cache
            self.loader.make([Key(EPOCH, window, 0)])
        self.example = self.data()
        with torch.no_grad():
            self.prediction = self.trainer.network(*self.example)

    @staticmethod
    def _site_bits(founders: Founders, num_haplotypes: int, seed: int) -> Any:
        alleles = unpack_haplotypes(
            founders.descendants(num_haplotypes, seed=seed), founders.num_sites
        )
        return pack_haplotypes(alleles.T)

    def batch(self) -> Batch:
        """Make the next batch over windows."""
        return self.loader.dataset.__getitems__(self._next_keys())

    def neighbours(self, batch: Batch) -> Neighbours:
        """Retrieve the neighbours of a batch."""
        return self.loader.retriever.retrieve(batch)

    def data(self) -> Inputs:
        """Make the next batch, with its neighbours or its evidence."""
        return self.loader.make(self._next_keys())

    def _next_keys(self) -> list[Key]:
        self._turn = (self._turn + 1) % len(self._keys)
        return self._keys[self._turn]

    def network(self, *inputs: Any) -> torch.Tensor:
        """Take an optimizer step; return the epoch's loss."""
        self.trainer.take_step([inputs])
        return self.trainer.sums.loss

    def step(self) -> torch.Tensor:
        """Take an optimizer step with the next batch; return the epoch's loss."""
        return self.network(*self.data())

    def metrics(self) -> EpochSums:
        """Add the counts of one batch, as every step does."""
        sums = EpochSums(self.trainer.device)
        sums.add_batch(torch.ones(()), self.prediction, self.example[0])
        self.trainer.sums.add(sums, torch.zeros((), device=self.trainer.device))
        return sums

    def all_but_network(self) -> EpochSums:
        """Make the next batch, and add the counts of one."""
        self.data()
        return self.metrics()
