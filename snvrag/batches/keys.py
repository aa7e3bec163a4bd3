"""Keys of training examples, and the order that an epoch has them in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class KeySampler:
    """Orders the keys of an epoch and divides them into batches.

    Parameters
    ----------
    num_windows, num_samples : int
        Every pair is one key.
    batch_size : int
        Keys in a batch; the last batch may have fewer.
    shuffle : {"full", "window", "none"}
        "full": any keys together; "window": a batch stays within one window, and batches come in
        random order; "none": by window, then sample.
    """

    num_windows: int
    num_samples: int
    batch_size: int
    _: KW_ONLY
    seed: int = 0
    shuffle: Literal["full", "window", "none"] = "none"

    def __len__(self) -> int:
        """Batches of an epoch."""
        if self.shuffle == "window":
            return self.num_windows * -(-self.num_samples // self.batch_size)
        return -(-self.num_windows * self.num_samples // self.batch_size)

    def batches(self, mask_seed: int, first: int = 0) -> Iterator[list[Key]]:
        """Yield the batches of an epoch from number ``first`` on.

        The order is a pure function of the sampler's parameters and ``mask_seed``. Batches before
        the first are not made.
        """
        for pairs in self._pairs(mask_seed)[first:]:
            windows, samples = np.divmod(pairs, self.num_samples)
            yield [
                Key(mask_seed, window, sample)
                for window, sample in zip(windows.tolist(), samples.tolist(), strict=True)
            ]

    def _pairs(self, mask_seed: int) -> list[NDArray[np.int64]]:
        """Return ``window * num_samples + sample`` of the keys of each batch."""
        pairs = np.arange(self.num_windows * self.num_samples)
        order = np.random.Generator(np.random.Philox(key=[self.seed, mask_seed]))
        if self.shuffle == "full":
            order.shuffle(pairs)
        if self.shuffle != "window":
            return np.split(pairs, np.arange(self.batch_size, pairs.size, self.batch_size))
        table = order.permuted(pairs.reshape(self.num_windows, self.num_samples), axis=1)
        cuts = np.arange(self.batch_size, self.num_samples, self.batch_size)
        batches = [batch for row in table for batch in np.split(row, cuts)]
        return [batches[i] for i in order.permutation(len(batches))]
