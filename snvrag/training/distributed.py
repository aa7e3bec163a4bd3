"""Several processes that train one network: rank, world size, collectives.

A step's batch is divided over the ranks: rank r of N takes the r-th N-th of its keys. So the batch
size is that of all ranks together, the order of the keys is the same pure function of seed and
epoch for every N, and without dropout the step is the same up to rounding. Each rank reads the
panel and has its own index cache.

Gradients are summed over ranks once an optimizer step, in one piece, after its last batch.
DistributedDataParallel would overlap the sum with that batch's backward pass, which saves little
(85 MB at the sizes of V18 take 1 or 2 ms over NVLink, of a step of several tens), and would need
every rank to compute equally many batches (the last batch of an epoch may have fewer keys than
there are ranks, and after an out-of-memory error the ranks may split theirs differently), and a
mean over ranks where a sum is right.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..batches.keys import Key
from ..errors import InputError, LostRankError, RemoteInputError, one_line

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen by one of them; the default is a single process.

    Every rank calls the methods that communicate, in the same order. A single process returns from
    them at once. ``rank`` of ``size`` is this process, and 0 writes log, metrics and checkpoints;
    ``local_rank`` is its index on its machine, and of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def start(cls, timeout_minutes: float) -> Ranks:
        """Join the processes started by ``torchrun``; without it, return a single process.

        Tensors on the CPU are sent by gloo, those on a GPU by NCCL. Raises `LostRankError` if the
        others do not join in time.
        """
        rank, size = rank_and_world_size()
        if size == 1:
            return cls()
        ranks = cls(rank, size, int(os.environ.get("LOCAL_RANK", rank)))
        if ranks.local_rank < torch.cuda.device_count():
            torch.cuda.set_device(ranks.local_rank)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        timeout = timedelta(minutes=timeout_minutes)
        with ranks._reporting_lost_ranks():
            store = _fresh_store(rank, size, timeout)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=timeout
            )
        return ranks

    def close(self) -> None:
        """Leave the process group."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @property
    def is_writer(self) -> bool:
        """Whether this rank writes files and log."""
        return self.rank == 0

    # --- shares of the work ---

    def split_batches(self, batches: Iterator[list[Key]]) -> Iterator[list[Key]]:
        """Yield this rank's share of every batch; it may be empty."""
        for keys in batches:
            start, stop = (len(keys) * rank // self.size for rank in (self.rank, self.rank + 1))
            yield keys[start:stop]

    def deal_batches(self, batches: Iterator[list[Key]]) -> Iterator[list[Key]]:
        """Yield every N-th batch, whole; at the end an empty one if only other ranks have one."""
        while batch_per_rank := list(islice(batches, self.size)):
            yield batch_per_rank[self.rank] if self.rank < len(batch_per_rank) else []

    def step_seed(self, seed: int, step: int) -> int:
        """Return the seed of a step's dropout, different for every step and rank.

        It is a pure function, so a resumed run draws the same numbers.
        """
        sequence = np.random.SeedSequence([seed, step, self.rank])
        return int(sequence.generate_state(1, np.uint64)[0])

    # --- collectives ---

    def all_reduce_max(self, *values: int) -> list[int]:
        """Return the largest of each integer over ranks. They are sent by gloo: no GPU waits."""
        if self.size == 1:
            return list(values)
        reduced = torch.tensor(values, dtype=torch.int64)
        with self._reporting_lost_ranks():
            dist.all_reduce(reduced, dist.ReduceOp.MAX)
        return reduced.tolist()

    def all_reduce_sum(self, *tensors: Tensor) -> None:
        """Replace tensors by their sums over ranks, which are bit-equal on every rank."""
        if self.size == 1:
            return
        with self._reporting_lost_ranks():
            for tensor in tensors:
                dist.all_reduce(tensor)

    def all_reduce_gradients(self, network: nn.Module, losses: Tensor) -> Tensor:
        """Replace a network's gradients by their sums over ranks; return the sums of the losses.

        Copies all gradients once. A rank that had no batch in this step takes part with zeros. The
        losses are sent along, so that all ranks see one that is not finite.
        """
        if self.size == 1:
            return losses
        parameters = [p for p in network.parameters() if p.requires_grad]
        flat = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters]
        sums = torch.cat([*flat, losses])
        self.all_reduce_sum(sums)
        start = 0
        for parameter in parameters:
            parameter.grad = sums[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
        return sums[start:]

    def broadcast(self, value: Value) -> Value:
        """Return rank 0's value."""
        values = [value]
        if self.size > 1:
            with self._reporting_lost_ranks():
                dist.broadcast_object_list(values, src=0)
        return values[0]

    def require_same(self, what: str, value: Any) -> None:
        """Raise `InputError` on every rank if a value differs between ranks."""
        expected = self.broadcast(value)
        with self.raise_on_all_ranks():
            if value != expected:
                raise InputError(
                    f"rank {self.rank} has another {what} than rank 0: {value}, not {expected}"
                )

    @contextmanager
    def raise_on_all_ranks(self) -> Iterator[None]:
        """Run a block on every rank; if one raises `InputError`, all do: that of the lowest rank.

        On the others it is a `RemoteInputError`, so that it is printed once.
        """
        if self.size == 1:
            yield
            return
        own: InputError | None = None
        try:
            yield
        except InputError as error:
            own = error
        messages: list[str | None] = [None] * self.size
        with self._reporting_lost_ranks():
            dist.all_gather_object(messages, None if own is None else str(own))
        first = next((rank for rank, message in enumerate(messages) if message is not None), None)
        if own is not None and first == self.rank:
            raise own
        if first is not None:
            raise RemoteInputError(str(messages[first])) from own

    @contextmanager
    def _reporting_lost_ranks(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # what gloo and NCCL raise when a peer is gone
            raise LostRankError(
                f"rank {self.rank}: another of the {self.size} processes has ended or does not "
                f"answer within the rank timeout, so the job ends: torchrun can restart it by "
                f"itself, and with resume set to auto it continues ({one_line(error)[:160]})"
            ) from error


ALONE = Ranks()


def rank_and_world_size() -> tuple[int, int]:
    """Return the rank and the number of processes that ``torchrun`` sets; 0 and 1 without it."""
    if "RANK" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ.get("WORLD_SIZE", "1"))


def _fresh_store(rank: int, size: int, timeout: timedelta) -> Any:
    """Return a store for the ranks of this attempt, without what an earlier attempt left in it.

    After a restart by torchrun, its store still has the addresses of processes that are gone, and
    the number of restarts in the environment may differ between machines. So each rank publishes a
    random name, and rank 0 answers each with the random name of the attempt until all have read it.
    """
    store, _, _ = next(iter(dist.rendezvous("env://", rank, size, timeout=timeout)))  # type: ignore[attr-defined]
    if rank > 0:
        name = uuid4().hex
        store.set(f"rank {rank}", name)
        attempt = store.get(f"attempt of {name}").decode()
        store.set(f"{attempt} {rank}", "joined")
        return dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]
    attempt = uuid4().hex
    waiting_for = set(range(1, size))
    deadline = time.monotonic() + timeout.total_seconds()
    while waiting_for:
        if time.monotonic() > deadline:
            raise RuntimeError(f"rank {min(waiting_for)} did not join")
        for other in sorted(waiting_for):
            if store.check([f"rank {other}"]):
                store.set(f"attempt of {store.get(f'rank {other}').decode()}", attempt)
            if store.check([f"{attempt} {other}"]):
                waiting_for.remove(other)
        time.sleep(0.005)
    return dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]
