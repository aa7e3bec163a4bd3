"""The switch between epochs: ours beside V18's way of doing the same, on one thread.

Ours: the masks of all windows, the cache emptied, the first window's index, the first search.
V18's: the panel of the first window encoded (token + position + frequency, D = 64), the distances
by torch.cdist, the nearest by topk; its masks come from RandomState.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from snvrag.dataset import MaskRule, Targets, WindowDataset
from snvrag.kernels import af_guided_masks, pack_haplotypes
from snvrag.panel import Panel
from snvrag.retriever import Retriever
from snvrag.windows import Windows

NUM_SAMPLES = 24  # Q = 48
NUM_NEIGHBOURS = 8
WIDTH = 64
EPOCH = 1

pytestmark = pytest.mark.benchmark(group="epoch switch, first search included")


@pytest.fixture(scope="module")
def panel(sizes: Any, haplotypes: NDArray[np.int8]) -> Panel:
    """A panel of many windows; all have the haplotypes of one, which changes no cost."""
    bits = pack_haplotypes(haplotypes.T)
    num_sites = sizes.num_sites * sizes.num_windows
    return Panel(
        chrom="1",
        position=np.arange(1, num_sites + 1, dtype=np.int64) * 100,
        alleles=np.tile(np.array([["A", "G"]]), (num_sites, 1)),
        samples=tuple(f"s{i}" for i in range(sizes.num_haplotypes // 2)),
        site_bits=np.tile(bits, (sizes.num_windows, 1)),
    )


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class V18:
    """Its way, in torch, with the panel encoded in blocks so that it fits a small machine."""

    def __init__(self, haplotypes: NDArray[np.int8], num_windows: int) -> None:
        self.haplotypes = haplotypes
        self.num_windows = num_windows
        self.af = haplotypes.mean(axis=0, dtype=np.float64)
        generator = torch.Generator().manual_seed(0)
        num_sites = haplotypes.shape[1]
        self.token = torch.randn(3, WIDTH, generator=generator)
        self.site = torch.randn(num_sites, WIDTH, generator=generator)

    def masks(self) -> list[NDArray[np.bool_]]:
        p = np.where(self.af < 0.05, 0.7, 0.3)
        return [
            np.random.RandomState(EPOCH * 10_000 + window).random_sample(p.size) < p
            for window in range(self.num_windows)
        ]

    def encode(self, rows: NDArray[np.int8], mask: NDArray[np.bool_]) -> torch.Tensor:
        tokens = torch.from_numpy(np.where(mask, 2, rows)).long()
        return (self.token[tokens] + self.site).flatten(1)

    def switch(self, queries: NDArray[np.int8]) -> torch.Tensor:
        mask = self.masks()[0]
        encoded = self.encode(queries, mask)
        blocks = [
            torch.cdist(encoded, self.encode(self.haplotypes[start : start + 256], mask))
            for start in range(0, len(self.haplotypes), 256)
        ]
        squared = torch.cat(blocks, 1).square()
        return squared.topk(NUM_NEIGHBOURS, largest=False).values


@pytest.fixture(scope="module")
def ours(panel: Panel, sizes: Any) -> Any:
    windows = Windows.split(panel.num_sites, sizes.num_sites)
    present = np.ones(panel.num_sites, bool)
    targets = Targets(
        panel.select_samples(np.arange(NUM_SAMPLES)),
        present,
        np.full(NUM_SAMPLES, -1),
        np.zeros(NUM_SAMPLES, np.int64),
    )
    dataset = WindowDataset(panel, targets, windows, MaskRule())
    retriever = Retriever(panel, windows, k=NUM_NEIGHBOURS, threads=1)
    from snvrag.dataset import Key

    batch = dataset.__getitems__([Key(EPOCH, 0, sample) for sample in range(NUM_SAMPLES)])
    queries = pack_haplotypes(batch.alleles.numpy().reshape(2 * NUM_SAMPLES, -1))
    observed = ~batch.hidden[0].numpy()

    def switch() -> Any:
        af_guided_masks(panel.af, windows.starts, windows.stops, seed=EPOCH, rate=0.3, threads=1)
        retriever.begin_epoch(EPOCH + 1)  # no entry survives
        index = retriever.window_indexes(EPOCH, 0, observed)[0]
        return index.search(queries, NUM_NEIGHBOURS, threads=1)

    return switch


@pytest.mark.usefixtures("one_thread")
def test_v18(benchmark: Any, haplotypes: Any, sizes: Any) -> None:
    v18 = V18(haplotypes, sizes.num_windows)
    benchmark.pedantic(v18.switch, args=(haplotypes[: 2 * NUM_SAMPLES],), rounds=1)


@pytest.mark.usefixtures("one_thread")
def test_snvrag(benchmark: Any, ours: Any, haplotypes: Any, sizes: Any) -> None:
    v18 = V18(haplotypes, sizes.num_windows)
    mask = MaskRule().mask(v18.af, EPOCH, 0)
    v18.masks = lambda: [mask]  # type: ignore[method-assign]
    expected = v18.switch(haplotypes[: 2 * NUM_SAMPLES]).numpy()
    scale = float((v18.token[1] - v18.token[0]).square().sum())
    # cdist takes |a|^2 + |b|^2 - 2ab in float32, so near zero it is only roughly right.
    np.testing.assert_allclose(ours().distances * scale, expected, rtol=2e-2, atol=0.5 * scale)
    benchmark(ours)
