"""Keys, the sampler that orders them and the dataset that turns them into batches.

Nothing here remembers an epoch: it travels with the key, so a worker cannot hold a stale one,
whenever and however it was started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from . import _core
from .copying import CopyingModel
from .kernels import af_guided_mask
from .kernels.masking import Generator
from .panel import Panel
from .windows import Windows

REF, ALT, MASK, PAD = 0, 1, 2, 3


class Key(NamedTuple):
    """One training example: a sample over a window, under an epoch's mask.

    ``epoch`` is the seed of the mask: the loop's epoch in training, another number in validation.
    """

    epoch: int
    window: int
    sample: int


@dataclass(frozen=True)
class MaskRule:
    """How many sites of a window are hidden, as a pure function of the epoch.

    Attributes
    ----------
    rates : tuple of float
        Probabilities of hiding a site; each holds for ``epochs_per_rate`` epochs, the last for all
        that follow.
    epochs_per_rate : int
    rare_rate, rare_threshold, generator
        As in `snvrag.kernels.af_guided_mask`.
    chip_share : float
        Share of the windows whose mask is not AF-guided but like that of a genotyping chip: of the
        sites that are not rare (MAF at or above ``rare_threshold``) some are observed, all others
        are hidden. A target to impute looks so.
    chip_density : (float, float)
        Lowest and highest share of all sites that such a chip observes; in between, the logarithm
        is uniform.
    """

    rates: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    epochs_per_rate: int = 2
    rare_rate: float = 0.7
    rare_threshold: float = 0.05
    generator: Generator = "philox"
    chip_share: float = 0.0
    chip_density: tuple[float, float] = (0.02, 0.3)

    def rate(self, epoch: int) -> float:
        """Return the probability of hiding a site that is not rare."""
        return self.rates[min(epoch // self.epochs_per_rate, len(self.rates) - 1)]

    def mask(self, af: NDArray[np.float64], epoch: int, window: int) -> NDArray[np.bool_]:
        """Return the mask of one window, whose sites have the frequencies ``af``."""
        chip = self._chip_mask(af, epoch, window) if self.chip_share > 0 else None
        if chip is not None:
            return chip
        return af_guided_mask(
            af,
            seed=epoch,
            window=window,
            rate=self.rate(epoch),
            rare_rate=self.rare_rate,
            rare_threshold=self.rare_threshold,
            generator=self.generator,
        )

    def chip_masks(
        self, af: NDArray[np.float64], windows: Windows, epoch: int
    ) -> list[NDArray[np.bool_]]:
        """Return the masks of the windows of an epoch that are read as from a chip."""
        if self.chip_share == 0:
            return []
        ranges = zip(windows.starts.tolist(), windows.stops.tolist(), strict=True)
        masks = (self._chip_mask(af[a:b], epoch, w) for w, (a, b) in enumerate(ranges))
        return [mask for mask in masks if mask is not None]

    def _chip_mask(
        self, af: NDArray[np.float64], epoch: int, window: int
    ) -> NDArray[np.bool_] | None:
        """Return a chip's mask, or None where the window is not read from one."""
        # As for the AF-guided masks, from whose streams the highest bit keeps this one apart.
        key = epoch * 10_000 + window + (window // 10_000 << 64) + (1 << 127)
        random = np.random.Generator(np.random.Philox(key=key))
        is_chip, density = random.random(2)
        if is_chip >= self.chip_share:
            return None
        lowest, highest = np.log(self.chip_density)
        num_observed = np.exp(lowest + density * (highest - lowest)) * af.size
        common = np.minimum(af, 1 - af) >= self.rare_threshold
        if not common.any():
            common[:] = True
        observed: NDArray[np.bool_] = common & (
            random.random(af.size) < num_observed / common.sum()
        )
        return ~observed


@dataclass(frozen=True)
class Targets:
    """Samples to train on or to validate with, over the sites of a reference panel.

    Attributes
    ----------
    haplotypes : Panel
        The samples' haplotypes at the reference panel's sites.
    present : (S,) bool
        Sites that the samples' file has. At the others the alleles are unknown: they are hidden
        from the network and not scored.
    panel_sample : (num_samples,) int64
        The sample of the reference panel with the same name, or -1.
    population : (num_samples,) int64
        Population of each sample, as the reference panel numbers them.
    missing_bits : (S, W) uint64, optional
        Ones for haplotypes whose allele is unknown although the file has the site, one row a site
        like ``haplotypes.site_bits``. Such alleles are hidden from the network.
    """

    haplotypes: Panel
    present: NDArray[np.bool_]
    panel_sample: NDArray[np.int64]
    population: NDArray[np.int64]
    missing_bits: NDArray[np.uint64] | None = None


@dataclass
class Batch:
    """B samples, each over one of N windows of L sites (padded), as tensors on one device.

    Attributes
    ----------
    epoch : int
        Seed of the masks.
    windows : (N,) int64
        Numbers of the windows in this batch.
    window_row : (B,) int64
        For each sample, its window's place in ``windows``.
    sample : (B,) int64
    panel_sample : (B,) int64
        Sample of the reference panel that must not be retrieved, or -1.
    alleles : (B, 2, L) uint8
        The truth: 0 REF, 1 ALT, 3 behind the window's end. Unspecified where the file lacks it.
    hidden : (N, L) bool
        True where the network may not look.
    scored : (N, L) bool
        True where a hidden allele is known and belongs to the window, not to its flanks.
    panel_af : (N, L) float32
        ALT frequency in the reference panel, which guides the mask and names a site rare or common.
    position : (N, L) float32
        From 0 at the first site read to 1 at the last.
    af : (B, L) float32
        ALT frequency in the reference panel without the sample itself, if it is one of the panel's:
        counting it would tell the network a part of the answer, all of it at singletons.
    population_af : (B, L) float32
    genotype_frequency : (B, L, 3) float32
        Of the sample's population, again without the sample. A population of one sample has then
        none left, and the whole panel's frequency, in Hardy-Weinberg proportions, stands in.
    copying : (B, 2, C, L) float32
        Probability of ALT by each of C Li-Stephens models, C being 0 where there is none.
    is_padded : bool
        Whether a window is shorter than L.
    missing : (B, 2, L) bool, optional
        True where a single allele is unknown at a site that is not hidden. What stands there in
        ``alleles`` is the panel's commoner one.
    """

    epoch: int
    windows: Tensor
    window_row: Tensor
    sample: Tensor
    panel_sample: Tensor
    alleles: Tensor
    hidden: Tensor
    scored: Tensor
    panel_af: Tensor
    position: Tensor
    af: Tensor
    population_af: Tensor
    genotype_frequency: Tensor
    copying: Tensor
    is_padded: bool
    missing: Tensor | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return int(self.alleles.shape[0])

    @property
    def num_scored(self) -> int:
        """Scored sites, over all samples: what the batch's loss is a sum of. Costs next to nothing
        on the CPU; on a GPU, reading it would wait for the device.
        """
        return int(self.scored.sum(1)[self.window_row].sum())

    @property
    def tokens(self) -> Tensor:
        """(B, 2, L) int64: what the network sees."""
        hidden = self.hidden[self.window_row][:, None, :]
        if self.missing is not None:
            hidden = hidden | self.missing
        return self.alleles.long().masked_fill(hidden, MASK)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, start: int, stop: int) -> Batch:
        """Return the batch of samples ``start`` to ``stop`` only; its windows stay as they are."""
        per_window = ("windows", "hidden", "scored", "panel_af", "position")
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in values.items():
            if isinstance(value, Tensor) and name not in per_window:
                values[name] = value[start:stop]
        return Batch(**values)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (a data loader calls this)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in values.items():
            if isinstance(value, Tensor):
                values[name] = change(value)
        return Batch(**values)


