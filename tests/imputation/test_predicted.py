"""What is predicted in several phasings: means over them, in the order of the phase written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from helpers import pack, unpack
from matched_data import MatchedData
from snvrag.imputation.chunks import Chunk
from snvrag.imputation.phase_sets import Phase
from snvrag.imputation.predicted import Predicted
from snvrag.imputation.problem import Pairs
from snvrag.io.imputed_columns import PRODUCT

# Sites of a chunk that writes 1 to 8: typed are 0, 3, 5 and 8; at 7 the panel has one allele.
TYPED = np.isin(np.arange(9), [0, 3, 5, 7, 8])
WANTED = np.array([1, 2, 3, 4, 6])
# Samples: heterozygous at 0, 3, 5, 7 and 8; with one allele at 3; homozygous, with none at 3.
ALLELES = np.array(["100101000", "000000111", "000101000", "000000000", "111111111", "111111111"])
MISSING = np.array(["000000000", "000000000", "000000000", "000100000", "000100000", "000100000"])
UNPHASED = np.array(["000101011", "000100000", "000000000"])


def _bits(rows: Any) -> Any:
    return np.array([[bit == "1" for bit in row] for row in rows])


def _predicted(before: list[Phase]) -> tuple[Any, Pairs, Any]:
    panel = np.random.default_rng(0).integers(0, 2, (6, 9)).astype(np.int8)
    panel[0], panel[1], panel[:, 7] = 0, 1, 1
    alleles, missing = _bits(ALLELES).astype(np.int8), _bits(MISSING)
    data = MatchedData(panel, alleles * ~missing, TYPED, missing, unphased=_bits(UNPHASED))
    (sites,) = data.blocks(9)
    chunk = Chunk(sites, np.arange(9) != 7, 1, 9)
    out = Predicted.empty(chunk, 3, before)
    rows = np.delete(np.arange(9), 7)
    problem = SimpleNamespace(rows=rows, wanted=np.searchsorted(rows, WANTED))
    problem.sites = sites.select(rows)
    # Three phasings of the first sample, two of the second one, and one of the third.
    order = _bits(["000100000", "000101001", "000000000", "000000000", "000100000", "0" * 9])
    weight = np.array([0.5, 0.25, 0.25, 0.5, 0.5, 1], np.float32)
    pairs = Pairs(np.array([0, 0, 0, 1, 1, 2]), pack(order[:, rows].astype(np.int8)), weight)
    phases = [
        _phase([0, 3, 5, 8], "0111", [1000, 1000, 1185, 1185], "1111"),
        _phase([3], "1", [1111], "1"),
        Phase.of_file(rows[:0], rows[:0]),
    ]
    for sample, phase in enumerate(phases):
        out.set_phase(sample, phase)
    probability = np.random.default_rng(1).random((6, 2, 5)).astype(np.float32)
    out.set_dosage(problem, 0, pairs.slice(0, 3), probability[:3])
    second = pairs.slice(3, 6)
    out.set_dosage(problem, 1, second._replace(sample=second.sample - 1), probability[3:])
    return out, pairs, probability


def _phase(sites: list[int], swapped: str, phase_set: list[int], linked: str) -> Phase:
    site = np.array(sites)
    bits = [np.array([bit == "1" for bit in row]) for row in (swapped, linked)]
    return Phase(site, 1000 + 37 * site, bits[0], np.array(phase_set), bits[1])


def test_means_over_phasings_in_the_order_of_the_phase() -> None:
    out, _, probability = _predicted([])
    block = out.block(6)
    p = probability.astype(float)
    # Of sites 1 and 2 to 4 the nearest heterozygotes are 0 and 3, of 6 it is 5 (and as near 7 is
    # none). The phase has 3 and 5 swapped: of the draws, the first two have 3, the second has 5.
    exchange = np.array([[0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]], bool)
    first = np.where(exchange[:, None], p[:3, ::-1], p[:3])
    weight = np.array([0.5, 0.25, 0.25])
    mean, both = np.tensordot(weight, first, 1), weight @ (first[:, 0] * first[:, 1])
    at = WANTED - 1
    untyped = np.array([0, 1, 3, 4])
    assert block.hom_alt is not None
    assert np.abs(block.hap_dosage[at, 0].T / 1000 - mean)[:, untyped].max() <= 0.0006
    assert np.abs(block.hom_alt[at, 0] / 1000 - both)[untyped].max() <= 0.0006
    # One phasing: the product, also where the genotype is missing.
    assert np.abs(block.hap_dosage[at, 2].T / 1000 - p[5]).max() <= 0.0006
    assert (block.hom_alt[:, 2] == PRODUCT).all()
    # A known allele stays, and the other is that of the haplotype that lacks it.
    lacks = 0.5 * p[3, 1, 2] + 0.5 * p[4, 0, 2]
    assert block.hap_dosage[2, 1].tolist() == [round(1000 * lacks), 1000]
    assert block.hom_alt[2, 1] == PRODUCT
    assert (block.hom_alt[[4, 6, 7]] == PRODUCT).all()
    assert (block.hom_alt[2, 0], block.hom_alt[3, 1] == PRODUCT) == (PRODUCT, False)


def test_alleles_and_sets_of_the_phase() -> None:
    block = _predicted([])[0].block(6)
    bits = unpack(block.target_bits, 6)
    missing = _bits(MISSING)[:, 1:].T
    known = np.where(TYPED[1:, None], _bits(ALLELES)[:, 1:].T & ~missing, 0)
    for got, expected in ((bits, known), (unpack(block.target_missing_bits, 6), missing)):
        # Exchanged are the sites 3, 5 and 8 of the first sample, and 3 of the second one.
        expected[[2, 4, 7], :2] = expected[[2, 4, 7], 1::-1]
        expected[2, 2:4] = expected[2, 3:1:-1]
        assert (got == expected).all()
    # Where the model does not read a site, it is in a set of its own; homozygotes are in the next.
    assert block.phase_set is not None
    assert block.phase_set[:, 0].tolist() == [1000, 1000, 1000, 1000, 1185, 1185, 1259, 1185]
    assert (block.phase_set[:, 1] == 1111).all()
    assert not block.phase_set[:, 2].any()


def test_order_and_set_of_the_chunk_before() -> None:
    """It ended at the site of number 0 here, where its first sample was swapped, in the set 7."""
    before = [_phase([0, 0, 0], "001", [7, 7, 7], "111") for _ in range(3)]
    before = [Phase(np.array([-3, -2, -1]), *list(vars(b).values())[1:]) for b in before]
    plain = _predicted([])[0].block(6)
    block = _predicted(before)[0].block(6)
    assert plain.hom_alt is not None
    assert block.phase_set is not None
    assert block.phase_set[:, 0].tolist() == [7, 7, 7, 7, 1185, 1185, 1259, 1185]
    assert (block.hap_dosage[:, 0] == plain.hap_dosage[:, 0, ::-1])[np.arange(8) != 6].all()
    assert (block.hap_dosage[:, 1:] == plain.hap_dosage[:, 1:]).all()
    assert (block.hom_alt == plain.hom_alt).all()
