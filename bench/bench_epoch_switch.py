"""The switch between epochs beside V18's way, and the indexes of a whole epoch, on one thread.

A switch is the cache emptied, and for the first batch, of 24 samples, the mask of its window, its
index, and the search for its neighbours; their alleles are read as for every later batch. V18's
switch is its masks of all windows, the panel of the first window encoded at D = 64, distances by
`torch.cdist`, neighbours by `topk`. The indexes of the other windows are built later in the epoch,
each when its window is first used; FAISS packs and adds the observed alleles of each window, which
are given to it unpacked and in memory.

Limits. Masks: see bench_masks.py. An index from sites: the bits of the observed sites are read once
(408 x 626 bytes at rate 0.6, 255 KB) and transposed into 280 KB: 331 windows are 177 MB of
traffic, 9 ms at 20 GB/s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mosaics import HIDDEN_RATE, Window, make_panel
from numpy.typing import NDArray
from v18 import V18, random_state_masks

from snvrag.batches.batch import Batch, Neighbours
from snvrag.batches.dataset import Targets, WindowDataset
from snvrag.batches.keys import Key
from snvrag.batches.masks import MaskConfig
from snvrag.kernels import HammingIndex, af_guided_masks, pack_haplotypes
from snvrag.panel.windows import Windows
from snvrag.retrieval.neighbours import Retriever
from snvrag.retrieval.options import RetrievalConfig

NUM_NEIGHBOURS = 8
EPOCH = 1
RATE = MaskConfig().rate(EPOCH)


class Chromosome:
    """A panel of many windows, held-out samples, and their batch of the first window.

    Every window has the haplotypes of one, which changes no cost.
    """

    def __init__(self, window: Window, num_windows: int) -> None:
        self.panel, held_out = (
            make_panel(np.tile(pack_haplotypes(alleles.T), (num_windows, 1)), len(alleles), prefix)
            for alleles, prefix in ((window.haplotypes, "s"), (window.queries, "held-out-"))
        )
        self.windows = Windows.split(self.panel.num_sites, window.num_sites)
        num_samples = held_out.num_samples
        absent = np.full(num_samples, -1)
        targets = Targets(
            held_out, np.ones(self.panel.num_sites, bool), absent, np.zeros(num_samples, np.int64)
        )
        self.dataset = WindowDataset(self.panel, targets, self.windows, MaskConfig())
        self.batch: Batch = self.dataset.__getitems__(
            [Key(EPOCH, 0, i) for i in range(num_samples)]
        )
        self.retrievers = {
            threads: Retriever(
                self.panel,
                self.windows,
                RetrievalConfig(k=NUM_NEIGHBOURS),
                threads=threads,
            )
            for threads in (None, 1)
        }

    def masks(self, rate: float, threads: int | None) -> NDArray[np.bool_]:
        """Return the masks of all windows."""
        starts, stops = self.windows.starts, self.windows.stops
        return af_guided_masks(self.panel.af, starts, stops, seed=EPOCH, rate=rate, threads=threads)

    def switch(self, threads: int | None) -> NDArray[np.int64]:
        """Begin an epoch, make the first batch's mask and index, and search for it."""
        self.dataset.window_mask(EPOCH, 0)
        self.retrievers[threads].begin_epoch(EPOCH + 1)  # drops every index
        ((_, nearest),) = self.retrievers[threads].search(self.batch)
        found: NDArray[np.int64] = nearest
        return found

    def first_batch(self, threads: int | None) -> Neighbours:
        """Do the same and read the alleles of the neighbours, as every batch does."""
        self.dataset.window_mask(EPOCH, 0)
        self.retrievers[threads].begin_epoch(EPOCH + 1)
        return self.retrievers[threads].retrieve(self.batch)

    def build_all(self, observed: list[NDArray[np.bool_]]) -> list[HammingIndex]:
        """Build the index of every window."""
        starts, stops = self.windows.starts.tolist(), self.windows.stops.tolist()
        return [
            HammingIndex.from_sites(
                self.panel.site_bits[start:stop],
                num_haplotypes=self.panel.num_haplotypes,
                observed=seen,
            )
            for start, stop, seen in zip(starts, stops, observed, strict=True)
        ]


