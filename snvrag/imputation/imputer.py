"""Imputation: a trained network over a panel and a target that stream by, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from .. import _core
from ..batches.batch import Batch, Neighbours
from ..batches.dataset import Targets, WindowDataset
from ..batches.keys import Key
from ..batches.masks import MaskConfig
from ..errors import InputError
from ..io.imputed_columns import SCALE
from ..li_stephens.model import LiStephensModel
from ..panel.genetic_map import GeneticMap
from ..panel.panel import Panel
from ..panel.regions import Region
from ..panel.windows import Windows
from ..retrieval.neighbours import Retriever
from .chunks import Chunk, WindowPlan, cut_chunks
from .matching import MatchedBlock
from .trained import Model

# Samples times windows that go through the network at once, by kind of device.
BATCH_SIZE = {"cpu": 16, "cuda": 128}
# Hides nothing by itself: what is hidden are the sites that the target lacks.
_HIDE_NOTHING = MaskConfig(mask_rates=(0.0,), epochs_per_rate=1, rare_rate=0.0)
_SEED = 0
# Of the Li-Stephens probabilities that are held at once.
_LI_STEPHENS_BYTES = 128 << 20


@dataclass(frozen=True)
class ImputedSites:
    """Consecutive sites, imputed in T samples.

    Attributes
    ----------
    position : (n,) int64
    alleles : (n, 2) str
    ids : list of str
    typed : (n,) bool
    hap_dosage : (n, T, 2) uint16
        Probability of ALT on each haplotype, in thousandths: 0 or 1,000 where the target says it.
    """

    position: NDArray[np.int64]
    alleles: NDArray[np.str_]
    ids: list[str]
    typed: NDArray[np.bool_]
    hap_dosage: NDArray[np.uint16]


class Imputer:
    """Fills in what a target lacks of a panel's sites.

    Parameters
    ----------
    model : Model
    chrom : str
    panel_samples : sequence of str
    panel_ploidy : (num_samples,) int64
        1 or 2.
    target_samples : sequence of str
        One that the panel has by name is not evidence from, nor counted in frequencies.
    device : torch.device
        Where the network is.
    plan : WindowPlan, optional
        By default what the model was trained for.
    genetic_map : GeneticMap, optional
        For the Li-Stephens models; without one, 1 cM a Mb.
    batch_size : int, optional
        Samples times windows that go through the network at once.
    threads : int, optional
        Of the retrieval and of the Li-Stephens models.

    Raises
    ------
    InputError
        If nobody is left in the panel to copy from.

    Notes
    -----
    Memory does not grow with the number of sites: a chunk of the panel and of the target (one bit
    an allele), two bytes for each dosage of it, and Li-Stephens probabilities of some samples.
    """

    def __init__(
        self,
        model: Model,
        chrom: str,
        panel_samples: Sequence[str],
        panel_ploidy: NDArray[np.int64],
        target_samples: Sequence[str],
        *,
        device: torch.device,
        plan: WindowPlan | None = None,
        genetic_map: GeneticMap | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.model = model
        self._chrom = chrom
        self._panel_samples = tuple(panel_samples)
        self._panel_ploidy = panel_ploidy
        self._target_samples = tuple(target_samples)
        self._device = device
        self._genetic_map = genetic_map
        self._batch_size = batch_size or BATCH_SIZE[device.type]
        self._threads = threads
        number = {name: i for i, name in enumerate(panel_samples)}
        self.panel_sample = np.array([number.get(name, -1) for name in target_samples], np.int64)
        self.num_haplotypes = int(panel_ploidy.sum())
        self.plan = plan or WindowPlan.of(model, self.num_haplotypes, len(target_samples))
        own = self.panel_sample[self.panel_sample >= 0]
        available = self.num_haplotypes - int(panel_ploidy[own].max(initial=0))
        if available < 1:
            raise InputError(
                f"--panel: has no sample but {panel_samples[0]}, which is the target's own: "
                "there is nobody to copy from"
            )
        self._k = min(model.retrieval.k, available)

    def run(
        self,
        blocks: Iterable[MatchedBlock],
        on_progress: Callable[[int], object] | None = None,
        region: Region | None = None,
    ) -> Iterator[ImputedSites]:
        """Yield all sites of the panel, in order, or those whose positions lie in a region.

        ``on_progress`` is called with the number of samples times windows just done.
        """
        for chunk in cut_chunks(blocks, self.num_haplotypes, self.plan):
            kept = chunk if region is None else chunk.within(region.first, region.last)
            if kept is not None:
                yield from self._impute(kept, on_progress)

    def _impute(
        self, chunk: Chunk, on_progress: Callable[[int], object] | None
    ) -> Iterator[ImputedSites]:
        sites, windows = chunk.sites, chunk.windows
        num_samples = len(self._target_samples)
        predicted = self._predict(chunk, on_progress) if len(windows) else None
        for window, (start, stop) in enumerate(chunk.written()):
            part = slice(start, stop)
            dosage = np.zeros((stop - start, num_samples, 2), np.uint16)
            dosage[sites.is_alt[part]] = SCALE
            if predicted is not None:
                first, last = windows.starts[window], windows.stops[window]
                dosage[sites.polymorphic[part]] = predicted[:, :, first:last].transpose(2, 0, 1)
            shape = dosage.shape
            alleles = _core.unpack_rows(sites.target_bits[part], 2 * num_samples).reshape(shape)
            missing = _core.unpack_rows(sites.missing_bits[part], 2 * num_samples).reshape(shape)
            known = sites.typed[part, None, None] & (missing == 0)
            np.copyto(dosage, alleles.astype(np.uint16) * np.uint16(SCALE), where=known)
            yield ImputedSites(
                sites.position[part],
                sites.alleles[part],
                sites.ids[part],
                sites.typed[part],
                dosage,
            )

    def _predict(
        self, chunk: Chunk, on_progress: Callable[[int], object] | None
    ) -> NDArray[np.uint16]:
        """Return the (T, 2, p) dosages of the chunk's polymorphic sites, as far as windows go."""
        windows = chunk.windows
        panel, targets = self._haplotypes(chunk)
        dataset = WindowDataset(panel, targets, windows, _HIDE_NOTHING)
        retriever = Retriever(
            panel,
            windows,
            # Windows come in order: what is done is not asked for again.
            replace(self.model.retrieval, k=self._k, cache_mb=2**-20),
            with_features=self.model.network.config.needs_features,
            threads=self._threads,
        )
        li_stephens = self._li_stephens_model(panel)
        num_samples = targets.haplotypes.num_samples
        out = np.empty((num_samples, 2, panel.num_sites), np.uint16)
        group = num_samples
        if li_stephens is not None:
            group = max(1, _LI_STEPHENS_BYTES // (8 * li_stephens.num_models * panel.num_sites))
        for some in np.split(np.arange(num_samples), np.arange(group, num_samples, group)):
            evidence = (
                None if li_stephens is None else _li_stephens_dosage(li_stephens, targets, some)
            )
            pairs = np.arange(len(windows) * some.size)
            for part in np.split(pairs, np.arange(self._batch_size, pairs.size, self._batch_size)):
                window, row = np.divmod(part, some.size)
                keys = [
                    Key(_SEED, w, sample)
                    for w, sample in zip(window.tolist(), some[row].tolist(), strict=True)
                ]
                batch = dataset.__getitems__(keys)
                if evidence is not None:
                    batch = replace(batch, li_stephens=_cut_out(evidence, windows, window, row))
                dosage = self._hap_dosage(batch, retriever)
                for n, (w, sample) in enumerate(zip(window.tolist(), some[row], strict=True)):
                    first, last = int(windows.starts[w]), int(windows.stops[w])
                    context = int(windows.flanked_starts[w])
                    out[sample, :, first:last] = dosage[n, :, first - context : last - context]
                if on_progress is not None:
                    on_progress(part.size)
        return out

    def _haplotypes(self, chunk: Chunk) -> tuple[Panel, Targets]:
        """Return a chunk's polymorphic sites, as the network's parts want them."""
        sites = chunk.sites
        polymorphic = np.flatnonzero(sites.polymorphic)
        position, alleles = sites.position[polymorphic], sites.alleles[polymorphic]
        panel = Panel(
            self._chrom,
            position,
            alleles,
            self._panel_samples,
            sites.panel_bits,
            ploidy=None if (self._panel_ploidy == 2).all() else self._panel_ploidy,
        )
        target = Panel(
            self._chrom, position, alleles, self._target_samples, sites.target_bits[polymorphic]
        )
        missing = sites.missing_bits[polymorphic]
        targets = Targets(
            target,
            sites.typed[polymorphic],
            self.panel_sample,
            np.zeros(len(self._target_samples), np.int64),
            missing if missing.any() else None,
        )
        return panel, targets

    def _li_stephens_model(self, panel: Panel) -> LiStephensModel | None:
        config = self.model.li_stephens
        if not config.li_stephens:
            return None
        return LiStephensModel(
            panel,
            replace(config, li_stephens_flank=-1),
            genetic_map=self._genetic_map,
            threads=self._threads,
        )

    @torch.inference_mode()
    def _hap_dosage(self, batch: Batch, retriever: Retriever) -> NDArray[np.uint16]:
        """Return the (B, 2, L) probability of ALT, in thousandths."""
        neighbours = repeat_neighbours(retriever.retrieve(batch), self.model.retrieval.k)
        autocast = self._device.type == "cuda"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=autocast):
            prediction = self.model.network(batch.to(self._device), neighbours.to(self._device))
        dosage = (prediction.hap_dosage * SCALE).round()
        if not bool(torch.isfinite(dosage).all()):
            raise InputError("--model: its network gives no numbers, but NaN: take another one")
        result: NDArray[np.uint16] = dosage.cpu().numpy().astype(np.uint16)
        return result


