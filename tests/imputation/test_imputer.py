"""The engine of imputation: what it predicts, what it keeps, and what must not matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from snvrag.training.setup import network_config

from snvrag.errors import InputError
from snvrag.imputation.chunks import WindowPlan
from snvrag.imputation.imputer import Imputer, PanelAndTarget
from snvrag.imputation.matching import MatchedBlock
from snvrag.imputation.trained import Model, load_model
from snvrag.io.checkpoint import load_checkpoint
from snvrag.network.transformer import ImputationNetwork
from snvrag.panel.genetic_map import GeneticMap
from snvrag.training.options import Config

CPU = torch.device("cpu")
SMALL = Config(
    window_size=64, k=4, segment_size=32, segment_flank=16, width=16, span=32, li_stephens=False
)
MakePanel = Callable[..., Any]


def _model(config: Config, *, trained: bool = False) -> Model:
    """Make a model: one that copies its neighbours, or with weights that hang on everything."""
    torch.manual_seed(1)
    network = ImputationNetwork(network_config(config)).eval()
    if trained:
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.2 * torch.randn_like(weight))
    return Model(network, config, "0" * 64)


class _Data:
    """A panel and a target of the same sites, as blocks."""

    def __init__(
        self,
        make_panel: MakePanel,
        panel: NDArray[np.int8],
        target: NDArray[np.int8],
        typed: NDArray[np.bool_],
        missing: NDArray[np.bool_] | None = None,
        ploidy: list[int] | None = None,
    ) -> None:
        self.typed = typed
        self.panel_alleles = panel
        self.target_alleles = target
        self.names = [f"p{i}" for i in range(len(panel) // 2)]
        self.ploidy = np.full(len(self.names), 2)
        if ploidy is not None:
            self.ploidy, self.names = np.array(ploidy), [f"p{i}" for i in range(len(ploidy))]
        self.target_names = [f"t{i}" for i in range(len(target) // 2)]
        num_haplotypes, num_sites = panel.shape
        padded = np.zeros((num_haplotypes + num_haplotypes % 2, num_sites), np.int8)
        padded[:num_haplotypes] = panel
        self._panel = make_panel(padded)
        self._bits = self._panel.site_bits
        known = target * typed  # whatever stands in the place of missing alleles
        self._target_bits = make_panel(known.astype(np.int8)).site_bits
        lacks = np.zeros_like(target) if missing is None else (missing & typed).astype(np.int8)
        self._missing_bits = make_panel(lacks).site_bits

    def blocks(self, size: int = 50) -> Iterator[MatchedBlock]:
        num_sites = self.typed.size
        for start in range(0, num_sites, size):
            part = slice(start, min(start + size, num_sites))
            position = self._panel.position[part]
            yield MatchedBlock(
                position,
                self._panel.alleles[part],
                [f"rs{p}" for p in position.tolist()],
                self._bits[part],
                alt_count=self.panel_alleles[:, part].sum(0, dtype=np.int64),
                typed=self.typed[part],
                target_bits=self._target_bits[part],
                target_missing_bits=self._missing_bits[part],
            )

    def samples(self, genetic_map: GeneticMap | None = None) -> PanelAndTarget:
        return PanelAndTarget("1", self.names, self.ploidy, self.target_names, genetic_map)

    def impute(self, model: Model, **options: Any) -> NDArray[np.uint16]:
        """Return (S, T, 2) dosages."""
        imputer = Imputer(model, self.samples(), **{"threads": 1, **options})
        parts = list(imputer.run(self.blocks()))
        position = np.concatenate([part.position for part in parts])
        assert position.tolist() == self._panel.position.tolist()
        assert [name for part in parts for name in part.ids] == [f"rs{p}" for p in position]
        assert np.concatenate([part.typed for part in parts]).tolist() == self.typed.tolist()
        dosage = np.concatenate([part.hap_dosage for part in parts])
        assert dosage.max() <= 1000
        return dosage


@pytest.fixture(scope="module")
def data(make_panel: MakePanel, mosaic_haplotypes: Callable[..., NDArray[np.int8]]) -> _Data:
    alleles = mosaic_haplotypes(56, 400, seed=5)
    return _Data(make_panel, alleles[:40], alleles[40:], np.arange(400) % 3 == 0)


def test_typed_alleles_stay_and_others_are_predicted(data: _Data) -> None:
    dosage = data.impute(_model(SMALL))
    truth = data.target_alleles.reshape(8, 2, -1).transpose(2, 0, 1).astype(int)
    assert (dosage[data.typed] == 1000 * truth[data.typed]).all()
    hidden = ~data.typed
    frequency = data.panel_alleles.mean(0)[hidden, None, None]
    error = np.abs(dosage[hidden] / 1000 - truth[hidden]).mean()
    assert error < 0.6 * np.abs(frequency - truth[hidden]).mean()
    # Where the panel has one allele, so has what is imputed.
    count = data.panel_alleles.sum(0)
    for allele in (0, 1):
        fixed = hidden & (count == allele * len(data.panel_alleles))
        assert fixed.any()
        assert (dosage[fixed] == 1000 * allele).all()


def test_sites_at_which_the_panel_has_one_allele(
    make_panel: MakePanel, mosaic_haplotypes: Callable[..., NDArray[np.int8]]
) -> None:
    """What the target has there stays, and what it lacks is the panel's allele."""
    alleles = mosaic_haplotypes(56, 200, seed=7)
    fixed = {20: 0, 21: 1, 63: 0, 64: 1, 199: 1}
    for site, allele in fixed.items():
        alleles[:40, site], alleles[40:, site] = allele, 1 - allele
    typed = np.arange(200) % 3 == 0
    typed[list(fixed)] = True
    missing = np.zeros((16, 200), bool)
    missing[::3, list(fixed)] = True
    data = _Data(make_panel, alleles[:40], alleles[40:], typed, missing)
    dosage = data.impute(_model(SMALL, trained=True))
    for site, allele in fixed.items():
        expected = np.where(missing[:, site], allele, 1 - allele)
        assert (dosage[site].ravel() == 1000 * expected).all()


