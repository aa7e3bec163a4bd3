"""Batches made on a device, from haplotypes that stay there: the twin of `WindowDataset`.

Nothing is copied to the host, and nothing waits for the device: what decides which work there is
(windows, samples, whether an allele is missing) is known on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..panel.panel import Panel
from .batch import PAD, Batch
from .dataset import WindowDataset
from .keys import Key, Layout, Part


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to a device, from page-locked memory, so that nothing waits for the copy."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.clone()


def gather_alleles(site_bits: Tensor, haplotypes: Tensor) -> Tensor:
    """Return the (n, L) uint8 alleles of n haplotypes, int64, from (L, ceil(H / 64)) int64 bits."""
    words = site_bits.index_select(1, haplotypes >> 6)
    return ((words >> (haplotypes & 63)) & 1).to(torch.uint8).T


class DeviceHaplotypes:
    """The haplotypes of a panel on a device.

    Attributes
    ----------
    panel : Panel
    site_bits : (S, ceil(H / 64)) int64
        As `Panel.site_bits`. `InputError` if the device has too little memory.
    pairs : (num_samples + 1, 2) int64
        The haplotypes of each sample; in the last row, so that of sample -1, -1.
    """

    def __init__(self, panel: Panel, device: torch.device) -> None:
        self.panel, self.device = panel, device
        try:
            self.site_bits = upload(panel.site_bits.view(np.int64), device)
        except torch.cuda.OutOfMemoryError as error:
            size = panel.site_bits.nbytes / 1e6
            raise InputError(
                f"must have memory for {size:.0f} MB of haplotypes, got {device}, which has less: "
                "choose a region, or the CPU",
                argument="device",
            ) from error
        samples = np.append(np.arange(panel.num_samples), -1)
        self.pairs = upload(panel.own_haplotypes(samples), device)

    @cached_property
    def position(self) -> Tensor:
        """(S,) int64: `Panel.position`."""
        return upload(self.panel.position, self.device)

    def alleles(self, samples: Tensor, start: int, stop: int) -> Tensor:
        """Return (n, 2, L) uint8 alleles of samples; of sample -1, those of any haplotype."""
        haplotypes = self.pairs[samples].clamp_min(0).flatten()
        gathered = gather_alleles(self.site_bits[start:stop], haplotypes)
        return gathered.reshape(samples.shape[0], 2, stop - start)


class DeviceDataset:
    """Batches from keys on a device, equal to those of a `WindowDataset`.

    ``reference`` are the haplotypes of the dataset's panel.
    """

    def __init__(self, dataset: WindowDataset, reference: DeviceHaplotypes) -> None:
        panel, targets, device = reference.panel, dataset.targets, reference.device
        self._dataset, self._reference, self._device = dataset, reference, device
        self._targets = reference
        if targets.haplotypes is not panel:
            self._targets = DeviceHaplotypes(targets.haplotypes, device)
        self._missing_bits = None
        if targets.missing_bits is not None:
            self._missing_bits = upload(targets.missing_bits.view(np.int64), device)
        self._af = upload(panel.af, device)
        self._alt_count = upload(panel.alt_count, device)
        self._present = upload(targets.present, device)
        own = targets.panel_sample
        population = np.where(own >= 0, panel.sample_population[own], targets.population)
        members = np.bincount(panel.sample_population, minlength=len(panel.populations))
        self._own = upload(own, device)
        self._ploidy = upload(np.where(own >= 0, panel.sample_ploidy[own], 0), device)
        self._population = upload(population, device)
        self._members = upload(members[population].astype(np.float32), device)
        self._genotype_frequency = upload(panel.population_genotype_frequency, device)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return one batch for the keys, as `WindowDataset` does."""
        layout = Layout.of(keys, self._dataset.windows)
        samples = upload(layout.samples, self._device)
        columns = self._blank(layout)
        for part in layout.parts():
            self._fill(columns, layout.mask_seed, part, samples[part.rows])
        return Batch(
            mask_seed=layout.mask_seed,
            windows=layout.windows,
            row_starts=layout.row_starts,
            window_row=upload(layout.window_row, self._device),
            panel_sample=self._own[samples],
            is_padded=layout.is_padded,
            **columns,
        )

    def _blank(self, layout: Layout) -> dict[str, Tensor]:
        rows, windows, length = layout.samples.size, layout.windows.size, layout.length

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self._device)

        columns = {
            "alleles": zeros(rows, 2, length, dtype=torch.uint8).fill_(PAD),
            "hidden": zeros(windows, length, dtype=torch.bool),
            "scored": zeros(rows, length, dtype=torch.bool),
            "panel_af": zeros(windows, length),
            "relative_position": zeros(windows, length),
            "af": zeros(rows, length),
            "genotype_frequency": zeros(rows, length, 3),
        }
        if self._missing_bits is not None:
            columns["missing"] = zeros(rows, 2, length, dtype=torch.bool)
        return columns

    def _fill(
        self, columns: dict[str, Tensor], mask_seed: int, part: Part, samples: Tensor
    ) -> None:
        rows, start, stop = part.rows, part.start, part.stop
        sites = slice(0, stop - start)
        alleles = self._targets.alleles(samples, start, stop)
        hidden = self._hidden(mask_seed, start, stop)
        columns["hidden"][part.n, sites] = hidden
        columns["panel_af"][part.n, sites] = self._af[start:stop].float()
        position = self._reference.position[start:stop]
        span = (position[-1] - position[0]).clamp_min(1)
        relative = (position - position[0]).double() / span
        columns["relative_position"][part.n, sites] = relative.float()
        known = self._own_and_known(part, hidden)
        if self._missing_bits is not None:
            haplotypes = self._targets.pairs[samples].flatten()
            lacks = gather_alleles(self._missing_bits[start:stop], haplotypes) == 1
            missing = lacks.reshape(alleles.shape)
            commoner = (self._af[start:stop] > 0.5).to(torch.uint8)
            alleles = torch.where(missing, commoner, alleles)
            columns["missing"][rows, :, sites] = missing
            known = known & ~missing.any(1)
        af, genotype_frequency = self._frequencies(samples, alleles, start, stop)
        columns["alleles"][rows, :, sites] = alleles
        columns["af"][rows, sites] = af.float()
        columns["genotype_frequency"][rows, sites] = genotype_frequency
        columns["scored"][rows, sites] = known & (af > 0) & (af < 1)

    def _frequencies(
        self, samples: Tensor, alleles: Tensor, start: int, stop: int
    ) -> tuple[Tensor, Tensor]:
        """Return (n, L) panel and (n, L, 3) genotype frequencies, each without the sample."""
        own = self._own[samples]
        in_panel = (own >= 0)[:, None]
        if self._targets is not self._reference:
            alleles = self._reference.alleles(own, start, stop)
        # 3, which is no genotype, for a sample that the panel lacks.
        genotype = torch.where(in_panel, alleles.sum(1), 3)
        ploidy = self._ploidy[samples][:, None]
        counted = self._reference.panel.num_haplotypes - ploidy
        alt = self._alt_count[start:stop] - genotype * ploidy // 2
        af = torch.where(counted > 0, alt.double() / counted.clamp_min(1), 0.0)

        members = self._members[samples][:, None, None]
        counts = self._genotype_frequency[self._population[samples], start:stop] * members
        is_own = genotype[..., None] == torch.arange(3, device=self._device)
        left = members - in_panel[..., None].float()
        genotypes = (counts - is_own.float()) / left.clamp_min(1)
        expected = torch.stack([(1 - af) ** 2, 2 * af * (1 - af), af**2], -1)
        return af, torch.where(left == 0, expected.float(), genotypes)

    def _hidden(self, mask_seed: int, start: int, stop: int) -> Tensor:
        """Return what is hidden of the sites [start, stop): each has the mask of its own window."""
        windows, masks = self._dataset.windows, self._dataset.masks
        hidden = ~self._present[start:stop]
        for window in windows.overlapping(start, stop):
            first, last = int(windows.starts[window]), int(windows.stops[window])
            af: Any = self._af[first:last]
            mask: Any = masks.mask(af, mask_seed, window)
            a, b = max(start, first), min(stop, last)
            hidden[a - start : b - start] |= mask[a - first : b - first]
        return hidden

    def _own_and_known(self, part: Part, hidden: Tensor) -> Tensor:
        """Return the hidden sites of a window with flanks that are its own and in the file."""
        windows = self._dataset.windows
        own = hidden & self._present[part.start : part.stop]
        own[: int(windows.starts[part.window]) - part.start] = False
        own[int(windows.stops[part.window]) - part.start :] = False
        return own
