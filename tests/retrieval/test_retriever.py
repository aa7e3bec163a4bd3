"""Neighbours are those of a brute-force search; the cache serves masks, never stale ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snvrag.batches.batch import PAD, Batch, Neighbours
from snvrag.batches.dataset import Targets, WindowDataset
from snvrag.batches.keys import Key
from snvrag.batches.masks import MaskRule
from snvrag.kernels import HammingIndex, oracle, pack_haplotypes
from snvrag.panel.windows import Windows
from snvrag.retrieval.retriever import Retriever
from snvrag.training.options import parse_arguments
from snvrag.training.run_data import load_run_data

NUM_SITES = 203
GEOMETRIES = [  # window, flank, segment, segment flank
    (50, 0, 0, 0),
    (50, 12, 0, 9),
    (50, 0, 20, 7),
    (50, 12, 20, 7),
    (50, 12, 20, 100),
    (203, 0, 64, 32),
    (50, 60, 50, 0),
]


@pytest.fixture(scope="module")
def alleles(mosaic_haplotypes):
    """(60, S) alleles: 48 of the panel, then 12 of others."""
    return mosaic_haplotypes(60, NUM_SITES, seed=11)


@pytest.fixture(scope="module")
def panel(alleles, make_panel):
    random = np.random.default_rng(0)
    position = 10_000 + np.cumsum(random.integers(0, 3000, NUM_SITES))
    return make_panel(alleles[:48], position=position)


@pytest.fixture(scope="module")
def own_targets(panel):
    return Targets(panel, np.ones(NUM_SITES, bool), np.arange(24), panel.sample_population)


def setting(panel, targets, size=50, flank=0, segment=0, segment_flank=0, k=5, **options):
    windows = Windows.split(NUM_SITES, size, flank)
    dataset = WindowDataset(panel, targets, windows, MaskRule())
    retriever = Retriever(
        panel, windows, k=k, segment_size=segment, segment_flank=segment_flank, **options
    )
    return dataset, retriever


def expected_segments(
    windows: Windows, window: int, size: int, flank: int
) -> list[tuple[int, int, int, int]]:
    """The fewest stretches of at most `size` sites; the outer ones take the window's flanks in."""
    start, stop = windows.starts[window], windows.stops[window]
    first, last = windows.flanked_starts[window], windows.flanked_stops[window]
    if size == 0:
        return [(first, last, first, last)]
    count = -(-(stop - start) // size)
    cuts = [start + (stop - start) * i // count for i in range(count + 1)]
    return [
        (
            first if i == 0 else cuts[i],
            last if i == count - 1 else cuts[i + 1],
            max(first, (first if i == 0 else cuts[i]) - flank),
            min(last, (last if i == count - 1 else cuts[i + 1]) + flank),
        )
        for i in range(count)
    ]


def brute_force(
    query: np.ndarray, reference: np.ndarray, observed: np.ndarray, excluded: set[int], k: int
) -> list[tuple[int, int]]:
    """(distance, haplotype) of the k nearest, ties to the lowest index."""
    distances = ((reference != query) & observed).sum(1).tolist()
    order = sorted((d, h) for h, d in enumerate(distances) if h not in excluded)
    return order[:k]


def check(batch: Batch, found: Neighbours, dataset, retriever, panel_alleles, target_alleles):
    windows = dataset.windows
    for b in range(batch.num_samples):
        window = int(batch.windows[batch.window_row[b]])
        context = windows.flanked_starts[window]
        observed = ~batch.hidden[batch.window_row[b]].numpy()
        own = int(batch.panel_sample[b])
        excluded = {2 * own, 2 * own + 1} if own >= 0 else set()
        segments = expected_segments(
            windows, window, retriever.segment_size, retriever.segment_flank
        )
        assert len(segments) <= retriever.num_segments
        for copy in range(2):
            query = target_alleles[2 * int(batch.sample[b]) + copy]
            for g, (start, stop, first, last) in enumerate(segments):
                sites = slice(first, last)
                seen = observed[first - context : last - context]
                near = brute_force(
                    query[sites], panel_alleles[:, sites], seen, excluded, retriever.k
                )
                assert found.indices[b, copy, g].tolist() == [h for _, h in near]
                assert found.distances[b, copy, g].tolist() == [d for d, _ in near]
                place = slice(start - context, stop - context)
                for k, (_, haplotype) in enumerate(near):
                    copied = panel_alleles[haplotype]
                    np.testing.assert_array_equal(
                        found.alleles[b, copy, k, place], copied[start:stop]
                    )
                    features = oracle.match_features(
                        query[sites],
                        copied[sites],
                        seen,
                        dataset._position[sites],
                        retriever.decay_sites,
                    )
                    np.testing.assert_allclose(
                        found.features[b, copy, k][:, place],
                        features[:, start - first : stop - first],
                        rtol=1e-4,
                        atol=2e-4,  # of the logarithms, see csrc/cpu/matching.cpp
                    )
            assert (found.indices[b, copy, len(segments) :] == -1).all()
        behind = windows.flanked_stops[window] - context
        assert (found.alleles[b, ..., behind:] == PAD).all()
        assert not found.features[b, ..., behind:].any()


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("k", [1, 5])
def test_neighbours_are_those_of_a_brute_force_search(alleles, panel, own_targets, geometry, k):
    dataset, retriever = setting(panel, own_targets, *geometry, k=k, decay_sites=5.0)
    count = len(dataset.windows)
    keys = [Key(1, w, (5 * w + i) % 24) for i in range(2) for w in (0, count // 2, count - 1)]
    batch = dataset.__getitems__(keys)
    check(batch, retriever.retrieve(batch), dataset, retriever, alleles[:48], alleles[:48])


def test_all_others_can_be_retrieved(alleles, panel, own_targets):
    dataset, retriever = setting(panel, own_targets, k=46)
    batch = dataset.__getitems__([Key(0, 0, s) for s in range(24)])
    found = retriever.retrieve(batch).indices[:, :, 0]
    for sample in range(24):
        for copy in range(2):
            others = set(range(48)) - {2 * sample, 2 * sample + 1}
            assert set(found[sample, copy].tolist()) == others


@pytest.mark.parametrize("segment", [0, 10])
def test_own_sample_is_never_retrieved(panel, own_targets, segment):
    """V18 could retrieve the query itself, and nothing is nearer."""
    dataset, retriever = setting(panel, own_targets, segment=segment, k=8)
    for window in range(len(dataset.windows)):
        batch = dataset.__getitems__([Key(0, window, s) for s in range(24)])
        found = retriever.retrieve(batch).indices
        samples = found[found >= 0].reshape(24, -1) // 2
        assert not (samples == batch.sample[:, None]).any()


def test_same_named_sample_of_a_training_file_is_never_retrieved(
    tmp_path, tiny_vcf, tiny_alleles, make_panel, write_panel_vcf
):
    """The file's samples stand in another order; one of them is in no panel."""
    order = [9, 3, 14, 1]
    rows = np.ravel([[2 * i, 2 * i + 1] for i in order])
    others = make_panel(tiny_alleles[rows])
    names = ["s9", "s3", "stranger", "s1"]
    object.__setattr__(others, "samples", tuple(names))
    path = write_panel_vcf(tmp_path / "train.vcf", others, tiny_alleles[rows])
    config = parse_arguments(
        ["--panel", str(tiny_vcf), "--train", str(path), "--val-fraction", str(1 / 6)]
    )
    sources = load_run_data(config)
    own = sources.train.panel_sample.tolist()
    assert [sources.panel.samples[i] if i >= 0 else None for i in own] == ["s9", "s3", None, "s1"]
    windows = Windows.split(sources.panel.num_sites, 64)
    dataset = WindowDataset(sources.panel, sources.train, windows, MaskRule())
    retriever = Retriever(sources.panel, windows, k=4)
    twin = sources.panel.samples.index("s14")
    for window in range(len(windows)):
        batch = dataset.__getitems__([Key(0, window, s) for s in range(4)])
        found = retriever.retrieve(batch)
        samples = found.indices[:, :, 0] // 2
        for s in (0, 1, 3):
            assert own[s] not in samples[s].tolist()
        # The stranger is s14 by another name: that one may be found, at distance 0.
        assert (found.distances[2, :, 0, 0] == 0).all()
        for copy in range(2):
            nearest = found.distances[2, copy, 0] == 0
            copies = samples[2, copy][nearest].tolist()
            assert twin in copies or len(copies) == 4


def test_targets_that_are_in_no_panel(alleles, panel, make_panel):
    """Sites that the file lacks do not count, whatever their bits say."""
    present = np.random.default_rng(4).random(NUM_SITES) < 0.7
    present[:50] = False
    target = make_panel(alleles[48:] * present, prefix="t")
    targets = Targets(target, present, np.full(6, -1), np.zeros(6, np.int64))
    dataset, retriever = setting(panel, targets, 50, 0, 20, 7)
    batch = dataset.__getitems__([Key(3, w, s) for w in range(5) for s in range(6)])
    check(batch, retriever.retrieve(batch), dataset, retriever, alleles[:48], alleles[48:])


def test_hidden_alleles_of_a_query_do_not_matter(alleles, panel, own_targets, make_panel):
    dataset, retriever = setting(panel, own_targets, 50, 12, 20, 7)
    batch = dataset.__getitems__([Key(0, w, 3) for w in range(5)])
    first = retriever.retrieve(batch)
    hidden = batch.hidden[batch.window_row][:, None].expand(-1, 2, -1) & (batch.alleles != PAD)
    batch.alleles[hidden] ^= 1
    second = retriever.retrieve(batch)
    assert hidden.any()
    assert torch.equal(first.alleles, second.alleles)
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.indices, second.indices)


def test_a_window_with_everything_hidden(panel, own_targets):
    dataset, retriever = setting(panel, own_targets, k=3)
    batch = dataset.__getitems__([Key(0, 0, 0), Key(0, 0, 5)])
    batch.hidden[:] = True
    found = retriever.retrieve(batch)
    assert (found.distances == 0).all()
    assert found.indices[0, 0, 0].tolist() == [2, 3, 4]
    assert found.indices[1, 1, 0].tolist() == [0, 1, 2]
    assert torch.isfinite(found.features).all()


def test_windows_of_one_site(alleles, panel, own_targets):
    dataset, retriever = setting(panel, own_targets, 1, 0, 1, 0, k=2)
    batch = dataset.__getitems__([Key(0, w, 2) for w in (0, 7, 202)])
    check(batch, retriever.retrieve(batch), dataset, retriever, alleles[:48], alleles[:48])


# --- the cache ------------------------------------------------------------------------------------


def keys_of(epoch: int, window: int) -> list[Key]:
    return [Key(epoch, window, s) for s in range(4)]


def test_an_index_is_built_once_an_epoch(panel, own_targets):
    dataset, retriever = setting(panel, own_targets)
    retriever.begin_epoch(0)
    for window in (0, 1, 2, 1, 0):
        retriever.retrieve(dataset.__getitems__(keys_of(0, window)))
    assert (retriever.statistics.num_builds, retriever.statistics.num_hits) == (3, 2)
    assert retriever.statistics.build_seconds >= retriever.statistics.first_build_seconds > 0
    assert retriever.statistics.search_seconds >= retriever.statistics.first_search_seconds > 0
    assert retriever.num_bytes > 0


def test_entries_of_another_epoch_are_dropped(panel, own_targets):
    dataset, retriever = setting(panel, own_targets)
    retriever.begin_epoch(0)
    for window in range(3):
        retriever.retrieve(dataset.__getitems__(keys_of(0, window)))
    retriever.begin_epoch(0)
    assert retriever.statistics.num_dropped == 0
    assert retriever.num_bytes > 0
    retriever.begin_epoch(1)
    assert retriever.statistics.num_dropped == 3
    assert retriever.num_bytes == 0
    retriever.retrieve(dataset.__getitems__(keys_of(1, 0)))
    assert (retriever.statistics.num_builds, retriever.statistics.num_hits) == (1, 0)


def test_validation_keeps_its_indexes(panel, own_targets):
    dataset, retriever = setting(panel, own_targets)
    for _ in range(2):
        retriever.begin_epoch(2024)
        for window in range(4):
            retriever.retrieve(dataset.__getitems__(keys_of(2024, window)))
    assert (retriever.statistics.num_builds, retriever.statistics.num_hits) == (0, 4)


def test_least_recently_used_leave_at_the_budget(panel, own_targets):
    dataset, unlimited = setting(panel, own_targets)
    sizes = []
    for window in range(3):
        before = unlimited.num_bytes
        unlimited.retrieve(dataset.__getitems__(keys_of(0, window)))
        sizes.append(unlimited.num_bytes - before)
    dataset, retriever = setting(panel, own_targets, cache_bytes=2 * max(sizes))

    def builds(window: int) -> int:
        before = retriever.statistics.num_builds
        retriever.retrieve(dataset.__getitems__(keys_of(0, window)))
        assert retriever.num_bytes <= retriever.cache_bytes
        return retriever.statistics.num_builds - before

    # 0 leaves when 2 comes; 2 leaves when 0 comes, as 1 was used after it, and so on.
    assert [builds(w) for w in (0, 1, 2, 1, 0, 1, 2, 0)] == [1, 1, 1, 0, 1, 0, 1, 1]


def test_a_budget_below_one_index_still_works(alleles, panel, own_targets):
    dataset, retriever = setting(panel, own_targets, cache_bytes=1)
    for window in (0, 1, 0):
        batch = dataset.__getitems__(keys_of(0, window))
        check(batch, retriever.retrieve(batch), dataset, retriever, alleles[:48], alleles[:48])
    assert retriever.statistics.num_builds == 3
    assert len(retriever._entries) == 1


def test_another_mask_of_the_same_window_rebuilds(alleles, panel, own_targets):
    """Training and validation targets may lack different sites: the batch's mask decides."""
    dataset, retriever = setting(panel, own_targets, 50, 0, 20, 7)
    batch = dataset.__getitems__(keys_of(0, 1))
    retriever.retrieve(batch)
    size = retriever.num_bytes
    other = dataset.__getitems__(keys_of(0, 1))
    other.hidden[0, :40] = True
    found = retriever.retrieve(other)
    assert retriever.statistics.num_builds == 2
    check(other, found, dataset, retriever, alleles[:48], alleles[:48])
    retriever.retrieve(batch)
    assert retriever.statistics.num_builds == 3
    assert retriever.num_bytes == size


def test_cache_changes_nothing(panel, own_targets):
    dataset, warm = setting(panel, own_targets, 50, 12, 20, 7)
    batch = dataset.__getitems__([Key(0, w, s) for w in range(5) for s in (1, 8)])
    warm.retrieve(batch)
    _, cold = setting(panel, own_targets, 50, 12, 20, 7, cache_bytes=1, threads=2)
    first, second = warm.retrieve(batch), cold.retrieve(batch)
    for name in ("alleles", "features", "indices", "distances"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


# --- why query and index are masked alike ---------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_desynchronised_masks_find_worse_neighbours(mosaic_haplotypes, seed):
    """The contract is no decoration: an index with a stale mask compares alleles it cannot know.

    Queries are masked by epoch 1. An index masked by epoch 1 counts the sites that they show; one
    masked by epoch 0, as V18's workers held it, counts hidden ones (here REF, V18 had MASK) and
    leaves out some that they show. ALT alleles at hidden sites are then missed far more often.
    """
    alleles = mosaic_haplotypes(300, 100, num_founders=24, switch_rate=0.003, seed=seed)
    reference, targets = alleles[:200], alleles[200:]
    stale, current = (MaskRule((0.7,), 1).mask(reference.mean(0), epoch, 0) for epoch in (0, 1))
    shown = np.where(current, 0, targets).astype(np.int8)

    def missed(index_mask: np.ndarray) -> float:
        index = HammingIndex(pack_haplotypes(reference), num_sites=100, observed=~index_mask)
        nearest = index.search(pack_haplotypes(shown), 1).indices[:, 0]
        truth, copied = targets[:, current], reference[nearest][:, current]
        return float((truth != copied)[truth == 1].mean())

    assert missed(current) < 0.1
    assert missed(stale) > 4 * missed(current)
