"""V18's retrieval and masks, in torch and NumPy, as a baseline of the benchmarks.

An allele's embedding is the sum of a token, a position and a frequency term (the last two are one
term per site here). Distances of flattened windows come from `torch.cdist`, neighbours from `topk`.
The panel is encoded in blocks, to fit a small machine; V18 holds the whole window, 1.3 GB at
D = 64.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

WIDTH = 64
_ROWS_AT_ONCE = 256


class V18:
    """V18's embedding of one window of L sites, with random weights, and the search in it."""

    def __init__(self, num_sites: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.token = torch.randn(3, WIDTH, generator=generator)
        self.site = torch.randn(num_sites, WIDTH, generator=generator)

    @property
    def scale(self) -> float:
        """Squared distance that one observed site adds where two haplotypes differ."""
        return float((self.token[1] - self.token[0]).square().sum())

    def encode(self, rows: NDArray[np.int8], mask: NDArray[np.bool_]) -> torch.Tensor:
        """Return the (n, L * 64) embeddings of (n, L) alleles."""
        tokens = torch.from_numpy(np.where(mask, 2, rows)).long()
        return (self.token[tokens] + self.site).flatten(1)

    def search(
        self,
        queries: NDArray[np.int8],
        haplotypes: NDArray[np.int8],
        mask: NDArray[np.bool_],
        k: int,
    ) -> torch.Tensor:
        """Encode the window and return the (Q, k) squared distances of the nearest haplotypes."""
        encoded = self.encode(queries, mask)
        blocks = [
            torch.cdist(encoded, self.encode(haplotypes[start : start + _ROWS_AT_ONCE], mask))
            for start in range(0, len(haplotypes), _ROWS_AT_ONCE)
        ]
        return torch.cat(blocks, 1).square().topk(k, largest=False).values

    def check(self, squared: torch.Tensor, hamming: NDArray[np.int32]) -> None:
        """Compare squared distances with Hamming distances.

        `torch.cdist` computes |a|^2 + |b|^2 - 2ab in float32, which is inexact near zero.
        """
        np.testing.assert_allclose(
            hamming * self.scale, squared.numpy(), rtol=2e-2, atol=0.5 * self.scale
        )


def random_state_masks(
    af: NDArray[np.float64], windows: list[tuple[int, int]], seed: int, rate: float
) -> list[NDArray[np.bool_]]:
    """Return V18's masks, one RandomState for each window (start, stop)."""
    return [
        np.random.RandomState(seed * 10_000 + window).random_sample(stop - start)
        < np.where(af[start:stop] < 0.05, 0.7, rate)
        for window, (start, stop) in enumerate(windows)
    ]
