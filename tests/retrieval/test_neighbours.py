"""Neighbours are those of a brute-force search, under the mask of the batch itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import helpers
import panel_files
from snvrag.batches.batch import MASK, PAD, Batch, Neighbours
from snvrag.batches.dataset import Targets, WindowDataset
from snvrag.batches.device import DeviceDataset, DeviceHaplotypes
from snvrag.batches.keys import Key
from snvrag.batches.masks import MaskConfig
from snvrag.kernels import topk_l2
from snvrag.network.options import NetworkConfig
from snvrag.network.transformer import ImputationNetwork
from snvrag.panel.windows import Windows
from snvrag.retrieval.cache import IndexCache
from snvrag.retrieval.neighbours import Retriever
from snvrag.retrieval.options import RetrievalConfig

NUM_SITES = 203
GEOMETRIES = [(50, 0), (50, 12), (203, 0), (50, 60), (1, 0)]  # window, flank


@pytest.fixture(scope="module")
def alleles():
    """(60, S) alleles: 48 of the panel, then 12 of others."""
    return helpers.mosaic_haplotypes(60, NUM_SITES, seed=11)


@pytest.fixture(scope="module")
def panel(alleles):
    steps = np.random.default_rng(0).integers(0, 3000, NUM_SITES)
    return panel_files.make_panel(alleles[:48], position=10_000 + np.cumsum(steps))


@pytest.fixture(scope="module")
def targets(panel):
    return helpers.own_targets(panel)


@pytest.fixture(params=["host", "device"])
def setting(request, panel):
    """Return the function that makes a dataset and a retriever, there or on an emulated device."""
    resident = None
    if request.param == "device":
        resident = DeviceHaplotypes(panel, request.getfixturevalue("device"))

    def make(targets, size=50, flank=0, k=5, **options):
        windows = Windows.split(NUM_SITES, size, flank)
        dataset = WindowDataset(panel, targets, windows, MaskConfig())
        retriever = Retriever(panel, windows, RetrievalConfig(k=k), resident=resident, **options)
        return (dataset if resident is None else DeviceDataset(dataset, resident)), retriever

    return make


def nearest(query, reference, observed, excluded: set[int], k: int) -> list[int]:
    """The haplotypes of the k lowest distances, ties to the lowest index."""
    distances = ((reference != query) & observed).sum(1).tolist()
    return [h for _, h in sorted((d, h) for h, d in enumerate(distances) if h not in excluded)][:k]


def check(batch: Batch, keys, found: Neighbours, retriever, panel_alleles, target_alleles):
    windows = retriever.windows
    for b, key in enumerate(keys):
        start, stop = windows.flanked_starts[key.window], windows.flanked_stops[key.window]
        observed = ~batch.hidden[batch.window_row[b], : stop - start].numpy()
        own = int(batch.panel_sample[b])
        excluded = {2 * own, 2 * own + 1} if own >= 0 else set()
        for copy in range(2):
            near = nearest(
                target_alleles[2 * key.sample + copy, start:stop],
                panel_alleles[:, start:stop],
                observed,
                excluded,
                retriever.config.k,
            )
            got = found.alleles[b, copy]
            np.testing.assert_array_equal(got[:, : stop - start], panel_alleles[near, start:stop])
            assert (got[:, stop - start :] == PAD).all()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_neighbours_are_those_of_a_brute_force_search(alleles, setting, targets, geometry):
    dataset, retriever = setting(targets, *geometry)
    count = len(retriever.windows)
    keys = [Key(1, w, (5 * w + i) % 24) for w in (0, count // 2, count - 1) for i in range(2)]
    batch = dataset.__getitems__(keys)
    check(batch, keys, retriever.retrieve(batch), retriever, alleles[:48], alleles[:48])


def test_targets_that_are_in_no_panel(alleles, setting):
    """Sites that the file lacks do not count; missing alleles are taken for the commoner."""
    present = np.random.default_rng(4).random(NUM_SITES) < 0.7
    present[:50] = False
    missing = np.random.default_rng(1).random((12, NUM_SITES)) < 0.3
    target = panel_files.make_panel(np.where(missing, 0, alleles[48:] * present), prefix="t")
    unknown = np.full(6, -1), np.zeros(6, np.int64)
    others = Targets(target, present, *unknown, helpers.pack(missing.T))
    dataset, retriever = setting(others, 50, 12)
    keys = [Key(3, w, s) for w in range(5) for s in range(6)]
    batch = dataset.__getitems__(keys)
    filled = np.where(missing, alleles[:48].mean(0) > 0.5, alleles[48:])
    check(batch, keys, retriever.retrieve(batch), retriever, alleles[:48], filled)


def test_a_window_with_everything_hidden(alleles, setting, targets):
    """Every distance is 0, and the lowest indices win."""
    dataset, retriever = setting(targets, k=3)
    batch = dataset.__getitems__([Key(0, 0, 0), Key(0, 0, 5)])
    batch.hidden[:] = True
    found = retriever.retrieve(batch)
    np.testing.assert_array_equal(found.alleles[0, 0, :, :40], alleles[2:5, :40])
    np.testing.assert_array_equal(found.alleles[1, 1, :, :40], alleles[:3, :40])


def test_cache_and_threads_change_no_neighbour(setting, targets):
    dataset, warm = setting(targets, 50, 12)
    batch = dataset.__getitems__([Key(0, w, s) for w in range(5) for s in (1, 8)])
    warm.retrieve(batch)
    _, cold = setting(targets, 50, 12, cache=IndexCache(1), threads=2)
    first, second = warm.retrieve(batch), cold.retrieve(batch)
    assert warm.statistics.num_hits == len(cold.windows) == 5
    assert warm.statistics.search_seconds >= warm.statistics.first_search_seconds > 0
    assert torch.equal(first.alleles, second.alleles)


def test_retrievers_share_a_cache_and_no_entry(setting, targets):
    """It is empty at first, as that of a run is."""
    cache = IndexCache(float("inf"))
    for count in range(1, 4):
        dataset, retriever = setting(targets, cache=cache)
        retriever.retrieve(dataset.__getitems__([Key(0, 0, 0)]))
        assert (retriever.statistics.num_builds, len(cache)) == (1, count)


# --- embeddings -----------------------------------------------------------------------------------


@pytest.fixture
def network():
    torch.manual_seed(0)
    config = NetworkConfig(network="transformer", width=24, heads=2, layers=1)
    return ImputationNetwork(config, num_neighbours=3, dense=True)


def test_dense_retrieval_begins_with_the_same_neighbours(setting, targets, network):
    """Contract 4.3: the distance of embeddings is the Hamming distance, times a constant."""
    dataset, by_bits = setting(targets, NUM_SITES, k=46)
    _, dense = setting(targets, NUM_SITES, k=46, site_weights=network.site_weights)
    batch = dataset.__getitems__([Key(1, 0, s) for s in range(8)])
    assert torch.equal(dense.retrieve(batch).alleles, by_bits.retrieve(batch).alleles)


def test_dense_retrieval_is_the_search_of_the_networks_embedding(
    alleles, panel, setting, targets, network
):
    """Also after its weights have changed, with the index of the window in the cache."""
    dataset, retriever = setting(targets, NUM_SITES, k=46, site_weights=network.site_weights)
    batch = dataset.__getitems__([Key(1, 0, s) for s in range(8)])
    before = retriever.retrieve(batch).alleles
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        tokens = torch.from_numpy(alleles[:48]).long().masked_fill(batch.hidden[0].cpu(), MASK)
        scale = network.site_scale(batch.panel_af[0]).cpu()[:, None]
        queries, database = (
            (scale * network.embedding.additive(shown, batch.panel_af[0].cpu())).flatten(1).numpy()
            for shown in (batch.tokens.flatten(0, 1).cpu(), tokens)
        )
    own = panel.own_haplotypes(batch.panel_sample.cpu().numpy()).repeat(2, axis=0)
    expected = topk_l2(queries, database, 46, exclude=own)
    assert (np.diff(expected.distances) > 1e-4).mean() > 0.5
    near = retriever.retrieve(batch).alleles
    assert retriever.statistics.num_hits == 1
    assert not torch.equal(near, before)
    got = near.flatten(0, 1).cpu().numpy()
    weights = network.site_weights(batch.panel_af)[0].detach().cpu().numpy()
    observed = ~batch.hidden[0].cpu().numpy()
    differs = got != batch.alleles.cpu().numpy().reshape(16, 1, -1)
    np.testing.assert_allclose(
        (differs * (weights * observed)).sum(-1), expected.distances, rtol=1e-4, atol=1e-3
    )
