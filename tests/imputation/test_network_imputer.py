"""The imputer of windows: what it predicts, what it keeps, and what must not change the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from matched_data import MatchedData
from snvrag.batches.batch import Neighbours
from snvrag.errors import InputError
from snvrag.imputation.imputed import PanelAndTarget
from snvrag.imputation.network_imputer import NetworkImputer, WindowPlan, repeat_neighbours
from snvrag.imputation.network_model import NetworkModel
from snvrag.network.options import NetworkConfig
from snvrag.network.transformer import ImputationNetwork
from snvrag.panel.windows import WindowConfig
from snvrag.retrieval.options import RetrievalConfig
from snvrag.retrieval.searches import HostSearch

WINDOWS = WindowConfig(window_size=64)
RETRIEVAL = RetrievalConfig(k=4)
MakeAlleles = Callable[..., NDArray[np.int8]]


def _model(k: int = 4) -> NetworkModel:
    """Make a model with weights that use everything."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    size = NetworkConfig(network="transformer", width=16, layers=1, heads=2)
    network = ImputationNetwork(size, num_neighbours=k).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return NetworkModel(network, WINDOWS, replace(RETRIEVAL, k=k), "0" * 64)


@pytest.fixture(scope="module")
def data(mosaic_haplotypes: MakeAlleles) -> MatchedData:
    alleles = mosaic_haplotypes(56, 400, seed=5)
    return MatchedData(alleles[:40], alleles[40:], np.arange(400) % 3 == 0)


def _impute(data: MatchedData, model: NetworkModel, **options: Any) -> NDArray[np.uint16]:
    """Return (S, T, 2) dosages."""
    return data.imputed(NetworkImputer(model, data.samples(), **{"threads": 1, **options}))


def test_typed_alleles_stay(data: MatchedData) -> None:
    dosage = _impute(data, _model())
    truth = data.target_alleles.reshape(8, 2, -1).transpose(2, 0, 1).astype(int)
    assert (dosage[data.typed] == 1000 * truth[data.typed]).all()
    hidden = ~data.typed
    # Where the panel has one allele, so has what is imputed.
    count = data.panel_alleles.sum(0)
    for allele in (0, 1):
        fixed = hidden & (count == allele * len(data.panel_alleles))
        assert fixed.any()
        assert (dosage[fixed] == 1000 * allele).all()


def test_sites_at_which_the_panel_has_one_allele(mosaic_haplotypes: MakeAlleles) -> None:
    """What the target has there stays, and what it lacks is the panel's allele."""
    alleles = mosaic_haplotypes(56, 200, seed=7)
    fixed = {20: 0, 21: 1, 63: 0, 64: 1, 199: 1}
    for site, allele in fixed.items():
        alleles[:40, site], alleles[40:, site] = allele, 1 - allele
    typed = np.arange(200) % 3 == 0
    typed[list(fixed)] = True
    missing = np.zeros((16, 200), bool)
    missing[::3, list(fixed)] = True
    data = MatchedData(alleles[:40], alleles[40:], typed, missing)
    dosage = _impute(data, _model())
    for site, allele in fixed.items():
        expected = np.where(missing[:, site], allele, 1 - allele)
        assert (dosage[site].ravel() == 1000 * expected).all()


def test_missing_alleles_are_imputed_one_by_one(mosaic_haplotypes: MakeAlleles) -> None:
    alleles = mosaic_haplotypes(56, 300, seed=6)
    typed = np.arange(300) % 2 == 0
    missing = np.random.default_rng(0).random((16, 300)) < 0.1
    model = _model()
    full = _impute(MatchedData(alleles[:40], alleles[40:], typed), model)
    holes = _impute(MatchedData(alleles[:40], alleles[40:], typed, missing), model)
    lacks = (missing & typed).reshape(8, 2, -1).transpose(2, 0, 1)
    known = typed[:, None, None] & ~lacks
    assert (holes[known] == full[known]).all()
    guessed = holes[lacks]
    assert ((guessed > 0) & (guessed < 1000)).mean() > 0.3
    # What stands in the place of a missing allele tells nothing.
    other = alleles[40:] ^ missing
    assert (_impute(MatchedData(alleles[:40], other, typed, missing), model) == holes).all()


