"""The imputer by evidence: what it predicts, what it keeps, and what must not change the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from matched_data import MatchedData
from snvrag import _core
from snvrag.errors import InputError
from snvrag.imputation import imputer as imputer_module
from snvrag.imputation.chunks import Chunk, ChunkPlan, cut_chunks
from snvrag.imputation.imputed import ImputedBlock, PanelAndTarget
from snvrag.imputation.imputer import Imputer
from snvrag.io.model_file import Adapted
from snvrag.io.reading import read_panel
from snvrag.kernels import (
    EVIDENCE,
    HeadWeights,
    li_stephens_dosage,
    pack_haplotypes,
    unpack_haplotypes,
)
from snvrag.li_stephens.rates import map_rho
from snvrag.li_stephens.states import ALL_HAPLOTYPES

MakeAlleles = Callable[..., NDArray[np.int8]]


def _head(seed: int = 1) -> HeadWeights:
    """A head whose weights use all of the evidence."""
    random = np.random.default_rng(seed)
    e, u = len(EVIDENCE), 8

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.normal(0, 0.3, shape).astype(np.float32)

    scale = np.full(e, 5, np.float32)
    return HeadWeights(np.zeros(e, np.float32), scale, normal(e, u), normal(u), normal(u), 0.1)


def _adapted(data: MatchedData, head: HeadWeights | None = None, scale: float = 1.0) -> Adapted:
    """Rates by 1 cM a Mb, or some times as high."""
    count = data.panel_alleles.sum(0)
    typed = data.typed & (count > 0) & (count < len(data.panel_alleles))
    position = data.position[typed]
    rho = scale * map_rho(position, len(data.panel_alleles))
    alleles = np.array([["A", "G"]] * position.size).reshape(-1, 2)
    return Adapted("1", position, alleles, rho, 0.01, head, "panel", len(data.panel_alleles))


def _impute(
    data: MatchedData, adapted: Adapted | None = None, block: int = 50, **options: Any
) -> NDArray[np.uint16]:
    """Return (S, T, 2) dosages."""
    adapted = adapted or _adapted(data, _head())
    return data.imputed(Imputer(adapted, data.samples(), **{"threads": 1, **options}), block)


@pytest.fixture(scope="module")
def data(mosaic_haplotypes: MakeAlleles) -> MatchedData:
    alleles = mosaic_haplotypes(56, 400, seed=5)
    return MatchedData(alleles[:40], alleles[40:], np.arange(400) % 3 == 0)


@pytest.mark.usefixtures("haploid_model")
def test_typed_alleles_stay_and_others_are_those_of_the_model(data: MatchedData) -> None:
    adapted = _adapted(data)
    dosage = _impute(data, adapted)
    truth = data.target_alleles.T.reshape(400, 8, 2).astype(int)
    assert (dosage[data.typed] == 1000 * truth[data.typed]).all()
    panel, count = data.panel_alleles, data.panel_alleles.sum(0)
    both = (count > 0) & (count < len(panel))
    for allele in (0, 1):  # where the panel has one allele, so has what is imputed
        fixed = ~data.typed & (count == allele * len(panel))
        assert fixed.any()
        assert (dosage[fixed] == 1000 * allele).all()
    expected = li_stephens_dosage(
        pack_haplotypes(data.target_alleles),
        pack_haplotypes(np.ascontiguousarray(panel.T)),
        num_haplotypes=40,
        observed=data.typed & both,
        cumulative_rho=map_rho(data.position, 40),
        mismatch=adapted.mismatch,
    ).T.reshape(400, 8, 2)
    hidden = both & ~data.typed
    # That interpolates between typed sites; the evidence is exact.
    assert np.abs(dosage[hidden] / 1000 - expected[hidden]).max() < 0.02
    assert (_impute(data) != dosage)[hidden].any()  # with a head


@pytest.mark.usefixtures("haploid_model")
def test_rates_are_those_of_the_model_between_its_typed_sites(data: MatchedData) -> None:
    ours = _impute(data, _adapted(data, scale=30.0))
    assert np.abs(ours.astype(int) - _impute(data, _adapted(data))).max() > 100
    # The same rates as those of a model of more typed sites, as for a region of its chromosome.
    adapted = _adapted(data, scale=30.0)
    wide = replace(
        adapted,
        position=np.concatenate([[3, 5], adapted.position, [10**6]]),
        alleles=np.concatenate([[["A", "G"]] * 2, adapted.alleles, [["A", "G"]]]),
        cumulative_rho=np.concatenate([[-2.0, -1.0], adapted.cumulative_rho, [99.0]]),
    )
    assert (_impute(data, wide) == ours).all()


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
    dosage = _impute(MatchedData(alleles[:40], alleles[40:], typed, missing))
    for site, allele in fixed.items():
        expected = np.where(missing[:, site], allele, 1 - allele)
        assert (dosage[site].ravel() == 1000 * expected).all()


def test_missing_alleles_are_imputed_one_by_one(mosaic_haplotypes: MakeAlleles) -> None:
    alleles = mosaic_haplotypes(56, 300, seed=6)
    typed = np.arange(300) % 2 == 0
    missing = np.random.default_rng(0).random((16, 300)) < 0.1
    full = _impute(MatchedData(alleles[:40], alleles[40:], typed))
    holes = _impute(MatchedData(alleles[:40], alleles[40:], typed, missing))
    lacks = (missing & typed).T.reshape(300, 8, 2)
    known = typed[:, None, None] & ~lacks
    assert (holes[known] == full[known]).all()
    guessed = holes[lacks]
    assert ((guessed > 0) & (guessed < 1000)).mean() > 0.3
    # What stands in the place of a missing allele tells nothing.
    other = alleles[40:] ^ missing
    assert (_impute(MatchedData(alleles[:40], other, typed, missing)) == holes).all()


FILES = pytest.mark.parametrize("file", ["phased", "unphased", "mixed"])


def _unphased(target: Any, missing: Any, file: str) -> NDArray[np.bool_]:
    """Return (T, S) bool, where a file has no phase: in no sample, in all, or in every second."""
    lacks = missing.reshape(-1, 2, target.shape[1])
    known = np.where(lacks, 2, target.reshape(lacks.shape))
    unphased: NDArray[np.bool_] = known[:, 0] != known[:, 1]
    if file != "unphased":
        unphased[file == "mixed" :: 2 if file == "mixed" else 1] = False
    return unphased


# Of which all are states, and of which some are retrieved.
SIZES = pytest.mark.parametrize("num_haplotypes", [40, ALL_HAPLOTYPES + 88])


@SIZES
@FILES
@pytest.mark.usefixtures("fixed_rates")
def test_groups_of_samples_blocks_and_threads_do_not_matter(
    num_haplotypes: int,
    file: str,
    mosaic_haplotypes: MakeAlleles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit; so a sample does not depend on those beside it."""
    alleles = mosaic_haplotypes(num_haplotypes + 16, 300, seed=6)
    typed = np.arange(300) % 3 == 0
    missing = np.random.default_rng(0).random((16, 300)) < 0.02
    unphased = _unphased(alleles[:16], missing, file)
    data = MatchedData(alleles[16:], alleles[:16], typed, missing, unphased=unphased)
    whole = _impute(data)
    assert len(np.unique(whole)) > 100
    for options in ({"threads": 2}, {"threads": None}, {"block": 7}):
        assert (_impute(data, **options) == whole).all()
    monkeypatch.setattr(imputer_module, "_EVIDENCE_BYTES", 1)
    assert (_impute(data) == whole).all()
    monkeypatch.setattr(imputer_module, "_STATES_BYTES", 1)
    assert (_impute(data) == whole).all()
    for i in range(8):
        pair = slice(2 * i, 2 * i + 2)
        alone = MatchedData(
            alleles[16:], alleles[:16][pair], typed, missing[pair], unphased=unphased[i : i + 1]
        )
        alone.target_names = [f"t{i}"]
        assert (_impute(alone)[:, 0] == whole[:, i]).all()


