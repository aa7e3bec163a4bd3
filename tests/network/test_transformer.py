"""The network: what goes in, what must not, and that its short cuts are the long way."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import helpers
import panel_files
from snvrag.batches.batch import ALT, PAD
from snvrag.batches.dataset import WindowDataset
from snvrag.batches.keys import Key
from snvrag.batches.masks import MaskConfig
from snvrag.network.loss import imputation_loss
from snvrag.network.options import NetworkConfig
from snvrag.network.prediction import Prediction
from snvrag.network.transformer import ImputationNetwork
from snvrag.panel.windows import Windows
from snvrag.retrieval.neighbours import Retriever
from snvrag.retrieval.options import RetrievalConfig

NUM_SITES = 130
SMALL = NetworkConfig(network="transformer", width=16, layers=2, heads=2, dropout=0.0)


class World:
    """A panel of 24 samples in two populations, its windows, a dataset and a retriever."""

    def __init__(self, *, size=65, flank=0, k=4):
        panel = panel_files.make_panel(
            helpers.mosaic_haplotypes(48, NUM_SITES, seed=21), populations=["a", "b"] * 12
        )
        self.windows = Windows.split(NUM_SITES, size, flank)
        targets = helpers.own_targets(panel)
        self.dataset = WindowDataset(panel, targets, self.windows, MaskConfig())
        self.retriever = Retriever(panel, self.windows, RetrievalConfig(k=k))

    def pair(self, keys=None):
        last = len(self.windows) - 1
        batch = self.dataset.__getitems__(keys or [Key(0, 0, 1), Key(0, 0, 7), Key(0, last, 2)])
        return batch, self.retriever.retrieve(batch)

    def network(self, config=SMALL, *, shaken=True):
        """A network; shaken: no parameter is at a special starting value any more."""
        torch.manual_seed(0)
        k = self.retriever.config.k
        made = ImputationNetwork(config, num_neighbours=k).eval()
        if shaken:
            with torch.no_grad():
                for parameter in made.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
        return made


@pytest.fixture(scope="module")
def world():
    return World()


def copied_alleles(made, neighbours):
    return (made.weights(neighbours) * (neighbours.alleles == ALT)).sum(2)


def inputs_of(module, run) -> list[torch.Tensor]:
    """Return what a module is given."""
    seen = []
    handle = module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    run()
    handle.remove()
    return seen


# --- shapes and values ----------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "flank", "k"), [(65, 0, 1), (43, 9, 16), (1, 0, 4), (1, 2, 4)])
def test_shapes(window, flank, k):
    world = World(size=window, flank=flank, k=k)
    prediction = world.network()(*world.pair())
    length = world.windows.length
    assert prediction.haplotypes.shape == (3, 2, length, 2)
    assert prediction.genotypes.shape == (3, length, 3)
    for logits in (prediction.haplotypes, prediction.genotypes):
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


def test_softmax_is_taken_once():
    """V18 took it twice, so that a sure 0|0 had dosage 0.54."""
    logits = torch.tensor([[20.0, -20.0], [20.0, -20.0]])[None, :, None]
    sure = Prediction(logits, torch.zeros(1, 1, 3))
    assert float(sure.hap_dosage.sum()) < 1e-6
    odds = Prediction(torch.tensor([[[[0.0, math.log(3)]]]]), torch.zeros(1, 1, 3))
    assert float(odds.hap_dosage) == pytest.approx(0.75)


def test_the_two_haplotypes_have_no_order(world):
    """But for the genotype, whose head has one."""
    batch, neighbours = world.pair()
    made = world.network()
    prediction = made(batch, neighbours)
    batch.alleles, neighbours.alleles = batch.alleles.flip(1), neighbours.alleles.flip(1)
    swapped = made(batch, neighbours)
    torch.testing.assert_close(prediction.haplotypes.flip(1), swapped.haplotypes)


def test_gate_and_heads_are_given_frequencies(world):
    """Of the panel and of the sample's population, which differ."""
    batch, neighbours = world.pair()
    made = world.network()
    frequencies = torch.stack([batch.af, batch.population_af], -1)
    assert (batch.af - batch.population_af).abs().max() > 0.1
    expected = {
        made.gate: frequencies,
        made.haplotype_head: frequencies[:, None].expand(-1, 2, -1, -1),
        made.genotype_head: batch.genotype_frequency,
    }
    for module, columns in expected.items():
        (given,) = inputs_of(module, lambda: made(batch, neighbours))
        assert torch.equal(given[..., -columns.shape[-1] :], columns)
        weight = module[0].weight[:, -columns.shape[-1] :]
        assert weight.any(0).all()