def test_heterozygotes_without_phase_are_missing_to_the_network(
    mosaic_haplotypes: MakeAlleles,
) -> None:
    alleles = mosaic_haplotypes(56, 300, seed=6)
    panel, target = alleles[:40], alleles[40:]
    typed = np.arange(300) % 2 == 0
    unphased = (target[::2] != target[1::2]) & (np.arange(8)[:, None] % 2 == 0)
    missing = np.repeat(unphased, 2, axis=0)
    model = _model()
    got = _impute(MatchedData(panel, target, typed, unphased=unphased), model)
    hidden = _impute(MatchedData(panel, target, typed, missing), model)
    assert (hidden != _impute(MatchedData(panel, target, typed), model))[~typed].any()
    # The file's own alleles are written at typed sites, and all else is as if they were missing.
    assert (got[typed] == 1000 * target.T.reshape(300, 8, 2).astype(int)[typed]).all()
    assert (got[~typed] == hidden[~typed]).all()


def test_chunks_and_batches_do_not_matter(data: MatchedData) -> None:
    model = _model()
    whole = _impute(data, model).astype(int)
    assert len(np.unique(whole)) > 100
    plan = WindowPlan.of(model.windows, 40, 8)
    for changes in (
        {"plan": replace(plan, windows_per_chunk=1)},
        {"plan": replace(plan, windows_per_chunk=3)},
        {"batch_size": 1},
        {"batch_size": 5},
        {"batch_size": 1000},
    ):
        # Sums in another order, rounded: one unit in the last place.
        assert np.abs(_impute(data, model, **changes).astype(int) - whole).max() <= 1


def test_a_sample_of_the_panel_does_not_copy_itself(mosaic_haplotypes: MakeAlleles) -> None:
    alleles = mosaic_haplotypes(41, 300, seed=7)
    typed = np.arange(300) % 10 != 5
    for ploidy in ([2] * 20, [2, 1] + [2] * 19):
        panel = alleles[: sum(ploidy)]
        data = MatchedData(panel, panel[:2], typed, ploidy=ploidy)
        unknown = _impute(data, _model())
        data.target_names = ["p0"]
        assert (_impute(data, _model()) != unknown)[~typed].any()


@pytest.mark.parametrize(
    ("num_haplotypes", "num_sites", "every"),
    [(2, 1, 1), (2, 1, 5), (2, 70, 3), (6, 2, 2), (6, 64, 10**6), (40, 65, 60)],
)
def test_tiny_inputs(num_haplotypes: int, num_sites: int, every: int) -> None:
    """One site, one sample, two haplotypes, windows without an observed site, K above the panel."""
    random = np.random.default_rng(num_sites)
    alleles = (random.random((num_haplotypes + 2, num_sites)) < 0.5).astype(np.int8)
    alleles[:2] = [[0], [1]]  # polymorphic
    typed = np.arange(num_sites) % every == every - 1
    data = MatchedData(alleles[:-2], alleles[-2:], typed)
    dosage = _impute(data, _model(k=5))
    assert (dosage[typed, 0] == 1000 * alleles[-2:, typed].T.astype(int)).all()


def test_neighbours_of_a_small_panel_are_repeated_in_turn() -> None:
    """So that each of them weighs the same, or nearly."""
    alleles = torch.tensor([7, 9], dtype=torch.uint8)[:, None].expand(1, 2, 2, 3)
    found = Neighbours(alleles)
    for k in (2, 3, 4, 5):
        repeated = repeat_neighbours(found, k)
        assert repeated.alleles[0, 0, :, 0].tolist() == [7, 9, 7, 9, 7][:k]


def test_nobody_to_copy_from_and_a_network_of_nan(data: MatchedData) -> None:
    with pytest.raises(InputError, match="samples to copy from"):
        PanelAndTarget("1", ["a"], np.array([2]), ["b", "a"])
    model = _model()
    with torch.no_grad():
        model.network.norm.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="NaN"):
        _impute(data, model)


def test_progress_counts_samples_times_windows(data: MatchedData) -> None:
    done: list[int] = []
    imputer = NetworkImputer(_model(), data.samples(), threads=1)
    polymorphic = int((np.ptp(data.panel_alleles, axis=0) > 0).sum())
    for _ in imputer.run(data.blocks(), done.append):
        pass
    assert sum(done) == 8 * -(-polymorphic // imputer.plan.size)


def test_a_panel_on_a_device_gives_the_same(data, monkeypatch, request):
    model = _model()
    expected = _impute(data, model)
    device = request.getfixturevalue("device")
    on_device = replace(model, network=model.network.to(device), amp=False)

    def refuse(*_arguments: object) -> None:
        raise AssertionError("the host has searched")

    monkeypatch.setattr(HostSearch, "nearest", refuse)
    got = _impute(data, on_device).astype(int)
    assert np.abs(got - expected).max() <= 1
