"""How sites that stream by become chunks of windows with flanks."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from snvrag.li_stephens.model import LiStephensConfig

from snvrag.imputation.chunks import Chunk, WindowPlan, cut_chunks
from snvrag.io.matching import MatchedBlock
from snvrag.panel.windows import WindowConfig

NUM_HAPLOTYPES = 70


def _blocks(polymorphic: NDArray[np.bool_], size: int) -> Iterator[MatchedBlock]:
    """Yield sites at 100, 101, ...; what is not polymorphic is ALT alone at odd positions."""
    for start in range(0, polymorphic.size, size):
        part = polymorphic[start : start + size]
        n = part.size
        position = 100 + start + np.arange(n)
        bits = np.zeros((n, 2), np.uint64)
        bits[part, 0] = position[part].astype(np.uint64)
        all_alt = ~part & (position % 2 == 1)
        bits[all_alt] = [2**64 - 1, 2 ** (NUM_HAPLOTYPES - 64) - 1]
        target = (position[:, None] + 1).astype(np.uint64)
        yield MatchedBlock(
            position,
            np.array([["A", "G"]] * n),
            [f"rs{p}" for p in position.tolist()],
            bits,
            alt_count=np.bitwise_count(bits).sum(axis=1, dtype=np.int64),
            typed=position % 5 == 0,
            target_bits=target,
            target_missing_bits=target + np.uint64(1),
        )


def _cut(polymorphic: NDArray[np.bool_], size: int, plan: WindowPlan) -> list[Chunk]:
    return list(cut_chunks(_blocks(polymorphic, size), NUM_HAPLOTYPES, plan))


def _written(chunks: list[Chunk]) -> list[int]:
    return [p for c in chunks for p in c.sites.position[c.start : c.stop].tolist()]


def _windows(chunk: Chunk) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield each window's number, the positions that it predicts, and those of all windows."""
    position = chunk.sites.position[chunk.polymorphic]
    parts = chunk.written()
    assert len(parts) == max(1, len(chunk.windows))
    assert [parts[0][0], parts[-1][1]] == [chunk.start, chunk.stop]
    for n, (start, stop) in enumerate(parts if len(chunk.windows) else []):
        own = chunk.sites.position[start:stop][chunk.polymorphic[start:stop]]
        a, b = int(chunk.windows.starts[n]), int(chunk.windows.stops[n])
        assert own.tolist() == position[a:b].tolist()
        yield n, own, position


def _check(chunks: list[Chunk], polymorphic: NDArray[np.bool_], plan: WindowPlan) -> None:
    """All sites are written once, in order, with all that their windows need."""
    assert _written(chunks) == list(range(100, 100 + polymorphic.size))
    every = 100 + np.flatnonzero(polymorphic)
    starts = []
    for chunk in chunks:
        sites, windows = chunk.sites, chunk.windows
        assert (chunk.polymorphic == polymorphic[sites.position - 100]).all()
        position = sites.position[chunk.polymorphic]
        assert sites.site_bits[chunk.polymorphic, 0].tolist() == position.tolist()
        assert (sites.target_bits[:, 0] == sites.position + 1).all()
        assert (sites.target_missing_bits[:, 0] == sites.position + 2).all()
        assert (sites.typed == (sites.position % 5 == 0)).all()
        assert sites.ids == [f"rs{p}" for p in sites.position.tolist()]
        for n, own, _ in _windows(chunk):
            first = int(np.searchsorted(every, own[0]))
            starts.append(first)
            expected = every[max(0, first - plan.flank) : first + own.size + plan.flank]
            context = position[windows.flanked_starts[n] : windows.flanked_stops[n]]
            assert context.tolist() == expected.tolist()
    assert starts == list(range(0, every.size, plan.size))


