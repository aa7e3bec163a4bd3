"""V18's network with query and index masked alike, and apart as V18 masked them: recall by epoch.

``python bench/masks_apart.py --output FOLDER [options of snvrag.train]`` trains the v18 preset, in
small unless the options say otherwise, once for each way of masking the index:

- ``alike``: as snvrag does;
- ``apart``: the index of the first epoch has a mask of its own, that of every later epoch the stale
  mask of the first;
- ``stale``: only the second part, from the second epoch on.

In each, the haplotype that is copied is the nearest by V18's embedding, in training and validation.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markdown_table import markdown_table
from numpy.typing import NDArray

from snvrag.batches.batch import ALT, MASK, PAD, REF, Batch, Neighbours
from snvrag.batches.keys import VALIDATION_SEED
from snvrag.config.command_line import parse
from snvrag.errors import InputError
from snvrag.kernels import unpack_haplotypes
from snvrag.log import close_log, open_log
from snvrag.retrieval.neighbours import Retriever
from snvrag.training.loader import Loader
from snvrag.training.metrics import Metrics
from snvrag.training.options import Config
from snvrag.training.run_data import RunData, load_run_data
from snvrag.training.trainer import Trainer

WAYS = ("alike", "apart", "stale")
OWN_SEED = 9_999  # of the mask that the index has in the first epoch and no query ever has
_SMALL = (
    *("--preset", "v18", "--width", "32", "--layers", "1", "--heads", "2", "--batch-size", "16"),
    *("--accumulation", "1", "--learning-rate", "3e-3", "--warmup-steps", "30", "--epochs", "6"),
    *("--patience", "0", "--plot", "no"),
)
_TITLES = {"Recall": "recall_overall", "F1": "f1_overall", "R2": "r2_overall"}


def index_seed(way: str, epoch: int, mask_seed: int) -> int:
    """Return the seed of the index's mask; ``mask_seed`` is that of the queries'."""
    if way == "alike" or (way == "stale" and epoch == 0):
        return mask_seed
    return OWN_SEED if epoch == 0 else 0


class EmbeddingRetriever(Retriever):
    """The haplotype nearest by V18's embedding, from an index with a mask of its own.

    Of the squared distance of two embeddings, a site has |e_a - e_b|^2 of its two tokens: position
    and frequency terms cancel. Where only the query is hidden, that depends on the panel's allele;
    where only the index is, it is the same for all of the panel and is left out. The embedding is
    that of the moment, where V18 takes the panel's at the beginning of an epoch.
    """

    def __init__(self, trainer: Trainer, loader: Loader, way: str) -> None:
        config = trainer.config
        super().__init__(trainer.data.panel, trainer.windows, config.retrieval)
        self.trainer, self.way = trainer, way
        # Masks that the index alone has are at the rate of the first epoch.
        masks = loader.dataset.masks
        self.stale_masks = replace(masks, mask_rates=masks.mask_rates[:1])
        self.copied: list[Metrics] = []

    def begin_epoch(self, mask_seed: int) -> None:
        super().begin_epoch(mask_seed)
        self.copied.append(Metrics(torch.device("cpu")))

    def retrieve(self, batch: Batch) -> Neighbours:
        alleles = np.full((*batch.alleles.shape[:2], 1, batch.alleles.shape[2]), PAD, np.uint8)
        for n, window in enumerate(batch.windows.tolist()):
            start, stop = int(self.windows.starts[window]), int(self.windows.stops[window])
            rows = np.flatnonzero(batch.window_row.numpy() == n)
            queries = batch.alleles[rows, :, : stop - start].flatten(0, 1).numpy()
            haplotypes = self.haplotypes(start, stop)
            hidden = batch.hidden[n, : stop - start].numpy()
            index_hidden = self.index_mask(batch.mask_seed, window, hidden)
            distances = self.distances(queries, haplotypes, hidden, index_hidden)
            own = self.panel.own_haplotypes(batch.panel_sample[rows].numpy()).repeat(2, axis=0)
            for distance, excluded in zip(distances, own, strict=True):
                distance[excluded[excluded >= 0]] = np.inf
            nearest = haplotypes[distances.argmin(1)].reshape(rows.size, 2, stop - start)
            alleles[rows, :, 0, : stop - start] = nearest
        copied = torch.from_numpy(alleles)
        if self.copied and batch.mask_seed == VALIDATION_SEED:
            af = batch.panel_af[batch.window_row]
            hap_dosage = (copied[:, :, 0] == ALT).float()
            self.copied[-1].update(hap_dosage, batch.alleles, batch.scored, af)
        return Neighbours(copied)

    def haplotypes(self, start: int, stop: int) -> NDArray[np.int8]:
        """Return the (H, L) alleles of the panel."""
        every = np.arange(self.panel.num_haplotypes)
        return unpack_haplotypes(self.panel.haplotype_bits(every, start, stop), stop - start)

    def index_mask(
        self, mask_seed: int, window: int, hidden: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return what the index of a window hides while queries hide ``hidden``."""
        seed = index_seed(self.way, self.trainer.epoch, mask_seed)
        if seed == mask_seed:
            return hidden
        sites = slice(int(self.windows.starts[window]), int(self.windows.stops[window]))
        return self.stale_masks.mask(self.panel.af[sites], seed, window)

    def distances(
        self,
        queries: NDArray[Any],
        haplotypes: NDArray[np.int8],
        hidden: NDArray[np.bool_],
        index_hidden: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Return (Q, H) squared distances of embeddings, up to a constant for each query.

        Sites are counted in integers, so that equal distances are equal.
        """
        token = self.trainer.network.embedding.token.weight.detach().double().cpu()
        alt, ref = (
            float((token[one] - token[other]).square().sum())
            for one, other in ((ALT, MASK), (REF, MASK))
        )
        both, query_alone = ~(hidden | index_hidden), hidden & ~index_hidden
        q, h = (x[:, both].astype(np.float32) for x in (queries, haplotypes))
        differing = (q @ (1 - h).T + (1 - q) @ h.T).astype(np.float64)
        num_alt = haplotypes[:, query_alone].sum(1, dtype=np.int64)
        differ = float((token[ALT] - token[REF]).square().sum())
        return differ * differing + alt * num_alt + ref * (query_alone.sum() - num_alt)


def train(config: Config, data: RunData, way: str) -> list[list[str]]:
    """Train with one way of masking; return the rows of the table."""
    folder = Path(config.run.output) / way
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(replace(config, run=replace(config.run, output=str(folder))), data)
    for loader in (trainer.train_loader, trainer.val_loader):
        loader.retriever = EmbeddingRetriever(trainer, loader, way)
    open_log(folder / "train.log")
    try:
        trainer.fit()
    finally:
        close_log()
    copied = [{}, *(metrics.compute() for metrics in trainer.val_loader.retriever.copied)]
    names = ["untrained", *(f"epoch {row['epoch'] + 1}" for row in trainer.history)]
    results = [trainer.baselines["untrained network"], *trainer.history]
    return [
        [way, name, *(f"{row[key]:.4f}" for key in _TITLES.values()), _shown(near)]
        for name, row, near in zip(names, results, copied, strict=True)
    ]


def _shown(copied: dict[str, float]) -> str:
    return f"{copied['recall_overall']:.4f}" if copied else ""


def run(arguments: Sequence[str]) -> str:
    """Train with every way of masking; return the table."""
    config, _ = parse("train", Config, __doc__.splitlines()[0], [*_SMALL, *arguments])
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    data = load_run_data(config)
    rows = [row for way in WAYS for row in train(config, data, way)]
    titles = ["index", "", *_TITLES, "recall of the copied haplotype"]
    return markdown_table(titles, rows, num_text=2)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    try:
        print(f"\n{run(arguments)}")
    except InputError as error:
        print(f"masks_apart.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