@pytest.fixture(scope="module")
def chromosome(sizes: Any, window: Window) -> Chromosome:
    return Chromosome(window, sizes.num_windows)


@pytest.mark.benchmark(group="epoch switch, first batch searched")
class TestSwitch:
    def test_v18(
        self, timed: Any, chromosome: Chromosome, window: Window, haplotypes: NDArray[np.int8]
    ) -> None:
        v18 = V18(window.num_sites)
        windows = chromosome.windows
        pairs = list(zip(windows.starts.tolist(), windows.stops.tolist(), strict=True))
        hidden = chromosome.batch.hidden[0].numpy()  # our mask, for equal answers

        def switch() -> Any:
            random_state_masks(chromosome.panel.af, pairs, EPOCH, RATE)
            return v18.search(window.queries, haplotypes, hidden, NUM_NEIGHBOURS)

        index = replace(window, observed=~hidden).index()
        squared = timed("V18's way", switch, rounds=1)
        v18.check(squared, index.search(window.query_bits, NUM_NEIGHBOURS).distances)

    @pytest.mark.parametrize(("name", "threads"), [("snvrag", None), ("snvrag, one thread", 1)])
    def test_snvrag(
        self, name: str, threads: int | None, timed: Any, chromosome: Chromosome, window: Window
    ) -> None:
        near = timed(name, lambda: chromosome.switch(threads))
        observed = ~chromosome.batch.hidden[0].numpy()
        index = replace(window, observed=observed).index()
        found = index.search(window.query_bits, NUM_NEIGHBOURS).indices
        np.testing.assert_array_equal(near, found)

    def test_with_alleles(self, timed: Any, chromosome: Chromosome, window: Window) -> None:
        switched = chromosome.switch(1)
        read = timed(
            "snvrag, one thread, alleles of the neighbours read", lambda: chromosome.first_batch(1)
        )
        near = read.alleles.numpy().reshape(*switched.shape, -1)
        np.testing.assert_array_equal(near, window.haplotypes[switched].astype(np.uint8))


@pytest.mark.benchmark(group="indexes of an epoch's 331 windows")
class TestBuildAll:
    @pytest.fixture
    def observed(self, chromosome: Chromosome) -> list[NDArray[np.bool_]]:
        """Return the observed sites of each window, at the rate of bench_retrieval.py."""
        mask = chromosome.masks(HIDDEN_RATE, 1)
        return list(~mask.reshape(len(chromosome.windows), -1))

    def test_faiss(
        self, timed: Any, faiss: Any, observed: list[Any], haplotypes: NDArray[np.int8]
    ) -> None:
        def build() -> list[Any]:
            indexes = []
            for seen in observed:
                packed = np.packbits(haplotypes[:, seen], axis=1)
                index = faiss.IndexBinaryFlat(8 * packed.shape[1])
                index.add(packed)
                indexes.append(index)
            return indexes

        indexes = timed("faiss IndexBinaryFlat, packed and added", build, rounds=1)
        assert all(index.ntotal == len(haplotypes) for index in indexes)

    def test_snvrag(
        self, timed: Any, chromosome: Chromosome, window: Window, observed: list[NDArray[np.bool_]]
    ) -> None:
        indexes = chromosome.build_all(observed)
        for number in (0, len(observed) - 1):
            index = replace(window, observed=observed[number]).index()
            expected = index.search(window.query_bits, NUM_NEIGHBOURS, threads=1)
            found = indexes[number].search(window.query_bits, NUM_NEIGHBOURS, threads=1)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)
        del indexes
        timed("snvrag", lambda: chromosome.build_all(observed), rounds=10)
