"""Batches of an epoch with their neighbours, made here or by worker processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import islice
from multiprocessing import active_children
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..batches.batch import Batch, Neighbours
from ..batches.dataset import WindowDataset, as_batch
from ..batches.device import DeviceDataset, DeviceHaplotypes, upload
from ..batches.keys import Key, KeySampler
from ..errors import LostWorkerError, one_line
from ..li_stephens.model import LiStephensModel
from ..panel.windows import Windows
from ..retrieval.cache import IndexCache
from ..retrieval.neighbours import Retriever, SiteWeights
from .distributed import ALONE, Ranks
from .options import Config, RunConfig
from .run_data import RunData
from .signals import ignore_signals, kill, signals_blocked

Group = list[tuple[Batch, Neighbours]]
"""Batches of one optimizer step."""


class Loader:
    """The batches of training or validation, by epoch, with their neighbours.

    Training batches are shuffled and split over the ranks; validation batches come in order and are
    dealt out whole. A rank without a share has a batch of no samples. ``sampler`` has the keys
    before they are divided; ``workers`` start with the first epoch.

    With ``resident``, the panel's haplotypes on a device, batches and neighbours are made there,
    from keys alone; the probabilities of Li-Stephens models are made on the host, by workers if
    there are some. ``cache`` holds the search indexes; ``site_weights`` are those of the search.
    """

    def __init__(
        self,
        config: Config,
        data: RunData,
        windows: Windows,
        ranks: Ranks = ALONE,
        *,
        training: bool,
        cache: IndexCache | None = None,
        resident: DeviceHaplotypes | None = None,
        site_weights: SiteWeights | None = None,
    ) -> None:
        self.ranks, self.training, self.resident = ranks, training, resident
        targets = data.train if training else data.validation
        li_stephens = None
        if config.li_stephens.li_stephens:
            li_stephens = LiStephensModel(
                data.panel,
                config.li_stephens,
                genetic_map=data.genetic_map,
                threads=1 if config.run.workers else config.run.threads,
            )
        self.dataset = WindowDataset(
            data.panel,
            targets,
            windows,
            config.masks if training else config.masks.validation(),
            li_stephens,
        )
        self.sampler = KeySampler(
            len(windows),
            targets.haplotypes.num_samples,
            config.training.batch_size,
            seed=config.training.seed,
            shuffle=config.training.shuffle if training else "none",
        )
        self.retriever = Retriever(
            data.panel,
            windows,
            config.retrieval,
            with_features=config.network.needs_features,
            threads=config.run.threads,
            cache=cache,
            resident=resident,
            site_weights=site_weights,
        )
        self._on_device: DeviceDataset | None = None
        self._of_worker: WindowDataset | _HostPart = self.dataset
        if resident is not None:
            self._on_device = DeviceDataset(self.dataset, resident)
            self._of_worker = _HostPart(self.dataset)
        self._epoch_keys = _EpochKeys()
        self.workers: set[BaseProcess] = set()
        self.loader = self._make_loader(config.run)

    def _make_loader(self, config: RunConfig) -> DataLoader[Any]:
        num_workers = config.workers
        with _more_workers_than_cores():
            return DataLoader(
                self._of_worker,
                batch_sampler=self._epoch_keys,
                collate_fn=as_batch,
                num_workers=num_workers,
                multiprocessing_context=config.start_method if num_workers else None,
                persistent_workers=num_workers > 0,
                worker_init_fn=ignore_signals,
                # Without a generator of its own it would draw from the one that dropout uses.
                generator=torch.Generator(),
            )

    def keys(self, mask_seed: int, first: int = 0) -> Iterator[list[Key]]:
        """Yield this rank's share of the keys of each batch, from number ``first`` on."""
        share = self.ranks.split_batches if self.training else self.ranks.deal_batches
        return share(self.sampler.batches(mask_seed, first))

    def batches(self, mask_seed: int, first: int = 0) -> Iterator[tuple[Batch, Neighbours]]:
        """Yield this rank's batches, from number ``first`` of an epoch on.

        Raises `LostWorkerError` if a worker fails.
        """
        for made in self._made_by_workers(mask_seed, first):
            batch = self._complete(made)
            yield batch, self.retriever.retrieve(batch)

    def make(self, keys: Sequence[Key]) -> Batch:
        """Return the batch of some keys, made by this process alone."""
        return self._complete(self._of_worker.__getitems__(keys))

    def _complete(self, made: Any) -> Batch:
        """Return the batch of what a worker has made: itself, or on a device what it lacks."""
        if self._on_device is None:
            whole: Batch = made
            return whole
        keys, li_stephens = made
        batch = self._on_device.__getitems__(keys)
        if li_stephens is None:
            return batch
        return replace(batch, li_stephens=upload(li_stephens.numpy(), batch.alleles.device))

    def groups(self, mask_seed: int, size: int, first: int = 0) -> Iterator[Group]:
        """Yield batches in groups of ``size``; the last group of an epoch may be smaller."""
        batches = self.batches(mask_seed, first)
        while group := list(islice(batches, size)):
            yield group

    def _made_by_workers(self, mask_seed: int, first: int) -> Iterator[Any]:
        self._epoch_keys.batches = lambda: self.keys(mask_seed, first)
        if self.loader.num_workers == 0:
            yield from self.loader
            return
        started = set(active_children())
        with nullcontext() if self.workers else signals_blocked(), _more_workers_than_cores():
            batches = iter(self.loader)
        self.workers |= set(active_children()) - started
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:  # whatever the worker raised, or its death
                cause = one_line(str(error).strip().rpartition("\n")[2] or error)
                raise LostWorkerError(f"a worker process has failed: {cause}") from error
            if batch is None:
                return
            yield batch

    def lost_worker(self, seconds: float = 1.0) -> BaseProcess | None:
        """Return a worker that has ended, or ends within some seconds; None if there is none."""
        if not self.workers:
            return None
        ended = wait([worker.sentinel for worker in self.workers], timeout=seconds)
        for worker in self.workers:
            if worker.sentinel in ended:
                worker.join()
                return worker
        return None

    def close(self) -> None:
        """Kill the workers; the loader cannot be used any more."""
        kill(self.workers)