def test_genotypes_come_from_the_haplotypes_probabilities(world):
    """0|1 and 1|0 are classes of their own in its head, and one in the prediction."""
    batch, neighbours = world.pair()
    made = world.network()
    (seen,) = inputs_of(made.genotype_head, lambda: made(batch, neighbours))
    prediction = made(batch, neighbours)
    first, second = prediction.haplotypes.softmax(-1).unbind(1)
    assert torch.equal(seen, torch.cat([first, second, batch.genotype_frequency], -1))
    ordered = made.genotype_head(seen).softmax(-1)
    expected = torch.stack([ordered[..., 0], ordered[..., 1:3].sum(-1), ordered[..., 3]], -1)
    torch.testing.assert_close(prediction.genotypes.softmax(-1), expected)


# --- nothing hidden leaks -------------------------------------------------------------------------


def test_hidden_alleles_change_nothing_and_observed_ones_do():
    world = World(size=43, flank=9)
    made = world.network()
    batch, neighbours = world.pair()
    before = made(batch, neighbours)
    hidden = batch.hidden[batch.window_row][:, None].expand(-1, 2, -1) & (batch.alleles != PAD)
    shown = ~hidden & (batch.alleles != PAD)
    assert hidden.float().mean() > 0.1
    batch.alleles[hidden] ^= 1
    after = made(batch, neighbours)
    assert torch.equal(before.haplotypes, after.haplotypes)
    assert torch.equal(before.genotypes, after.genotypes)
    batch.alleles[shown] ^= 1
    assert not torch.allclose(before.haplotypes, made(batch, neighbours).haplotypes, atol=1e-4)


def test_samples_of_a_batch_do_not_see_each_other(world):
    made = world.network()
    keys = [Key(0, 0, 1), Key(0, 0, 7), Key(0, 1, 2), Key(0, 1, 9)]
    together = made(*world.pair(keys))
    for i, key in enumerate(keys):
        alone = made(*world.pair([key]))
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[i], other[0], atol=1e-5, rtol=1e-4)


def test_padding_changes_nothing():
    """A window that is shorter than the longest of its run is predicted as it would be alone."""
    world = World(size=43, flank=9)  # the outer windows lack a flank
    batch, neighbours = world.pair([Key(0, 0, 1), Key(0, 0, 7)])
    length = int(world.windows.flanked_stops[0] - world.windows.flanked_starts[0])
    assert length < world.windows.length
    made = world.network()
    padded = made(batch, neighbours).haplotypes[:, :, :length]
    for field in ("alleles", "hidden", "scored", "af", "relative_position"):
        setattr(batch, field, getattr(batch, field)[..., :length])
    batch.genotype_frequency = batch.genotype_frequency[:, :length]
    neighbours.alleles = neighbours.alleles[..., :length]
    torch.testing.assert_close(padded, made(batch, neighbours).haplotypes, atol=1e-5, rtol=1e-4)


def test_compiled_layers_are_given_one_size_in_each_mode(world):
    """The largest so far, in training and in evaluation; the answer is that of the batch alone."""
    made, keys = world.network(), [Key(0, 0, s) for s in range(5)]
    expected = {n: made(*world.pair(keys[:n])).haplotypes for n in (5, 2)}
    rows = []
    made.blocks[0].register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[0]))
    for block in made.blocks:
        block.compile = lambda **_: None
    made.forget_padding()
    made.compile_blocks()
    for n, alone in expected.items():
        torch.testing.assert_close(made(*world.pair(keys[:n])).haplotypes, alone)
    made.train()
    for n in (3, 1):
        made(*world.pair(keys[:n]))
    assert rows == [10, 10, 6, 6]
    made.forget_padding()
    made(*world.pair(keys[:2]))
    assert rows[-1] == 4


# --- short cuts are the long way ------------------------------------------------------------------


def test_retrieved_is_the_sum_over_neighbours(world):
    """Every neighbour embedded in full, gated, weighed and summed, one by one."""
    made = world.network()
    batch, neighbours = world.pair()
    sites = made.embedding.site_terms(batch.af, batch.relative_position[batch.window_row])
    query = made.embedding(batch.tokens, sites[:, None])
    frequencies = torch.stack([batch.af, batch.population_af], -1)
    weights = made.weights(neighbours)
    copied = copied_alleles(made, neighbours)
    got = made._retrieved(query, sites, batch, frequencies, copied)

    gate = torch.sigmoid(made.gate(frequencies))
    pooled = torch.zeros(3, 2, 65, 16)
    for k in range(4):
        embedded = made.embedding(neighbours.alleles[:, :, k].long(), sites[:, None])
        pooled = pooled + weights[:, :, k, :, None] * gate[:, None] * embedded
    fused = made.fuse(torch.cat([query, pooled], -1))
    maf = torch.minimum(batch.af, 1 - batch.af).clamp_min(1e-6)
    rarity = torch.from_numpy(np.minimum(np.log1p(1 / maf.numpy()), 3))
    expected = made.fuse_scale * rarity[:, None, :, None] * fused
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


