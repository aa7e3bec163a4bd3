"""Baselines of validation: what a trained network is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ..batches.batch import ALT
from ..batches.dataset import WindowDataset
from ..batches.keys import VALIDATION_SEED
from ..li_stephens.model import LiStephensConfig, LiStephensModel
from ..retrieval.neighbours import Retriever
from .loader import Loader
from .metrics import Metrics
from .options import Config
from .progress import EpochSums
from .run_data import RunData
from .step import BatchRunner

_LEAST_MB = 1e-6  # batches come in the order of their windows, so one index at a time is enough


def evaluate_baselines(
    config: Config,
    data: RunData,
    loader: Loader,
    runner: BatchRunner,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, float]]:
    """Score four baselines at the sites at which validation scores a model; ranks share the work.

    ``loader`` is that of validation and ``runner`` has the untrained network, which is left in
    evaluation mode. No random number is drawn. ``after_batch`` is called after each batch.

    Returns the metrics (`Metrics.compute`) by the name of the baseline's row:

    - allele frequency alone: ALT is called where it is above 0.5;
    - nearest haplotype: lowest Hamming distance over the window's observed sites, ties to the
      lowest index;
    - Li-Stephens model alone: the mean of the network's models, or the model of the default options
      where it has none;
    - untrained network.
    """
    frequency, nearest, li_stephens = (Metrics(torch.device("cpu")) for _ in range(3))
    untrained = EpochSums(runner.device)
    dataset = _with_models(config, data, loader.dataset)
    whole_window = replace(
        config.retrieval, k=1, segment_size=0, segment_flank=0, cache_mb=_LEAST_MB
    )
    retriever = Retriever(
        data.panel,
        loader.dataset.windows,
        whole_window,
        with_features=False,
        threads=config.run.threads,
    )
    runner.network.eval()
    batches = loader.batches(VALIDATION_SEED)
    for keys, (batch, neighbours) in zip(loader.keys(VALIDATION_SEED), batches, strict=True):
        untrained.add(runner.evaluate(batch, neighbours))
        if dataset is loader.dataset:
            batch = batch.to(torch.device("cpu"))
        else:
            batch = dataset.__getitems__(keys)
        af = batch.panel_af[batch.window_row]
        copied = (retriever.retrieve(batch).alleles[:, :, 0] == ALT).float()
        for metrics, hap_dosage in (
            (frequency, af[:, None].expand(-1, 2, -1)),
            (nearest, copied),
            (li_stephens, batch.li_stephens.mean(2)),
        ):
            metrics.update(hap_dosage, batch.alleles, batch.scored, af)
        after_batch()
    loader.ranks.all_reduce_sum(frequency.sums, nearest.sums, li_stephens.sums)
    return {
        "allele frequency alone": frequency.compute(),
        "nearest haplotype": nearest.compute(),
        "Li-Stephens model alone": li_stephens.compute(),
        "untrained network": untrained.over(loader.ranks).metrics.compute(),
    }


def _with_models(config: Config, data: RunData, dataset: WindowDataset) -> WindowDataset:
    """Return a dataset whose batches have Li-Stephens probabilities: this one, if it has models."""
    if dataset.li_stephens is not None:
        return dataset
    model = LiStephensModel(
        data.panel,
        LiStephensConfig(),
        genetic_map=data.genetic_map,
        threads=config.run.threads,
    )
    return WindowDataset(data.panel, dataset.targets, dataset.windows, dataset.masks, model)
