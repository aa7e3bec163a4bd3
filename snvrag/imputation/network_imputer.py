"""Imputation by a network that predicts windows, as V18's, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from .. import _core
from ..batches.batch import Batch, Neighbours
from ..batches.dataset import Targets, WindowDataset
from ..batches.device import DeviceDataset, DeviceHaplotypes
from ..batches.keys import Key
from ..batches.masks import MaskConfig
from ..errors import InputError
from ..io.imputed_columns import SCALE
from ..io.matching import MatchedBlock
from ..network.device import holds_panel
from ..panel.panel import Panel
from ..panel.regions import Region
from ..panel.windows import WindowConfig, Windows
from ..retrieval.neighbours import Retriever
from .chunks import Chunk, ChunkPlan, affordable_sites, cut_chunks
from .imputed import ImputedBlock, OnProgress, PanelAndTarget, with_known_alleles
from .network_model import NetworkModel

# Samples times windows that go through the network at once, by kind of device.
BATCH_SIZE = {"cpu": 16, "cuda": 128}
# No mask: hidden are the sites that the target lacks.
_HIDE_NOTHING = MaskConfig(mask_rates=(0.0,), rare_rate=0.0)
_MASK_SEED = 0


# Polymorphic sites of a chunk.
_CHUNK_SITES = 16_384


@dataclass(frozen=True)
class WindowPlan:
    """How the polymorphic sites of a chromosome are cut into windows, and these put into chunks.

    Attributes
    ----------
    size : int
        Sites that a window predicts.
    flank : int
        Sites that a window reads on each side, so that none is predicted near an edge.
    windows_per_chunk : int
        Windows that are held in memory, and predicted, together.
    """

    size: int
    flank: int
    windows_per_chunk: int

    @classmethod
    def of(cls, windows: WindowConfig, num_haplotypes: int, num_targets: int) -> WindowPlan:
        """Return windows that are read no longer than those that a network was trained on.

        Half of that length goes to the flanks, or more where training gave them more. Chunks of a
        large panel or for many targets are shorter.

        ``windows`` are the options of the run that trained the network; ``num_haplotypes`` is that
        of the panel.
        """
        length = windows.window_size + 2 * windows.flank
        flank = max(length // 4, windows.flank)
        size = length - 2 * flank
        num_sites = affordable_sites(_CHUNK_SITES, num_haplotypes, num_targets)
        return cls(size, flank, max(1, num_sites // size))

    @property
    def chunks(self) -> ChunkPlan:
        """The chunks that these windows fill."""
        return ChunkPlan(self.size * self.windows_per_chunk, self.flank)

    def windows(self, chunk: Chunk) -> Windows:
        """Return a chunk's windows over its polymorphic sites; there may be none.

        They begin at multiples of ``size`` from the first site that the chunk writes.
        """
        counts = chunk.num_polymorphic
        start, stop = int(counts[chunk.start]), int(counts[chunk.stop])
        starts = np.arange(start, stop, self.size)
        stops = np.minimum(starts + self.size, stop)
        last = min(stop + self.flank, int(counts[-1]))
        flanked_stops = np.minimum(stops + self.flank, last)
        return Windows(starts, stops, np.maximum(starts - self.flank, 0), flanked_stops)


def trimmed(windows: Windows, chunk: Chunk) -> Windows:
    """Return what windows predict of the sites that a chunk writes.

    Windows without such a site are left out; the others read the same sites as before.
    """
    counts = chunk.num_polymorphic
    low, high = int(counts[chunk.start]), int(counts[chunk.stop])
    kept = (windows.starts < high) & (windows.stops > low)
    return Windows(
        np.maximum(windows.starts[kept], low),
        np.minimum(windows.stops[kept], high),
        windows.flanked_starts[kept],
        windows.flanked_stops[kept],
    )


def ranges(chunk: Chunk, windows: Windows) -> list[tuple[int, int]]:
    """Return the half-open range of sites that each window writes.

    It has the window's own sites and the monomorphic ones between them. Without a window it is one
    range, of the whole chunk.
    """
    rows = np.flatnonzero(chunk.polymorphic)
    return list(pairwise([chunk.start, *rows[windows.starts[1:]].tolist(), chunk.stop]))


class NetworkImputer:
    """Imputes the sites of a panel in a target's samples by a trained network, in windows.

    The network reads phased haplotypes: of a genotype without phase whose alleles differ it sees
    neither allele. What is written there are the target's own alleles, in the file's order.

    Parameters
    ----------
    model : NetworkModel
    data : PanelAndTarget
    plan : WindowPlan, optional
        By default what the model was trained for.
    batch_size : int, optional
        Samples times windows that go through the network at once.
    threads : int, optional
        Of the retrieval.

    Notes
    -----
    Memory does not grow with the number of sites: it holds a chunk of the panel and of the target
    (one bit an allele) and two bytes for each haplotype's dosage.
    """

    unit = "windows x samples"

    def __init__(
        self,
        model: NetworkModel,
        data: PanelAndTarget,
        *,
        plan: WindowPlan | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.model = model
        self._data = data
        self._batch_size = batch_size or BATCH_SIZE[model.device.type]
        self._threads = threads
        self.num_haplotypes = data.num_haplotypes
        self.plan = plan or WindowPlan.of(
            model.windows, data.num_haplotypes, len(data.target_samples)
        )
        own = data.panel_sample[data.panel_sample >= 0]
        available = data.num_haplotypes - int(data.panel_ploidy[own].max(initial=0))
        # Windows come in order: an index is not asked for again, and need not be kept.
        self._retrieval = replace(
            model.retrieval, k=min(model.retrieval.k, available), cache_mb=2**-20
        )

    @property
    def description(self) -> str:
        """What the network is, for the log."""
        return (
            f"model: {sum(p.numel() for p in self.model.network.parameters())} parameters on "
            f"{self.model.device}; windows of {self.plan.size} sites, read with {self.plan.flank} "
            "more on each side"
        )

    def run(
        self,
        blocks: Iterable[MatchedBlock],
        on_progress: OnProgress | None = None,
        region: Region | None = None,
    ) -> Iterator[ImputedBlock]:
        """See `ImputesBlocks`."""
        for chunk in cut_chunks(blocks, self.num_haplotypes, self.plan.chunks):
            windows = self.plan.windows(chunk)
            kept = chunk if region is None else chunk.within(region.first, region.last)
            if kept is not None:
                yield from self._impute(kept, trimmed(windows, kept), on_progress)

    def _impute(
        self, chunk: Chunk, windows: Windows, on_progress: OnProgress | None
    ) -> Iterator[ImputedBlock]:
        predicted = self._predict(chunk, windows, on_progress) if len(windows) else None
        for window, (start, stop) in enumerate(ranges(chunk, windows)):
            sites = chunk.sites.slice(start, stop)
            dosage = np.zeros((sites.num_sites, len(self._data.target_samples), 2), np.uint16)
            if predicted is not None:
                first, last = windows.starts[window], windows.stops[window]
                polymorphic = chunk.polymorphic[start:stop]
                dosage[polymorphic] = predicted[:, :, first:last].transpose(2, 0, 1)
            yield with_known_alleles(sites, dosage, self.num_haplotypes)

    def _predict(
        self, chunk: Chunk, windows: Windows, on_progress: OnProgress | None
    ) -> NDArray[np.uint16]:
        """Return the (T, 2, p) dosages of the chunk's polymorphic sites that windows predict."""
        panel, targets = self._haplotypes(chunk)
        dataset: WindowDataset | DeviceDataset
        dataset = WindowDataset(panel, targets, windows, _HIDE_NOTHING)
        resident = None
        if holds_panel(self.model.device):
            resident = DeviceHaplotypes(panel, self.model.device)
            dataset = DeviceDataset(dataset, resident)
        retriever = Retriever(
            panel,
            windows,
            self._retrieval,
            threads=self._threads,
            resident=resident,
            site_weights=self.model.network.retrieval_weights,
        )
        num_samples = targets.haplotypes.num_samples
        out = np.empty((num_samples, 2, panel.num_sites), np.uint16)
        pairs = np.arange(len(windows) * num_samples)
        for part in np.split(pairs, np.arange(self._batch_size, pairs.size, self._batch_size)):
            window, samples = (row.tolist() for row in np.divmod(part, num_samples))
            keys = [Key(_MASK_SEED, *pair) for pair in zip(window, samples, strict=True)]
            dosage = self._hap_dosage(dataset.__getitems__(keys), retriever)
            for n, (w, sample) in enumerate(zip(window, samples, strict=True)):
                start, stop = int(windows.starts[w]), int(windows.stops[w])
                origin = int(windows.flanked_starts[w])
                out[sample, :, start:stop] = dosage[n, :, start - origin : stop - origin]
            if on_progress is not None:
                on_progress(part.size)
        return out

    def _haplotypes(self, chunk: Chunk) -> tuple[Panel, Targets]:
        """Return the polymorphic sites of a chunk in the form of training."""
        data, sites, chosen = self._data, chunk.sites, chunk.polymorphic
        position, alleles = sites.position[chosen], sites.alleles[chosen]
        panel = Panel(
            data.chrom,
            position,
            alleles,
            tuple(data.panel_samples),
            sites.site_bits[chosen],
            ploidy=data.ploidy,
        )
        target_samples = tuple(data.target_samples)
        missing = sites.target_missing_bits[chosen]
        unphased = _core.unpack_rows(sites.target_unphased_bits[chosen], len(target_samples))
        missing |= _core.pack_rows(np.repeat(unphased, 2, axis=1))
        targets = Targets(
            Panel(data.chrom, position, alleles, target_samples, sites.target_bits[chosen]),
            sites.typed[chosen],
            data.panel_sample,
            np.zeros(len(target_samples), np.int64),
            missing if missing.any() else None,
        )
        return panel, targets

    @torch.inference_mode()
    def _hap_dosage(self, batch: Batch, retriever: Retriever) -> NDArray[np.uint16]:
        """Return the (B, 2, L) probability of ALT, in thousandths."""
        neighbours = repeat_neighbours(retriever.retrieve(batch), self.model.retrieval.k)
        device = self.model.device
        autocast = self.model.amp and device.type == "cuda"
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            prediction = self.model.network(batch.to(device), neighbours.to(device))
        dosage = (prediction.hap_dosage * SCALE).round()
        if not bool(torch.isfinite(dosage).all()):
            raise InputError("must give finite predictions, got NaN", argument="model")
        result: NDArray[np.uint16] = dosage.cpu().numpy().astype(np.uint16)
        return result


def repeat_neighbours(neighbours: Neighbours, k: int) -> Neighbours:
    """Return K neighbours where the panel has fewer, by repeating them in turn."""
    found = neighbours.alleles.shape[2]
    if found == k:
        return neighbours
    index = torch.arange(k, device=neighbours.alleles.device) % found
    return Neighbours(neighbours.alleles[:, :, index])