@pytest.mark.parametrize("share", [1.0, 0.6, 0.1])
@pytest.mark.parametrize(("flank", "chunk_flank"), [(0, 0), (3, 3), (3, 9), (7, 20)])
@pytest.mark.parametrize("windows_per_chunk", [1, 3, 50])
def test_windows_do_not_depend_on_blocks_and_chunks(share, flank, chunk_flank, windows_per_chunk):
    plan = WindowPlan(5, flank, windows_per_chunk, chunk_flank)
    for num_sites in (1, 2, 4, 5, 6, 23, 400):
        polymorphic = np.random.default_rng(num_sites).random(num_sites) < share
        for size in (1, 7, 64, 400):
            chunks = _cut(polymorphic, size, plan)
            if share > 0.5:
                _check(chunks, polymorphic, plan)
            for chunk in chunks:  # what a chunk reads ahead, for its Li-Stephens models
                rest = np.count_nonzero(chunk.polymorphic) - chunk.windows.stops.max(initial=0)
                assert rest <= chunk_flank


def test_what_a_region_leaves_of_chunks() -> None:
    polymorphic = np.random.default_rng(1).random(200) < 0.4
    plan = WindowPlan(10, 5, 2, 8)
    chunks = _cut(polymorphic, 30, plan)
    for first, last in ((0, 999), (100, 100), (143, 177), (299, 999), (150, 149), (1, 99)):
        kept = [part for chunk in chunks if (part := chunk.within(first, last)) is not None]
        assert _written(kept) == [p for p in range(100, 300) if first <= p <= last]
        for chunk in kept:
            for n, own, position in _windows(chunk):
                assert 0 < own.size <= plan.size
                windows = chunk.windows
                read = position[windows.flanked_starts[n] : windows.flanked_stops[n]]
                assert np.isin(own, read).all()


def test_nothing_polymorphic() -> None:
    plan = WindowPlan(5, 2, 2, 2)
    chunks = _cut(np.zeros(30, bool), 4, plan)
    assert _written(chunks) == list(range(100, 130))
    assert all(len(chunk.windows) == 0 for chunk in chunks)
    assert list(cut_chunks([], NUM_HAPLOTYPES, plan)) == []


def test_memory_is_bounded() -> None:
    """Chunks are handed on as soon as they are complete, and what is written is let go."""
    plan = WindowPlan(10, 4, 5, 8)
    read = 0

    def counted(polymorphic: NDArray[np.bool_]) -> Iterator[MatchedBlock]:
        nonlocal read
        for block in _blocks(polymorphic, 16):
            read += block.num_sites
            yield block

    for share, most in ((1.0, 50 + 16 + 16), (0.01, 8 * 58 + 2 * 1000)):
        read = done = 0
        polymorphic = np.random.default_rng(0).random(5000) < share
        for chunk in cut_chunks(counted(polymorphic), NUM_HAPLOTYPES, plan):
            done += chunk.stop - chunk.start
            assert chunk.sites.num_sites <= most
            assert read - done <= most
        assert done == 5000
    chunks = cut_chunks(_blocks(np.ones(100, bool), 16), NUM_HAPLOTYPES, WindowPlan(10, 4, 2, 8))
    chunk = next(chunks)
    memory = weakref.ref(chunk.sites.site_bits.base)
    assert memory() is not None
    del chunk
    assert memory() is None


def test_windows_are_read_as_in_training() -> None:
    for window_size, flank, expected in (
        (1020, 0, (510, 255)),
        (510, 255, (510, 255)),
        (100, 450, (100, 450)),
        (1, 0, (1, 0)),
        (3, 0, (3, 0)),
        (4, 0, (2, 1)),
    ):
        windows = WindowConfig(window_size=window_size, flank=flank)
        plan = WindowPlan.of(windows, LiStephensConfig(li_stephens=False), 100, 10)
        assert (plan.size, plan.flank, plan.chunk_flank) == (*expected, expected[1])
        assert plan.size + 2 * plan.flank <= window_size + 2 * flank


def test_chunks_of_large_panels_and_many_targets_are_shorter() -> None:
    li_stephens = LiStephensConfig(li_stephens_flank=100)
    plans = [
        WindowPlan.of(WindowConfig(), li_stephens, num_haplotypes, num_targets)
        for num_haplotypes, num_targets in ((5008, 100), (2_000_000, 100), (100, 10**6))
    ]
    assert [plan.windows_per_chunk for plan in plans] == [32, 2, 1]
    assert {(plan.size, plan.flank, plan.chunk_flank) for plan in plans} == {(510, 255, 355)}
    whole = WindowPlan.of(WindowConfig(), LiStephensConfig(li_stephens_flank=-1), 100, 1)
    assert whole.chunk_flank > 4000
