"""Imputation: a trained network over a panel and a target that stream by, chunk by chunk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from . import _core
from .checkpoint import load_checkpoint
from .chunks import Chunk, WindowPlan, cut_chunks
from .config import Config
from .dataset import Key, MaskRule, Targets, WindowDataset
from .errors import InputError
from .imputed_vcf import SCALE
from .model import ImputationNetwork
from .panel import Panel
from .retriever import Neighbours, Retriever
from .targets import MatchedBlock
from .train import network_size

# Samples times windows that go through the network at once.
BATCH_SIZE = 16
# Hides nothing by itself: what is hidden are the sites that the target lacks.
_HIDE_NOTHING = MaskRule(rates=(0.0,), epochs_per_rate=1, rare_rate=0.0)
_SEED = 0


@dataclass(frozen=True)
class Model:
    """A trained network, ready to predict.

    Attributes
    ----------
    network : ImputationNetwork
        In evaluation mode.
    config : Config
        Of the run that trained it.
    sha256 : str
        Of its file, in hex.
    """

    network: ImputationNetwork
    config: Config
    sha256: str


def load_model(path: str | Path, device: torch.device) -> Model:
    """Return the network of a checkpoint, of which only configuration and weights are looked at.

    Raises
    ------
    InputError
        If the file cannot be read, or its weights do not fit its configuration's network.
    """
    try:
        content = load_checkpoint(path)
    except InputError as error:
        raise InputError(str(error).replace("--resume", "--model", 1)) from error
    known = {option.name for option in fields(Config)}
    settings = {name: value for name, value in content["config"].items() if name in known}
    # How that run was resumed says nothing of the network.
    settings |= {"mask_rates": tuple(settings["mask_rates"]), "resume": "", "resume_epoch": -1}
    try:
        config = Config(**settings)
        network = ImputationNetwork(network_size(config))
        network.load_state_dict(content["model"])
    except (RuntimeError, TypeError, InputError) as error:
        raise InputError(
            f"--model {path}: of another version of snvrag, its weights do not fit this network"
        ) from error
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return Model(network.to(device).eval(), config, digest)


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
        One that the panel has by name is not copied from, nor counted in frequencies.
    device : torch.device
        Where the network is.
    plan : WindowPlan, optional
        By default what the model was trained for.
    batch_size : int
    threads : int, optional
        Of the retrieval.

    Raises
    ------
    InputError
        If nobody is left in the panel to copy from.

    Notes
    -----
    Memory: a chunk of the panel and the target (one bit an allele), the indexes of a window, and
    two bytes a haplotype and site of a window's dosages.
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
        batch_size: int = BATCH_SIZE,
        threads: int | None = None,
    ) -> None:
        self.model = model
        self.plan = plan or WindowPlan.of(model.config)
        self._chrom = chrom
        self._panel_samples = tuple(panel_samples)
        self._panel_ploidy = panel_ploidy
        self._target_samples = tuple(target_samples)
        self._device = device
        self._batch_size = batch_size
        self._threads = threads
        number = {name: i for i, name in enumerate(panel_samples)}
        self.panel_sample = np.array([number.get(name, -1) for name in target_samples], np.int64)
        self.num_haplotypes = int(panel_ploidy.sum())
        own = self.panel_sample[self.panel_sample >= 0]
        available = self.num_haplotypes - int(panel_ploidy[own].max(initial=0))
        if available < 1:
            raise InputError(
                f"--panel: has no sample but {panel_samples[0]}, which is the target's own: "
                "there is nobody to copy from"
            )
        self._k = min(model.config.k, available)

    def run(self, blocks: Iterable[MatchedBlock]) -> Iterator[ImputedSites]:
        """Yield all sites of the panel, in order."""
        for chunk in cut_chunks(blocks, self.num_haplotypes, self.plan):
            yield from self._impute(chunk)

    def _impute(self, chunk: Chunk) -> Iterator[ImputedSites]:
        predicted = self._predict(chunk)
        sites = chunk.sites
        num_samples = len(self._target_samples)
        for start, stop in chunk.written():
            part = slice(start, stop)
            dosage = np.zeros((stop - start, num_samples, 2), np.uint16)
            dosage[sites.is_alt[part]] = SCALE
            if len(chunk.windows):
                dosage[sites.polymorphic[part]] = next(predicted)
            shape = dosage.shape
            alleles = _core.unpack_rows(sites.target_bits[part], 2 * num_samples).reshape(shape)
            missing = _core.unpack_rows(sites.missing_bits[part], 2 * num_samples).reshape(shape)
            known = sites.typed[part, None, None] & (missing == 0)
            np.copyto(dosage, alleles.astype(np.uint16) * SCALE, where=known)
            yield ImputedSites(
                sites.position[part],
                sites.alleles[part],
                sites.ids[part],
                sites.typed[part],
                dosage,
            )

    def _predict(self, chunk: Chunk) -> Iterator[NDArray[np.uint16]]:
        """Yield the (l, T, 2) dosages of each window's own polymorphic sites."""
        windows = chunk.windows
        if len(windows) == 0:
            return
        num_samples = len(self._target_samples)
        dataset, retriever = self._prepare(chunk)
        pairs = np.arange(len(windows) * num_samples)
        started: dict[int, NDArray[np.uint16]] = {}
        for some in np.split(pairs, np.arange(self._batch_size, pairs.size, self._batch_size)):
            keys = [Key(_SEED, *divmod(pair, num_samples)) for pair in some.tolist()]
            dosage = self._hap_dosage(dataset, retriever, keys)
            for window, sample, row in zip(
                (some // num_samples).tolist(), (some % num_samples).tolist(), dosage, strict=True
            ):
                first = int(windows.starts[window] - windows.context_starts[window])
                length = int(windows.stops[window] - windows.starts[window])
                out = started.setdefault(window, np.empty((length, num_samples, 2), np.uint16))
                out[:, sample] = row[:, first : first + length].T
                if sample == num_samples - 1:
                    yield started.pop(window)

    def _prepare(self, chunk: Chunk) -> tuple[WindowDataset, Retriever]:
        sites, config = chunk.sites, self.model.config
        polymorphic = np.flatnonzero(sites.polymorphic)
        position, alleles = sites.position[polymorphic], sites.alleles[polymorphic]
        panel = Panel(self._chrom, position, alleles, self._panel_samples, sites.panel_bits)
        target = Panel(
            self._chrom, position, alleles, self._target_samples, sites.target_bits[polymorphic]
        )
        targets = Targets(
            target,
            sites.typed[polymorphic],
            self.panel_sample,
            np.zeros(len(self._target_samples), np.int64),
        )
        retriever = Retriever(
            panel,
            chunk.windows,
            k=self._k,
            segment_size=config.segment_size,
            segment_flank=config.segment_flank,
            cache_bytes=0,  # windows come in order: what is done is not asked for again
            decay_sites=config.decay_sites,
            threads=self._threads,
        )
        return WindowDataset(panel, targets, chunk.windows, _HIDE_NOTHING), retriever

    @torch.inference_mode()
    def _hap_dosage(
        self, dataset: WindowDataset, retriever: Retriever, keys: list[Key]
    ) -> NDArray[np.uint16]:
        """Return the (B, 2, L) probability of ALT, in thousandths."""
        batch = dataset.__getitems__(keys)
        neighbours = repeat_neighbours(retriever.retrieve(batch), self.model.config.k)
        autocast = self.model.config.amp and self._device.type == "cuda"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=autocast):
            prediction = self.model.network(batch.to(self._device), neighbours.to(self._device))
        dosage = (prediction.hap_dosage * SCALE).round()
        if not bool(torch.isfinite(dosage).all()):
            raise InputError("--model: its network gives no numbers, but NaN: take another one")
        result: NDArray[np.uint16] = dosage.cpu().numpy().astype(np.uint16)
        return result


def repeat_neighbours(neighbours: Neighbours, k: int) -> Neighbours:
    """Return K neighbours where the panel has fewer, by taking the same ones in turn."""
    found = neighbours.alleles.shape[2]
    if found == k:
        return neighbours
    index = torch.arange(k) % found
    return Neighbours(
        neighbours.alleles[:, :, index],
        neighbours.features[:, :, index],
        neighbours.indices[..., index],
        neighbours.distances[..., index],
    )
