"""Draw the README's picture of a trained model: ``python bench/plot_overview.py CHECKPOINT``.

It shows one validation haplotype of the demo panel at some common sites: the observed alleles, the
retrieved haplotypes with the network's weights at every site, and the predicted probabilities.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from snvrag.batches.keys import Key
from snvrag.config.options import from_table, sections
from snvrag.io.checkpoint import load_checkpoint
from snvrag.training.options import Config
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import VALIDATION_SEED, Trainer

NUM_SHOWN = 8
NUM_SITES = 110


def draw(
    truth: NDArray[np.int8],
    hidden: NDArray[np.bool_],
    retrieved: NDArray[np.uint8],
    share: NDArray[np.float32],
    dosage: NDArray[np.float32],
) -> Figure:
    """Draw the alleles of one haplotype, which are hidden, and its predicted probability of ALT.

    Between them are the (NUM_SHOWN, n) alleles of the retrieved haplotypes, shaded by their
    weights, relative to the largest at each site.
    """
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[1, 1, NUM_SHOWN, 2.2])
    titles = (
        "truth",
        "observed",
        "retrieved,\nshaded by\ntheir weight",
        "predicted\nP(ALT) and\ntruth (dots),\nhidden sites",
    )
    for panel, title in zip(axes, titles, strict=True):
        panel.set_ylabel(title, rotation=0, ha="right", va="center")
        panel.set_yticks([])
        panel.tick_params(bottom=panel is axes[3])
        panel.spines[:].set_visible(False)
    cells = {"aspect": "auto", "interpolation": "nearest"}
    colours = ListedColormap(["#dfe7ef", "#1f4e79", "white"])
    for panel, row in zip(axes[:2], (truth, np.where(hidden, 2, truth)), strict=True):
        panel.imshow(row[None], cmap=colours, vmin=0, vmax=2, **cells)
    image = np.ones((*retrieved.shape, 3))
    for allele, colour in ((0, (0.78, 0.84, 0.90)), (1, (0.12, 0.31, 0.47))):
        tint = 1 - (1 - np.array(colour)) * (0.08 + 0.92 * share[..., None])
        image[retrieved == allele] = tint[retrieved == allele]
    axes[2].imshow(image, **cells)
    column = np.arange(truth.size)
    axes[3].bar(column, np.where(hidden, dosage, 0), width=0.9, color="#c0504d")
    axes[3].plot(column[hidden], truth[hidden], ".", color="black", markersize=3.5)
    axes[3].set_ylim(-0.06, 1.06)
    axes[3].set_xlabel("site (frequency above 2%)")
    return figure


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="trained on the demo panel")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("overview.png"))
    parser.add_argument("--sample", type=int, default=12, help="index of a sample")
    parser.add_argument("--window", type=int, default=1, help="index of a window")
    arguments = parser.parse_args()

    content = load_checkpoint(arguments.checkpoint)
    parts = sections(Config).items()
    config = Config(**{name: from_table(kind, content["config"][name]) for name, kind in parts})
    trainer = Trainer(config, load_run_data(config))
    trainer.restore(content)
    loader, network = trainer.val_loader, trainer.network.eval()
    batch = loader.dataset[Key(VALIDATION_SEED, arguments.window, arguments.sample)]
    neighbours = loader.retriever.retrieve(batch)
    with torch.no_grad():
        dosage = network(batch, neighbours).hap_dosage[0, 0].numpy()
        weights = network.weights(neighbours)[0, 0].numpy()
    truth = batch.alleles[0, 0].numpy()
    hidden = batch.hidden[0].numpy()
    af = batch.panel_af[0].numpy()
    common = np.minimum(af, 1 - af) > 0.02
    sites = np.flatnonzero(common)[100 : 100 + NUM_SITES]
    order = np.argsort(-weights[:, sites].sum(1))[:NUM_SHOWN]
    retrieved = neighbours.alleles[0, 0].numpy()[order][:, sites]
    share = weights[order][:, sites] / weights[:, sites].max(0)
    figure = draw(truth[sites], hidden[sites], retrieved, share, dosage[sites])
    figure.savefig(arguments.output, dpi=110)
    print(arguments.output)


if __name__ == "__main__":
    main()