@pytest.mark.parametrize("li_stephens", [False, True])
def test_missing_alleles_are_imputed_one_by_one(
    make_panel: MakePanel,
    mosaic_haplotypes: Callable[..., NDArray[np.int8]],
    li_stephens: bool,
) -> None:
    alleles = mosaic_haplotypes(56, 300, seed=6)
    typed = np.arange(300) % 2 == 0
    missing = np.random.default_rng(0).random((16, 300)) < 0.1
    model = _model(replace(SMALL, li_stephens=li_stephens), trained=True)
    full = _Data(make_panel, alleles[:40], alleles[40:], typed).impute(model)
    holes = _Data(make_panel, alleles[:40], alleles[40:], typed, missing).impute(model)
    lacks = (missing & typed).reshape(8, 2, -1).transpose(2, 0, 1)
    known = typed[:, None, None] & ~lacks
    assert (holes[known] == full[known]).all()
    guessed = holes[lacks]
    assert ((guessed > 0) & (guessed < 1000)).mean() > 0.3
    # What stands in the place of a missing allele tells nothing.
    other = alleles[40:] ^ missing
    assert (_Data(make_panel, alleles[:40], other, typed, missing).impute(model) == holes).all()


@pytest.mark.parametrize("li_stephens", [False, True])
def test_chunks_and_batches_do_not_matter(data: _Data, li_stephens: bool) -> None:
    config = replace(SMALL, li_stephens=li_stephens)
    model = _model(config, trained=True)
    whole = data.impute(model).astype(int)
    assert len(np.unique(whole)) > 100
    plan = WindowPlan.of(config, 40, 8)
    # Li-Stephens models see all of a chunk: its flank must cover the panel to give the same.
    flank = 400 if li_stephens else plan.flank
    for changes in (
        {"plan": replace(plan, windows_per_chunk=1, chunk_flank=flank)},
        {"plan": replace(plan, windows_per_chunk=3, chunk_flank=flank)},
        {"batch_size": 1},
        {"batch_size": 5},
        {"batch_size": 1000},
    ):
        # Sums in another order, rounded: one unit in the last place.
        assert np.abs(data.impute(model, **changes).astype(int) - whole).max() <= 1


