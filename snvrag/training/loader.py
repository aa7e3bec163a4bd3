"""The loader: batches in an epoch's order, each with its neighbours, grouped by optimizer steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice

import torch
from torch.utils.data import DataLoader

from ..batches.batch import Batch, Neighbours
from ..batches.dataset import Targets, WindowDataset, as_batch
from ..batches.keys import KeySampler
from ..batches.masks import MaskConfig
from ..li_stephens.model import LiStephensModel
from ..panel.windows import Windows
from ..retrieval.neighbours import Retriever
from .distributed import ALONE, Ranks, RankSampler
from .options import Config
from .run_data import RunData
from .signals import held, ignore_signals

Group = list[tuple[Batch, Neighbours]]


class Loader:
    """Batches with their neighbours, and in ``waited_seconds`` how long they took.

    Parameters
    ----------
    config : Config
    sources : RunData
    targets : Targets
        The samples: of training or of validation.
    windows : Windows
    masks : MaskConfig
    li_stephens : LiStephensModel or None
    pin : bool
        Whether batches lie in page-locked memory, from which a copy to a GPU does not wait.
    ranks : Ranks
        Training batches are cut over them; those of validation stay whole, and go round. Where a
        rank has no part, its batch has no samples.
    training : bool
        Whether the order is shuffled as configured.
    """

    def __init__(
        self,
        config: Config,
        sources: RunData,
        targets: Targets,
        windows: Windows,
        masks: MaskConfig,
        li_stephens: LiStephensModel | None,
        *,
        pin: bool = False,
        ranks: Ranks = ALONE,
        training: bool,
    ) -> None:
        self.pin = pin
        self.dataset = WindowDataset(sources.panel, targets, windows, masks, li_stephens)
        self.sampler = KeySampler(
            len(windows),
            targets.haplotypes.num_samples,
            config.training.batch_size,
            seed=config.training.seed,
            shuffle=config.training.shuffle if training else "none",
        )
        self.retriever = Retriever(
            sources.panel,
            windows,
            config.retrieval,
            with_features=config.network.needs_features,
            threads=config.run.threads,
        )
        self.loader: DataLoader[Batch] = DataLoader(
            self.dataset,
            batch_sampler=RankSampler(self.sampler, ranks, cut_batches=training),
            collate_fn=as_batch,
            num_workers=config.run.workers,
            multiprocessing_context=config.run.start_method if config.run.workers else None,
            persistent_workers=config.run.workers > 0,
            worker_init_fn=ignore_signals,
            # A loader without one of its own would draw from the generator that dropout uses.
            generator=torch.Generator(),
        )
        self.waited_seconds = 0.0

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Batch, Neighbours]]:
        """Yield an epoch's batches on the CPU, from the one numbered ``first`` on."""
        self.sampler.epoch, self.sampler.first = epoch, first
        with held() if self.loader.num_workers else nullcontext():  # they are started here
            batches = iter(self.loader)
        for batch in batches:
            neighbours = self.retriever.retrieve(batch)
            yield (batch.pin_memory(), neighbours.pin_memory()) if self.pin else (batch, neighbours)

    def groups(self, epoch: int, size: int, first: int = 0) -> Iterator[Group]:
        """Yield an epoch's batches in groups of ``size``, one an optimizer step.

        The last group of an epoch may be shorter. What they took is added to `waited_seconds`.
        """
        batches = self.epoch(epoch, first)
        while True:
            start = time.perf_counter()
            group = list(islice(batches, size))
            self.waited_seconds += time.perf_counter() - start
            if not group:
                return
            yield group
