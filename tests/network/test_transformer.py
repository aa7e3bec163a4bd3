"""The network: what goes in, what must not, and that its short cuts are the long way."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from snvrag.training.setup import network_config
from torch.nn import functional as F

from snvrag.batches.batch import ALT, MASK, PAD
from snvrag.batches.dataset import Targets, WindowDataset
from snvrag.batches.keys import Key
from snvrag.batches.masks import MaskRule
from snvrag.li_stephens.model import LiStephensModel
from snvrag.network.loss import imputation_loss
from snvrag.network.transformer import (
    Block,
    FrequencyEncoding,
    ImputationNetwork,
    LocalWeights,
    NetworkConfig,
    Prediction,
    RankWeights,
    sinusoid,
)
from snvrag.panel.windows import Windows
from snvrag.retrieval.retriever import Retriever
from snvrag.training.options import parse_arguments

NUM_SITES = 130
SMALL = NetworkConfig(width=16, layers=2, heads=2, span=0, num_neighbours=4)


class World:
    """A panel of 24 samples in two populations, its windows, a dataset and a retriever."""

    def __init__(self, panel, *, size=65, flank=0, k=4, segment=20, ne=()):
        self.panel = panel
        self.windows = Windows.split(NUM_SITES, size, flank)
        self.targets = Targets(
            panel, np.ones(NUM_SITES, bool), np.arange(24), panel.sample_population
        )
        li_stephens = LiStephensModel(panel, ne=ne, mismatch=0.01, flank=9) if ne else None
        self.dataset = WindowDataset(panel, self.targets, self.windows, MaskRule(), li_stephens)
        self.retriever = Retriever(panel, self.windows, k=k, segment_size=segment, segment_flank=8)

    def batch(self, keys=None, epoch=0):
        last = len(self.windows) - 1
        keys = keys or [Key(epoch, 0, 1), Key(epoch, last, 2), Key(epoch, 0, 7)]
        return self.dataset.__getitems__(keys)

    def pair(self, **options):
        batch = self.batch(**options)
        return batch, self.retriever.retrieve(batch)


@pytest.fixture(scope="module")
def panel(mosaic_haplotypes, make_panel):
    return make_panel(mosaic_haplotypes(48, NUM_SITES, seed=21), populations=["a", "b"] * 12)


@pytest.fixture(scope="module")
def world(panel):
    return World(panel)


def network(
    size: NetworkConfig = SMALL, *, seed: int = 0, shaken: bool = True
) -> ImputationNetwork:
    """A network; shaken: no parameter is at a special starting value any more."""
    torch.manual_seed(seed)
    made = ImputationNetwork(size).eval()
    if shaken:
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return made


SIZES = {
    "local": SMALL,
    "rank": dataclasses.replace(SMALL, weighting="rank"),
    "no neighbour prior": dataclasses.replace(SMALL, neighbour_prior=False),
    "as V18": dataclasses.replace(SMALL, weighting="rank", neighbour_prior=False),
    "span 8": dataclasses.replace(SMALL, span=8),
    "span 1": dataclasses.replace(SMALL, span=1),
    "span 64": dataclasses.replace(SMALL, span=64),
    "long span": dataclasses.replace(SMALL, span=1000),
    "dropout": dataclasses.replace(SMALL, dropout=0.5),
}

# With probabilities of two Li-Stephens models, one of long and one of short segments.
NE = (1e4, 1e6)
MODELS = {
    name: dataclasses.replace(SIZES[name], num_models=2)
    for name in ("local", "rank", "no neighbour prior")
}


# --- shapes and values ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("k", [1, 16])
@pytest.mark.parametrize(("window", "flank"), [(65, 0), (43, 9), (1, 0), (1, 2)])
def test_shapes(panel, name, k, window, flank):
    world = World(panel, size=window, flank=flank, k=k)
    batch, neighbours = world.pair()
    made = network(dataclasses.replace(SIZES[name], num_neighbours=k))
    prediction = made(batch, neighbours)
    length = world.windows.length
    assert prediction.haplotypes.shape == (3, 2, length, 2)
    assert prediction.genotypes.shape == (3, length, 3)
    assert prediction.haplotypes.dtype == prediction.genotypes.dtype == torch.float32
    assert torch.isfinite(prediction.haplotypes).all()
    assert torch.isfinite(prediction.genotypes).all()
    dosage = prediction.hap_dosage
    assert dosage.shape == (3, 2, length)
    assert ((dosage >= 0) & (dosage <= 1)).all()


def test_softmax_is_taken_once():
    """V18 took it twice, so that a sure 0|0 had dosage 0.54."""
    logits = torch.tensor([[20.0, -20.0], [20.0, -20.0]])[None, :, None]
    sure = Prediction(logits, torch.zeros(1, 1, 3))
    assert float(sure.hap_dosage.sum()) < 1e-6
    even = Prediction(torch.zeros(1, 2, 1, 2), torch.zeros(1, 1, 3))
    assert float(even.hap_dosage.sum()) == 1
    odds = Prediction(torch.tensor([[[[0.0, math.log(3)]]]]), torch.zeros(1, 1, 3))
    assert float(odds.hap_dosage) == pytest.approx(0.75)


def test_the_network_can_be_sure(panel):
    """All neighbours agree on REF at a site where ALT is rare: dosage near 0, not 0.54."""
    world = World(panel)
    batch, neighbours = world.pair()
    agree = (neighbours.alleles == 0).all(2) & (batch.af[batch.window_row] < 0.1)[:, None]
    dosage = network(shaken=False)(batch, neighbours).hap_dosage
    assert agree.any()
    assert float(dosage[agree].detach().max()) < 0.02


def test_starts_from_the_copied_alleles(world):
    """With copying, an untrained network says what its weighed neighbours say."""
    batch, neighbours = world.pair()
    made = network(shaken=False)
    copied = (made.weights(neighbours) * (neighbours.alleles == ALT)).sum(2)
    dosage = made(batch, neighbours).hap_dosage
    assert float((dosage - copied).detach().abs().max()) < 0.03


def test_genotypes_start_from_the_haplotypes(world):
    prediction = network(shaken=False)(*world.pair())
    first, second = prediction.haplotypes.softmax(-1).unbind(1)
    expected = torch.stack(
        [
            first[..., 0] * second[..., 0],
            first[..., 0] * second[..., 1] + first[..., 1] * second[..., 0],
            first[..., 1] * second[..., 1],
        ],
        -1,
    )
    torch.testing.assert_close(prediction.genotypes.softmax(-1), expected)


@pytest.mark.parametrize("name", SIZES)
def test_the_two_haplotypes_have_no_order(world, name):
    batch, neighbours = world.pair()
    made = network(SIZES[name])
    prediction = made(batch, neighbours)
    batch.alleles = batch.alleles.flip(1)
    for field in ("alleles", "features", "indices", "distances"):
        setattr(neighbours, field, getattr(neighbours, field).flip(1))
    swapped = made(batch, neighbours)
    torch.testing.assert_close(prediction.haplotypes.flip(1), swapped.haplotypes)
    torch.testing.assert_close(prediction.genotypes, swapped.genotypes)


@pytest.mark.parametrize("name", ["local", "no neighbour prior", "span 8"])
def test_local_weights_do_not_depend_on_the_order_of_neighbours(world, name):
    batch, neighbours = world.pair()
    made = network(SIZES[name])
    prediction = made(batch, neighbours)
    neighbours.alleles = neighbours.alleles[:, :, [2, 0, 3, 1]]
    neighbours.features = neighbours.features[:, :, [2, 0, 3, 1]]
    turned = made(batch, neighbours)
    torch.testing.assert_close(prediction.haplotypes, turned.haplotypes, atol=1e-5, rtol=1e-4)


# --- nothing hidden leaks -------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("flank", [0, 9])
def test_hidden_alleles_change_nothing(panel, name, flank):
    world = World(panel, size=43, flank=flank)
    made = network(SIZES[name])
    batch = world.batch()
    before = made(batch, world.retriever.retrieve(batch))
    hidden = batch.hidden[batch.window_row][:, None].expand(-1, 2, -1) & (batch.alleles != PAD)
    assert hidden.float().mean() > 0.1
    batch.alleles[hidden] ^= 1
    after = made(batch, world.retriever.retrieve(batch))
    assert torch.equal(before.haplotypes, after.haplotypes)
    assert torch.equal(before.genotypes, after.genotypes)


@pytest.mark.parametrize("name", SIZES)
def test_observed_alleles_do_change_something(world, name):
    """Else the test above would pass for a network that is blind."""
    batch, neighbours = world.pair()
    made = network(SIZES[name])
    before = made(batch, neighbours).haplotypes
    shown = ~batch.hidden[batch.window_row][:, None].expand(-1, 2, -1) & (batch.alleles != PAD)
    batch.alleles[shown] ^= 1
    assert not torch.allclose(before, made(batch, neighbours).haplotypes, atol=1e-4)


def test_samples_of_a_batch_do_not_see_each_other(world):
    made = network()
    keys = [Key(0, 0, 1), Key(0, 1, 2), Key(0, 0, 7), Key(0, 1, 9)]
    together = made(*world.pair(keys=keys))
    for i, key in enumerate(keys):
        alone = made(*world.pair(keys=[key]))
        torch.testing.assert_close(
            together.haplotypes[i], alone.haplotypes[0], atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(together.genotypes[i], alone.genotypes[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "ne"),
    [*((SIZES[name], ()) for name in ("local", "as V18", "span 8")), (MODELS["local"], NE)],
    ids=["local", "as V18", "span 8", "models"],
)
def test_padding_changes_nothing(panel, size, ne):
    """A window that is shorter than the longest of its run is predicted as it would be alone."""
    world = World(panel, size=43, flank=9, ne=ne)  # the outer windows lack a flank
    batch, neighbours = world.pair(keys=[Key(0, 0, 1), Key(0, 0, 7)])
    length = int(world.windows.flanked_stops[0] - world.windows.flanked_starts[0])
    assert length < world.windows.length
    made = network(size)
    padded = made(batch, neighbours).haplotypes[:, :, :length]
    for field in (
        "alleles",
        "hidden",
        "scored",
        "af",
        "relative_position",
        "population_af",
        "li_stephens",
    ):
        setattr(batch, field, getattr(batch, field)[..., :length])
    batch.genotype_frequency = batch.genotype_frequency[:, :length]
    for field in ("alleles", "features"):
        setattr(neighbours, field, getattr(neighbours, field)[..., :length])
    torch.testing.assert_close(padded, made(batch, neighbours).haplotypes, atol=1e-5, rtol=1e-4)


# --- Li-Stephens models ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models_world(panel):
    return World(panel, ne=NE)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("window", "flank"), [(65, 0), (43, 9), (1, 0)])
def test_shapes_with_models(panel, name, window, flank):
    world = World(panel, size=window, flank=flank, ne=NE)
    prediction = network(MODELS[name])(*world.pair())
    length = world.windows.length
    assert prediction.haplotypes.shape == (3, 2, length, 2)
    assert torch.isfinite(prediction.haplotypes).all()
    assert torch.isfinite(prediction.genotypes).all()


@pytest.mark.parametrize("name", MODELS)
def test_each_model_is_seen(models_world, name):
    batch, neighbours = models_world.pair()
    made = network(MODELS[name])
    before = made(batch, neighbours).haplotypes
    for model in range(2):
        batch, neighbours = models_world.pair()
        batch.li_stephens[0, 1, model] = 1 - batch.li_stephens[0, 1, model]
        after = made(batch, neighbours).haplotypes
        assert not torch.allclose(before[0, 1], after[0, 1], atol=1e-4)
        torch.testing.assert_close(before[1:], after[1:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_two_haplotypes_have_no_order_with_models(models_world, name):
    batch, neighbours = models_world.pair()
    made = network(MODELS[name])
    prediction = made(batch, neighbours)
    batch.alleles, batch.li_stephens = batch.alleles.flip(1), batch.li_stephens.flip(1)
    for field in ("alleles", "features", "indices", "distances"):
        setattr(neighbours, field, getattr(neighbours, field).flip(1))
    swapped = made(batch, neighbours)
    torch.testing.assert_close(prediction.haplotypes.flip(1), swapped.haplotypes)
    torch.testing.assert_close(prediction.genotypes, swapped.genotypes)


@torch.no_grad()
@pytest.mark.parametrize("shaken", [False, True])
def test_prior_is_a_mixture_of_its_sources(models_world, shaken):
    """Site by site: shares from rarity and from how far each source is from the frequency."""
    batch, neighbours = models_world.pair()
    made = network(MODELS["local"], shaken=shaken)
    copied = (made.weights(neighbours) * (neighbours.alleles == ALT)).sum(2)
    got = made._copy_prior(copied, batch).exp()
    error = float(made.af_mixture.sigmoid())
    for b, hap, s in [(0, 0, 0), (0, 1, 64), (1, 0, 17), (2, 1, 40)]:
        af = batch.af[b, s]
        sources = torch.stack([copied[b, hap, s], *batch.li_stephens[b, hap, :, s]])
        rarity = torch.log10(torch.minimum(af, 1 - af).clamp_min(1e-4))
        shares = made.prior_share(torch.cat([rarity[None], (sources - af).abs()])).softmax(-1)
        assert shares.shape == (3,)
        alt = float((1 - error) * (shares * sources).sum() + error * af)
        assert sources.min() - 0.02 <= alt <= sources.max() + 0.02
        expected = min(max(alt, 1e-4), 1 - 1e-4)
        torch.testing.assert_close(got[b, hap, s], torch.tensor([1 - expected, expected]))


def test_an_untrained_network_says_what_its_sources_agree_on(models_world):
    batch, neighbours = models_world.pair()
    made = network(MODELS["local"], shaken=False)
    copied = (made.weights(neighbours) * (neighbours.alleles == ALT)).sum(2)
    sources = torch.cat([copied[:, :, None], batch.li_stephens], 2)
    dosage = made(batch, neighbours).hap_dosage
    assert (dosage > sources.amin(2) - 0.03).all()
    assert (dosage < sources.amax(2) + 0.03).all()


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_all_parameters_with_models(models_world, name):
    made = network(MODELS[name]).train()
    batch, neighbours = models_world.pair()
    imputation_loss(made(batch, neighbours), batch, 2.0).backward()
    without = {
        parameter
        for parameter, value in made.named_parameters()
        if value.grad is None or not value.grad.any()
    }
    assert without - {"weights.score.4.bias"} == set()


# --- short cuts are the long way ------------------------------------------------------------------


def test_sinusoid():
    """Vaswani et al., 2017, section 3.5."""
    encoded = sinusoid(50, 16, torch.zeros(1))
    for position in (0, 1, 17, 49):
        for i in range(8):
            angle = position / 10_000 ** (2 * i / 16)
            assert float(encoded[position, 2 * i]) == pytest.approx(math.sin(angle), abs=1e-5)
            assert float(encoded[position, 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-5)


def test_frequency_encoding():
    torch.manual_seed(0)
    made = FrequencyEncoding(16)
    frequencies = made.log_frequency.exp()
    assert frequencies.shape == (32,)
    expected = torch.from_numpy(np.geomspace(1, 100, 32)).float()
    torch.testing.assert_close(frequencies, expected, rtol=1e-5, atol=0)
    assert made.log_frequency.requires_grad
    af = torch.tensor([[0.0, 0.013, 0.5, 1.0]])
    waves = [f(2 * math.pi * af[..., None] * frequencies) for f in (torch.sin, torch.cos)]
    torch.testing.assert_close(made(af), made.perceptron(torch.cat(waves, -1)))


def test_embedding_is_that_of_each_token_on_its_own(world):
    """The formula of `SiteEmbedding`'s docstring, token by token, without its short cut."""
    embedding = network().embedding
    batch = world.batch()
    tokens, af = batch.tokens, batch.af
    position = batch.relative_position[batch.window_row]
    place = F.gelu(embedding.second_place(F.gelu(embedding.first_place(position[:, None, :]))))
    place = place.transpose(1, 2)
    summed = embedding.token(tokens) + (embedding.frequency(af) + sinusoid(65, 16, af))[:, None]
    torch.testing.assert_close(summed, embedding.additive(tokens, af[:, None]))
    joined = embedding.join_embedding(summed) + embedding.join_place(place)[:, None]
    expected = embedding.norm(summed + joined)
    sites = embedding.site_terms(af, position)
    got = embedding(tokens, sites[:, None])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert set(tokens.unique().tolist()) == {0, 1, MASK}


