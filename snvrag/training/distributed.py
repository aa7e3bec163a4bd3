"""Several processes that train one network: who each is, and what they tell each other.

A step's batch is cut over the ranks: rank r of N takes the r-th N-th of its keys. So
``--batch-size`` is that of all ranks together, the order of the keys stays the same pure function
of seed and epoch for every N, and without dropout the step is the same but for rounding. Each rank
reads the panel itself and has an index cache of its own.

Gradients are summed over ranks once an optimizer step, in one piece, after the last of its
accumulated batches, and not by DistributedDataParallel, which would send them during that batch's
backward pass. What it would hide is small (85 MB at the sizes of V18, 1 ms or 2 over NVLink, in a
step of several tens) and what it needs is much: that every rank computes equally many batches (the
last of an epoch may have fewer keys than there are ranks, and after an out-of-memory error one rank
may cut its batches smaller than the others), and a mean over ranks where a sum is right.
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
from torch.utils.data import Sampler

from ..batches.keys import Key, KeySampler
from ..errors import InputError, LostRankError, RemoteInputError, one_line

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, as one of them sees them; by default, it is alone.

    All methods but `step_seed` are called by every rank, in the same order. Alone, they are free.

    Attributes
    ----------
    rank : int
        Number of this process, from 0. Rank 0 writes: log, metrics, checkpoints.
    size : int
        Number of processes, N.
    local_rank : int
        Number of this process on its machine: of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def start(cls, timeout_minutes: float) -> Ranks:
        """Join the processes that ``torchrun`` has started; without it, be alone.

        Tensors on a CPU travel by gloo, those on a GPU by NCCL.

        Raises
        ------
        LostRankError
            If the others do not come within the time.
        """
        rank, size = launched()
        if size == 1:
            return cls()
        ranks = cls(rank, size, int(os.environ.get("LOCAL_RANK", rank)))
        if ranks.local_rank < torch.cuda.device_count():
            torch.cuda.set_device(ranks.local_rank)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        timeout = timedelta(minutes=timeout_minutes)
        with ranks._watched():
            store = _fresh_store(rank, size, timeout)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=timeout
            )
        return ranks

    def close(self) -> None:
        """Leave: nothing can be told any more."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @property
    def is_writer(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def step_seed(self, seed: int, step: int) -> int:
        """Return the seed of a step's dropout: another for every step and rank.

        As it is a pure function, a resumed run goes on with the same numbers.
        """
        sequence = np.random.SeedSequence([seed, step, self.rank])
        return int(sequence.generate_state(1, np.uint64)[0])

    def largest(self, *values: int) -> list[int]:
        """Return the largest over ranks of some integers, as `sum_integers` their sums."""
        if self.size == 1:
            return list(values)
        greatest = torch.tensor(values, dtype=torch.int64)
        with self._watched():
            dist.all_reduce(greatest, dist.ReduceOp.MAX)
        return greatest.tolist()

    def sum_integers(self, *values: int) -> list[int]:
        """Return the sums over ranks of some integers. No GPU is waited for: they go by gloo."""
        if self.size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.int64)
        self.add_up(sums)
        return sums.tolist()

    def add_up(self, *tensors: Tensor) -> None:
        """Replace tensors by their sums over ranks, the same at every rank to the last bit."""
        if self.size == 1:
            return
        with self._watched():
            for tensor in tensors:
                dist.all_reduce(tensor)

    def add_up_gradients(self, network: nn.Module, losses: Tensor) -> Tensor:
        """Replace a network's gradients by their sums over ranks; return the sums of the losses.

        Costs a copy of all gradients. Without a gradient at one rank, which had no batch in this
        step, a parameter has that of the others. The losses go along, so that all ranks see one
        that is not finite.
        """
        if self.size == 1:
            return losses
        parameters = [p for p in network.parameters() if p.requires_grad]
        parts = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters]
        sums = torch.cat([*parts, losses])
        self.add_up(sums)
        start = 0
        for parameter in parameters:
            parameter.grad = sums[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
        return sums[start:]

    def of_writer(self, value: Value) -> Value:
        """Return rank 0's value."""
        values = [value]
        if self.size > 1:
            with self._watched():
                dist.broadcast_object_list(values, src=0)
        return values[0]

    def require_same(self, what: str, value: Any) -> None:
        """Refuse values that differ from rank to rank.

        Raises
        ------
        InputError
            At every rank.
        """
        expected = self.of_writer(value)
        with self.together():
            if value != expected:
                raise InputError(
                    f"rank {self.rank} has another {what} than rank 0: {value}, not {expected}"
                )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do something whose `InputError` at one rank ends all, with that rank's message.

        Raises
        ------
        InputError
            At every rank, that of the lowest rank that had one: at the others as `RemoteInputError`,
            so that it is printed once.
        """
        if self.size == 1:
            yield
            return
        failed: InputError | None = None
        try:
            yield
        except InputError as error:
            failed = error
        messages: list[str | None] = [None] * self.size
        with self._watched():
            dist.all_gather_object(messages, str(failed) if failed else None)
        for rank, message in enumerate(messages):
            if message is not None:
                if failed is not None and rank == self.rank:
                    raise failed
                raise RemoteInputError(message) from failed

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # as gloo and NCCL report what happens to their peers
            reason = one_line(error)[:160]
            raise LostRankError(
                f"rank {self.rank}: another of the {self.size} processes has ended or does not "
                f"answer within --rank-timeout: the job ends here; torchrun --max-restarts N and "
                f"--resume auto start it again by themselves ({reason})"
            ) from error


ALONE = Ranks()


def launched() -> tuple[int, int]:
    """Return rank and number of processes as ``torchrun`` tells them: 0 and 1 without it."""
    if "RANK" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ.get("WORLD_SIZE", "1"))


def _fresh_store(rank: int, size: int, timeout: timedelta) -> Any:
    """Return what the ranks find each other by, without what an earlier attempt has left in it.

    After a restart by torchrun, its store still has the addresses of the processes that are gone,
    and the number of restarts in the environment is not the same on every machine. So each rank
    says a name that it has just made up, and rank 0 tells it the attempt's until it is heard.
    """
    store, _, _ = next(iter(dist.rendezvous("env://", rank, size, timeout=timeout)))  # type: ignore[attr-defined]
    if rank > 0:
        name = uuid4().hex
        store.set(f"rank {rank}", name)
        attempt = store.get(f"attempt of {name}").decode()
        store.set(f"{attempt} {rank}", "heard")
        return dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]
    attempt = uuid4().hex
    deaf = set(range(1, size))
    deadline = time.monotonic() + timeout.total_seconds()
    while deaf:
        if time.monotonic() > deadline:
            raise RuntimeError(f"rank {min(deaf)} has not come")
        for other in sorted(deaf):
            if store.check([f"rank {other}"]):
                store.set(f"attempt of {store.get(f'rank {other}').decode()}", attempt)
            if store.check([f"{attempt} {other}"]):
                deaf.remove(other)
        time.sleep(0.005)
    return dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]


class RankSampler(Sampler[list[Key]]):
    """A rank's share of the keys of a `KeySampler`, whose epoch and first batch it goes by.

    Parameters
    ----------
    whole : KeySampler
    ranks : Ranks
    cut_batches : bool
        True: every batch is cut over the ranks. False: batches stay whole, and number i goes to
        rank i modulo N. A rank that gets no key while others do has an empty list in its place, so
        that all ranks have equally many.
    """

    def __init__(self, whole: KeySampler, ranks: Ranks, *, cut_batches: bool) -> None:
        self.whole = whole
        self.ranks = ranks
        self.cut_batches = cut_batches

    def __iter__(self) -> Iterator[list[Key]]:
        rank, size = self.ranks.rank, self.ranks.size
        batches = iter(self.whole)
        if self.cut_batches:
            for keys in batches:
                yield keys[len(keys) * rank // size : len(keys) * (rank + 1) // size]
        while several := list(islice(batches, size)):
            yield several[rank] if rank < len(several) else []
