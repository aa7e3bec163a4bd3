"""Loaders of the head and of the transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from ..batches.batch import Batch, EvidenceBatch
from ..batches.dataset import WindowDataset
from ..batches.device import DeviceDataset, DeviceHaplotypes
from ..batches.evidence import EvidenceDataset
from ..batches.keys import Key, KeySampler
from ..kernels import Rates
from ..li_stephens.rates import map_cm
from ..panel.windows import Windows
from ..retrieval.cache import CacheStatistics, IndexCache
from ..retrieval.neighbours import Retriever, SiteWeights
from .distributed import ALONE, Ranks
from .loader import Inputs, Loader
from .options import Config
from .run_data import RunData


class SampleLoader(Loader):
    """Batches of whole samples with the evidence of the Li-Stephens model."""

    searches = "Li-Stephens"
    makes_ahead = True

    def __init__(
        self,
        config: Config,
        data: RunData,
        windows: Windows,
        rates: Rates,
        ranks: Ranks = ALONE,
        *,
        training: bool,
    ) -> None:
        self.dataset = EvidenceDataset(
            data.panel,
            data.train if training else data.validation,
            windows,
            config.masks if training else config.masks.validation(),
            rates,
            map_cm(data.panel.position, data.genetic_map),
            threads=1 if config.run.workers else config.run.threads,
        )
        sampler = _sampler(config, self.dataset, training=training, whole_samples=True)
        self._cache_bytes = 0
        super().__init__(config, sampler, self.dataset, ranks, training=training)

    def begin_epoch(self, mask_seed: int) -> None:
        """Drop the observed set of other masks and start the counts anew."""
        self.statistics = CacheStatistics(num_dropped=self.dataset.drop_stale(mask_seed))

    def complete(self, made: EvidenceBatch) -> Inputs:
        """Count what the batch took."""
        work = made.work
        if work.num_builds:
            self.statistics.add_build(work.build_seconds)
        elif made.num_samples:
            self.statistics.num_hits += 1
        self.statistics.search_seconds += work.evidence_seconds
        self._cache_bytes = work.cache_bytes
        return (made,)

    @property
    def cache_bytes(self) -> int:
        """Memory of the observed set, in bytes; that of one worker."""
        return self._cache_bytes


class WindowLoader(Loader):
    """Batches of samples over windows, with their neighbours.

    With ``resident``, the panel's haplotypes on a device, batches and neighbours are made there,
    from keys alone. ``cache`` holds the search indexes; ``site_weights`` are those of the search.
    """

    def __init__(
        self,
        config: Config,
        data: RunData,
        windows: Windows,
        ranks: Ranks = ALONE,
        *,
        training: bool,
        cache: IndexCache | None = None,
        resident: DeviceHaplotypes | None = None,
        site_weights: SiteWeights | None = None,
    ) -> None:
        self.resident = resident
        self.dataset = WindowDataset(
            data.panel,
            data.train if training else data.validation,
            windows,
            config.masks if training else config.masks.validation(),
        )
        self.retriever = Retriever(
            data.panel,
            windows,
            config.retrieval,
            threads=config.run.threads,
            cache=cache,
            resident=resident,
            site_weights=site_weights,
        )
        self._on_device = None if resident is None else DeviceDataset(self.dataset, resident)
        made_by_workers = self.dataset if resident is None else _Keys()
        sampler = _sampler(config, self.dataset, training=training, whole_samples=False)
        super().__init__(config, sampler, made_by_workers, ranks, training=training)

    def begin_epoch(self, mask_seed: int) -> None:
        """Drop the indexes of other masks and start the counts anew."""
        self.retriever.begin_epoch(mask_seed)
        self.statistics = self.retriever.statistics

    def complete(self, made: Any) -> Inputs:
        """Retrieve neighbours; on a device, make the batch first, of keys."""
        batch: Batch = made if self._on_device is None else self._on_device.__getitems__(made)
        return batch, self.retriever.retrieve(batch)

    @property
    def cache_bytes(self) -> int:
        """Memory of the indexes in the cache, in bytes."""
        return self.retriever.num_bytes


class _Keys(Dataset[Any]):
    """What the host makes of a batch on a device: its keys."""

    def __getitems__(self, keys: Sequence[Key]) -> Sequence[Key]:
        return keys


def _sampler(
    config: Config,
    dataset: WindowDataset | EvidenceDataset,
    *,
    training: bool,
    whole_samples: bool,
) -> KeySampler:
    return KeySampler(
        len(dataset.windows),
        dataset.targets.haplotypes.num_samples,
        config.training.batch_size,
        seed=config.training.seed,
        whole_samples=whole_samples,
        shuffle=training,
    )
