"""Batches are what a slow twin in NumPy makes of the same keys."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import helpers
import panel_files
from snvrag.batches.batch import MASK, PAD
from snvrag.batches.dataset import Targets, WindowDataset, as_batch, relative_position
from snvrag.batches.keys import Key
from snvrag.batches.masks import MaskConfig
from snvrag.kernels import oracle_li_stephens
from snvrag.li_stephens.model import LiStephensConfig, LiStephensModel
from snvrag.panel.windows import Windows

NUM_SITES = 203
POPULATIONS = ["a", "b", "b"] * 8


class World:
    """A panel of 24 samples, targets and the alleles behind both."""

    def __init__(self, alleles, *, own=True, present=None):
        self.panel_alleles = alleles[:48]
        self.panel = panel_files.make_panel(self.panel_alleles, populations=POPULATIONS)
        num = NUM_SITES
        self.present = np.ones(num, bool) if present is None else present
        if own:
            self.alleles, self.target = self.panel_alleles, self.panel
            self.panel_sample = np.arange(24)
            self.population = self.panel.sample_population
        else:
            # What the file lacks has REF in its bits, and must not be taken for an allele.
            self.alleles = alleles[48:] * self.present
            self.target = panel_files.make_panel(self.alleles, prefix="t")
            self.panel_sample = np.where(np.arange(6) == 2, 17, -1)
            self.population = np.array([0, 1, 1, 0, 0, 1])
        self.targets = Targets(self.target, self.present, self.panel_sample, self.population)

    def dataset(self, size=50, flank=0, rule=MaskConfig(), li_stephens=None):  # noqa: B008
        windows = Windows.split(NUM_SITES, size, flank)
        return WindowDataset(self.panel, self.targets, windows, rule, li_stephens)

    def lack(self, missing):
        """Let alleles of the targets be missing: (H, S) marks. Their bits say REF."""
        self.missing, self.alleles = missing, np.where(missing, 0, self.alleles)
        self.targets = Targets(
            self.target.select_sites(np.arange(NUM_SITES)),
            self.present,
            self.panel_sample,
            self.population,
            helpers.pack(missing.T),
        )
        self.targets.haplotypes.site_bits[:] &= ~self.targets.missing_bits


@pytest.fixture(scope="module")
def alleles():
    return helpers.mosaic_haplotypes(60, NUM_SITES, seed=9)


@pytest.fixture(scope="module")
def world(alleles):
    return World(alleles)


def partly_present() -> np.ndarray:
    """Window 1 of 5 has no site in the file, window 2 every third, window 4 its first only."""
    present = np.ones(NUM_SITES, bool)
    cuts = np.arange(6) * NUM_SITES // 5
    present[cuts[1] : cuts[2]] = False
    present[cuts[2] : cuts[3]] = np.arange(cuts[3] - cuts[2]) % 3 == 0
    present[cuts[4] + 1 :] = False
    return present


def slow_twin(world: World, dataset: WindowDataset, keys: list[Key], rule: MaskConfig) -> dict:
    """One key at a time, one site at a time; keyed by field, (B, ...) even where shared."""
    windows = dataset.windows
    af = world.panel_alleles.mean(0)
    genotypes = world.panel_alleles[::2] + world.panel_alleles[1::2]
    length = max(windows.flanked_stops - windows.flanked_starts)
    hidden_everywhere = np.zeros((NUM_SITES,), bool)
    epoch = keys[0].mask_seed
    for w in range(len(windows)):
        own = slice(windows.starts[w], windows.stops[w])
        hidden_everywhere[own] = helpers.mask_formula(af[own], epoch, w, rule.rate(epoch))
    members = np.array([0, 1, 1] * 8)
    rows = []
    for _, w, sample in keys:
        row = {
            "panel_sample": world.panel_sample[sample],
            "alleles": np.full((2, length), PAD),
            "tokens": np.full((2, length), PAD),
            "hidden": np.zeros(length, bool),
            "scored": np.zeros(length, bool),
            "genotype_frequency": np.zeros((length, 3), np.float32),
        }
        row |= {
            name: np.zeros(length, np.float32)
            for name in ("panel_af", "af", "relative_position", "population_af")
        }
        first, last = windows.flanked_starts[w], windows.flanked_stops[w]
        span = world.panel.position[last - 1] - world.panel.position[first]
        # Frequencies leave the sample itself out, if the panel has it.
        others = np.arange(len(genotypes)) != world.panel_sample[sample]
        own = genotypes[(members == world.population[sample]) & others]
        rest = genotypes[others]
        for j, site in enumerate(range(first, last)):
            row["alleles"][:, j] = world.alleles[2 * sample : 2 * sample + 2, site]
            row["hidden"][j] = hidden_everywhere[site] or not world.present[site]
            inside = windows.starts[w] <= site < windows.stops[w]
            is_site = 0 < rest[:, site].sum() < 2 * len(rest)  # for the others too
            known = hidden_everywhere[site] and world.present[site]
            row["scored"][j] = known and inside and is_site
            row["panel_af"][j] = af[site]
            row["af"][j] = rest[:, site].mean() / 2
            offset = world.panel.position[site] - world.panel.position[first]
            row["relative_position"][j] = offset / span if span else 0
            row["population_af"][j] = own[:, site].mean() / 2
            row["genotype_frequency"][j] = [(own[:, site] == g).mean() for g in range(3)]
            row["tokens"][:, j] = MASK if row["hidden"][j] else row["alleles"][:, j]
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def check(world: World, dataset: WindowDataset, keys: list[Key], rule: MaskConfig = MaskConfig()):  # noqa: B008
    batch = dataset.__getitems__(keys)
    expected = slow_twin(world, dataset, keys, rule)
    rows = batch.window_row
    assert batch.mask_seed == keys[0].mask_seed
    assert batch.windows[rows].tolist() == [key.window for key in keys]
    assert batch.windows.tolist() == sorted({key.window for key in keys})
    for name in ("alleles", "panel_sample", "scored", "tokens"):
        np.testing.assert_array_equal(getattr(batch, name), expected[name], err_msg=name)
    np.testing.assert_array_equal(batch.hidden[rows], expected["hidden"])
    for name in ("panel_af", "relative_position"):
        np.testing.assert_allclose(getattr(batch, name)[rows], expected[name], atol=1e-6)
    for name in ("af", "population_af", "genotype_frequency"):
        np.testing.assert_allclose(getattr(batch, name), expected[name], atol=1e-6)
    assert batch.is_padded == bool((expected["alleles"] == PAD).any())
    return batch


def some_keys(epoch: int, num_windows: int, num_samples: int, seed: int) -> list[Key]:
    random = np.random.default_rng(seed)
    pairs = zip(
        random.integers(num_windows, size=9), random.integers(num_samples, size=9), strict=True
    )
    return sorted(Key(epoch, int(window), int(sample)) for window, sample in pairs)


@pytest.mark.parametrize(
    ("size", "flank"), [(50, 0), (50, 13), (50, 70), (203, 0), (7, 20), (1, 0)]
)
@pytest.mark.parametrize("epoch", [5, 2024])
def test_batch_is_that_of_the_slow_twin(world, size, flank, epoch):
    dataset = world.dataset(size, flank)
    check(world, dataset, some_keys(epoch, len(dataset.windows), 24, epoch))


def test_what_only_the_sample_itself_has_is_not_scored():
    """That its alleles were sites at all would give them away: nobody else has both alleles."""
    rows = np.zeros((8, 6), np.int8)
    rows[0, 0] = rows[0, 1] = rows[1, 1] = 1  # sample 0 alone, on one haplotype and on both
    rows[[0, 5], 2] = 1  # samples 0 and 2
    rows[:, 3] = rows[2, 4] = 1
    rows[2, 3] = 0  # sample 1 alone has REF, and alone has ALT
    rows[:, 5] = [1, 0, 1, 0, 1, 0, 1, 0]
    panel = panel_files.make_panel(rows)
    targets = Targets(panel, np.ones(6, bool), np.arange(4), panel.sample_population)
    rule = MaskConfig(mask_rates=(1.0,), rare_rate=1.0)
    dataset = WindowDataset(panel, targets, Windows.split(6, 6), rule)
    batch = dataset.__getitems__([Key(0, 0, sample) for sample in range(4)])
    assert batch.scored.int().tolist() == [
        [0, 0, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 1],
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1],
    ]
    assert batch.num_scored == 4 + 4 + 6 + 6
    strangers = Targets(panel, np.ones(6, bool), np.full(4, -1), panel.sample_population)
    of_others = WindowDataset(panel, strangers, Windows.split(6, 6), rule)
    assert of_others.__getitems__([Key(0, 0, 0)]).scored.all()


@pytest.mark.parametrize("flank", [0, 10])
def test_targets_without_some_sites(alleles, flank):
    world = World(alleles, own=False, present=partly_present())
    dataset = world.dataset(50, flank)
    keys = [Key(1, window, sample) for window in range(5) for sample in range(6)]
    batch = check(world, dataset, keys)
    assert not batch.scored[batch.window_row == 1].any()
    if flank == 0:
        length = int(dataset.windows.stops[1] - dataset.windows.starts[1])
        assert batch.hidden[1, :length].all()


def test_keys_of_two_epochs_do_not_mix(world):
    with pytest.raises(ValueError, match="one mask_seed"):
        world.dataset().__getitems__([Key(0, 0, 0), Key(1, 0, 0)])


def test_dataset_has_no_state(world):
    """The same keys give the same batch, whatever was asked before, and after pickling."""
    dataset = world.dataset(50, 5)
    before = {name: id(value) for name, value in vars(dataset).items()}
    keys = some_keys(4, 5, 24, 1)
    first = dataset.__getitems__(keys)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    dataset.__getitems__(some_keys(0, 5, 24, 2))
    again = pickle.loads(pickle.dumps(dataset)).__getitems__(keys)
    np.testing.assert_array_equal(state[0], np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(state[1], torch.get_rng_state())
    assert {name: id(value) for name, value in vars(dataset).items()} == before
    for f in fields(first):
        if isinstance(getattr(first, f.name), torch.Tensor):
            assert torch.equal(getattr(first, f.name), getattr(again, f.name))
    assert as_batch(first) is first


# --- Li-Stephens models ---------------------------------------------------------------------------

NE = (1e5, 1e7)


def model_of(panel, flank):
    return LiStephensModel(panel, LiStephensConfig(ne=NE, mismatch=0.01, li_stephens_flank=flank))


def expected_dosage(world: World, dataset: WindowDataset, key: Key, flank: int) -> np.ndarray:
    """(2, C, n), a haplotype and model at a time, from alleles and the masks of all windows."""
    windows, panel = dataset.windows, world.panel
    everywhere = [dataset.window_mask(key.mask_seed, w) for w in range(len(windows))]
    observed = ~np.concatenate(everywhere) & world.present
    start, stop = windows.flanked_starts[key.window], windows.flanked_stops[key.window]
    first, last = max(0, start - flank), min(NUM_SITES, stop + flank)
    if flank < 0:
        first, last = 0, NUM_SITES
    own = world.panel_sample[key.sample]
    out = np.zeros((2, len(NE), stop - start))
    for hap in range(2):
        row = 2 * key.sample + hap
        seen = observed[first:last].copy()
        if world.targets.missing_bits is not None:
            seen &= ~world.missing[row, first:last].astype(bool)
        for c, ne in enumerate(NE):
            dosage = oracle_li_stephens.li_stephens_dosage(
                world.alleles[row, first:last],
                world.panel_alleles[:, first:last],
                seen,
                4 * ne * panel.position[first:last] * 1e-8 / 48,
                0.01,
                (2 * own, 2 * own + 1) if own >= 0 else (),
            )
            out[hap, c] = dosage[start - first : stop - first]
    return out


@pytest.mark.parametrize("kind", ["own", "others", "others that lack alleles"])
@pytest.mark.parametrize("flank", [0, 20, -1])
def test_li_stephens_at_what_is_observed(alleles, kind, flank):
    present = None if kind == "own" else partly_present()
    world = World(alleles, own=kind == "own", present=present)
    if kind == "others that lack alleles":
        world.lack(np.random.default_rng(1).random((12, NUM_SITES)) < 0.3)
    model = model_of(world.panel, flank)
    dataset = world.dataset(50, 7, li_stephens=model)
    num_samples = 24 if kind == "own" else 6
    keys = some_keys(1, len(dataset.windows), num_samples, 5)
    batch = dataset.__getitems__(keys)
    assert batch.li_stephens.shape == (9, 2, 2, dataset.windows.length)
    assert batch.li_stephens.dtype == torch.float32
    for i, key in enumerate(keys):
        expected = expected_dosage(world, dataset, key, flank)
        size = expected.shape[-1]
        np.testing.assert_allclose(batch.li_stephens[i, ..., :size], expected, rtol=0, atol=1e-4)
        assert not batch.li_stephens[i, ..., size:].any()
        torch.testing.assert_close(
            dataset[key].li_stephens[0], batch.li_stephens[i], rtol=0, atol=0
        )


# --- missing alleles ------------------------------------------------------------------------------


@pytest.mark.parametrize("flank", [0, 10])
def test_missing_alleles_are_hidden_one_by_one(alleles, flank):
    world = World(alleles, own=False, present=partly_present())
    keys = [Key(1, w, s) for w in range(5) for s in (2, 4)]
    before = world.dataset(50, flank).__getitems__(keys)
    missing = np.random.default_rng(2).random((12, NUM_SITES)) < 0.3
    world.lack(missing)
    dataset = world.dataset(50, flank)
    batch = dataset.__getitems__(keys)
    commoner = world.panel_alleles.mean(0) > 0.5
    assert (batch.missing.dtype, batch.missing.shape) == (torch.bool, batch.alleles.shape)
    assert torch.equal(batch.hidden, before.hidden)
    for i, (_, w, s) in enumerate(keys):
        start, stop = dataset.windows.flanked_starts[w], dataset.windows.flanked_stops[w]
        size = stop - start
        lacks = missing[2 * s : 2 * s + 2, start:stop]
        np.testing.assert_array_equal(batch.missing[i, :, :size], lacks)
        assert not batch.missing[i, :, size:].any()
        known = before.scored[i].numpy().copy()
        known[:size] &= ~lacks.any(0)
        np.testing.assert_array_equal(batch.scored[i], known)
        tokens = before.tokens[i].numpy().copy()
        tokens[:, :size][lacks] = MASK
        np.testing.assert_array_equal(batch.tokens[i], tokens)
        filled = np.where(lacks, commoner[start:stop], world.alleles[2 * s : 2 * s + 2, start:stop])
        np.testing.assert_array_equal(batch.alleles[i, :, :size], filled)
    assert batch.missing.any()


# --- positions ------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 250_000_000), min_size=1, max_size=50).map(sorted))
def test_normalised_position(positions):
    array = np.array(positions, np.int64)
    scaled = relative_position(array)
    assert scaled.dtype == np.float32
    assert scaled[0] == 0
    assert np.isfinite(scaled).all()
    if array[-1] > array[0]:
        np.testing.assert_allclose(scaled, (array - array[0]) / (array[-1] - array[0]), atol=1e-6)
    else:
        assert not scaled.any()


def test_a_haploid_sample_leaves_one_allele_out():
    """Samples 0 and 2 are haploid: their own allele is neither in the frequency nor counted."""
    rows = helpers.mosaic_haplotypes(6, NUM_SITES, seed=2)
    ploidy = np.array([1, 2, 1, 2])
    panel = replace(panel_files.make_panel(rows), samples=tuple("abcd"), ploidy=ploidy)
    every = np.ones(NUM_SITES, bool)
    targets = Targets(panel, every, np.arange(4), np.zeros(4, np.int64))
    dataset = WindowDataset(panel, targets, Windows.split(NUM_SITES, NUM_SITES), MaskConfig())
    batch = dataset.__getitems__([Key(0, 0, sample) for sample in range(4)])
    owner = np.repeat(np.arange(4), ploidy)
    for sample in range(4):
        own = rows[owner == sample]
        np.testing.assert_array_equal(batch.alleles[sample], np.stack([own[0], own[-1]]))
        np.testing.assert_allclose(batch.af[sample], rows[owner != sample].mean(0), atol=1e-7)
