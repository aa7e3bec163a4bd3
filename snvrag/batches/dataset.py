"""The dataset: keys to batches.

Nothing here remembers a mask_seed: it travels with the key, so no worker can hold a stale one,
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
from ..panel.panel import Panel
from ..panel.windows import Windows
from .batch import PAD, Batch
from .keys import Key, Layout, Part
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

    The frequencies of ``panel``, the reference, guide the masks.
    """

    def __init__(
        self,
        panel: Panel,
        targets: Targets,
        windows: Windows,
        masks: MaskConfig,
    ) -> None:
        self.targets, self.windows, self.masks = targets, windows, masks
        self._panel, self._af = panel, panel.af
        self._population_size = np.bincount(
            panel.sample_population, minlength=len(panel.populations)
        ).astype(np.float32)
        self._genotype_frequency = panel.population_genotype_frequency

    def __getitem__(self, key: Key) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return one batch for the keys, which share their mask_seed; without keys, it is -1."""
        layout = Layout.of(keys, self.windows)
        columns = self._blank(layout)
        for part in layout.parts():
            self._fill(columns, layout.mask_seed, part)
        return Batch(
            mask_seed=layout.mask_seed,
            windows=layout.windows,
            row_starts=layout.row_starts,
            window_row=torch.from_numpy(layout.window_row),
            panel_sample=torch.from_numpy(self.targets.panel_sample[layout.samples]),
            is_padded=layout.is_padded,
            **{name: torch.from_numpy(column) for name, column in columns.items()},
        )

    def _blank(self, layout: Layout) -> dict[str, NDArray[Any]]:
        """Return the arrays of a batch by name, all padding."""
        num_samples, num_windows, length = layout.samples.size, layout.windows.size, layout.length
        columns: dict[str, NDArray[Any]] = {
            "alleles": np.full((num_samples, 2, length), PAD, np.uint8),
            "hidden": np.zeros((num_windows, length), bool),
            "scored": np.zeros((num_samples, length), bool),
            "panel_af": np.zeros((num_windows, length), np.float32),
            "relative_position": np.zeros((num_windows, length), np.float32),
            "af": np.zeros((num_samples, length), np.float32),
            "genotype_frequency": np.zeros((num_samples, length, 3), np.float32),
        }
        if self.targets.missing_bits is not None:
            columns["missing"] = np.zeros((num_samples, 2, length), bool)
        return columns

    def _fill(self, columns: dict[str, NDArray[Any]], mask_seed: int, part: Part) -> None:
        """Fill in the part of a window."""
        rows, samples, start, stop = part.rows, part.samples, part.start, part.stop
        sites, shape = slice(0, stop - start), (samples.size, 2, stop - start)
        haplotypes = self.targets.haplotypes.haplotypes_of(samples).ravel()
        bits = self.targets.haplotypes.haplotype_bits(haplotypes, start, stop)
        hidden = self._hidden(mask_seed, start, stop)
        columns["hidden"][part.n, sites] = hidden
        columns["panel_af"][part.n, sites] = self._af[start:stop]
        columns["relative_position"][part.n, sites] = relative_position(
            self._panel.position[start:stop]
        )
        known = self._own_and_known(part.window, hidden)
        if self.targets.missing_bits is not None:
            lacks = _core.gather_columns(self.targets.missing_bits, start, stop, haplotypes)
            commoner = _core.pack_rows(self._af[None, start:stop] > 0.5)
            bits ^= (bits ^ commoner) & lacks
            missing = _core.unpack_rows(lacks, stop - start).view(bool).reshape(shape)
            columns["missing"][rows, :, sites] = missing
            known = known & ~missing.any(1)
        alleles = _core.unpack_rows(bits, stop - start).reshape(shape)
        af, genotype_frequency = self._frequencies(samples, alleles, start, stop)
        columns["alleles"][rows, :, sites] = alleles
        columns["af"][rows, sites] = af
        columns["genotype_frequency"][rows, sites] = genotype_frequency
        columns["scored"][rows, sites] = known & (af > 0) & (af < 1)

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
        for window in windows.overlapping(start, stop):
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


def relative_position(position_bp: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scale positions to [0, 1] over a window; a window of one site is at 0."""
    span = max(1, int(position_bp[-1] - position_bp[0]))
    scaled: NDArray[np.float32] = ((position_bp - position_bp[0]) / span).astype(np.float32)
    return scaled


def as_batch(batch: Any) -> Any:
    """Collate for a data loader: the dataset has made the batch already."""
    return batch
