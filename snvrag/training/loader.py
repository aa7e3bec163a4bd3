"""Batches of an epoch with what a network takes, made here or by worker processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from multiprocessing import active_children
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..batches.batch import Batch, EvidenceBatch, Neighbours
from ..batches.dataset import as_batch
from ..batches.keys import Key, KeySampler
from ..errors import LostWorkerError, one_line
from ..retrieval.cache import CacheStatistics
from .distributed import Ranks
from .options import Config, RunConfig
from .signals import ignore_signals, kill, signals_blocked

Inputs = tuple[Batch, Neighbours] | tuple[EvidenceBatch]
"""What a network takes: a batch, and for the transformer the neighbours."""
Group = list[Inputs]
"""Batches of one optimizer step."""


class Loader:
    """The batches of training or validation, by epoch; `SampleLoader` and `WindowLoader` make them.

    Training batches are shuffled and split over the ranks; validation batches come in order and are
    dealt out whole. A rank without a share has a batch of no samples. ``sampler`` has the keys
    before they are divided; ``workers`` start with the first epoch. ``made_by_workers`` makes
    something of the keys of a batch, here or in a worker, which `complete` makes the batch of.
    """

    searches = "searches"
    """What the time of `statistics.search_seconds` is spent on."""

    makes_ahead = False
    """Whether a thread makes the next batch, without workers, while one is used."""

    def __init__(
        self,
        config: Config,
        sampler: KeySampler,
        made_by_workers: Any,
        ranks: Ranks,
        *,
        training: bool,
    ) -> None:
        self.ranks, self.training, self.sampler = ranks, training, sampler
        self.statistics = CacheStatistics()
        self._made_by_workers = made_by_workers
        self._epoch_keys = _EpochKeys()
        self.workers: set[BaseProcess] = set()
        self.loader = self._make_loader(config.run)

    def begin_epoch(self, mask_seed: int) -> None:
        """Drop what belongs to other masks and start the counts anew."""
        raise NotImplementedError

    def complete(self, made: Any) -> Inputs:
        """Return the inputs of what a worker has made."""
        raise NotImplementedError

    @property
    def cache_bytes(self) -> int:
        """Memory of the just-in-time cache, in bytes."""
        raise NotImplementedError

    def _make_loader(self, config: RunConfig) -> DataLoader[Any]:
        num_workers = config.workers
        with _more_workers_than_cores():
            return DataLoader(
                self._made_by_workers,
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

    def batches(self, mask_seed: int, first: int = 0) -> Iterator[Inputs]:
        """Yield this rank's batches, from number ``first`` of an epoch on.

        Raises `LostWorkerError` if a worker fails.
        """
        return map(self.complete, self._made(mask_seed, first))

    def make(self, keys: Sequence[Key]) -> Inputs:
        """Return the batch of some keys, made by this process alone."""
        return self.complete(self._made_by_workers.__getitems__(keys))

    def groups(self, mask_seed: int, size: int, first: int = 0) -> Iterator[Group]:
        """Yield batches in groups of ``size``; the last group of an epoch may be smaller."""
        batches = self.batches(mask_seed, first)
        while group := list(islice(batches, size)):
            yield group

    def _made(self, mask_seed: int, first: int) -> Iterator[Any]:
        self._epoch_keys.batches = lambda: self.keys(mask_seed, first)
        if self.loader.num_workers == 0:
            yield from _made_ahead(self.loader) if self.makes_ahead else self.loader
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


def _made_ahead(items: Iterable[Any]) -> Iterator[Any]:
    """Yield items, each made in a thread while the one before is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, iterator, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, iterator, None)
            yield item


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