@SIZES
@pytest.mark.usefixtures("haploid_model")
def test_chunks_do_not_matter(num_haplotypes: int, mosaic_haplotypes: MakeAlleles) -> None:
    """By no more than a thousandth, with the flanks that chunks have by default."""
    alleles = mosaic_haplotypes(num_haplotypes + 16, 3000, seed=9)
    missing = np.random.default_rng(0).random((16, 3000)) < 0.01
    typed, position = np.arange(3000) % 4 == 0, 5000 * np.arange(1, 3001)
    data = MatchedData(alleles[16:], alleles[:16], typed, missing, position=position)
    default = Imputer(_adapted(data), data.samples()).plan
    whole = _impute(data).astype(int)
    for num_sites in (77, 500, 1300):
        chunked = _impute(data, plan=replace(default, num_sites=num_sites))
        assert np.abs(chunked.astype(int) - whole).max() <= 1
    # The test can fail: without flanks they do matter.
    assert np.abs(_impute(data, plan=ChunkPlan(77)).astype(int) - whole).max() > 20


@SIZES
@pytest.mark.parametrize("file", ["unphased", "mixed"])
def test_phase_goes_on_over_chunks(
    num_haplotypes: int, file: str, mosaic_haplotypes: MakeAlleles
) -> None:
    """In one phase set, and in the same order, where two chunks meet, as if they were one.

    Where all haplotypes are states, nothing else changes.
    Of others the longest matches, which reach far here, may be others, and so may what is drawn.
    """
    alleles = mosaic_haplotypes(num_haplotypes + 16, 3000, switch_rate=0.005, seed=9)
    missing = np.random.default_rng(0).random((16, 3000)) < 0.01
    unphased = _unphased(alleles[:16], missing, file)
    typed, position = np.arange(3000) % 4 == 0, 5000 * np.arange(1, 3001)
    data = MatchedData(
        alleles[16:], alleles[:16], typed, missing, position=position, unphased=unphased
    )
    adapted = _adapted(data)
    imputer = Imputer(adapted, data.samples(), threads=1)
    plan = replace(imputer.plan, num_sites=400)
    whole, chunked, bare = (
        data.imputed_block(Imputer(adapted, data.samples(), plan=plan, threads=1))
        for plan in (imputer.plan, plan, ChunkPlan(400))
    )
    cuts = [chunk.stop for chunk in _chunks(data, ChunkPlan(400))][:-1]
    assert len(cuts) >= 3
    for block in (whole, chunked, bare):
        steps, is_one = _over_cuts(block, unphased & typed, cuts)
        assert set(is_one) == ({False} if block is bare else {False, True})
        if block is whole:
            expected = steps, is_one
        elif block is chunked:
            assert (is_one == expected[1]).mean() > 0.75
            assert (steps == expected[0])[is_one & expected[1]].all()
    difference = np.abs(whole.hap_dosage.sum(2).astype(int) - chunked.hap_dosage.sum(2))
    assert difference.mean() < (20 if num_haplotypes > ALL_HAPLOTYPES else 0.01)
    # The alleles are the same, but for their order.
    counts = [
        unpack_haplotypes(block.target_bits, 16).reshape(-1, 8, 2).sum(axis=2)
        for block in (whole, chunked)
    ]
    assert (counts[0] == counts[1]).all()


