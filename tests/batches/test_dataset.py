"""Batches are what a slow twin in NumPy makes of the same keys; keys are a function of numbers."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snvrag.batches.batch import MASK, PAD
from snvrag.batches.dataset import Targets, WindowDataset, as_batch, relative_position
from snvrag.batches.keys import Key, KeySampler
from snvrag.batches.masks import MaskRule
from snvrag.kernels import li_stephens_dosage
from snvrag.li_stephens.model import LiStephensModel
from snvrag.panel.windows import Windows

NUM_SITES = 203
POPULATIONS = ["a", "b", "b"] * 8


def formula(af: np.ndarray, epoch: int, window: int, rate: float) -> np.ndarray:
    """Contract 4.1, in NumPy."""
    p = np.where(af < 0.05, 0.7, rate)
    u = np.random.Generator(np.random.Philox(key=epoch * 10_000 + window)).random(af.size)
    return u < p


def pack(alleles: np.ndarray) -> np.ndarray:
    """Rows of bits, by NumPy."""
    padded = np.zeros((alleles.shape[0], -(-alleles.shape[1] // 64) * 64), np.uint8)
    padded[:, : alleles.shape[1]] = alleles
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)


class World:
    """A panel of 24 samples, targets and the alleles behind both."""

    def __init__(self, alleles, make_panel, *, own=True, present=None):
        self.panel_alleles = alleles[:48]
        self.panel = make_panel(self.panel_alleles, populations=POPULATIONS)
        num = NUM_SITES
        self.present = np.ones(num, bool) if present is None else present
        if own:
            self.alleles, self.target = self.panel_alleles, self.panel
            self.panel_sample = np.arange(24)
            self.population = self.panel.sample_population
        else:
            # What the file lacks has REF in its bits, and must not be taken for an allele.
            self.alleles = alleles[48:] * self.present
            self.target = make_panel(self.alleles, prefix="t")
            self.panel_sample = np.where(np.arange(6) == 2, 17, -1)
            self.population = np.array([0, 1, 1, 0, 0, 1])
        self.targets = Targets(self.target, self.present, self.panel_sample, self.population)

    def dataset(self, size=50, flank=0, rule=MaskRule(), li_stephens=None):  # noqa: B008
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
            pack(missing.T),
        )
        self.targets.haplotypes.site_bits[:] &= ~self.targets.missing_bits


@pytest.fixture(scope="module")
def alleles(mosaic_haplotypes):
    return mosaic_haplotypes(60, NUM_SITES, seed=9)


@pytest.fixture(scope="module")
def world(alleles, make_panel):
    return World(alleles, make_panel)


def partly_present() -> np.ndarray:
    """Window 1 of 5 has no site in the file, window 2 every third, window 4 its first only."""
    present = np.ones(NUM_SITES, bool)
    cuts = np.arange(6) * NUM_SITES // 5
    present[cuts[1] : cuts[2]] = False
    present[cuts[2] : cuts[3]] = np.arange(cuts[3] - cuts[2]) % 3 == 0
    present[cuts[4] + 1 :] = False
    return present


def slow_twin(world: World, dataset: WindowDataset, keys: list[Key], rule: MaskRule) -> dict:
    """One key at a time, one site at a time; keyed by field, (B, ...) even where shared."""
    windows = dataset.windows
    af = world.panel_alleles.mean(0)
    genotypes = world.panel_alleles[::2] + world.panel_alleles[1::2]
    length = max(windows.flanked_stops - windows.flanked_starts)
    hidden_everywhere = np.zeros((NUM_SITES,), bool)
    epoch = keys[0].mask_seed
    for w in range(len(windows)):
        own = slice(windows.starts[w], windows.stops[w])
        hidden_everywhere[own] = formula(af[own], epoch, w, rule.rate(epoch))
    out = {name: [] for name in ("alleles", "hidden", "scored", "panel_af", "af", "relative_position",
                                 "population_af", "genotype_frequency", "panel_sample",
                                 "tokens")}  # fmt: skip
    members = np.array([0, 1, 1] * 8)
    for _, w, sample in keys:
        row = {
            "alleles": np.full((2, length), PAD),
            "hidden": np.zeros(length, bool),
            "scored": np.zeros(length, bool),
            "panel_af": np.zeros(length, np.float32),
            "af": np.zeros(length, np.float32),
            "relative_position": np.zeros(length, np.float32),
            "population_af": np.zeros(length, np.float32),
            "genotype_frequency": np.zeros((length, 3), np.float32),
            "tokens": np.full((2, length), PAD),
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
            row["scored"][j] = (
                hidden_everywhere[site] and world.present[site] and inside and is_site
            )
            row["panel_af"][j] = af[site]
            row["af"][j] = rest[:, site].mean() / 2
            offset = world.panel.position[site] - world.panel.position[first]
            row["relative_position"][j] = offset / span if span else 0
            row["population_af"][j] = own[:, site].mean() / 2
            row["genotype_frequency"][j] = [(own[:, site] == g).mean() for g in range(3)]
            row["tokens"][:, j] = 2 if row["hidden"][j] else row["alleles"][:, j]
        row["panel_sample"] = world.panel_sample[sample]
        for name, value in row.items():
            out[name].append(value)
    return {name: np.array(values) for name, values in out.items()}


def check(world: World, dataset: WindowDataset, keys: list[Key], rule: MaskRule = MaskRule()):  # noqa: B008
    batch = dataset.__getitems__(keys)
    expected = slow_twin(world, dataset, keys, rule)
    rows = batch.window_row
    assert batch.mask_seed == keys[0].mask_seed
    assert batch.num_samples == len(keys)
    assert batch.windows[rows].tolist() == [key.window for key in keys]
    assert batch.windows.tolist() == sorted({key.window for key in keys})
    assert batch.sample.tolist() == [key.sample for key in keys]
    for name in ("alleles", "panel_sample", "scored"):
        np.testing.assert_array_equal(getattr(batch, name), expected[name], err_msg=name)
    np.testing.assert_array_equal(batch.hidden[rows], expected["hidden"])
    for name in ("panel_af", "relative_position"):
        np.testing.assert_allclose(getattr(batch, name)[rows], expected[name], atol=1e-6)
    for name in ("af", "population_af", "genotype_frequency"):
        np.testing.assert_allclose(getattr(batch, name), expected[name], atol=1e-6)
    np.testing.assert_array_equal(batch.tokens, expected["tokens"])
    assert batch.is_padded == bool((expected["alleles"] == PAD).any())
    return batch


def some_keys(epoch: int, num_windows: int, num_samples: int, seed: int) -> list[Key]:
    random = np.random.default_rng(seed)
    return [
        Key(epoch, int(random.integers(num_windows)), int(random.integers(num_samples)))
        for _ in range(9)
    ]


@pytest.mark.parametrize(("size", "flank"), [(50, 0), (50, 13), (50, 70), (203, 0), (7, 20)])
@pytest.mark.parametrize("epoch", [0, 5, 2024])
def test_batch_is_that_of_the_slow_twin(world, size, flank, epoch):
    dataset = world.dataset(size, flank)
    check(world, dataset, some_keys(epoch, len(dataset.windows), 24, epoch))


def test_what_only_the_sample_itself_has_is_not_scored(make_panel):
    """That its alleles were sites at all would give them away: nobody else has both alleles."""
    rows = np.zeros((8, 6), np.int8)
    rows[0, 0] = rows[0, 1] = rows[1, 1] = 1  # sample 0 alone, on one haplotype and on both
    rows[[0, 5], 2] = 1  # samples 0 and 2
    rows[:, 3] = rows[2, 4] = 1
    rows[2, 3] = 0  # sample 1 alone has REF, and alone has ALT
    rows[:, 5] = [1, 0, 1, 0, 1, 0, 1, 0]
    panel = make_panel(rows)
    targets = Targets(panel, np.ones(6, bool), np.arange(4), panel.sample_population)
    rule = MaskRule((1.0,), 1, rare_rate=1.0)
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


def test_types_and_shapes(world):
    batch = world.dataset(50, 4)[Key(1, 2, 3)]
    dtypes = {f.name: getattr(batch, f.name).dtype for f in fields(batch) if f.type == "Tensor"}
    assert dtypes == {
        "windows": torch.int64, "window_row": torch.int64, "sample": torch.int64,
        "panel_sample": torch.int64, "alleles": torch.uint8, "hidden": torch.bool,
        "scored": torch.bool, "panel_af": torch.float32, "relative_position": torch.float32,
        "af": torch.float32, "population_af": torch.float32, "genotype_frequency": torch.float32,
        "li_stephens": torch.float32,
    }  # fmt: skip
    length = batch.alleles.shape[-1]
    assert batch.alleles.shape == (1, 2, length)
    assert batch.hidden.shape == batch.panel_af.shape == (1, length)
    assert batch.genotype_frequency.shape == (1, length, 3)
    assert batch.li_stephens.shape == (1, 2, 0, length)
    assert batch.missing is None
    moved = batch.to(torch.device("cpu"))
    assert all(
        torch.equal(getattr(moved, f.name), getattr(batch, f.name))
        for f in fields(batch)
        if f.type == "Tensor"
    )


def test_a_flank_has_the_mask_of_its_own_window(world):
    dataset = world.dataset(50, 30)
    windows = dataset.windows
    one = {w: dataset[Key(3, w, 0)] for w in range(len(windows))}
    for w, batch in one.items():
        offset = windows.flanked_starts[w]
        for other in one:
            a = max(windows.flanked_starts[w], windows.starts[other])
            b = min(windows.flanked_stops[w], windows.stops[other])
            if a < b:
                own = dataset.window_mask(3, other)[a - windows.starts[other] :][: b - a]
                np.testing.assert_array_equal(batch.hidden[0, a - offset : b - offset], own)
        assert not batch.scored[0, : windows.starts[w] - offset].any()
        assert not batch.scored[0, windows.stops[w] - offset :].any()


def test_window_of_one_site(alleles, make_panel):
    world = World(alleles, make_panel)
    dataset = world.dataset(1)
    batch = check(world, dataset, some_keys(2, NUM_SITES, 24, 0))
    assert batch.alleles.shape == (9, 2, 1)
    assert torch.isfinite(batch.relative_position).all()
    assert not batch.relative_position.any()


@pytest.mark.parametrize("flank", [0, 10])
def test_targets_without_some_sites(alleles, make_panel, flank):
    world = World(alleles, make_panel, own=False, present=partly_present())
    dataset = world.dataset(50, flank)
    keys = [Key(1, window, sample) for window in range(5) for sample in range(6)]
    batch = check(world, dataset, keys)
    assert not batch.scored[batch.window_row == 1].any()
    if flank == 0:
        length = int(dataset.windows.stops[1] - dataset.windows.starts[1])
        assert batch.hidden[1, :length].all()


def test_a_window_without_sites_shifts_nothing(alleles, make_panel):
    """V18 skipped such a window's data, so that every later window got its neighbour's."""
    whole = World(alleles, make_panel, own=False)
    lacking = World(alleles, make_panel, own=False, present=partly_present())
    for window in (0, 3):
        a, b = (world.dataset()[Key(1, window, 4)] for world in (whole, lacking))
        for name in (f.name for f in fields(a)):
            if isinstance(getattr(a, name), torch.Tensor):
                assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_alleles_that_the_file_lacks_never_become_tokens(alleles, make_panel):
    world = World(alleles, make_panel, own=False, present=partly_present())
    dataset = world.dataset(50, 10)
    first = dataset.__getitems__([Key(0, w, 0) for w in range(5)])
    world.targets.haplotypes.site_bits[~world.present] ^= np.uint64(2**12 - 1)
    second = dataset.__getitems__([Key(0, w, 0) for w in range(5)])
    assert torch.equal(first.tokens, second.tokens)


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


def test_rows_of_a_batch_do_not_depend_on_the_others(world):
    dataset = world.dataset(50, 5)
    keys = some_keys(1, 5, 24, 3)
    together = dataset.__getitems__(keys)
    for i, key in enumerate(keys):
        alone = dataset[key]
        assert torch.equal(alone.tokens[0], together.tokens[i])
        assert torch.equal(alone.scored[0], together.scored[i])
        assert torch.equal(alone.genotype_frequency[0], together.genotype_frequency[i])


# --- masks ----------------------------------------------------------------------------------------


def test_curriculum_is_a_pure_function_of_the_epoch():
    rule = MaskRule()
    rates = (0.30, 0.40, 0.50, 0.60, 0.70, 0.80)
    assert [rule.rate(e) for e in range(40)] == [rates[min(e // 2, 5)] for e in range(40)]
    fixed = MaskRule((0.5,), 1)
    assert {fixed.rate(e) for e in (0, 1, 2024)} == {0.5}


@pytest.mark.parametrize("epoch", [0, 1, 7, 2024])
def test_mask_is_the_contracts(world, epoch):
    dataset = world.dataset(50)
    for w in range(5):
        own = slice(dataset.windows.starts[w], dataset.windows.stops[w])
        expected = formula(world.panel_alleles.mean(0)[own], epoch, w, MaskRule().rate(epoch))
        np.testing.assert_array_equal(dataset.window_mask(epoch, w), expected)


def test_v18s_masks(world):
    dataset = world.dataset(50, rule=MaskRule(generator="mt19937"))
    af = world.panel_alleles.mean(0)[dataset.windows.starts[3] : dataset.windows.stops[3]]
    u = np.random.RandomState(10_003).random_sample(af.size)
    expected = u < np.where(af < 0.05, 0.7, 0.3)
    np.testing.assert_array_equal(dataset.window_mask(1, 3), expected)


def test_all_samples_of_a_window_share_its_mask(world):
    batch = world.dataset(50).__getitems__([Key(2, 1, s) for s in range(24)])
    assert batch.hidden.shape[0] == 1
    masked = batch.tokens == 2
    assert (masked == masked[:1, :1]).all()


# --- Li-Stephens models ---------------------------------------------------------------------------

NE = (1e5, 1e7)


def expected_copying(world: World, dataset: WindowDataset, key: Key, flank: int) -> np.ndarray:
    """(2, C, n), a haplotype and model at a time, from alleles and the masks of all windows."""
    windows, panel = dataset.windows, world.panel
    everywhere = [dataset.window_mask(key.mask_seed, w) for w in range(len(windows))]
    observed = ~np.concatenate(everywhere) & world.present
    start, stop = windows.flanked_starts[key.window], windows.flanked_stops[key.window]
    first, last = max(0, start - flank), min(NUM_SITES, stop + flank)
    if flank < 0:
        first, last = 0, NUM_SITES
    own = world.panel_sample[key.sample]
    out = np.zeros((2, len(NE), stop - start), np.float32)
    for hap in range(2):
        row = 2 * key.sample + hap
        seen = observed[first:last].copy()
        if world.targets.missing_bits is not None:
            seen &= ~world.missing[row, first:last].astype(bool)
        for c, ne in enumerate(NE):
            dosage = li_stephens_dosage(
                pack(world.alleles[row : row + 1, first:last]),
                pack(world.panel_alleles[:, first:last].T),
                num_haplotypes=48,
                observed=seen,
                cumulative_rho=4 * ne * panel.position[first:last] * 1e-8 / 48,
                mismatch=0.01,
                exclude=np.array([[2 * own, 2 * own + 1] if own >= 0 else [-1, -1]]),
            )
            out[hap, c] = dosage[0, start - first : stop - first]
    return out


@pytest.mark.parametrize("kind", ["own", "others", "others that lack alleles"])
@pytest.mark.parametrize("flank", [0, 20, -1])
def test_copying_is_the_models_at_what_is_observed(alleles, make_panel, kind, flank):
    present = None if kind == "own" else partly_present()
    world = World(alleles, make_panel, own=kind == "own", present=present)
    if kind == "others that lack alleles":
        world.lack(np.random.default_rng(1).random((12, NUM_SITES)) < 0.3)
    model = LiStephensModel(world.panel, ne=NE, mismatch=0.01, flank=flank)
    dataset = world.dataset(50, 7, li_stephens=model)
    num_samples = 24 if kind == "own" else 6
    keys = some_keys(1, len(dataset.windows), num_samples, 5)
    batch = dataset.__getitems__(keys)
    assert batch.li_stephens.shape == (9, 2, 2, dataset.windows.length)
    assert batch.li_stephens.dtype == torch.float32
    for i, key in enumerate(keys):
        expected = expected_copying(world, dataset, key, flank)
        size = expected.shape[-1]
        np.testing.assert_allclose(batch.li_stephens[i, ..., :size], expected, rtol=0, atol=1e-5)
        assert not batch.li_stephens[i, ..., size:].any()
        torch.testing.assert_close(
            dataset[key].li_stephens[0], batch.li_stephens[i], rtol=0, atol=0
        )


def test_copying_does_not_know_hidden_alleles(alleles, make_panel):
    batches = []
    for flip in (False, True):
        world = World(alleles.copy(), make_panel, own=False)
        model = LiStephensModel(world.panel, ne=NE, mismatch=0.01, flank=-1)
        dataset = world.dataset(50, 0, li_stephens=model)
        hidden = np.concatenate([dataset.window_mask(0, w) for w in range(len(dataset.windows))])
        if flip:
            world.targets.haplotypes.site_bits[hidden] ^= np.uint64(2**12 - 1)
        batches.append(dataset.__getitems__([Key(0, w, s) for w in range(4) for s in range(6)]))
    assert (batches[0].alleles != batches[1].alleles).any()
    assert torch.equal(batches[0].li_stephens, batches[1].li_stephens)


def test_copying_is_no_nan_for_a_sample_unlike_all_others(alleles, make_panel):
    """Its own haplotypes agree with it everywhere, and are left out."""
    lone = alleles.copy()
    lone[:48] = 0
    lone[6:8] = 1
    world = World(lone, make_panel)
    model = LiStephensModel(world.panel, ne=NE, mismatch=0.01, flank=-1)
    batch = world.dataset(50, 0, MaskRule((0.0,), 1, rare_rate=0.0), model)[Key(0, 1, 3)]
    assert not batch.li_stephens.any()
    assert not torch.isnan(batch.li_stephens).any()


# --- missing alleles ------------------------------------------------------------------------------


@pytest.mark.parametrize("flank", [0, 10])
def test_missing_alleles_are_hidden_one_by_one(alleles, make_panel, flank):
    world = World(alleles, make_panel, own=False, present=partly_present())
    before = world.dataset(50, flank).__getitems__([Key(1, w, s) for w in range(5) for s in (2, 4)])
    missing = np.random.default_rng(2).random((12, NUM_SITES)) < 0.3
    world.lack(missing)
    dataset = world.dataset(50, flank)
    batch = dataset.__getitems__([Key(1, w, s) for w in range(5) for s in (2, 4)])
    commoner = world.panel_alleles.mean(0) > 0.5
    assert batch.missing.dtype == torch.bool
    assert batch.missing.shape == batch.alleles.shape
    assert torch.equal(batch.hidden, before.hidden)
    for i, (w, s) in enumerate((w, s) for w in range(5) for s in (2, 4)):
        start, stop = dataset.windows.flanked_starts[w], dataset.windows.flanked_stops[w]
        size = stop - start
        lacks = missing[2 * s : 2 * s + 2, start:stop] & ~batch.hidden[w, :size].numpy()
        np.testing.assert_array_equal(batch.missing[i, :, :size], lacks)
        assert not batch.missing[i, :, size:].any()
        known = before.scored[i].numpy().copy()
        known[:size] &= ~missing[2 * s : 2 * s + 2, start:stop].any(0)
        np.testing.assert_array_equal(batch.scored[i], known)
        tokens = before.tokens[i].numpy().copy()
        tokens[:, :size][lacks] = MASK
        np.testing.assert_array_equal(batch.tokens[i], tokens)
        filled = np.where(lacks, commoner[start:stop], world.alleles[2 * s : 2 * s + 2, start:stop])
        np.testing.assert_array_equal(batch.alleles[i, :, :size], filled)
    assert batch.missing.any()
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.missing, batch.missing)


def test_what_stands_at_missing_alleles_does_not_matter(alleles, make_panel):
    world = World(alleles, make_panel, own=False)
    world.lack(np.random.default_rng(3).random((12, NUM_SITES)) < 0.3)
    model = LiStephensModel(world.panel, ne=NE, mismatch=0.01, flank=10)
    keys = [Key(0, w, s) for w in range(4) for s in range(6)]
    first = world.dataset(50, 0, li_stephens=model).__getitems__(keys)
    world.targets.haplotypes.site_bits[:] |= world.targets.missing_bits
    second = world.dataset(50, 0, li_stephens=model).__getitems__(keys)
    assert torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.li_stephens, second.li_stephens)
    shown = ~first.hidden[first.window_row][:, None].expand(-1, 2, -1)
    assert torch.equal(first.alleles[shown], second.alleles[shown])


def test_no_missing_allele_is_as_no_marks(alleles, make_panel):
    world = World(alleles, make_panel, own=False)
    keys = [Key(0, w, s) for w in range(4) for s in range(6)]
    before = world.dataset().__getitems__(keys)
    world.lack(np.zeros((12, NUM_SITES), bool))
    after = world.dataset().__getitems__(keys)
    assert not after.missing.any()
    assert torch.equal(before.tokens, after.tokens)
    assert torch.equal(before.alleles, after.alleles)


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


# --- keys -----------------------------------------------------------------------------------------


def batches(sampler: KeySampler, epoch: int) -> list[list[Key]]:
    sampler.epoch = epoch
    return list(sampler)


@given(
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 15),
    st.sampled_from(["full", "window", "none"]),
    st.integers(0, 2**31),
    st.integers(0, 30),
)
def test_each_pair_once_an_epoch(num_windows, num_samples, batch_size, shuffle, seed, epoch):
    sampler = KeySampler(num_windows, num_samples, batch_size, seed=seed, shuffle=shuffle)
    made = batches(sampler, epoch)
    assert len(made) == len(sampler)
    assert all(1 <= len(batch) <= batch_size for batch in made)
    keys = [key for batch in made for key in batch]
    assert {key.mask_seed for key in keys} == {epoch}
    pairs = [(key.window, key.sample) for key in keys]
    assert sorted(pairs) == [(w, s) for w in range(num_windows) for s in range(num_samples)]
    if shuffle == "window":
        assert all(len({key.window for key in batch}) == 1 for batch in made)
    if shuffle == "none":
        assert pairs == sorted(pairs)


@pytest.mark.parametrize("shuffle", ["full", "window"])
def test_order_is_a_pure_function_of_seed_and_epoch(shuffle):
    """V18's sampler seeds accumulated, so a resumed run shuffled otherwise."""

    def made(seed: int, epochs: list[int]) -> list[list[Key]]:
        sampler = KeySampler(5, 20, 8, seed=seed, shuffle=shuffle)
        return [batches(sampler, epoch) for epoch in epochs][-1]

    torch.manual_seed(1)
    first = made(7, [3])
    torch.manual_seed(2)
    assert made(7, [0, 1, 2, 3]) == first
    assert made(7, [3, 3]) == first
    orders = [[key[1:] for batch in made(s, [e]) for key in batch] for s, e in
              ((7, 3), (7, 4), (8, 3), (3, 7), (8, 2), (6, 4))]  # fmt: skip
    assert len({tuple(order) for order in orders}) == len(orders)


