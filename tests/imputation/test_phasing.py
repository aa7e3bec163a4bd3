"""The diploid model of a chunk: what a file's phase is found to be worth, and genotypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers import mosaic_haplotypes, pack, unpack
from snvrag.imputation import phasing
from snvrag.imputation.phasing import DiploidModel, Genotypes, PhasingRates

GRID = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5)
HAPLOTYPES = mosaic_haplotypes(240, 400, switch_rate=0.01, seed=2)
PANEL, TARGET = HAPLOTYPES[:200], HAPLOTYPES[200:]


def _model(observed: NDArray[np.bool_]) -> DiploidModel:
    return DiploidModel(
        site_bits=pack(PANEL.T),
        haplotype_bits=pack(PANEL),
        num_haplotypes=200,
        observed=observed,
        position_cm=0.05 * np.arange(400),
        cumulative_rho=0.01 * np.arange(400),
        mismatch=0.002,
        first_rank=0,
        neighbours=16,
        threads=1,
    )


def _genotypes(target: NDArray[Any], *, unphased: bool = False, missing: Any = None) -> Genotypes:
    differ = target[0::2] != target[1::2]
    return Genotypes(
        pack(target),
        None if missing is None else pack(missing),
        pack((differ & unphased).astype(np.int8)),
        None,
    )


def _switched(error: float) -> NDArray[np.int8]:
    """Return the target with switches between heterozygotes."""
    pairs = TARGET.reshape(-1, 2, 400)
    differ = pairs[:, 0] != pairs[:, 1]
    switch = np.random.default_rng(0).random(differ.shape) < error
    order = np.cumsum(switch & differ, axis=1) % 2 == 1
    return np.where(order[:, None], pairs[:, ::-1], pairs).reshape(TARGET.shape)


def _fit(genotypes: Genotypes, observed: Any = None) -> PhasingRates:
    observed = np.ones(400, bool) if observed is None else observed
    return _model(observed).fit(genotypes.select, np.arange(genotypes.bits.shape[0] // 2))


@pytest.mark.parametrize("error", [0.0, 0.01, 0.05, 0.5])
def test_switch_errors_of_a_file_are_found(error: float) -> None:
    """Within a step of the values that are compared; true phase is taken as it is."""
    found = _fit(_genotypes(_switched(error))).switch_error
    nearest = int(np.abs(np.array(GRID) - error).argmin())
    assert found in GRID[max(0, nearest - 1) : nearest + 2]
    assert (found == 0) == (error == 0)


def test_rates_of_few_genotypes() -> None:
    """An unphased file has no phase to be wrong; one sample, one site, and no heterozygote."""
    assert _fit(_genotypes(TARGET, unphased=True)).switch_error == 0
    assert _fit(_genotypes(_switched(0.5)[:2])).switch_error > 0.1
    assert _fit(_genotypes(TARGET[:2])).switch_error == 0
    one = np.arange(400) == 200
    assert _fit(_genotypes(TARGET), one).switch_error == 0
    homozygous = np.repeat(TARGET[::2], 2, axis=0)
    assert _fit(_genotypes(homozygous)).switch_error == 0


def test_factors_of_rho_are_compared() -> None:
    """Where rho is far too high or too low, it is corrected as far as the factors go."""
    genotypes, observed = _genotypes(TARGET, unphased=True), np.ones(400, bool)
    for factor, expected in ((100.0, 0.03125), (0.001, 2.0)):
        model = _model(observed)
        object.__setattr__(model, "cumulative_rho", factor * model.cumulative_rho)
        assert model.fit(genotypes.select, np.arange(20)).rho_scale == expected


@pytest.mark.parametrize("num_samples", [0, 1, 20])
def test_draws(num_samples: int) -> None:
    """Of unphased genotypes near the truth; a phase that is worth nothing is that of no file."""
    model, target = _model(np.arange(400) % 2 == 0), TARGET[: 2 * num_samples]
    keys, rates = np.arange(num_samples, dtype=np.uint64), PhasingRates(0.5, 0.5)
    unphased = _genotypes(target, unphased=True)
    drawn = model.draw(unphased, rates, keys, 8)
    assert drawn.shape == (num_samples, 8, 7)
    assert (drawn == model.draw(_genotypes(target), rates, keys, 8)).all()
    if num_samples == 0:
        return
    # What is good is believed.
    good = model.draw(_genotypes(target), PhasingRates(0.5, 0.001), keys, 8)
    wrong = []
    for draws in (good, drawn):
        switches = heterozygotes = 0
        for i in range(num_samples):
            sites = np.flatnonzero((target[2 * i] != target[2 * i + 1]) & model.observed)
            bits = unpack(draws[i], 400)[:, sites]
            switches += np.count_nonzero(np.diff(bits, axis=1))
            heterozygotes += bits.size
        wrong.append(switches / heterozygotes)
    assert wrong[0] < 0.005
    assert wrong[0] < wrong[1] < 0.1


def test_haplotypes_of_genotypes_with_missing_alleles() -> None:
    """Alleles and missing ones of both orders, of samples in any order, again and again."""
    random = np.random.default_rng(0)
    missing = (random.random((6, 70)) < 0.3).astype(np.int8)
    alleles = random.integers(0, 2, (6, 70)).astype(np.int8) * (1 - missing)
    genotypes = _genotypes(alleles, missing=missing)
    differ = (alleles[::2] != alleles[1::2]) | (missing[::2] != missing[1::2])
    assert (unpack(genotypes.heterozygous, 70) == differ).all()
    sample = np.array([2, 0, 0, 1])
    order = random.integers(0, 2, (4, 70)).astype(np.int8)
    bits, lacks = genotypes.haplotypes(sample, pack(order))
    assert lacks is not None
    for given, got in ((alleles, bits), (missing, lacks)):
        pairs = given.reshape(3, 2, 70)[sample]
        expected = np.where(order[:, None] == 1, pairs[:, ::-1], pairs)
        assert (unpack(got, 70).reshape(4, 2, 70) == expected).all()
    assert _genotypes(alleles).haplotypes(sample, pack(order))[1] is None
    # Some samples.
    chosen = genotypes.select(np.array([2, 1]))
    assert (chosen.bits == genotypes.bits[[4, 5, 2, 3]]).all()
    assert chosen.missing is not None
    assert (unpack(chosen.missing, 70) == missing[[4, 5, 2, 3]]).all()
    exclude = genotypes._replace(exclude=np.array([[1], [2], [3]])).select(np.array([1])).exclude
    assert exclude is not None
    assert exclude.tolist() == [[2]]


@pytest.mark.parametrize("unphased", [False, True])
def test_samples_of_the_panel_have_no_haplotype_of_their_own(
    monkeypatch: pytest.MonkeyPatch, unphased: bool
) -> None:
    """Among the states of any round; without ``exclude`` they have."""
    seen: list[Any] = []
    real = phasing.sample_phasings

    def spy(*arguments: Any, **options: Any) -> Any:
        seen.append(options["states"])
        return real(*arguments, **options)

    monkeypatch.setattr(phasing, "sample_phasings", spy)
    genotypes = _genotypes(PANEL[:6], unphased=unphased)
    own = np.arange(6).reshape(3, 2)
    for exclude in (own, None):
        seen.clear()
        model, keys = _model(np.arange(400) % 2 == 0), np.arange(3, dtype=np.uint64)
        model.draw(genotypes._replace(exclude=exclude), PhasingRates(0.5, 0.01), keys, 2)
        assert len(seen) == (model.rounds if unphased else 1)
        for states in seen:
            for sample, offsets in enumerate(states.offsets):
                haplotypes = states.haplotypes[offsets[0] : offsets[-1]]
                assert np.isin(own[sample], haplotypes).any() == (exclude is None)


def test_fewer_neighbours_where_more_is_typed() -> None:
    known = {0: 32, 1: 32, 128: 32, 256: 16, 511: 8, 512: 8, 10**6: 8}
    assert {typed: phasing.pair_neighbours(typed) for typed in known} == known
