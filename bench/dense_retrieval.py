"""Weights of sites that are learned for the search, beside plain Hamming distances.

``python bench/dense_retrieval.py --output FOLDER [options of snvrag.train]`` trains the v18 preset,
in small and with four neighbours unless the options say otherwise, once by each retrieval. It
prints, for the held-out samples and epoch by epoch, the recall of the haplotype that is retrieved
first, copied as it is, and that of the network.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from markdown_table import markdown_table

from snvrag.batches.batch import ALT, Batch, Neighbours
from snvrag.batches.keys import VALIDATION_SEED
from snvrag.config.command_line import parse
from snvrag.errors import InputError
from snvrag.log import close_log, open_log
from snvrag.retrieval.neighbours import Retriever
from snvrag.training.metrics import Metrics
from snvrag.training.options import Config
from snvrag.training.run_data import RunData, load_run_data
from snvrag.training.trainer import Trainer

_SMALL = (
    *("--preset", "v18", "--width", "32", "--layers", "1", "--heads", "2", "--batch-size", "16"),
    *("--accumulation", "1", "--learning-rate", "3e-3", "--warmup-steps", "30", "--epochs", "6"),
    *("--patience", "0", "--plot", "no", "--k", "4"),
)


class CopyingRetriever(Retriever):
    """Also scores the first neighbour of each query of validation, copied as it is."""

    copied: list[Metrics]

    def begin_epoch(self, mask_seed: int) -> None:
        super().begin_epoch(mask_seed)
        self.copied = [*getattr(self, "copied", []), Metrics(torch.device("cpu"))]

    def retrieve(self, batch: Batch) -> Neighbours:
        found = super().retrieve(batch)
        if batch.mask_seed == VALIDATION_SEED and hasattr(self, "copied"):
            af = batch.panel_af[batch.window_row]
            first = (found.alleles[:, :, 0] == ALT).float()
            self.copied[-1].update(first, batch.alleles, batch.scored, af)
        return found


def train(config: Config, data: RunData, retrieval: str) -> list[list[str]]:
    """Train by one retrieval; return the rows of the table."""
    folder = Path(config.run.output) / retrieval
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(
        config,
        run=replace(config.run, output=str(folder)),
        retrieval=replace(config.retrieval, retrieval=retrieval),
    )
    trainer = Trainer(config, data)
    loader = trainer.val_loader
    loader.retriever = CopyingRetriever(
        data.panel,
        trainer.windows,
        config.retrieval,
        threads=config.run.threads,
        site_weights=trainer.network.retrieval_weights,
    )
    open_log(folder / "train.log")
    try:
        trainer.fit()
    finally:
        close_log()
    rows = []
    for row, copied in zip(trainer.history, loader.retriever.copied, strict=True):
        of_copy = copied.compute()
        shown = [of_copy["recall_overall"], of_copy["r2_overall"], row["recall_overall"]]
        shown += [row["f1_overall"], row["r2_overall"]]
        rows.append([retrieval, f"epoch {row['epoch'] + 1}", *(f"{x:.4f}" for x in shown)])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    config: Config = parse("train", Config, str(__doc__), [*_SMALL, *given])[0]
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    data = load_run_data(config)
    titles = ("retrieval", "", "copied: Recall", "copied: R2", "Recall", "F1", "R2")
    rows = [row for way in ("hamming", "dense") for row in train(config, data, way)]
    print(markdown_table(titles, rows, num_text=2))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