def test_a_sampler_in_use_keeps_its_epoch():
    sampler = KeySampler(3, 4, 5, seed=0, shuffle="full")
    running = iter(sampler)
    keys = next(running)
    sampler.epoch = 1
    keys += [key for batch in running for key in batch]
    assert {key.mask_seed for key in keys} == {0}


@pytest.mark.parametrize("shuffle", ["full", "window", "none"])
@pytest.mark.parametrize("first", [0, 1, 5, 13, 99])
def test_a_sampler_begins_where_it_is_told(shuffle, first):
    sampler = KeySampler(5, 20, 8, seed=3, shuffle=shuffle)
    sampler.epoch = 2
    whole = list(sampler)
    sampler.first = first
    assert list(sampler) == whole[first:]
    assert len(sampler) == len(whole)


def test_rows_of_a_batch(world):
    """Every sample with the windows, masks and frequencies that it had."""
    dataset = world.dataset(50, 7)
    keys = [Key(3, window, sample) for sample, window in enumerate([2, 0, 2, 3, 1])]
    batch = dataset.__getitems__(keys)
    part = batch.rows(1, 4)
    assert part.num_samples == 3
    assert part.num_scored == sum(int(batch.scored[b].sum()) for b in range(1, 4))
    for b in range(3):
        alone = dataset.__getitems__([keys[b + 1]])
        assert torch.equal(part.tokens[b], alone.tokens[0])
        for name in ("hidden", "panel_af", "relative_position", "windows"):
            of_part = getattr(part, name)[part.window_row[b]]
            assert torch.equal(of_part, getattr(alone, name)[0]), name
        for name in ("sample", "panel_sample", "alleles", "scored", "af", "population_af",
                     "genotype_frequency"):  # fmt: skip
            assert torch.equal(getattr(part, name)[b], getattr(alone, name)[0]), name


def test_a_haploid_sample_leaves_one_allele_out(make_panel, mosaic_haplotypes):
    """Samples 0 and 2 are haploid: their own allele is neither in the frequency nor counted."""
    rows = mosaic_haplotypes(6, NUM_SITES, seed=2)
    ploidy = np.array([1, 2, 1, 2])
    panel = replace(make_panel(rows), samples=tuple("abcd"), ploidy=ploidy)
    every = np.ones(NUM_SITES, bool)
    targets = Targets(panel, every, np.arange(4), np.zeros(4, np.int64))
    dataset = WindowDataset(panel, targets, Windows.split(NUM_SITES, NUM_SITES), MaskRule())
    batch = dataset.__getitems__([Key(0, 0, sample) for sample in range(4)])
    owner = np.repeat(np.arange(4), ploidy)
    for sample in range(4):
        own = rows[owner == sample]
        np.testing.assert_array_equal(batch.alleles[sample], np.stack([own[0], own[-1]]))
        np.testing.assert_allclose(batch.af[sample], rows[owner != sample].mean(0), atol=1e-7)
