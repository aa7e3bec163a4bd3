"""Baselines of validation: what a trained network is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch

from ..batches.batch import ALT, Batch, EvidenceBatch, Neighbours
from ..batches.keys import VALIDATION_SEED
from ..kernels import Rates
from ..network.head_network import HeadNetwork
from ..panel.windows import Windows
from ..retrieval.options import RetrievalConfig
from .distributed import Ranks
from .loader import Loader
from .loaders import SampleLoader, WindowLoader
from .metrics import Metrics
from .networks import given_rates
from .options import Config
from .progress import EpochSums
from .run_data import RunData
from .step import BatchRunner

LI_STEPHENS = "Li-Stephens model alone"
UNTRAINED = "untrained network"
# Batches come in the order of their windows, so one index at a time is enough.
_NEAREST = RetrievalConfig(k=1, cache_mb=1e-6)
_NEAREST_BATCH_SIZE = 64


def evaluate_baselines(
    config: Config,
    data: RunData,
    windows: Windows,
    loader: Loader,
    runner: BatchRunner,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, float]]:
    """Score the baselines at the sites at which validation scores a model; ranks share the work.

    ``loader`` is that of validation and ``runner`` has the untrained network, which is left in
    evaluation mode. No random number is drawn. ``after_batch`` is called after each batch.

    Returns the metrics (`Metrics.compute`) by the name of the baseline's row:

    - allele frequency alone: ALT is called where it is above 0.5;
    - nearest haplotype: lowest Hamming distance over the window's observed sites, ties to the
      lowest index;
    - Li-Stephens model alone: with the head's rates, and so the untrained head; beside a
      transformer with those of the genetic map;
    - untrained network, if it is a transformer.
    """
    runner.network.eval()
    here = replace(config, run=replace(config.run, workers=0))
    network = runner.network
    rates = network.rates if isinstance(network, HeadNetwork) else given_rates(data)
    frequency, model = _by_evidence(here, data, windows, rates, loader.ranks, after_batch)
    nearest = _nearest(here, data, windows, loader.ranks, after_batch)
    loader.ranks.all_reduce_sum(frequency.sums, nearest.sums, model.sums)
    results = {
        "allele frequency alone": frequency.compute(),
        "nearest haplotype": nearest.compute(),
        LI_STEPHENS: model.compute(),
    }
    if not isinstance(network, HeadNetwork):
        untrained = EpochSums(runner.device)
        for inputs in loader.batches(VALIDATION_SEED):
            untrained.add(runner.evaluate(inputs))
            after_batch()
        results[UNTRAINED] = untrained.over(loader.ranks).metrics.compute()
    return results


def _by_evidence(
    config: Config,
    data: RunData,
    windows: Windows,
    rates: Rates,
    ranks: Ranks,
    after_batch: Callable[[], None],
) -> tuple[Metrics, Metrics]:
    """Score allele frequency and the Li-Stephens model."""
    frequency, model = (Metrics(torch.device("cpu")) for _ in range(2))
    loader = SampleLoader(config, data, windows, rates, ranks, training=False)
    for inputs in loader.batches(VALIDATION_SEED):
        batch = cast(EvidenceBatch, inputs[0])
        minor = batch.evidence[..., 0]
        alt = torch.where(batch.alt_is_minor, minor, -minor).sigmoid()
        af = batch.strata_af
        for metrics, hap_dosage in ((frequency, af[:, None].expand(-1, 2, -1)), (model, alt)):
            metrics.update(hap_dosage, batch.alleles, batch.scored, af)
        after_batch()
    return frequency, model


def _nearest(
    config: Config,
    data: RunData,
    windows: Windows,
    ranks: Ranks,
    after_batch: Callable[[], None],
) -> Metrics:
    """Score the nearest haplotype."""
    nearest = Metrics(torch.device("cpu"))
    training = replace(config.training, batch_size=_NEAREST_BATCH_SIZE)
    config = replace(config, retrieval=_NEAREST, training=training)
    loader = WindowLoader(config, data, windows, ranks, training=False)
    for inputs in loader.batches(VALIDATION_SEED):
        batch, neighbours = cast(tuple[Batch, Neighbours], inputs)
        copied = (neighbours.alleles[:, :, 0] == ALT).float()
        nearest.update(copied, batch.alleles, batch.scored, batch.strata_af)
        after_batch()
    return nearest
