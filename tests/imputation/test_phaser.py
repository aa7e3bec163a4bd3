"""Which phasings of a chunk's samples are imputed, and in which pieces."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import pack, unpack
from matched_data import MatchedData
from snvrag.imputation.phaser import IMPUTED_DRAWS, Phaser, fit_rates
from snvrag.imputation.phasing import DiploidModel, PhasingRates
from snvrag.imputation.problem import ChunkProblem, Pairs

ROWS = np.array([0, 1, 3, 4, 5])  # of six sites, of which 1 is not typed
# Phased, unphased, homozygous, phased but for the site 5, and with one allele at 3.
FIRST = ["100100", "000000", "101101", "000000", "000000"]
SECOND = ["000010", "100111", "101101", "100001", "000000"]
UNPHASED = ["000000", "100111", "000000", "000001", "000000"]


def _problem() -> ChunkProblem:
    rows = [[int(bit) for bit in row] for pair in zip(FIRST, SECOND, strict=True) for row in pair]
    missing = np.zeros((10, 6), bool)
    missing[9, 3] = True
    panel = np.random.default_rng(0).integers(0, 2, (8, 6)).astype(np.int8)
    unphased = np.array([[bit == "1" for bit in row] for row in UNPHASED])
    typed = np.arange(6) != 1
    data = MatchedData(panel, np.array(rows, np.int8), typed, missing, unphased=unphased)
    (sites,) = data.blocks(6)
    return ChunkProblem(
        data.samples(),
        sites,
        ROWS,
        observed=ROWS != 1,
        wanted=ROWS == 1,
        cumulative_rho=np.arange(5.0),
        mismatch=0.01,
        first_rank=0,
        neighbours=16,
        threads=1,
    )


def test_phasings_of_samples_with_and_without_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each draw once, weighted by its share of those that are imputed.

    Most draws have the sites 3 to 5 of unphased samples swapped, but two of the first eight.
    """
    problem = _problem()
    assert problem.heterozygous_samples().tolist() == [True, True, False, True, True]
    asked: list[Any] = []

    def draw(_: Any, genotypes: Any, rates: Any, keys: Any, draws: int) -> Any:
        asked.append((keys.tolist(), draws))
        drawn = np.zeros((keys.size, draws, 5), np.int8)
        drawn[:, 6:-2, 2:] = 1
        drawn = drawn.reshape(-1, 5)
        return pack(drawn).reshape(keys.size, draws, 1) & genotypes.heterozygous[:, None]

    monkeypatch.setattr(DiploidModel, "draw", draw)
    samples = np.arange(5)
    genotypes = problem.genotypes(samples)
    pairs, phases = Phaser(problem, PhasingRates(1, 0.01)).pairs(genotypes, samples)
    keys = problem.keys(samples).tolist()
    assert len(set(keys)) == 5
    assert [names for names, _ in asked] == [[keys[0], keys[4]], [keys[1], keys[3]]]
    assert asked[0][1] == IMPUTED_DRAWS < asked[1][1]
    assert pairs.sample.tolist() == [0, 1, 1, 2, 3, 3, 4]
    assert pairs.weight.tolist() == [1, 0.75, 0.25, 1, 0.75, 0.25, 1]
    rows = unpack(pairs.swapped, 5)[pairs.sample == 1]
    assert rows.tolist() == [[0, 0, 0, 0, 0], [0, 0, 1, 1, 1]]
    # Heterozygotes and their phase sets, 0 where the file has the phase of all.
    assert [phase.site.tolist() for phase in phases] == [[0, 3, 4], [0, 3, 4, 5], [], [0, 5], [3]]
    assert [bool(phase.phase_set.any()) for phase in phases] == [False, True, False, True, False]
    assert phases[1].swapped.tolist() == [False, True, True, True]
    assert phases[1].position.tolist() == [1000, 1111, 1148, 1185]
    # Without rates every sample is as in the file.
    pairs, phases = Phaser(problem, None).pairs(genotypes, samples)
    assert (pairs.sample.tolist(), pairs.weight.tolist()) == ([0, 1, 2, 3, 4], [1] * 5)
    assert not pairs.swapped.any()
    assert all(phase.site.size == 0 for phase in phases)


def test_rates_are_those_of_heterozygous_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(DiploidModel, "fit", lambda *given: asked.append(given[2].tolist()))
    problem = _problem()
    fit_rates(problem)
    assert asked == [[0, 1, 3, 4]]
    homozygous = _problem()
    homozygous.sites.target_bits[:] = homozygous.sites.target_missing_bits[:] = 0
    assert fit_rates(homozygous) is None


@given(
    counts=st.lists(st.integers(1, 8), max_size=20),
    most=st.integers(1, 30),
)
def test_parts_are_of_whole_samples(counts: list[int], most: int) -> None:
    sample = np.repeat(np.arange(len(counts)), counts)
    pairs = Pairs(sample, np.zeros((sample.size, 1), np.uint64), np.ones(sample.size, np.float32))
    parts = list(pairs.parts(most))
    assert [0, *(stop for _, stop in parts)] == [*(start for start, _ in parts), sample.size]
    for start, stop in parts:
        some = np.unique(sample[start:stop])
        assert start < stop
        assert stop - start <= most or some.size == 1
        assert np.isin(sample, some).sum() == stop - start
    for (start, middle), (_, stop) in pairwise(parts):  # no part could be longer
        first = counts[sample[middle]]
        assert middle - start + first > most
        assert stop - middle >= first
