"""Baselines of validation: the allele frequency alone, and the nearest haplotype."""

from __future__ import annotations

import torch

from ..batches.batch import ALT
from ..batches.dataset import WindowDataset
from ..batches.keys import VALIDATION_SEED, KeySampler
from ..batches.masks import MaskConfig
from ..panel.windows import Windows
from ..retrieval.neighbours import Retriever
from ..retrieval.options import RetrievalConfig
from .distributed import ALONE, Ranks
from .metrics import Metrics
from .run_data import RunData

_BATCH_SIZE = 64


def evaluate_baselines(
    data: RunData, windows: Windows, masks: MaskConfig, ranks: Ranks = ALONE
) -> dict[str, dict[str, float]]:
    """Score both baselines at the sites at which validation scores a model; ranks share the work.

    Returns the metrics (`Metrics.compute`) of "nearest haplotype" (lowest Hamming distance over the
    window's observed sites, ties to the lowest index) and of "allele frequency" (ALT called where
    it is above 0.5). ``masks`` are those of validation.
    """
    device = torch.device("cpu")
    nearest, frequency = Metrics(device), Metrics(device)
    # Without Li-Stephens models: they take most of the time of a batch and no baseline uses them.
    dataset = WindowDataset(data.panel, data.validation, windows, masks)
    sampler = KeySampler(len(windows), data.validation.haplotypes.num_samples, _BATCH_SIZE)
    whole_window = RetrievalConfig(k=1, segment_size=0, segment_flank=0)
    retriever = Retriever(data.panel, windows, whole_window, with_features=False)
    for keys in ranks.deal_batches(sampler.batches(VALIDATION_SEED)):
        batch = dataset.__getitems__(keys)
        af = batch.panel_af[batch.window_row]
        copied = (retriever.retrieve(batch).alleles[:, :, 0] == ALT).float()
        nearest.update(copied, batch.alleles, batch.scored, af)
        frequency.update(af[:, None].expand(-1, 2, -1), batch.alleles, batch.scored, af)
    ranks.all_reduce_sum(nearest.sums, frequency.sums)
    return {"nearest haplotype": nearest.compute(), "allele frequency": frequency.compute()}
