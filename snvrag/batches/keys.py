"""Keys, and the sampler that orders them: an epoch travels with its keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class Key(NamedTuple):
    """One training example: a sample over a window, under an epoch's mask.

    ``mask_seed`` is what the mask is drawn from: the loop's epoch in training, 2024 in validation.
    """

    mask_seed: int
    window: int
    sample: int


class KeySampler(Sampler[list[Key]]):
    """Batches of keys of one epoch; their order is a pure function of (seed, epoch).

    Before it is iterated, ``epoch`` and ``first`` are set: iteration begins at that epoch's
    batch ``first``, and those before it are never made. The length is that of the whole epoch.

    Parameters
    ----------
    num_windows, num_samples : int
        Every pair is one key.
    batch_size : int
        Keys in a batch, the last of an epoch excepted.
    seed : int
        Of the order.
    shuffle : {"full", "window", "none"}
        "full": any keys together; "window": a batch stays within one window, and batches come in
        random order; "none": by window, then sample.
    """

    def __init__(
        self,
        num_windows: int,
        num_samples: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: Literal["full", "window", "none"],
    ) -> None:
        self.num_windows = num_windows
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        if self.shuffle == "window":
            return self.num_windows * -(-self.num_samples // self.batch_size)
        return -(-self.num_windows * self.num_samples // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        for pairs in self._batches(epoch)[self.first :]:
            windows, samples = np.divmod(pairs, self.num_samples)
            yield [
                Key(epoch, window, sample)
                for window, sample in zip(windows.tolist(), samples.tolist(), strict=True)
            ]

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        pairs = np.arange(self.num_windows * self.num_samples)
        order = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        if self.shuffle == "full":
            order.shuffle(pairs)
        if self.shuffle != "window":
            return np.split(pairs, np.arange(self.batch_size, pairs.size, self.batch_size))
        table = order.permuted(pairs.reshape(self.num_windows, self.num_samples), axis=1)
        cuts = np.arange(self.batch_size, self.num_samples, self.batch_size)
        batches = [batch for row in table for batch in np.split(row, cuts)]
        return [batches[i] for i in order.permutation(len(batches))]
