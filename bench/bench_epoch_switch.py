"""The switch between epochs: ours beside V18's way of doing the same, on one thread.

Ours: the masks of all windows, the cache emptied, the first window's index, the first search.
V18's: its masks of all windows, the panel of the first window encoded at D = 64, the distances by
torch.cdist, the nearest by topk. And what an epoch adds later, as windows are first touched: the
indexes of all windows; FAISS beside it packs the observed alleles and adds them, window by window,
from alleles that are unpacked and in memory already.

Limits. Masks: see bench_masks.py. An index from sites: the bits of the observed sites are read once
(408 x 626 bytes at rate 0.6, 255 KB) and transposed into 280 KB: 331 windows are 177 MB of
traffic, 9 ms at 20 GB/s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mosaics import HIDDEN_RATE, Window
from numpy.typing import NDArray
from v18 import V18, random_state_masks

from snvrag.dataset import Targets, WindowDataset
from snvrag.kernels import HammingIndex, TopK, af_guided_masks, pack_haplotypes
from snvrag.keys import Key
from snvrag.mask_rule import MaskRule
from snvrag.panel import Panel
from snvrag.retriever import Retriever
from snvrag.windows import Windows

NUM_NEIGHBOURS = 8
EPOCH = 1
FIRST_RATE = MaskRule().rate(EPOCH)
V18_WAY, OURS = "V18's way", "snvrag"
FAISS = "faiss IndexBinaryFlat, packed and added"


def panel_of(window: Window, haplotypes: NDArray[np.int8], num_windows: int) -> Panel:
    """Return a panel of many windows; all have the haplotypes of one, which changes no cost."""
    num_sites = window.num_sites * num_windows
    return Panel(
        chrom="1",
        position=np.arange(1, num_sites + 1, dtype=np.int64) * 100,
        alleles=np.tile(np.array([["A", "G"]]), (num_sites, 1)),
        samples=tuple(f"s{i}" for i in range(len(haplotypes) // 2)),
        site_bits=np.tile(pack_haplotypes(haplotypes.T), (num_windows, 1)),
    )


class Switch:
    """A panel, held-out samples as queries, and a retriever."""

    def __init__(self, window: Window, num_windows: int) -> None:
        self.panel = panel_of(window, window.haplotypes, num_windows)
        self.windows = Windows.split(self.panel.num_sites, window.num_sites)
        held_out = panel_of(window, window.queries, num_windows)
        num_samples = held_out.num_samples
        targets = Targets(
            held_out,
            np.ones(self.panel.num_sites, bool),
            np.full(num_samples, -1),
            np.zeros(num_samples, np.int64),
        )
        dataset = WindowDataset(self.panel, targets, self.windows, MaskRule())
        batch = dataset.__getitems__([Key(EPOCH, 0, sample) for sample in range(num_samples)])
        self.query_bits = pack_haplotypes(batch.alleles.numpy().reshape(2 * num_samples, -1))
        self.observed = ~batch.hidden[0].numpy()
        self.retriever = Retriever(self.panel, self.windows, k=NUM_NEIGHBOURS, threads=1)

    def masks(self, rate: float = FIRST_RATE, threads: int | None = None) -> NDArray[np.bool_]:
        windows = self.windows
        return af_guided_masks(
            self.panel.af, windows.starts, windows.stops, seed=EPOCH, rate=rate, threads=threads
        )

    def switch(self, threads: int | None = None) -> TopK:
        self.masks(threads=threads)
        self.retriever.begin_epoch(EPOCH + 1)  # no entry survives
        index = self.retriever.window_indexes(EPOCH, 0, self.observed)[0]
        return index.search(self.query_bits, NUM_NEIGHBOURS, threads=threads)

    def build_all(self, observed: list[NDArray[np.bool_]]) -> list[HammingIndex]:
        self.retriever.begin_epoch(EPOCH + 1)
        return [
            self.retriever.window_indexes(EPOCH, window, seen)[0]
            for window, seen in enumerate(observed)
        ]


@pytest.fixture(scope="module")
def switch(sizes: Any, window: Window) -> Switch:
    return Switch(window, sizes.num_windows)


@pytest.mark.benchmark(group="epoch switch, first search included")
class TestSwitch:
    def test_v18(
        self, timed: Any, switch: Switch, window: Window, haplotypes: NDArray[np.int8]
    ) -> None:
        v18 = V18(window.num_sites)
        windows = switch.windows
        pairs = list(zip(windows.starts.tolist(), windows.stops.tolist(), strict=True))

        def way() -> Any:
            random_state_masks(switch.panel.af, pairs, EPOCH, FIRST_RATE)
            # Of our mask, not of its own, so that the answers compare.
            return v18.search(window.queries, haplotypes, ~switch.observed, NUM_NEIGHBOURS)

        squared = timed(V18_WAY, way, rounds=1)
        v18.check(squared, switch.switch().distances)

    def test_snvrag(self, timed: Any, switch: Switch) -> None:
        timed(OURS, switch.switch, targets={V18_WAY: None}, at_most=1e-3)

    def test_snvrag_on_one_thread(self, timed: Any, switch: Switch) -> None:
        timed(f"{OURS}, one thread", lambda: switch.switch(threads=1), targets={V18_WAY: None})


@pytest.mark.benchmark(group="indexes of an epoch's 331 windows")
class TestBuildAll:
    @pytest.fixture
    def observed(self, switch: Switch) -> list[NDArray[np.bool_]]:
        """Observed sites of every window at the rate of the searches, 0.6."""
        mask = switch.masks(HIDDEN_RATE)
        return [
            ~mask[start:stop]
            for start, stop in zip(switch.windows.starts, switch.windows.stops, strict=True)
        ]

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

        timed(FAISS, build, rounds=1)

    def test_snvrag(
        self, timed: Any, switch: Switch, window: Window, observed: list[NDArray[np.bool_]]
    ) -> None:
        indexes = switch.build_all(observed)
        for number in (0, len(observed) - 1):
            seen = observed[number]
            fresh = HammingIndex(window.bits, num_sites=window.num_sites, observed=seen)
            expected = fresh.search(window.query_bits, NUM_NEIGHBOURS, threads=1)
            found = indexes[number].search(window.query_bits, NUM_NEIGHBOURS, threads=1)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)
        del indexes
        timed(
            OURS, lambda: switch.build_all(observed), rounds=10, targets={FAISS: None}, at_most=0.06
        )