@pytest.mark.parametrize("name", ["local", "rank", "as V18"])
def test_retrieved_is_the_sum_over_neighbours(world, name):
    """Every neighbour embedded in full, gated, weighed and summed, one by one."""
    made = network(SIZES[name])
    batch, neighbours = world.pair()
    row, length = batch.window_row, 65
    sites = made.embedding.site_terms(batch.af, batch.relative_position[row])
    query = made.embedding(batch.tokens, sites[:, None])
    frequencies = torch.stack([batch.af, batch.population_af], -1)
    weights = made.weights(neighbours)
    copied = (weights * (neighbours.alleles == ALT)).sum(2)
    got = made._retrieved(query, sites, batch, neighbours, frequencies, weights, copied)

    gate = torch.sigmoid(made.gate(frequencies))
    pooled = torch.zeros(3, 2, length, 16)
    seen = torch.zeros(3, 2, length, 7)
    for k in range(4):
        tokens = neighbours.alleles[:, :, k].long()
        embedded = made.embedding(tokens, sites[:, None])
        weight = weights[:, :, k, :, None]
        pooled = pooled + weight * gate[:, None] * embedded
        features = neighbours.features[:, :, k].transpose(2, 3)
        seen = seen + weight * torch.cat([features, (tokens == ALT)[..., None].float()], -1)
    if made.size.weighting == "local":
        pooled = pooled + made.evidence(seen)
    fused = made.fuse(torch.cat([query, pooled], -1))
    maf = torch.minimum(batch.af, 1 - batch.af).clamp_min(1e-6)
    rarity = np.minimum(np.log1p(1 / maf.numpy()), 3)
    expected = made.fuse_scale * torch.from_numpy(rarity)[:, None, :, None] * fused
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("made", [LocalWeights(), RankWeights(4)], ids=["local", "rank"])
def test_weights_sum_to_1(world, made):
    _, neighbours = world.pair()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    weights = made(neighbours)
    assert weights.shape == neighbours.alleles.shape
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 2, 65))


