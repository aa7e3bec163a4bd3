"""Draw the README's picture from a trained model: ``python bench/plot_overview.py CHECKPOINT``.

One validation haplotype of the demo panel over a stretch of sites: what is observed, the haplotypes
retrieved and how the network weighs them at every site, and what it predicts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from snvrag.checkpoint import load_checkpoint
from snvrag.config import Config
from snvrag.keys import Key
from snvrag.sources import load_sources
from snvrag.trainer import VALIDATION_SEED, Trainer

NUM_SHOWN = 8
NUM_SITES = 110


def main() -> None:
    """Load, predict one window, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("overview.png"))
    parser.add_argument("--sample", type=int, default=12, help="validation sample")
    parser.add_argument("--window", type=int, default=1)
    arguments = parser.parse_args()

    content = load_checkpoint(arguments.checkpoint)
    settings = {**content["config"], "mask_rates": tuple(content["config"]["mask_rates"])}
    trainer = Trainer(
        Config(**{**settings, "resume": "", "resume_epoch": -1}), load_sources(Config())
    )
    trainer.restore(content)
    feed, network = trainer.val_feed, trainer.network.eval()
    batch = feed.dataset[Key(VALIDATION_SEED, arguments.window, arguments.sample)]
    neighbours = feed.retriever.retrieve(batch)
    with torch.no_grad():
        dosage = network(batch, neighbours).hap_dosage[0, 0].numpy()
        weights = network.weights(neighbours)[0, 0].numpy()
    truth = batch.alleles[0, 0].numpy()
    hidden = batch.hidden[0].numpy()
    af = batch.panel_af[0].numpy()
    common = np.minimum(af, 1 - af) > 0.02
    sites = np.flatnonzero(common)[100 : 100 + NUM_SITES]
    order = np.argsort(-weights[:, sites].sum(1))[:NUM_SHOWN]
    copied = neighbours.alleles[0, 0].numpy()[order][:, sites]

    light, dark = "#dfe7ef", "#1f4e79"
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[1, 1, NUM_SHOWN, 2.2])
    alleles = ListedColormap([light, dark, "white"])
    rows = [("truth", truth[sites]), ("given", np.where(hidden[sites], 2, truth[sites]))]
    for panel, (title, row) in zip(axes[:2], rows, strict=True):
        panel.imshow(
            row[None], cmap=alleles, vmin=0, vmax=2, aspect="auto", interpolation="nearest"
        )
        panel.set_ylabel(title, rotation=0, ha="right", va="center")
    share = weights[order][:, sites] / weights[:, sites].max(0)
    image = np.ones((NUM_SHOWN, sites.size, 3))
    for allele, color in ((0, (0.78, 0.84, 0.90)), (1, (0.12, 0.31, 0.47))):
        where = copied == allele
        tint = 1 - (1 - np.array(color)) * (0.08 + 0.92 * share[..., None])
        image[where] = tint[where]
    axes[2].imshow(image, aspect="auto", interpolation="nearest")
    axes[2].set_ylabel("retrieved,\nshaded by\ntheir weight", rotation=0, ha="right", va="center")
    place = np.arange(sites.size)
    axes[3].bar(place, np.where(hidden[sites], dosage[sites], 0), width=0.9, color="#c0504d")
    axes[3].plot(
        place[hidden[sites]], truth[sites][hidden[sites]], ".", color="black", markersize=3.5
    )
    axes[3].set_ylim(-0.06, 1.06)
    axes[3].set_ylabel("predicted\nP(ALT) and\ntruth (dots),\nhidden sites", rotation=0, ha="right",
                       va="center")  # fmt: skip
    axes[3].set_xlabel("site (frequency above 2%)")
    for panel in axes:
        panel.set_yticks([])
        panel.tick_params(bottom=panel is axes[3])
        panel.spines[:].set_visible(False)
    figure.savefig(arguments.output, dpi=110)
    print(arguments.output)


if __name__ == "__main__":
    main()