def _li_stephens_dosage(
    model: LiStephensModel, targets: Targets, samples: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return (n, 2, C, S) Li-Stephens probabilities of samples over a whole chunk.

    The dataset computes them window by window, each time with all sites around it; here the windows
    of a chunk share them.
    """
    panel = model.panel
    haplotypes = targets.haplotypes.haplotypes_of(samples).ravel()
    own = targets.panel_sample[samples]
    exclude = np.where(own[:, None] < 0, -1, panel.haplotypes_of(own)).repeat(2, axis=0)
    lacks = targets.missing_bits
    num_sites = panel.num_sites
    dosage = model.dosage(
        targets.haplotypes.haplotype_bits(haplotypes, 0, num_sites),
        0,
        num_sites,
        targets.present,
        exclude,
        None if lacks is None else _core.gather_columns(lacks, 0, num_sites, haplotypes),
    )
    return dosage.reshape(samples.size, 2, model.num_models, num_sites)


def _cut_out(
    evidence: NDArray[np.float32],
    windows: Windows,
    window: NDArray[np.int64],
    row: NDArray[np.int64],
) -> torch.Tensor:
    """Return (B, 2, C, L): the stretches of windows, padded by zeros, from rows of a chunk's."""
    out = np.zeros((row.size, *evidence.shape[1:3], windows.length), np.float32)
    for n, (w, r) in enumerate(zip(window.tolist(), row.tolist(), strict=True)):
        first, last = int(windows.flanked_starts[w]), int(windows.flanked_stops[w])
        out[n, ..., : last - first] = evidence[r, ..., first:last]
    return torch.from_numpy(out)


def repeat_neighbours(neighbours: Neighbours, k: int) -> Neighbours:
    """Return K neighbours where the panel has fewer, by taking the same ones in turn."""
    found = neighbours.alleles.shape[2]
    if found == k:
        return neighbours
    index = torch.arange(k) % found
    return Neighbours(neighbours.alleles[:, :, index], neighbours.features[:, :, index])