def test_rank_weights_are_the_same_at_all_sites(world):
    made = RankWeights(4)
    torch.nn.init.normal_(made.logit)
    weights = made(world.pair()[1])
    assert (weights == weights[:1, :1, :, :1]).all()
    assert len(weights[0, 0, :, 0].unique()) == 4


def naive_attention(block: Block, qkv: torch.Tensor) -> torch.Tensor:
    """Attention among the real sites of a stretch, and no others."""
    rows, length, _ = qkv.shape
    query, key, value = qkv.reshape(rows, length, 3, block.heads, -1).permute(2, 0, 3, 1, 4)
    stretch = (torch.arange(length) + block.shift) // (block.span or length + block.shift)
    together = stretch[:, None] == stretch[None]
    if block.span >= length:
        together[:] = True
    score = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
    weights = score.masked_fill(~together, -torch.inf).softmax(-1)
    return (weights @ value).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("length", "span", "shift"),
    [(24, 0, 0), (24, 30, 15), (24, 24, 12), (24, 8, 0), (1, 0, 0), (1, 4, 2), (8, 1, 0)],
)
def test_attention_within_whole_stretches(length, span, shift):
    torch.manual_seed(0)
    block = Block(16, 2, 0.0, span, shift)
    qkv = torch.randn(3, length, 48)
    torch.testing.assert_close(block._attend(qkv), naive_attention(block, qkv))