def test_li_stephens_of_groups_of_samples(data: _Data, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(replace(SMALL, li_stephens=True), trained=True)
    whole = data.impute(model).astype(int)
    without = data.impute(_model(SMALL)).astype(int)
    assert (whole != without).any()
    monkeypatch.setattr("snvrag.imputation.imputer._LI_STEPHENS_BYTES", 8 * 400 * 3)
    assert np.abs(data.impute(model).astype(int) - whole).max() <= 1


def test_a_sample_of_the_panel_does_not_copy_itself(
    make_panel: MakePanel, mosaic_haplotypes: Callable[..., NDArray[np.int8]]
) -> None:
    alleles = mosaic_haplotypes(40, 300, seed=7)
    private = np.arange(300) % 10 == 5
    alleles[:, private] = 0
    alleles[0, private] = 1
    for li_stephens in (False, True):
        model = _model(replace(SMALL, li_stephens=li_stephens))
        data = _Data(make_panel, alleles, alleles[:2], np.arange(300) % 10 != 5)
        assert data.impute(model)[private, 0, 0].mean() > 200
        data.target_names = ["p0"]
        assert data.impute(model)[private, 0, 0].mean() < 20


def test_haploid_samples_of_the_panel(
    make_panel: MakePanel, mosaic_haplotypes: Callable[..., NDArray[np.int8]]
) -> None:
    alleles = mosaic_haplotypes(45, 200, seed=8)
    data = _Data(
        make_panel, alleles[:41], alleles[41:], np.arange(200) % 2 == 0, ploidy=[1] + [2] * 20
    )
    data.target_names = ["p0", "t1"]
    for li_stephens in (False, True):
        dosage = data.impute(_model(replace(SMALL, li_stephens=li_stephens)))
        truth = data.target_alleles.reshape(2, 2, -1).transpose(2, 0, 1).astype(int)
        assert np.abs(dosage / 1000 - truth).mean() < 0.1


@pytest.mark.parametrize("weighting", ["local", "rank"])
@pytest.mark.parametrize("li_stephens", [False, True])
@pytest.mark.parametrize(
    ("num_haplotypes", "num_sites", "every"),
    [(2, 1, 1), (2, 1, 5), (2, 70, 3), (6, 2, 2), (6, 64, 10**6), (40, 65, 60)],
)
def test_tiny_inputs(
    make_panel: MakePanel,
    weighting: str,
    li_stephens: bool,
    num_haplotypes: int,
    num_sites: int,
    every: int,
) -> None:
    """One site, one sample, two haplotypes, windows without an observed site, K above the panel."""
    random = np.random.default_rng(num_sites)
    alleles = (random.random((num_haplotypes + 2, num_sites)) < 0.5).astype(np.int8)
    alleles[:2] = [[0], [1]]  # polymorphic
    typed = np.arange(num_sites) % every == every - 1
    data = _Data(make_panel, alleles[:-2], alleles[-2:], typed)
    config = replace(SMALL, weighting=weighting, li_stephens=li_stephens, k=5)
    dosage = data.impute(_model(config, trained=True))
    assert (dosage[typed, 0] == 1000 * alleles[-2:, typed].T.astype(int)).all()


def test_nobody_to_copy_from(data: _Data) -> None:
    with pytest.raises(InputError, match="samples to copy from"):
        Imputer(_model(SMALL), PanelAndTarget("1", ["a"], np.array([2]), ["b", "a"]))


def test_a_network_of_nan_is_an_error(data: _Data) -> None:
    model = _model(SMALL)
    with torch.no_grad():
        model.network.norm.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="NaN"):
        data.impute(model)


def test_progress_counts_samples_times_windows(data: _Data) -> None:
    done: list[int] = []
    imputer = Imputer(_model(SMALL), data.samples(), threads=1)
    polymorphic = int((np.ptp(data.panel_alleles, axis=0) > 0).sum())
    for _ in imputer.run(data.blocks(), done.append):
        pass
    assert sum(done) == 8 * -(-polymorphic // imputer.plan.size)


# --- checkpoints ----------------------------------------------------------------------------------


def test_models_are_loaded_whole(tiny_model: Path) -> None:
    model = load_model(tiny_model, CPU)
    assert not model.network.training
    assert len(model.sha256) == 64
    assert model.config.window_size == 64
    content = load_checkpoint(tiny_model)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, content["model"][name])


def test_what_else_a_checkpoint_holds_does_not_matter(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = load_checkpoint(tiny_model)
    config = {**content["config"], "resume_epoch": 7, "resume": "x", "of_the_future": 3}
    monkeypatch.setattr(
        "snvrag.imputation.trained.load_checkpoint",
        lambda *_: {"config": config, "model": content["model"]},
    )
    assert load_model(tiny_model, CPU).config.resume == ""
    config["width"] = 32
    with pytest.raises(InputError, match=r"--model .*: of another version"):
        load_model(tiny_model, CPU)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    for path in (tmp_path / "--resume none", tmp_path / "--resume text"):
        (tmp_path / "--resume text").write_text("text")
        with pytest.raises(InputError, match=rf"^--model {path}: "):
            load_model(path, CPU)
