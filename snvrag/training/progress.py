"""Running totals of an epoch: loss, metrics, time and memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ..batches.batch import Batch, EvidenceBatch
from ..network.prediction import HaplotypePrediction, Prediction
from .distributed import Ranks
from .metrics import Metrics

_LOSS_UNITS = 2.0**20

T = TypeVar("T")


class EpochSums:
    """Sums of losses, scored sites and metrics, kept on the device; reading them waits for it.

    They are exact, so every division over batches and ranks gives the same sums: a batch's loss is
    rounded to a multiple of 2^-20, and float64 adds those exactly up to 2^33.
    """

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.num_scored = torch.zeros_like(self.loss)
        self.metrics = Metrics(device)

    @torch.no_grad()
    def add_batch(
        self,
        loss: Tensor,
        prediction: Prediction | HaplotypePrediction,
        batch: Batch | EvidenceBatch,
    ) -> None:
        """Add a batch whose loss is a sum over its scored sites."""
        self.loss += (loss.double() * _LOSS_UNITS).round() / _LOSS_UNITS
        self.num_scored += batch.scored.sum()
        self.metrics.update(prediction.hap_dosage, batch.alleles, batch.scored, batch.strata_af)

    def add(self, other: EpochSums, bad: Tensor | None = None) -> None:
        """Add other sums; where ``bad``, a scalar on the device, is not 0, add nothing."""
        parts = other._tensors()
        for name, total in self._tensors().items():
            total += parts[name] if bad is None else torch.where(bad == 0, parts[name], 0)

    def over(self, ranks: Ranks) -> EpochSums:
        """Return the sums over all ranks, each of which must call this."""
        total = EpochSums(self.loss.device)
        total.restore(self._tensors())
        ranks.all_reduce_sum(*total._tensors().values())
        return total

    @property
    def mean_loss(self) -> float:
        """Loss per scored site, 0 without any; reading it waits for the device."""
        return float(self.loss / self.num_scored.clamp_min(1))

    def state(self) -> dict[str, Tensor]:
        """Return the sums for a checkpoint, on the CPU."""
        return {name: tensor.cpu().clone() for name, tensor in self._tensors().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take the sums from a checkpoint."""
        for name, tensor in self._tensors().items():
            tensor.copy_(state[name])

    def _tensors(self) -> dict[str, Tensor]:
        return {"loss": self.loss, "num_scored": self.num_scored, "metrics": self.metrics.sums}


@dataclass
class EpochClock:
    """Seconds of an epoch over interruptions, of its training, and of waiting for data in it."""

    seconds: float = 0.0
    train_seconds: float = 0.0
    waited_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._last_tick = time.perf_counter()

    def tick(self, *, training: bool) -> None:
        """Add the time since the last tick."""
        now = time.perf_counter()
        self.seconds += now - self._last_tick
        if training:
            self.train_seconds += now - self._last_tick
        self._last_tick = now

    def skip(self) -> None:
        """Leave out the time since the last tick."""
        self._last_tick = time.perf_counter()

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items; add the time until each is there to `waited_seconds`."""
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited_seconds += time.perf_counter() - start
            yield item

    @property
    def data_share(self) -> float:
        """Share of the training time spent waiting for data."""
        return self.waited_seconds / max(self.train_seconds, 1e-9)

    def __str__(self) -> str:
        share = f"{100 * self.data_share:.1f}%"
        return f"{self.seconds:.1f} s, {share} of the training time spent waiting for data"


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes: now, or the largest so far if there is
    no /proc.
    """
    try:
        num_pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_bytes()
    return num_pages * resource.getpagesize()


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_line(device: torch.device) -> str:
    """Return a log line of the peak memory of this process and its device."""
    line = f"Memory: at most {peak_bytes() / 1e6:.0f} MB resident"
    if device.type == "cuda":
        line += f", {torch.cuda.max_memory_allocated(device) / 1e6:.0f} MB on {device}"
    return line
