"""How chunks are cut into windows with flanks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from chunked_sites import NUM_HAPLOTYPES, blocks, written
from snvrag.imputation.chunks import Chunk, cut_chunks
from snvrag.imputation.network_imputer import WindowPlan, ranges, trimmed
from snvrag.panel.windows import WindowConfig, Windows

Cut = tuple[Chunk, Windows]


def _cut(polymorphic: NDArray[np.bool_], size: int, plan: WindowPlan) -> list[Cut]:
    chunks = cut_chunks(blocks(polymorphic, size), NUM_HAPLOTYPES, plan.chunks)
    return [(chunk, plan.windows(chunk)) for chunk in chunks]


def _windows(
    chunk: Chunk, windows: Windows
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield each window's number, the positions that it predicts, and those of all windows."""
    position = chunk.sites.position[chunk.polymorphic]
    parts = ranges(chunk, windows)
    assert len(parts) == max(1, len(windows))
    assert [parts[0][0], parts[-1][1]] == [chunk.start, chunk.stop]
    for n, (start, stop) in enumerate(parts if len(windows) else []):
        own = chunk.sites.position[start:stop][chunk.polymorphic[start:stop]]
        a, b = int(windows.starts[n]), int(windows.stops[n])
        assert own.tolist() == position[a:b].tolist()
        yield n, own, position


def _check(chunks: list[Cut], polymorphic: NDArray[np.bool_], plan: WindowPlan) -> None:
    """All sites are written once, in order, with all that their windows need."""
    assert written(chunk for chunk, _ in chunks) == list(range(100, 100 + polymorphic.size))
    every = 100 + np.flatnonzero(polymorphic)
    starts = []
    for chunk, windows in chunks:
        sites = chunk.sites
        assert (chunk.polymorphic == polymorphic[sites.position - 100]).all()
        position = sites.position[chunk.polymorphic]
        assert sites.site_bits[chunk.polymorphic, 0].tolist() == position.tolist()
        assert (sites.target_bits[:, 0] == sites.position + 1).all()
        assert (sites.target_missing_bits[:, 0] == sites.position + 2).all()
        assert (sites.typed == (sites.position % 5 == 0)).all()
        assert sites.ids == [f"rs{p}" for p in sites.position.tolist()]
        for n, own, _ in _windows(chunk, windows):
            first = int(np.searchsorted(every, own[0]))
            starts.append(first)
            expected = every[max(0, first - plan.flank) : first + own.size + plan.flank]
            context = position[windows.flanked_starts[n] : windows.flanked_stops[n]]
            assert context.tolist() == expected.tolist()
    assert starts == list(range(0, every.size, plan.size))


@pytest.mark.parametrize("share", [1.0, 0.6, 0.1])
@pytest.mark.parametrize("flank", [0, 3, 7])
@pytest.mark.parametrize("windows_per_chunk", [1, 3, 50])
def test_windows_do_not_depend_on_blocks_and_chunks(share, flank, windows_per_chunk):
    plan = WindowPlan(5, flank, windows_per_chunk)
    for num_sites in (1, 2, 4, 5, 6, 23, 400):
        polymorphic = np.random.default_rng(num_sites).random(num_sites) < share
        for size in (1, 7, 64, 400):
            chunks = _cut(polymorphic, size, plan)
            if share > 0.5:
                _check(chunks, polymorphic, plan)
            for chunk, windows in chunks:  # what is read ahead
                rest = np.count_nonzero(chunk.polymorphic) - windows.stops.max(initial=0)
                assert rest <= flank


def test_what_a_region_leaves_of_windows() -> None:
    polymorphic = np.random.default_rng(1).random(200) < 0.4
    plan = WindowPlan(10, 5, 2)
    for first, last in ((0, 999), (100, 100), (143, 177), (299, 999), (150, 149), (1, 99)):
        for whole, every in _cut(polymorphic, 30, plan):
            if (chunk := whole.within(first, last)) is None:
                continue
            windows = trimmed(every, chunk)
            for n, own, position in _windows(chunk, windows):
                assert 0 < own.size <= plan.size
                read = position[windows.flanked_starts[n] : windows.flanked_stops[n]]
                assert np.isin(own, read).all()


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
        plan = WindowPlan.of(windows, 100, 10)
        assert (plan.size, plan.flank) == expected
        assert plan.size + 2 * plan.flank <= window_size + 2 * flank


def test_chunks_of_large_panels_and_many_targets_are_shorter() -> None:
    plans = [
        WindowPlan.of(WindowConfig(), num_haplotypes, num_targets)
        for num_haplotypes, num_targets in ((5008, 100), (2_000_000, 100), (100, 10**6))
    ]
    assert [plan.windows_per_chunk for plan in plans] == [32, 2, 1]
    assert {(plan.size, plan.flank) for plan in plans} == {(510, 255)}