def _chunks(data: MatchedData, plan: ChunkPlan) -> list[Chunk]:
    """Return chunks, with sites counted from the first of all."""
    chunks, first = [], 0
    for chunk in cut_chunks(data.blocks(), len(data.panel_alleles), plan):
        chunks.append(replace(chunk, start=first, stop=first + chunk.stop - chunk.start))
        first = chunks[-1].stop
    return chunks


def _over_cuts(
    block: ImputedBlock, heterozygous: NDArray[np.bool_], cuts: list[int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return, for the heterozygotes on both sides of each cut, whether they are in one phase set.

    And whether the first haplotypes of both have the same allele.
    """
    assert block.phase_set is not None
    steps, is_one = [], []
    alleles = _core.unpack_rows(block.target_bits, 16)[:, ::2]
    for i in range(heterozygous.shape[0]):
        sites = np.flatnonzero(heterozygous[i])
        for cut in cuts if sites.size else ():
            after = int(np.searchsorted(sites, cut))
            two = sites[after - 1 : after + 1]
            steps.append(alleles[two[0], i] == alleles[two[1], i])
            is_one.append(block.phase_set[two[0], i] == block.phase_set[two[1], i])
    return np.array(steps), np.array(is_one)


@pytest.mark.usefixtures("haploid_model")
def test_chunks_of_a_chromosome_do_not_matter(shared_data: Path) -> None:
    """Of real haplotypes, each hidden but for a site in 20 kb."""
    panel, _ = read_panel(shared_data / "hapmap20" / "panel.vcf.gz", region="20:1-30000000")
    alleles = unpack_haplotypes(_core.transpose_bits(panel.site_bits, 120), panel.num_sites)
    typed = np.zeros(panel.num_sites, bool)
    common = np.flatnonzero(np.abs(panel.af - 0.5) < 0.45)
    typed[common[np.unique(panel.position[common] // 20_000, return_index=True)[1]]] = True
    data = MatchedData(alleles[:112], alleles[112:], typed, position=panel.position)
    default = Imputer(_adapted(data), data.samples()).plan
    whole = _impute(data, plan=ChunkPlan(10**6)).astype(int)
    chunked = _impute(data, plan=replace(default, num_sites=2500)).astype(int)
    assert np.abs(chunked - whole).max() <= 1
    without = _impute(data, plan=ChunkPlan(2500)).astype(int)
    assert np.abs(without - whole).max() > 100


def test_flanks_are_longer_where_haplotypes_are(data: MatchedData) -> None:
    def flank_cm(scale: float) -> float:
        return Imputer(_adapted(data, scale=scale), data.samples()).plan.flank_cm

    prior = map_rho(np.array([0, 10**6]), 40)[1]  # switches in a cM
    assert flank_cm(8 / prior / 5) == pytest.approx(5)
    assert (flank_cm(1.0), flank_cm(0.0)) == (3, 15)


def test_a_chunk_without_a_typed_site(data: MatchedData) -> None:
    """It has the frequencies of the panel, or what the head makes of them."""
    adapted = _adapted(data)
    dosage = _impute(data, adapted, plan=ChunkPlan(1))
    hidden = ~data.typed
    expected = data.panel_alleles.mean(0)[hidden, None, None] * 1000
    assert np.abs(dosage[hidden] - expected).max() < 1


@pytest.mark.parametrize("file", ["phased", "unphased"])
def test_samples_of_the_panel_do_not_copy_themselves(
    file: str, mosaic_haplotypes: MakeAlleles
) -> None:
    """Two, each with an allele of its own at some sites."""
    alleles = mosaic_haplotypes(40, 300, seed=7)
    private = np.arange(300) % 10 == 5
    alleles[:, private] = 0
    for sample in (0, 1):
        alleles[2 * sample, 20 * np.arange(15) + 5 + 10 * sample] = 1
    unphased = _unphased(alleles[:4], np.zeros((4, 300), bool), file)
    data = MatchedData(alleles, alleles[:4], ~private, unphased=unphased)

    def own() -> list[float]:
        dosage = _impute(data, _adapted(data)).sum(axis=2)
        return [float(dosage[5 + 10 * sample :: 20, sample].mean()) for sample in (0, 1)]

    assert min(own()) > 200
    data.target_names = ["p0", "p1"]
    assert max(own()) < 20


def test_haploid_samples_of_the_panel(mosaic_haplotypes: MakeAlleles) -> None:
    alleles = mosaic_haplotypes(45, 200, seed=8)
    typed = np.arange(200) % 2 == 0
    data = MatchedData(alleles[:41], alleles[41:], typed, ploidy=[1] + [2] * 20)
    data.target_names = ["p0", "t1"]
    dosage = _impute(data, _adapted(data))
    truth = data.target_alleles.T.reshape(200, 2, 2).astype(int)
    assert np.abs(dosage / 1000 - truth).mean() < 0.1


@pytest.mark.parametrize("has_head", [False, True])
@pytest.mark.parametrize(
    ("num_haplotypes", "num_sites", "every"),
    [(2, 1, 1), (2, 1, 5), (2, 70, 3), (4, 40, 40), (6, 2, 2), (6, 64, 10**6), (40, 65, 60)],
)
def test_tiny_inputs(has_head: bool, num_haplotypes: int, num_sites: int, every: int) -> None:
    """One site, one sample, two haplotypes, one typed site or none."""
    random = np.random.default_rng(num_sites)
    alleles = (random.random((num_haplotypes + 2, num_sites)) < 0.5).astype(np.int8)
    alleles[:2] = [[0], [1]]  # polymorphic
    typed = np.arange(num_sites) % every == every - 1
    data = MatchedData(alleles[:-2], alleles[-2:], typed)
    dosage = _impute(data, _adapted(data, _head() if has_head else None))
    assert (dosage[typed, 0] == 1000 * alleles[-2:, typed].T.astype(int)).all()


def test_nobody_to_copy_from_and_a_head_of_nan(data: MatchedData) -> None:
    with pytest.raises(InputError, match="samples to copy from"):
        PanelAndTarget("1", ["a"], np.array([2]), ["b", "a"])
    head = _head()._replace(output_bias=float("nan"))
    with pytest.raises((InputError, ValueError), match="NaN"):
        _impute(data, _adapted(data, head))


def test_progress_counts_samples_times_sites(data: MatchedData) -> None:
    done: list[int] = []
    imputer = Imputer(_adapted(data), data.samples(), threads=1)
    for _ in imputer.run(data.blocks(), done.append):
        pass
    both = np.ptp(data.panel_alleles, axis=0) > 0
    assert sum(done) == 8 * np.count_nonzero(both & ~data.typed)
