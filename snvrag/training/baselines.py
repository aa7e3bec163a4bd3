"""What a model must beat: the allele frequency alone, and copying the nearest haplotype."""

from __future__ import annotations

import torch

from ..batches.batch import ALT
from ..batches.dataset import WindowDataset
from ..batches.keys import KeySampler
from ..panel.panel import Panel
from ..retrieval.neighbours import Retriever
from ..retrieval.options import RetrievalConfig
from .distributed import ALONE, Ranks, RankSampler
from .metrics import Metrics


def evaluate_baselines(
    panel: Panel, dataset: WindowDataset, sampler: KeySampler, ranks: Ranks = ALONE
) -> dict[str, dict[str, float]]:
    """Score both baselines on the very sites that a model is scored on.

    Parameters
    ----------
    panel : Panel
        The reference panel.
    dataset : WindowDataset
        Of the validation targets.
    sampler : KeySampler
        Gives the keys; batches of one window are cheapest.
    ranks : Ranks
        Share the work.

    Returns
    -------
    dict
        Metrics (`Metrics.compute`) of "nearest haplotype" (lowest Hamming distance over the
        window's observed sites, ties to the lowest index) and of "allele frequency" (ALT called
        where it is above 0.5).
    """
    device = torch.device("cpu")
    nearest, frequency = Metrics(device), Metrics(device)
    retriever = Retriever(
        panel,
        dataset.windows,
        RetrievalConfig(k=1, segment_size=0, segment_flank=0),
        with_features=False,
    )
    for keys in RankSampler(sampler, ranks, cut_batches=False):
        batch = dataset.__getitems__(keys)
        rows = batch.window_row
        scored, af = batch.scored, batch.panel_af[rows]
        copied = (retriever.retrieve(batch).alleles[:, :, 0] == ALT).float()
        nearest.update(copied, batch.alleles, scored, af)
        frequency.update(af[:, None].expand(-1, 2, -1), batch.alleles, scored, af)
    ranks.add_up(nearest.sums, frequency.sums)
    return {"nearest haplotype": nearest.compute(), "allele frequency": frequency.compute()}