class _HostPart(Dataset[Any]):
    """What the host makes of a batch on a device: its keys, and the Li-Stephens probabilities."""

    def __init__(self, dataset: WindowDataset) -> None:
        self._dataset = dataset

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Sequence[Key], Tensor | None]:
        if self._dataset.li_stephens is None:
            return keys, None
        return keys, torch.from_numpy(self._dataset.li_stephens_of(keys))


class _EpochKeys:
    """The keys that a data loader iterates over next.

    One with persistent workers keeps its batch sampler and iterates over it without arguments once
    an epoch, so the epoch has to be set beforehand. Nothing but the keys gets to the workers.
    """

    def __init__(self) -> None:
        self.batches: Callable[[], Iterator[list[Key]]] = lambda: iter(())

    def __iter__(self) -> Iterator[list[Key]]:
        return self.batches()


@contextmanager
def _more_workers_than_cores() -> Iterator[None]:
    """Suppress torch's warning of more workers than cores: the user has asked for them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        yield


def _lost_worker(loaders: Sequence[Loader]) -> BaseProcess | None:
    """Return a worker that has ended; torch's handler of SIGCHLD may raise meanwhile."""
    while True:
        with suppress(RuntimeError):  # at most once for each worker
            return next((lost for loader in loaders if (lost := loader.lost_worker())), None)


@contextmanager
def closing_workers(*loaders: Loader) -> Iterator[None]:
    """Kill the workers of loaders at the end of the block.

    Raises `LostWorkerError` for one that has ended before: torch raises an error wherever the block
    happens to be.
    """
    try:
        yield
    except RuntimeError as error:
        if lost := _lost_worker(loaders):
            raise LostWorkerError(
                f"worker process {lost.pid} has ended with exit code {lost.exitcode}"
            ) from error
        raise
    finally:
        for loader in loaders:
            loader.close()