@pytest.mark.parametrize(
    ("length", "span", "shift"), [(24, 8, 4), (22, 8, 0), (22, 8, 4), (9, 8, 4)]
)
def test_attention_within_stretches_that_the_window_cuts(length, span, shift):
    """The sites missing from a stretch at the window's ends must not take a share."""
    torch.manual_seed(0)
    block = Block(16, 2, 0.0, span, shift)
    qkv = torch.randn(3, length, 48)
    torch.testing.assert_close(block._attend(qkv), naive_attention(block, qkv))


def test_span_bounds_what_a_site_sees():
    torch.manual_seed(0)
    block = Block(16, 2, 0.0, 8, 4)
    x = torch.randn(1, 40, 16)
    changed = x.clone()
    changed[0, 21] = torch.randn(16)
    differs = (block(x) - block(changed)).abs().amax(-1)[0] > 1e-6
    assert differs.nonzero().ravel().tolist() == list(range(20, 28))


def test_shifted_layers_join_neighbouring_stretches(world):
    shifts = [block.shift for block in network(dataclasses.replace(SMALL, span=8, layers=4)).blocks]
    assert shifts == [0, 4, 0, 4]


# --- gradients and learning -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["local", "rank", "no neighbour prior", "as V18", "span 8", "dropout"]
)
def test_gradients_reach_all_parameters(world, name):
    made = network(SIZES[name]).train()
    batch, neighbours = world.pair()
    imputation_loss(made(batch, neighbours), batch, 2.0).backward()
    without = {
        parameter
        for parameter, value in made.named_parameters()
        if value.grad is None or not value.grad.any()
    }
    # Adding the same to all scores of a softmax changes nothing.
    assert without - {"weights.score.4.bias"} == set()
    assert all(
        torch.isfinite(value.grad).all() for value in made.parameters() if value.grad is not None
    )


