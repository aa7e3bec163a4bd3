"""What a model must beat: the allele frequency alone, and copying the nearest haplotype."""

from __future__ import annotations

import numpy as np
import torch

from . import _core
from .dataset import KeySampler, WindowDataset
from .kernels import HammingIndex
from .metrics import Metrics
from .panel import Panel


def evaluate_baselines(
    panel: Panel, dataset: WindowDataset, sampler: KeySampler
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

    Returns
    -------
    dict
        Metrics (`Metrics.compute`) of "nearest haplotype" (lowest Hamming distance over the
        window's observed sites, ties to the lowest index) and of "allele frequency" (ALT called
        where it is above 0.5).
    """
    device = torch.device("cpu")
    nearest, frequency = Metrics(device), Metrics(device)
    for keys in sampler:
        batch = dataset.__getitems__(keys)
        rows = batch.window_row
        scored, af = batch.scored[rows], batch.panel_af[rows]
        copied = torch.zeros(batch.alleles.shape)
        for n, window in enumerate(batch.windows.tolist()):
            start = int(dataset.windows.context_starts[window])
            stop = int(dataset.windows.context_stops[window])
            mine = np.flatnonzero(rows.numpy() == n)
            own = batch.panel_sample.numpy()[mine]
            exclude = np.where(own[:, None] < 0, -1, 2 * own[:, None] + np.array([0, 1]))
            index = HammingIndex.from_sites(
                panel.site_bits[start:stop],
                num_haplotypes=panel.num_haplotypes,
                observed=~batch.hidden[n].numpy()[: stop - start],
            )
            queries = batch.alleles.numpy()[mine].reshape(2 * mine.size, -1)
            found = index.search(
                _core.pack_rows(queries[:, : stop - start]),
                1,
                exclude=np.repeat(exclude, 2, axis=0).astype(np.int64),
            )
            bits = panel.haplotype_bits(found.indices[:, 0], start, stop)
            alleles = _core.unpack_rows(bits, stop - start).reshape(mine.size, 2, -1)
            copied[mine, :, : stop - start] = torch.from_numpy(alleles).float()
        nearest.update(copied, batch.alleles, scored, af)
        frequency.update(af[:, None].expand(-1, 2, -1), batch.alleles, scored, af)
    return {"nearest haplotype": nearest.compute(), "allele frequency": frequency.compute()}
