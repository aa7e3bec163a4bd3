"""Imputation of a stream of matched sites by a trained network, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

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
from ..retrieval.neighbours import Retriever
from .chunks import Chunk, WindowPlan, cut_chunks
from .trained import Model

# Samples times windows that go through the network at once, by kind of device.
BATCH_SIZE = {"cpu": 16, "cuda": 128}
# No mask: hidden are the sites that the target lacks.
_HIDE_NOTHING = MaskConfig(mask_rates=(0.0,), rare_rate=0.0)
_MASK_SEED = 0


@dataclass(frozen=True, kw_only=True)
class ImputedBlock(MatchedBlock):
    """Consecutive sites of a panel, imputed in T samples.

    Attributes
    ----------
    hap_dosage : (n, T, 2) uint16
        Probability of ALT on each haplotype, in thousandths; 0 or 1,000 where the target has the
        allele.
    """

    hap_dosage: NDArray[np.uint16]


@dataclass(frozen=True)
class PanelAndTarget:
    """A panel and a target as they are known before their sites are read.

    Attributes
    ----------
    chrom : str
    panel_samples : sequence of str
    panel_ploidy : (num_samples,) int64
        1 or 2.
    target_samples : sequence of str
        One that the panel has by name is not copied from, nor counted in frequencies.
    """

    chrom: str
    panel_samples: Sequence[str]
    panel_ploidy: NDArray[np.int64]
    target_samples: Sequence[str]


class Imputer:
    """Imputes the sites of a panel in a target's samples by a trained network.

    Parameters
    ----------
    model : Model
    data : PanelAndTarget
    plan : WindowPlan, optional
        By default what the model was trained for.
    batch_size : int, optional
        Samples times windows that go through the network at once.
    threads : int, optional
        Of the retrieval.

    Attributes
    ----------
    panel_sample : (T,) int64
        The sample of the panel with the name of each target sample, or -1.

    Raises
    ------
    InputError
        If a target sample would have no haplotype to copy from.

    Notes
    -----
    Memory does not grow with the number of sites: it holds a chunk of the panel and of the target
    (one bit an allele) and two bytes for each haplotype's dosage.
    """

    def __init__(
        self,
        model: Model,
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
        number = {name: i for i, name in enumerate(data.panel_samples)}
        samples = [number.get(name, -1) for name in data.target_samples]
        self.panel_sample = np.array(samples, np.int64)
        self.num_haplotypes = int(data.panel_ploidy.sum())
        self.plan = plan or WindowPlan.of(model.windows, self.num_haplotypes, len(samples))
        own = self.panel_sample[self.panel_sample >= 0]
        available = self.num_haplotypes - int(data.panel_ploidy[own].max(initial=0))
        if available < 1:
            raise InputError(
                f"must have samples to copy from, got only {data.panel_samples[0]}, which is also "
                "in the target",
                argument="panel",
            )
        # Windows come in order: an index is not asked for again, and need not be kept.
        self._retrieval = replace(
            model.retrieval, k=min(model.retrieval.k, available), cache_mb=2**-20
        )

    def run(
        self,
        blocks: Iterable[MatchedBlock],
        on_progress: Callable[[int], object] | None = None,
        region: Region | None = None,
    ) -> Iterator[ImputedBlock]:
        """Yield all sites of the panel in order, or those with positions in a region.

        ``on_progress`` is called with the number of samples times windows just done.
        """
        for chunk in cut_chunks(blocks, self.num_haplotypes, self.plan):
            kept = chunk if region is None else chunk.within(region.first, region.last)
            if kept is not None:
                yield from self._impute(kept, on_progress)

    def _impute(
        self, chunk: Chunk, on_progress: Callable[[int], object] | None
    ) -> Iterator[ImputedBlock]:
        windows = chunk.windows
        predicted = self._predict(chunk, on_progress) if len(windows) else None
        for window, (start, stop) in enumerate(chunk.written()):
            sites = chunk.sites.slice(start, stop)
            shape = (sites.num_sites, len(self._data.target_samples), 2)
            dosage = np.zeros(shape, np.uint16)
            dosage[sites.alt_count == self.num_haplotypes] = SCALE
            if predicted is not None:
                first, last = windows.starts[window], windows.stops[window]
                polymorphic = chunk.polymorphic[start:stop]
                dosage[polymorphic] = predicted[:, :, first:last].transpose(2, 0, 1)
            num_haplotypes = shape[1] * 2
            alleles = _core.unpack_rows(sites.target_bits, num_haplotypes).reshape(shape)
            missing = _core.unpack_rows(sites.target_missing_bits, num_haplotypes).reshape(shape)
            known = sites.typed[:, None, None] & (missing == 0)
            np.copyto(dosage, alleles.astype(np.uint16) * np.uint16(SCALE), where=known)
            yield ImputedBlock(**vars(sites), hap_dosage=dosage)

    def _predict(
        self, chunk: Chunk, on_progress: Callable[[int], object] | None
    ) -> NDArray[np.uint16]:
        """Return the (T, 2, p) dosages of the chunk's polymorphic sites that windows predict."""
        windows = chunk.windows
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
            ploidy=None if (data.panel_ploidy == 2).all() else data.panel_ploidy,
        )
        target_samples = tuple(data.target_samples)
        missing = sites.target_missing_bits[chosen]
        targets = Targets(
            Panel(data.chrom, position, alleles, target_samples, sites.target_bits[chosen]),
            sites.typed[chosen],
            self.panel_sample,
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