def test_retrieved_haplotypes_are_embedded_with_gradient(world):
    """V18 had none until late: tokens of the panel alone must train the embedding."""
    made = network(SIZES["as V18"]).train()
    batch, neighbours = world.pair()
    batch.hidden[:] = True  # the query has no REF and no ALT left
    imputation_loss(made(batch, neighbours), batch, 0.0).backward()
    assert made.embedding.token.weight.grad[:2].any(-1).all()


def test_fusion_starts_small():
    assert float(network(shaken=False).fuse_scale.detach()) == pytest.approx(0.1)
    assert network(shaken=False).fuse_scale.requires_grad


def test_dropout_only_in_training(world):
    batch, neighbours = world.pair()
    made = network(SIZES["dropout"])
    assert torch.equal(made(batch, neighbours).genotypes, made(batch, neighbours).genotypes)
    made.train()
    assert not torch.equal(made(batch, neighbours).genotypes, made(batch, neighbours).genotypes)


@pytest.mark.parametrize("name", ["local", "as V18"])
def test_learns_a_batch_by_heart(world, name):
    made = network(SIZES[name], shaken=False).train()
    batch, neighbours = world.pair()
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = imputation_loss(made(batch, neighbours), batch, 0.0) / batch.num_scored
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_bfloat16_autocast_keeps_logits_in_single(world):
    batch, neighbours = world.pair()
    made = network()
    with torch.autocast("cpu", torch.bfloat16):
        prediction = made(batch, neighbours)
    assert prediction.haplotypes.dtype == torch.float32
    exact = made(batch, neighbours)
    assert float((prediction.hap_dosage - exact.hap_dosage).detach().abs().mean()) < 0.05


