"""What is learned from a panel at a target's typed sites."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from helpers import mosaic_haplotypes
from panel_files import make_panel
from snvrag.imputation import adaptation
from snvrag.imputation.adaptation import AdaptationRegion, adapt
from snvrag.io.model_file import Adapted
from snvrag.kernels import EVIDENCE, HeadWeights
from snvrag.network import fitting
from snvrag.panel.panel import Panel


@pytest.fixture(autouse=True)
def _a_head_of_few_steps(monkeypatch):
    monkeypatch.setattr(adaptation, "_LEAST_ROWS", 500)  # the other tests of this folder fit none
    monkeypatch.setattr(fitting, "Fit", partial(fitting.Fit, steps=60))


def panel_of(num_haplotypes: int = 60, num_sites: int = 300) -> Panel:
    return make_panel(mosaic_haplotypes(num_haplotypes, num_sites, seed=4))


def whole(panel: Panel, observed: np.ndarray) -> list[AdaptationRegion]:
    return [AdaptationRegion(panel, observed, 0, panel.num_sites)]


def cut(panel: Panel, observed: np.ndarray, size: int, flank: int) -> list[AdaptationRegion]:
    """Return regions of so many sites, with flanks."""
    regions = []
    for start in range(0, panel.num_sites, size):
        stop = min(start + size, panel.num_sites)
        first, last = max(0, start - flank), min(stop + flank, panel.num_sites)
        part = panel.select_sites(np.arange(first, last))
        regions.append(AdaptationRegion(part, observed[first:last], start - first, stop - first))
    return regions


def assert_same(one: Adapted, other: Adapted) -> None:
    assert np.array_equal(one.cumulative_rho, other.cumulative_rho)
    assert one.mismatch == other.mismatch
    assert (one.head is None) == (other.head is None)
    for a, b in zip(one.head or (), other.head or (), strict=True):
        assert np.array_equal(a, b)


def test_rates_and_head_at_the_typed_sites():
    panel, observed = panel_of(), np.arange(300) % 5 == 2
    phases = []
    got = adapt(whole(panel, observed), panel_name="p.vcf", on_phase=lambda *p: phases.append(p))
    assert np.array_equal(got.position, panel.position[observed])
    assert np.array_equal(got.alleles, panel.alleles[observed])
    assert got.cumulative_rho[0] == 0
    assert (np.diff(got.cumulative_rho) >= 0).all()
    assert got.cumulative_rho[-1] > 0
    assert (got.chrom, got.panel, got.num_haplotypes) == ("1", "p.vcf", 60)
    assert got.head is not None
    assert len(got.head.mean) == len(EVIDENCE)
    assert list(dict.fromkeys(name for name, _, _ in phases)) == ["rates", "evidence", "head"]
    for name, done, total in phases:
        assert total is None or 0 < done <= total, name
    assert phases[-1][1] == phases[-1][2]


def test_neither_threads_nor_torchs_state_matter_or_change():
    panel, observed = panel_of(), np.arange(300) % 5 == 2
    torch.manual_seed(1)
    before = torch.get_num_threads(), torch.random.get_rng_state()
    one = adapt(whole(panel, observed), threads=1)
    assert one.head is not None
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    torch.manual_seed(2)
    assert_same(adapt(whole(panel, observed), threads=2), one)


def test_regions_are_joined_at_their_typed_sites():
    panel, observed = panel_of(), np.arange(300) % 5 == 2
    expected = adapt(whole(panel, observed))
    for size, flank in ((100, 300), (50, 40), (50, 0), (2, 30)):
        got = adapt(cut(panel, observed, size, flank))
        assert np.array_equal(got.position, expected.position)
        assert np.array_equal(got.alleles, expected.alleles)
        assert got.cumulative_rho[0] == 0
        assert (np.diff(got.cumulative_rho) >= 0).all()
        if flank == 300:  # each region sees all, but scale and mismatch are chosen on all of it
            np.testing.assert_allclose(got.cumulative_rho, expected.cumulative_rho, rtol=0.5)


def test_of_many_regions_evenly_spread_ones_are_kept():
    panel, observed = panel_of(20, 150), np.arange(150) % 2 == 0
    gathered = adaptation._Gathered(None, 1)
    for number, region in enumerate(cut(panel, observed, 5, 2)):
        gathered.add(region)
        assert len(gathered.kept) <= adaptation._MOST_REGIONS
        assert gathered.num_regions == number + 1
    starts = [int(kept.panel.position[0]) for kept in gathered.kept]
    assert len(starts) == 8
    assert len({b - a for a, b in pairwise(starts[1:])}) == 1


def test_a_head_is_used_only_where_it_lowers_the_loss_of_samples_kept_back(monkeypatch):
    panel, observed = panel_of(), np.arange(300) % 5 == 2
    seen = []

    def made(correction, evidence, is_minor, weight, **_):
        seen.append(len(is_minor))
        assert ((weight >= 1) & (weight <= 1 / adaptation._LEAST_SHARE)).all()
        zero = np.zeros(evidence.shape[1], np.float32)
        one = np.zeros(1, np.float32)
        return HeadWeights(zero, zero + 1, zero[:, None], one, one, correction)

    for correction in (-8.0, 0.0):  # worse, and no better
        monkeypatch.setattr(fitting, "fit_head", partial(made, correction))
        assert adapt(whole(panel, observed)).head is None
    assert len(seen) == 2
    monkeypatch.setattr(adaptation, "_loss", lambda log_odds, _: float(log_odds.mean()))
    monkeypatch.setattr(fitting, "fit_head", partial(made, -8.0))
    assert adapt(whole(panel, observed)).head is not None


@pytest.mark.parametrize("num_haplotypes", [2, 4, 6, 60])
@pytest.mark.parametrize("typed", ["none", "one", "all", "half"])
def test_tiny_panels_and_few_typed_or_hidden_sites(num_haplotypes, typed):
    panel = panel_of(num_haplotypes, 40)
    at = np.arange(40)
    observed = {"none": at < 0, "one": at == 7, "all": at >= 0, "half": at % 2 == 0}[typed]
    got = adapt(whole(panel, observed))
    assert got.position.size == observed.sum()
    assert got.alleles.shape == (observed.sum(), 2)
    assert np.isfinite(got.cumulative_rho).all()
    assert 0 < got.mismatch <= 0.5
    if num_haplotypes < 60 or typed in ("none", "all"):
        assert got.head is None


def test_torch_is_loaded_only_to_fit_a_head():
    code = (
        "import sys\nimport numpy as np\nfrom snvrag.imputation.adaptation import *\n"
        "from snvrag.panel.panel import Panel\n"
        "bits = np.arange(1, 21, dtype=np.uint64)[:, None] % 15\n"
        "sites = np.array([['A', 'C']] * 20)\n"
        "panel = Panel('1', np.arange(1, 21) * 1000, sites, ('a', 'b'), bits)\n"
        "adapt([AdaptationRegion(panel, np.arange(20) % 3 == 0, 0, 20)])\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
