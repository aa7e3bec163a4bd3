"""Keys of training examples, and the order that an epoch has them in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..panel.windows import Windows

VALIDATION_SEED = 2024
"""The mask_seed of validation."""


class Key(NamedTuple):
    """One example: a sample over a window, under one mask.

    ``mask_seed`` is what the mask is drawn from: the loop's epoch in training, `VALIDATION_SEED` in
    validation.
    """

    mask_seed: int
    window: int
    sample: int


class Part(NamedTuple):
    """The ``rows`` of a batch whose samples are over its ``n``-th window, read with [start, stop).

    ``window`` is the number of that window.
    """

    n: int
    rows: slice
    samples: NDArray[np.int64]
    window: int
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """Which rows of a batch are of which window, and where each window lies in the panel.

    Attributes
    ----------
    mask_seed : int
        That of all keys; -1 without keys.
    samples : (B,) int64
    windows : (N,) int64
        Those of the keys, ascending.
    row_starts : (N + 1,) int64
        Rows ``row_starts[n]`` to ``row_starts[n + 1]`` are of window n.
    starts, stops : (N,) int64
        Sites that each window is read with, flanks included.
    length : int
        L, to which all of them are padded.
    """

    mask_seed: int
    samples: NDArray[np.int64]
    windows: NDArray[np.int64]
    row_starts: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    length: int

    @classmethod
    def of(cls, keys: Sequence[Key], windows: Windows) -> Layout:
        """Lay out keys, which must share their mask_seed and be in the order of their windows."""
        mask_seed = keys[0].mask_seed if keys else -1
        if any(key.mask_seed != mask_seed for key in keys):
            raise ValueError("keys must be of one mask_seed")
        window_of = np.array([key.window for key in keys], np.int64)
        if (np.diff(window_of) < 0).any():
            raise ValueError("keys must be in the order of their windows")
        numbers, first = np.unique(window_of, return_index=True)
        return cls(
            mask_seed,
            np.array([key.sample for key in keys], np.int64),
            numbers,
            np.append(first, window_of.size).astype(np.int64),
            windows.flanked_starts[numbers],
            windows.flanked_stops[numbers],
            windows.length,
        )

    @property
    def window_row(self) -> NDArray[np.int64]:
        """(B,) int64: for each sample, its window's index in ``windows``."""
        return np.repeat(np.arange(self.windows.size), np.diff(self.row_starts))

    @property
    def is_padded(self) -> bool:
        """Whether a window is shorter than L."""
        return bool((self.stops - self.starts < self.length).any())

    def parts(self) -> Iterator[Part]:
        """Yield the part of each window."""
        cuts = self.row_starts.tolist()
        columns = (self.windows.tolist(), self.starts.tolist(), self.stops.tolist())
        for n, (window, start, stop) in enumerate(zip(*columns, strict=True)):
            rows = slice(cuts[n], cuts[n + 1])
            yield Part(n, rows, self.samples[rows], window, start, stop)


@dataclass(frozen=True)
class KeySampler:
    """Orders the keys of an epoch and divides them into batches; every pair is one key.

    Parameters
    ----------
    num_windows, num_samples : int
    batch_size : int
        Samples in a batch.
    whole_samples : bool
        Whether a batch has all windows of its samples, in the order of sample and window; else it
        has one window of them in training, and any in their order otherwise.
    shuffle : bool
        Whether samples and batches are in random order; else by sample, or by window and sample.
    """

    num_windows: int
    num_samples: int
    batch_size: int
    _: KW_ONLY
    seed: int = 0
    whole_samples: bool = False
    shuffle: bool = False

    def __len__(self) -> int:
        """Batches of an epoch."""
        of_all = -(-self.num_samples // self.batch_size)
        if self.whole_samples:
            return of_all
        if self.shuffle:
            return self.num_windows * of_all
        return -(-self.num_windows * self.num_samples // self.batch_size)

    @property
    def most_samples(self) -> int:
        """Rows of the largest batch."""
        together = 1 if self.whole_samples or self.shuffle else self.num_windows
        return min(self.batch_size, self.num_samples * together)

    def batches(self, mask_seed: int, first: int = 0) -> Iterator[list[Key]]:
        """Yield the batches of an epoch from number ``first`` on.

        The order is a pure function of the sampler's parameters and ``mask_seed``. Batches before
        the first are not made.
        """
        order = np.random.Generator(np.random.Philox(key=[self.seed, mask_seed]))
        if self.whole_samples:
            yield from self._of_samples(mask_seed, order, first)
            return
        for pairs in self._pairs(order)[first:]:
            windows, samples = np.divmod(np.sort(pairs), self.num_samples)
            yield [
                Key(mask_seed, window, sample)
                for window, sample in zip(windows.tolist(), samples.tolist(), strict=True)
            ]

    def _of_samples(
        self, mask_seed: int, order: np.random.Generator, first: int
    ) -> Iterator[list[Key]]:
        samples = np.arange(self.num_samples)
        if self.shuffle:
            order.shuffle(samples)
        for start in range(first * self.batch_size, self.num_samples, self.batch_size):
            chosen = np.sort(samples[start : start + self.batch_size]).tolist()
            yield [Key(mask_seed, w, sample) for sample in chosen for w in range(self.num_windows)]

    def _pairs(self, order: np.random.Generator) -> list[NDArray[np.int64]]:
        """Return ``window * num_samples + sample`` of the keys of each batch."""
        pairs = np.arange(self.num_windows * self.num_samples)
        if not self.shuffle:
            return np.split(pairs, np.arange(self.batch_size, pairs.size, self.batch_size))
        table = order.permuted(pairs.reshape(self.num_windows, self.num_samples), axis=1)
        cuts = np.arange(self.batch_size, self.num_samples, self.batch_size)
        batches = [batch for row in table for batch in np.split(row, cuts)]
        return [batches[i] for i in order.permutation(len(batches))]