class KeySampler(Sampler[list[Key]]):
    """Batches of keys of one epoch; their order is a pure function of (seed, epoch).

    Before it is iterated, ``epoch`` and ``first`` are set: iteration begins at that epoch's
    batch ``first``, and those before it are never made. The length is that of the whole epoch.

    Parameters
    ----------
    num_windows, num_samples : int
        Every pair is one key.
    batch_size : int
        Keys in a batch, the last of an epoch excepted.
    seed : int
        Of the order.
    shuffle : {"full", "window", "none"}
        "full": any keys together; "window": a batch stays within one window, and batches come in
        random order; "none": by window, then sample.
    """

    def __init__(
        self,
        num_windows: int,
        num_samples: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: Literal["full", "window", "none"],
    ) -> None:
        self.num_windows = num_windows
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        if self.shuffle == "window":
            return self.num_windows * -(-self.num_samples // self.batch_size)
        return -(-self.num_windows * self.num_samples // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        for pairs in self._batches(epoch)[self.first :]:
            windows, samples = np.divmod(pairs, self.num_samples)
            yield [
                Key(epoch, window, sample)
                for window, sample in zip(windows.tolist(), samples.tolist(), strict=True)
            ]

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        pairs = np.arange(self.num_windows * self.num_samples)
        order = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        if self.shuffle == "full":
            order.shuffle(pairs)
        if self.shuffle != "window":
            return np.split(pairs, np.arange(self.batch_size, pairs.size, self.batch_size))
        table = order.permuted(pairs.reshape(self.num_windows, self.num_samples), axis=1)
        cuts = np.arange(self.batch_size, self.num_samples, self.batch_size)
        batches = [batch for row in table for batch in np.split(row, cuts)]
        return [batches[i] for i in order.permutation(len(batches))]


class WindowDataset(Dataset[Batch]):
    """Batches from keys: a pure function, with no state that could go stale.

    Parameters
    ----------
    panel : Panel
        The reference panel: its frequencies guide the masks.
    targets : Targets
    windows : Windows
    mask_rule : MaskRule
    copying : CopyingModel, optional
        Of the reference panel.
    """

    def __init__(
        self,
        panel: Panel,
        targets: Targets,
        windows: Windows,
        mask_rule: MaskRule,
        copying: CopyingModel | None = None,
    ) -> None:
        self.targets = targets
        self.windows = windows
        self.mask_rule = mask_rule
        self._copying = copying
        self._panel = panel
        self._af = panel.af
        self._position = panel.position
        self._population_size = np.bincount(
            panel.sample_population, minlength=len(panel.populations)
        ).astype(np.float32)
        self._genotype_frequency = panel.population_genotype_frequency

    def __getitem__(self, key: Key) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return one batch for the keys, which must share their epoch.

        Without keys, it is a batch of no samples and of epoch -1.
        """
        epoch = keys[0].epoch if keys else -1
        if any(key.epoch != epoch for key in keys):
            raise ValueError("keys must be of one epoch")
        window_of = np.array([key.window for key in keys], np.int64)
        samples = np.array([key.sample for key in keys], np.int64)
        windows, rows = np.unique(window_of, return_inverse=True)
        length = self.windows.length
        alleles = np.full((len(keys), 2, length), PAD, np.uint8)
        hidden = np.zeros((windows.size, length), bool)
        scored = np.zeros((windows.size, length), bool)
        panel_af = np.zeros((windows.size, length), np.float32)
        position = np.zeros((windows.size, length), np.float32)
        af = np.zeros((len(keys), length), np.float32)
        genotype_frequency = np.zeros((len(keys), length, 3), np.float32)
        num_models = 0 if self._copying is None else self._copying.num_models
        copying = np.zeros((len(keys), 2, num_models, length), np.float32)
        missing = None
        if self.targets.missing_bits is not None:
            missing = np.zeros((len(keys), 2, length), bool)
        for n, window in enumerate(windows.tolist()):
            start = int(self.windows.context_starts[window])
            stop = int(self.windows.context_stops[window])
            sites = slice(0, stop - start)
            hidden[n, sites] = self._hidden(epoch, start, stop)
            scored[n, sites] = self._scored(window, hidden[n, sites])
            panel_af[n, sites] = self._af[start:stop]
            position[n, sites] = normalised_position(self._position[start:stop])
            mine = np.flatnonzero(rows == n)
            truth = self.targets.haplotypes.sample_alleles(samples[mine], start, stop)
            alleles[mine, :, sites] = truth
            af[mine, sites], genotype_frequency[mine, sites] = self._frequencies(
                samples[mine], truth, start, stop
            )
            if missing is not None:
                lacks = self._missing(samples[mine], start, stop) & ~hidden[n, sites]
                missing[mine, :, sites] = lacks
                commoner = np.broadcast_to(self._af[start:stop] > 0.5, lacks.shape)
                alleles[mine, :, sites] = np.where(lacks, commoner, alleles[mine, :, sites])
            if self._copying is not None:
                copying[mine, :, :, sites] = self._copied(epoch, samples[mine], start, stop)
        population_af = genotype_frequency[..., 2] + genotype_frequency[..., 1] / np.float32(2)
        return Batch(
            epoch=epoch,
            windows=torch.from_numpy(windows),
            window_row=torch.from_numpy(rows),
            sample=torch.from_numpy(samples),
            panel_sample=torch.from_numpy(self.targets.panel_sample[samples]),
            alleles=torch.from_numpy(alleles),
            hidden=torch.from_numpy(hidden),
            scored=torch.from_numpy(scored),
            panel_af=torch.from_numpy(panel_af),
            position=torch.from_numpy(position),
            af=torch.from_numpy(af),
            population_af=torch.from_numpy(population_af),
            genotype_frequency=torch.from_numpy(genotype_frequency),
            copying=torch.from_numpy(copying),
            is_padded=bool((alleles == PAD).any()),
            missing=None if missing is None else torch.from_numpy(missing),
        )

    def _frequencies(
        self, samples: NDArray[np.int64], truth: NDArray[np.int8], start: int, stop: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (n, L) panel and (n, L, 3) genotype frequencies, each without the sample."""
        own = self.targets.panel_sample[samples]
        in_panel = own >= 0
        # The genotype that the panel has of each sample; 3, which is none, if it lacks the sample.
        genotype = np.full((samples.size, stop - start), 3, np.uint8)
        if self.targets.haplotypes is self._panel:
            genotype[:] = truth[:, 0] + truth[:, 1]
        elif in_panel.any():
            alleles = self._panel.sample_alleles(own[in_panel], start, stop)
            genotype[in_panel] = alleles[:, 0] + alleles[:, 1]

        ploidy = np.where(in_panel, self._panel.sample_ploidy[own], 0)[:, None]
        counted = self._panel.num_haplotypes - ploidy
        alt = self._panel.alt_count[start:stop] - genotype * ploidy // 2
        af = np.divide(alt, counted, out=np.zeros(alt.shape), where=counted > 0)

        population = np.where(
            in_panel, self._panel.sample_population[own], self.targets.population[samples]
        )
        members = self._population_size[population]
        counts = self._genotype_frequency[population, start:stop] * members[:, None, None]
        left = members - in_panel
        genotypes = np.empty(counts.shape, np.float32)
        for count in range(3):
            np.subtract(counts[..., count], genotype == count, out=genotypes[..., count])
        genotypes /= np.maximum(left, 1)[:, None, None]
        alone = left == 0
        if alone.any():
            p = af[alone]
            genotypes[alone] = np.stack([(1 - p) ** 2, 2 * p * (1 - p), p**2], -1)
        return af.astype(np.float32), genotypes

    def window_mask(self, epoch: int, window: int) -> NDArray[np.bool_]:
        """Return the mask of a window over its own sites, without flanks."""
        start, stop = int(self.windows.starts[window]), int(self.windows.stops[window])
        return self.mask_rule.mask(self._af[start:stop], epoch, window)

    def _hidden(self, epoch: int, start: int, stop: int) -> NDArray[np.bool_]:
        """Return what is hidden of the sites [start, stop): each has the mask of its own window."""
        windows = self.windows
        hidden = ~self.targets.present[start:stop]
        first = int(np.searchsorted(windows.stops, start, side="right"))
        last = int(np.searchsorted(windows.starts, stop, side="left"))
        for window in range(first, last):
            origin = int(windows.starts[window])
            a, b = max(start, origin), min(stop, int(windows.stops[window]))
            mask = self.window_mask(epoch, window)[a - origin : b - origin]
            hidden[a - start : b - start] |= mask
        return hidden

    def _scored(self, window: int, hidden: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the hidden sites of a window with flanks that are its own and known."""
        windows = self.windows
        start = int(windows.context_starts[window])
        scored = hidden & self.targets.present[start : start + hidden.size]
        scored[: windows.starts[window] - start] = False
        scored[windows.stops[window] - start :] = False
        return scored

    def _missing(self, samples: NDArray[np.int64], start: int, stop: int) -> NDArray[np.bool_]:
        """Return (n, 2, stop - start): alleles that the targets' file lacks at sites it has."""
        assert self.targets.missing_bits is not None
        bits = _core.gather_columns(
            self.targets.missing_bits,
            start,
            stop,
            self.targets.haplotypes.haplotypes_of(samples).ravel(),
        )
        return _core.unpack_rows(bits, stop - start).reshape(samples.size, 2, -1).view(bool)

    def _copied(
        self, epoch: int, samples: NDArray[np.int64], start: int, stop: int
    ) -> NDArray[np.float32]:
        """Return (n, 2, C, stop - start) probabilities of ALT by the Li-Stephens models."""
        model = self._copying
        assert model is not None
        first, last = model.around(start, stop)
        haplotypes = self.targets.haplotypes.haplotypes_of(samples).ravel()
        lacks = self.targets.missing_bits
        own = self.targets.panel_sample[samples]
        exclude = np.where(own[:, None] < 0, -1, self._panel.haplotypes_of(own)).repeat(2, axis=0)
        dosage = model.dosage(
            self.targets.haplotypes.haplotype_bits(haplotypes, first, last),
            first,
            last,
            ~self._hidden(epoch, first, last),
            exclude,
            None if lacks is None else _core.gather_columns(lacks, first, last, haplotypes),
        )
        return dosage[..., start - first : stop - first].reshape(
            samples.size, 2, model.num_models, -1
        )


def normalised_position(position_bp: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scale positions to [0, 1] over a window; a window of one site is at 0."""
    span = max(1, int(position_bp[-1] - position_bp[0]))
    scaled: NDArray[np.float32] = ((position_bp - position_bp[0]) / span).astype(np.float32)
    return scaled


def as_batch(batch: Any) -> Any:
    """Collate for a data loader: the dataset has made the batch already."""
    return batch
