"""The panel's counts and selections are those of its unpacked alleles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from panel_files import alleles_of, make_panel
from snvrag import _core
from snvrag.errors import InputError
from snvrag.panel import panel

POPULATIONS = ["north", "south", "west"]


@pytest.fixture(scope="module", params=[2, 62, 64, 66, 130])
def alleles(request, mosaic_haplotypes):
    return mosaic_haplotypes(request.param, 150, seed=request.param)


@pytest.fixture
def made(alleles, monkeypatch):
    monkeypatch.setattr(panel, "_SITES_AT_ONCE", 64)  # several parts, the last one short
    names = [POPULATIONS[i % 3] for i in range(len(alleles) // 2)]
    return make_panel(alleles, populations=names)


def test_sizes_and_allele_frequency(made, alleles):
    assert made.num_sites == 150
    assert made.num_haplotypes == len(alleles) == 2 * made.num_samples
    np.testing.assert_array_equal(alleles_of(made), alleles)
    np.testing.assert_array_equal(made.alt_count, alleles.sum(0))
    assert made.af.dtype == np.float64
    np.testing.assert_array_equal(made.af, alleles.mean(0))
    polymorphic = np.flatnonzero(np.ptp(alleles, axis=0))
    np.testing.assert_array_equal(made.polymorphic_sites(), polymorphic)


def test_population_frequencies(made, alleles):
    genotypes = alleles[::2] + alleles[1::2]
    present = POPULATIONS[: min(3, len(genotypes))]
    assert made.populations == tuple(present)
    for p, _ in enumerate(present):
        own = genotypes[np.arange(len(genotypes)) % 3 == p]
        expected = np.stack([(own == g).mean(0) for g in range(3)], axis=1)
        np.testing.assert_allclose(made.population_genotype_frequency[p], expected, atol=1e-7)
        np.testing.assert_allclose(made.population_af[p], own.mean(0) / 2, atol=1e-7)


def test_one_population_by_default_and_one_without_samples(mosaic_haplotypes):
    made = make_panel(mosaic_haplotypes(6, 10))
    assert made.populations == ("all",)
    np.testing.assert_allclose(made.population_af, made.af[None], atol=1e-7)
    made = make_panel(mosaic_haplotypes(6, 10), populations=["a", "a", "b"]).select_samples([0, 1])
    with pytest.raises(InputError, match="population b"):
        _ = made.population_af


def test_selections(made, alleles):
    chosen = np.random.default_rng(0).permutation(made.num_samples)[: max(1, made.num_samples // 2)]
    part = made.select_samples(chosen)
    rows = np.stack([2 * chosen, 2 * chosen + 1], axis=1).reshape(-1)
    np.testing.assert_array_equal(alleles_of(part), alleles[rows])
    assert part.samples == tuple(made.samples[i] for i in chosen)
    np.testing.assert_array_equal(part.sample_population, made.sample_population[chosen])
    _ = made.af  # cached, and does not follow to selections
    np.testing.assert_array_equal(made.select_samples(chosen).af, alleles[rows].mean(0))
    chosen = np.arange(1, made.num_sites, 7)
    part = made.select_sites(chosen)
    np.testing.assert_array_equal(alleles_of(part), alleles[:, chosen])
    np.testing.assert_array_equal(part.position, made.position[chosen])
    np.testing.assert_array_equal(part.alleles, made.alleles[chosen])
    np.testing.assert_array_equal(part.af, alleles[:, chosen].mean(0))


def test_haplotype_bits(made, alleles):
    order = np.random.default_rng(1).permutation(made.num_haplotypes).astype(np.int64)
    for start, stop in ((0, 150), (0, 1), (63, 65), (64, 128), (149, 150)):
        bits = made.haplotype_bits(order, start, stop)
        assert bits.shape == (len(order), -(-(stop - start) // 64))
        got = _core.unpack_rows(bits, stop - start)
        np.testing.assert_array_equal(got, alleles[order, start:stop])


def test_fingerprint_tells_everything_apart(mosaic_haplotypes):
    alleles = mosaic_haplotypes(8, 20)
    names = ["a", "a", "b", "b"]
    base = make_panel(alleles, populations=names)
    again = make_panel(alleles.copy(), populations=list(names))
    assert base.fingerprint == again.fingerprint
    assert len(base.fingerprint) == 64
    flipped = alleles.copy()
    flipped[5, 7] ^= 1
    others = [
        make_panel(flipped, populations=names),
        make_panel(alleles, populations=["a", "b", "a", "b"]),
        make_panel(alleles, populations=["a", "a", "c", "c"]),
        make_panel(alleles, populations=names, prefix="t"),
        make_panel(alleles, populations=names, position=2 + np.arange(20)),
        base.select_samples([1, 0, 2, 3]),
        base.select_samples([0, 1, 2]),
        base.select_sites(np.arange(19)),
    ]
    fingerprints = {base.fingerprint, *(other.fingerprint for other in others)}
    assert len(fingerprints) == 1 + len(others)


@pytest.fixture
def mixed(mosaic_haplotypes, monkeypatch):
    """A panel in which every third sample is haploid, its (n, 2, S) alleles and populations."""
    monkeypatch.setattr(panel, "_SITES_AT_ONCE", 64)
    num_samples = 50
    ploidy = np.where(np.arange(num_samples) % 3 == 0, 1, 2)
    pairs = mosaic_haplotypes(2 * num_samples, 150).reshape(num_samples, 2, 150)
    pairs[ploidy == 1, 1] = pairs[ploidy == 1, 0]
    rows = pairs[np.arange(2) < ploidy[:, None]]
    names = [POPULATIONS[i % 2] for i in range(num_samples)]
    made = make_panel(rows, ploidy=ploidy, populations=names)
    return made, pairs, rows, np.arange(num_samples) % 2


def test_haploid_samples_have_one_haplotype(mixed):
    made, pairs, rows, _ = mixed
    assert (made.num_samples, made.num_haplotypes) == (50, len(rows))
    everyone = np.arange(50)[::-1].copy()
    np.testing.assert_array_equal(rows[made.haplotypes_of(everyone)], pairs[everyone])
    np.testing.assert_array_equal(made.sample_alleles(everyone, 3, 140), pairs[everyone, :, 3:140])
    own = made.own_haplotypes(np.array([3, -1, 0]))
    np.testing.assert_array_equal(own[[0, 2]], made.haplotypes_of(np.array([3, 0])))
    assert own[1].tolist() == [-1, -1]


def test_a_haploid_sample_counts_once_as_alleles_and_as_a_homozygote(mixed):
    made, pairs, rows, population = mixed
    np.testing.assert_array_equal(made.alt_count, rows.sum(0))
    np.testing.assert_array_equal(made.af, rows.mean(0))
    of_row = np.repeat(population, made.sample_ploidy)
    for p in range(2):
        np.testing.assert_allclose(made.population_af[p], rows[of_row == p].mean(0), atol=1e-7)
        own = pairs.sum(1)[population == p]
        expected = np.stack([(own == g).mean(0) for g in range(3)], axis=1)
        np.testing.assert_allclose(made.population_genotype_frequency[p], expected, atol=1e-7)


def test_selections_of_haploid_samples(mixed):
    made, pairs, _, _ = mixed
    chosen = np.array([49, 0, 3, 4, 48])
    part = made.select_samples(chosen)
    assert part.sample_ploidy.tolist() == [2, 1, 1, 2, 1]
    expected = [pairs[49, 0], pairs[49, 1], pairs[0, 0], pairs[3, 0], *pairs[4], pairs[48, 0]]
    np.testing.assert_array_equal(alleles_of(part), expected)
    some = made.select_sites(np.array([5, 90]))
    np.testing.assert_array_equal(some.sample_alleles(chosen, 0, 2), pairs[chosen][..., [5, 90]])
    assert made.fingerprint != replace(made, ploidy=made.sample_ploidy[::-1]).fingerprint


def test_sample_indices(made):
    names = list(made.samples[::-1])
    expected = np.arange(made.num_samples)[::-1]
    np.testing.assert_array_equal(made.sample_indices(names), expected)
    with pytest.raises(InputError, match=r"^x f: sample nobody is not in the panel \(1 of 2"):
        made.sample_indices([made.samples[0], "nobody"], argument="x", path="f")