# --- gradients and learning -----------------------------------------------------------------------


def test_gradients_reach_all_parameters(world):
    made = world.network().train()
    batch, neighbours = world.pair()
    imputation_loss(made(batch, neighbours), batch, 2.0).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
        assert torch.isfinite(parameter.grad).all(), name


def test_retrieved_haplotypes_are_embedded_with_gradient(world):
    """V18 had none until late: tokens of the panel alone must train the embedding."""
    made = world.network().train()
    batch, neighbours = world.pair()
    batch.hidden[:] = True  # the query has no REF and no ALT left
    imputation_loss(made(batch, neighbours), batch, 0.0).backward()
    assert made.embedding.token.weight.grad[:2].any(-1).all()


def test_dropout_only_in_training(world):
    batch, neighbours = world.pair()
    made = world.network(replace(SMALL, dropout=0.5))
    assert torch.equal(made(batch, neighbours).genotypes, made(batch, neighbours).genotypes)
    made.train()
    assert not torch.equal(made(batch, neighbours).genotypes, made(batch, neighbours).genotypes)


def test_a_step_along_the_gradient_lowers_the_loss(world):
    """By as much as the gradient says: so forward and backward agree."""
    made = world.network(shaken=False).double()
    batch, neighbours = world.pair()
    for record in (batch, neighbours):
        for field, value in vars(record).items():
            if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
                setattr(record, field, value.double())

    def loss():
        return imputation_loss(made(batch, neighbours), batch, 0.0) / batch.num_scored

    before = loss()
    before.backward()
    norm = sum(p.grad.square().sum() for p in made.parameters() if p.grad is not None)
    size = 1e-4
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.grad is not None:
                parameter -= size / norm * parameter.grad
        assert float(before - loss()) == pytest.approx(size, rel=0.05)


def test_bfloat16_autocast_keeps_logits_in_single(world):
    batch, neighbours = world.pair()
    made = world.network()
    with torch.autocast("cpu", torch.bfloat16):
        prediction = made(batch, neighbours)
    assert prediction.haplotypes.dtype == torch.float32
    exact = made(batch, neighbours)
    assert float((prediction.hap_dosage - exact.hap_dosage).detach().abs().mean()) < 0.05


def test_rarer_sites_than_in_training_are_seen_as_the_rarest(world):
    """A panel of thousands has frequencies that one of hundreds never showed the network."""
    batch, neighbours = world.pair()
    made = world.network()
    made.least_frequency.fill_(0.01)

    def dosage(af: float) -> torch.Tensor:
        changed = {name: getattr(batch, name).clone() for name in ("af", "genotype_frequency")}
        changed["af"][:, 3] = af
        changed["genotype_frequency"][:, 3] = torch.tensor([1 - af, 0, af])
        return made(replace(batch, **changed), neighbours).hap_dosage

    with torch.no_grad():
        expected = dosage(0.01)
        for af in (0.0, 1e-4, 0.0099):
            # What is copied keeps its own share of the frequency, a hundredth of it at the most.
            torch.testing.assert_close(dosage(af), expected, rtol=0, atol=1e-3)
        assert (dosage(0.3) - expected).abs().max() > 1e-3


# --- dense retrieval ------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 4])
def test_gradient_reaches_the_weights_of_sites(k):
    """Through the distances of the neighbours that were found, even of a single one."""
    world = World(k=k)
    batch, neighbours = world.pair()
    torch.manual_seed(0)
    made = ImputationNetwork(SMALL, num_neighbours=k, dense=True)
    weights = made.weights(neighbours, batch, made.site_weights(batch.panel_af))
    total = weights.sum(2)
    assert weights.shape == neighbours.alleles.shape
    assert ((total > 0.5) & (total < 1)).all()
    imputation_loss(made(batch, neighbours), batch, 0.0).backward()
    last = made.site_scale.perceptron[-1]
    assert last.weight.grad.abs().max() > 0
    # A site that is hidden counts for nothing.
    changed = replace(neighbours, alleles=neighbours.alleles.clone())
    hidden = batch.hidden[batch.window_row][:, None, None].expand_as(changed.alleles)
    changed.alleles[hidden] ^= 1
    again = made.weights(changed, batch, made.site_weights(batch.panel_af))
    assert torch.equal(again, weights)