# --- presets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["small", "v18"])
def test_presets_build_and_learn(panel, preset):
    config = parse_arguments(["--preset", preset])
    size = network_config(config)
    if preset == "v18":
        assert (size.width, size.layers, size.heads, size.num_neighbours) == (384, 12, 12, 1)
        assert (size.dropout, size.span, size.weighting, size.neighbour_prior) == (
            0.1,
            0,
            "rank",
            False,
        )
        assert config.window_size == 1020
    ne = config.ne if config.li_stephens else ()
    world = World(panel, size=10, k=config.k, segment=config.segment_size, ne=ne)
    batch, neighbours = world.pair()
    torch.manual_seed(0)
    made = ImputationNetwork(size).train()
    loss = imputation_loss(made(batch, neighbours), batch, config.focal_gamma)
    loss.backward()
    assert torch.isfinite(loss)
    assert made.haplotype_head[2].weight.grad.any()


def test_block_is_a_transformer_layer():
    torch.manual_seed(0)
    block = Block(16, 4, 0.0, 0, 0).eval()
    reference = torch.nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
    ).eval()
    pairs = {
        "self_attn.in_proj": block.qkv, "self_attn.out_proj": block.project,
        "linear1": block.feed_forward[0], "linear2": block.feed_forward[2],
        "norm1": block.attention_norm, "norm2": block.feed_norm,
    }  # fmt: skip
    state = {}
    for name, module in pairs.items():
        joint = "_" if name.endswith("in_proj") else "."
        state |= {f"{name}{joint}weight": module.weight, f"{name}{joint}bias": module.bias}
    reference.load_state_dict(state)
    x = torch.randn(3, 11, 16)
    with torch.no_grad():
        torch.testing.assert_close(block(x), reference(x), atol=1e-5, rtol=1e-5)


def test_rarer_sites_than_in_training_are_seen_as_the_rarest(world):
    """A panel of thousands has frequencies that one of hundreds never showed the network."""
    batch, neighbours = world.pair()
    made = network(SIZES["local"]).eval()
    made.least_frequency.fill_(0.01)

    def predict(af: float) -> Prediction:
        changed = {name: getattr(batch, name).clone() for name in ("af", "population_af")}
        changed["af"][:, 3] = changed["population_af"][:, 3] = af
        return made(dataclasses.replace(batch, **changed), neighbours)

    with torch.no_grad():
        expected = predict(0.01)
        for af in (0.0, 1e-4, 0.0099):
            # What is copied keeps its own share of the frequency, a hundredth of it at the most.
            got = predict(af)
            torch.testing.assert_close(got.hap_dosage, expected.hap_dosage, rtol=0, atol=1e-3)
        assert (predict(0.3).hap_dosage - expected.hap_dosage).abs().max() > 1e-3
