"""Tests of bench/masks_apart.py: what is copied with each mask of the index."""

from __future__ import annotations

import masks_apart
import numpy as np
import pytest
import torch

from helpers import mosaic_haplotypes, own_targets
from panel_files import alleles_of, make_panel
from snvrag.batches.batch import MASK
from snvrag.batches.keys import VALIDATION_SEED
from snvrag.training.run_data import RunData
from training_runs import make_trainer

SMALL = ["--preset", "v18", "--width", "8", "--layers", "1", "--heads", "1", "--window-size", "50"]


@pytest.fixture
def trainer():
    """A network with any weights, on a panel whose last window is short."""
    panel = make_panel(mosaic_haplotypes(40, 120, seed=9))
    targets = own_targets(panel)
    return make_trainer([*SMALL, "--threads", "1"], RunData(panel, targets, targets))


def retriever(trainer, way):
    return masks_apart.EmbeddingRetriever(trainer, trainer.train_loader, way)


def test_masked_alike_it_is_the_retriever_of_the_package(trainer):
    for batch, neighbours in trainer.train_loader.batches(0):
        assert torch.equal(retriever(trainer, "alike").retrieve(batch).alleles, neighbours.alleles)


@torch.no_grad()
@pytest.mark.parametrize(
    ("way", "epoch"), [("apart", 0), ("apart", 3), ("stale", 0), ("stale", 3), ("alike", 3)]
)
def test_the_nearest_by_embedding_is_copied(trainer, way, epoch):
    """Every embedding in full, as V18 has them, the index under its own mask."""
    trainer.epoch = epoch
    panel, embedding = trainer.data.panel, trainer.network.embedding
    alleles = torch.from_numpy(alleles_of(panel)).long()
    found = retriever(trainer, way)
    for batch, _ in trainer.train_loader.batches(epoch):
        pairs = found.retrieve(batch).alleles[:, :, 0]
        (window,) = batch.windows.tolist()
        start, stop = int(trainer.windows.starts[window]), int(trainer.windows.stops[window])
        seed = masks_apart.index_seed(way, epoch, epoch)
        mask = batch.hidden[0, : stop - start].numpy()
        if seed != epoch:
            u = np.random.RandomState(seed * 10_000 + window).random_sample(stop - start)
            mask = u < np.where(panel.af[start:stop] < 0.05, 0.7, 0.3)
        af = batch.panel_af[0, : stop - start]
        index = alleles[:, start:stop].masked_fill(torch.from_numpy(mask), MASK)
        keys = embedding.additive(index, af).flatten(1).double()
        tokens = batch.tokens[..., : stop - start]
        samples = batch.panel_sample.tolist()
        for sample, two, copied in zip(samples, tokens, pairs, strict=True):
            others = np.setdiff1d(np.arange(40), [2 * sample, 2 * sample + 1])
            queries = embedding.additive(two, af).flatten(1).double()
            distance = torch.cdist(queries, keys[others]).square()
            for nearest, got in zip(distance, copied[:, : stop - start], strict=True):
                same = (alleles[others, start:stop] == got).all(1)
                assert float(nearest[same].min()) == pytest.approx(float(nearest.min()), rel=1e-5)


def test_seeds_of_the_index():
    seeds = {
        way: [masks_apart.index_seed(way, *pair) for pair in ((0, 0), (3, 3), (0, VALIDATION_SEED))]
        for way in masks_apart.WAYS
    }
    own = masks_apart.OWN_SEED
    assert seeds == {
        "alike": [0, 3, VALIDATION_SEED],
        "apart": [own, 0, own],
        "stale": [0, 0, VALIDATION_SEED],
    }


def test_the_table_has_every_epoch(tmp_path, tiny_vcf, capsys):
    options = ["--panel", str(tiny_vcf), "--window-size", "64", "--epochs", "2", "--width", "8"]
    assert masks_apart.main(["--output", str(tmp_path), *options, "--threads", "1"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()[-9:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    names = ["untrained", "epoch 1", "epoch 2"]
    assert [row[:2] for row in cells] == [[w, n] for w in masks_apart.WAYS for n in names]
    assert [row[5] == "" for row in cells] == 3 * [True, False, False]
    assert masks_apart.main(["--output", str(tmp_path), "--panel", "none.vcf"]) == 2
    assert capsys.readouterr().err == "masks_apart.py: error: none.vcf: no such file\n"
