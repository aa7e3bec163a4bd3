"""The dataset: keys to batches.

Nothing here remembers an mask_seed: it travels with the key, so a worker cannot hold a stale one,
whenever and however it was started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from .. import _core
from ..li_stephens.model import LiStephensModel
from ..panel.panel import Panel
from ..panel.windows import Windows
from .batch import PAD, Batch
from .keys import Key
from .masks import MaskConfig


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


class WindowDataset(Dataset[Batch]):
    """Batches from keys: a pure function, with no state that could go stale.

    Parameters
    ----------
    panel : Panel
        The reference panel: its frequencies guide the masks.
    targets : Targets
    windows : Windows
    masks : MaskConfig
    li_stephens : LiStephensModel, optional
        Of the reference panel.
    """

    def __init__(
        self,
        panel: Panel,
        targets: Targets,
        windows: Windows,
        masks: MaskConfig,
        li_stephens: LiStephensModel | None = None,
    ) -> None:
        self.targets = targets
        self.windows = windows
        self.masks = masks
        self.li_stephens = li_stephens
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
        """Return one batch for the keys, which must share their mask_seed.

        Without keys, it is a batch of no samples and of mask_seed -1.
        """
        mask_seed = keys[0].mask_seed if keys else -1
        if any(key.mask_seed != mask_seed for key in keys):
            raise ValueError("keys must be of one mask_seed")
        window_of = np.array([key.window for key in keys], np.int64)
        samples = np.array([key.sample for key in keys], np.int64)
        windows, rows = np.unique(window_of, return_inverse=True)
        length = self.windows.length
        alleles = np.full((len(keys), 2, length), PAD, np.uint8)
        hidden = np.zeros((windows.size, length), bool)
        scored = np.zeros((len(keys), length), bool)
        panel_af = np.zeros((windows.size, length), np.float32)
        relative = np.zeros((windows.size, length), np.float32)
        af = np.zeros((len(keys), length), np.float32)
        genotype_frequency = np.zeros((len(keys), length, 3), np.float32)
        num_models = 0 if self.li_stephens is None else self.li_stephens.num_models
        li_stephens = np.zeros((len(keys), 2, num_models, length), np.float32)
        missing = None
        if self.targets.missing_bits is not None:
            missing = np.zeros((len(keys), 2, length), bool)
        for n, window in enumerate(windows.tolist()):
            start = int(self.windows.flanked_starts[window])
            stop = int(self.windows.flanked_stops[window])
            sites = slice(0, stop - start)
            hidden[n, sites] = self._hidden(mask_seed, start, stop)
            panel_af[n, sites] = self._af[start:stop]
            relative[n, sites] = relative_position(self._position[start:stop])
            mine = np.flatnonzero(rows == n)
            truth = self.targets.haplotypes.sample_alleles(samples[mine], start, stop)
            alleles[mine, :, sites] = truth
            af[mine, sites], genotype_frequency[mine, sites] = self._frequencies(
                samples[mine], truth, start, stop
            )
            others = af[mine, sites]
            scored[mine, sites] = (
                self._own_and_known(window, hidden[n, sites]) & (others > 0) & (others < 1)
            )
            if missing is not None:
                lacks = self._missing(samples[mine], start, stop)
                scored[mine, sites] &= ~lacks.any(1)
                lacks &= ~hidden[n, sites]
                missing[mine, :, sites] = lacks
                commoner = np.broadcast_to(self._af[start:stop] > 0.5, lacks.shape)
                alleles[mine, :, sites] = np.where(lacks, commoner, alleles[mine, :, sites])
            if self.li_stephens is not None:
                li_stephens[mine, :, :, sites] = self._li_stephens_dosage(
                    mask_seed, samples[mine], start, stop
                )
        population_af = genotype_frequency[..., 2] + genotype_frequency[..., 1] / np.float32(2)
        return Batch(
            mask_seed=mask_seed,
            windows=torch.from_numpy(windows),
            window_row=torch.from_numpy(rows),
            sample=torch.from_numpy(samples),
            panel_sample=torch.from_numpy(self.targets.panel_sample[samples]),
            alleles=torch.from_numpy(alleles),
            hidden=torch.from_numpy(hidden),
            scored=torch.from_numpy(scored),
            panel_af=torch.from_numpy(panel_af),
            relative_position=torch.from_numpy(relative),
            af=torch.from_numpy(af),
            population_af=torch.from_numpy(population_af),
            genotype_frequency=torch.from_numpy(genotype_frequency),
            li_stephens=torch.from_numpy(li_stephens),
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

    def window_mask(self, mask_seed: int, window: int) -> NDArray[np.bool_]:
        """Return the mask of a window over its own sites, without flanks."""
        start, stop = int(self.windows.starts[window]), int(self.windows.stops[window])
        return self.masks.mask(self._af[start:stop], mask_seed, window)

    def _hidden(self, mask_seed: int, start: int, stop: int) -> NDArray[np.bool_]:
        """Return what is hidden of the sites [start, stop): each has the mask of its own window."""
        windows = self.windows
        hidden = ~self.targets.present[start:stop]
        first = int(np.searchsorted(windows.stops, start, side="right"))
        last = int(np.searchsorted(windows.starts, stop, side="left"))
        for window in range(first, last):
            origin = int(windows.starts[window])
            a, b = max(start, origin), min(stop, int(windows.stops[window]))
            mask = self.window_mask(mask_seed, window)[a - origin : b - origin]
            hidden[a - start : b - start] |= mask
        return hidden

    def _own_and_known(self, window: int, hidden: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the hidden sites of a window with flanks that are its own and in the file."""
        windows = self.windows
        start = int(windows.flanked_starts[window])
        own = hidden & self.targets.present[start : start + hidden.size]
        own[: windows.starts[window] - start] = False
        own[windows.stops[window] - start :] = False
        return own

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

    def _li_stephens_dosage(
        self, mask_seed: int, samples: NDArray[np.int64], start: int, stop: int
    ) -> NDArray[np.float32]:
        """Return (n, 2, C, stop - start) probabilities of ALT by the Li-Stephens models."""
        model = self.li_stephens
        assert model is not None
        first, last = model.with_flank(start, stop)
        observed = ~self._hidden(mask_seed, first, last)
        dosage = li_stephens_dosage(model, self.targets, samples, first, last, observed)
        return dosage[..., start - first : stop - first]


def li_stephens_dosage(
    model: LiStephensModel,
    targets: Targets,
    samples: NDArray[np.int64],
    start: int,
    stop: int,
    observed: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Return (n, 2, C, stop - start) probabilities of ALT on both haplotypes of n samples.

    Each is a mosaic of the panel without its own sample, over the sites [start, stop), of which
    those that are ``observed`` count.
    """
    haplotypes = targets.haplotypes.haplotypes_of(samples).ravel()
    missing = targets.missing_bits
    dosage = model.dosage(
        targets.haplotypes.haplotype_bits(haplotypes, start, stop),
        start,
        stop,
        observed,
        model.panel.own_haplotypes(targets.panel_sample[samples]).repeat(2, axis=0),
        None if missing is None else _core.gather_columns(missing, start, stop, haplotypes),
    )
    return dosage.reshape(samples.size, 2, model.num_models, stop - start)


def relative_position(position_bp: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scale positions to [0, 1] over a window; a window of one site is at 0."""
    span = max(1, int(position_bp[-1] - position_bp[0]))
    scaled: NDArray[np.float32] = ((position_bp - position_bp[0]) / span).astype(np.float32)
    return scaled


def as_batch(batch: Any) -> Any:
    """Collate for a data loader: the dataset has made the batch already."""
    return batch
