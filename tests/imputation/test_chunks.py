"""How sites that stream by become chunks with flanks."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from chunked_sites import NUM_HAPLOTYPES, blocks, written
from snvrag.imputation import chunks as chunks_module
from snvrag.imputation.chunks import Chunk, ChunkPlan, affordable_sites, cut_chunks
from snvrag.io.matching import MatchedBlock
from snvrag.li_stephens.rates import map_cm
from snvrag.panel.genetic_map import GeneticMap

# 0.2 cM/bp, then none, then 0.01 cM/bp: lengths of which tests ask for parts.
MAP = GeneticMap(np.array([100, 150, 250, 500]), np.array([0.0, 10.0, 10.0, 12.5]))


def _cut(polymorphic: NDArray[np.bool_], size: int, plan: ChunkPlan) -> list[Chunk]:
    return list(cut_chunks(blocks(polymorphic, size), NUM_HAPLOTYPES, plan, MAP))


def _is_long_enough(flank: MatchedBlock, polymorphic: NDArray[np.bool_], plan: ChunkPlan) -> bool:
    return bool(
        np.count_nonzero(polymorphic) >= plan.flank_sites
        and np.count_nonzero(polymorphic & flank.typed) >= plan.flank_typed
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    num_sites=st.integers(1, 400),
    share=st.sampled_from([1.0, 0.6, 0.1]),
    block=st.integers(1, 100),
    plan=st.builds(
        ChunkPlan,
        st.integers(1, 60),
        st.integers(0, 30),
        st.integers(0, 6),
        st.sampled_from([0.0, 0.05, 1.0]),
    ),
)
def test_chunks_have_their_flanks_whatever_the_blocks(
    seed: int, num_sites: int, share: float, block: int, plan: ChunkPlan
) -> None:
    polymorphic = np.random.default_rng(seed).random(num_sites) < share
    chunks = _cut(polymorphic, block, plan)
    assert written(chunks) == list(range(100, 100 + num_sites))
    for chunk in chunks:
        sites, cm = chunk.sites, map_cm(chunk.sites.position, MAP)
        assert (chunk.polymorphic == polymorphic[sites.position - 100]).all()
        assert sites.site_bits[chunk.polymorphic, 0].tolist() == (
            sites.position[chunk.polymorphic].tolist()
        )
        assert (sites.target_bits[:, 0] == sites.position + 1).all()
        assert (sites.typed == (sites.position % 5 == 0)).all()
        assert sites.ids == [f"rs{p}" for p in sites.position.tolist()]
        own = np.count_nonzero(chunk.polymorphic[chunk.start : chunk.stop])
        assert own <= plan.num_sites
        reaches = {
            "before": (0, chunk.start, sites.position[0] == 100),
            "after": (chunk.stop, sites.num_sites, sites.position[-1] == 99 + num_sites),
        }
        for start, stop, is_at_end in reaches.values():
            flank = sites.slice(start, stop)
            long = _is_long_enough(flank, chunk.polymorphic[start:stop], plan)
            assert long or is_at_end
        if sites.position[0] > 100:
            assert cm[min(chunk.stop, chunk.start)] - cm[0] >= plan.flank_cm
        if sites.position[-1] < 99 + num_sites:
            assert cm[-1] - cm[chunk.stop - 1] >= plan.flank_cm


@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunks_begin_at_multiples_whatever_the_blocks(size: int) -> None:
    polymorphic = np.random.default_rng(3).random(300) < 0.7
    every = 100 + np.flatnonzero(polymorphic)
    for plan in (ChunkPlan(20), ChunkPlan(20, 5), ChunkPlan(20, 0, 3, 0.1)):
        found = []
        for chunk in _cut(polymorphic, size, plan):
            own = slice(chunk.start, chunk.stop)
            found.append(int(chunk.sites.position[own][chunk.polymorphic[own]][0]))
        assert found == every[::20].tolist()


def test_what_a_region_leaves_of_chunks() -> None:
    polymorphic = np.random.default_rng(1).random(200) < 0.4
    chunks = _cut(polymorphic, 30, ChunkPlan(20, 8))
    for first, last in ((0, 999), (100, 100), (143, 177), (299, 999), (150, 149), (1, 99)):
        kept = [part for chunk in chunks if (part := chunk.within(first, last)) is not None]
        assert written(kept) == [p for p in range(100, 300) if first <= p <= last]


def test_nothing_polymorphic() -> None:
    for plan in (ChunkPlan(10, 2), ChunkPlan(10, 2, 1, 1.0)):
        assert written(_cut(np.zeros(30, bool), 4, plan)) == list(range(100, 130))
        assert list(cut_chunks([], NUM_HAPLOTYPES, plan)) == []


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are handed on as soon as they are complete, and what is written is let go."""
    monkeypatch.setattr(chunks_module, "_MOST_SITES", 464)
    read = 0

    def counted(polymorphic: NDArray[np.bool_]) -> Iterator[MatchedBlock]:
        nonlocal read
        for block in blocks(polymorphic, 16):
            read += block.num_sites
            yield block

    plan = ChunkPlan(50, 8)
    for share, changes, most in (
        (1.0, {}, 50 + 16 + 16),
        (0.01, {}, 464 + 2 * 1000),
        (1.0, {"flank_cm": 1e9}, 2 * 464 + 16),  # more than there is
        (1.0, {"flank_typed": 10**6}, 2 * 464 + 16),
    ):
        read = done = 0
        polymorphic = np.random.default_rng(0).random(5000) < share
        cut = cut_chunks(counted(polymorphic), NUM_HAPLOTYPES, replace(plan, **changes))
        for chunk in cut:
            done += chunk.stop - chunk.start
            assert chunk.sites.num_sites <= most
            assert read - done <= most
        assert done == 5000
    chunks = cut_chunks(blocks(np.ones(100, bool), 16), NUM_HAPLOTYPES, ChunkPlan(20, 8))
    chunk = next(chunks)
    memory = weakref.ref(chunk.sites.site_bits.base)
    assert memory() is not None
    del chunk
    assert memory() is None


def test_chunks_of_large_panels_and_many_targets_are_shorter() -> None:
    assert affordable_sites(131_072, 5008, 100) == 131_072
    assert affordable_sites(131_072, 2_000_000, 100) == 1073
    assert affordable_sites(131_072, 100, 10**6) == 107
