"""Layers against their formulas, written the long way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from snvrag.batches.batch import Neighbours
from snvrag.network.layers import (
    Block,
    FrequencyEncoding,
    RankWeights,
    SiteEmbedding,
    sinusoid,
)


def test_sinusoid():
    """Vaswani et al., 2017, section 3.5."""
    encoded = sinusoid(50, 16, torch.zeros(1))
    position = np.arange(50)[:, None] / 10_000 ** (2 * np.arange(8) / 16)
    np.testing.assert_allclose(encoded[:, ::2], np.sin(position), atol=1e-5)
    np.testing.assert_allclose(encoded[:, 1::2], np.cos(position), atol=1e-5)


def test_frequency_encoding():
    torch.manual_seed(0)
    made = FrequencyEncoding(16)
    frequencies = made.log_frequency.exp()
    expected = torch.from_numpy(np.geomspace(1, 100, 32)).float()
    torch.testing.assert_close(frequencies, expected, rtol=1e-5, atol=0)
    assert made.log_frequency.requires_grad
    af = torch.tensor([[0.0, 0.013, 0.5, 1.0]])
    waves = [f(2 * math.pi * af[..., None] * frequencies) for f in (torch.sin, torch.cos)]
    torch.testing.assert_close(made(af), made.perceptron(torch.cat(waves, -1)))


def test_embedding_is_that_of_each_token_on_its_own():
    """The formula of `SiteEmbedding`'s docstring, token by token, without its short cut."""
    torch.manual_seed(0)
    embedding = SiteEmbedding(16)
    tokens, af = torch.randint(4, (3, 2, 65)), torch.rand(3, 65)
    position = torch.rand(3, 65).sort(-1).values
    place = F.gelu(embedding.second_place(F.gelu(embedding.first_place(position[:, None, :]))))
    place = place.transpose(1, 2)
    summed = embedding.token(tokens) + (embedding.frequency(af) + sinusoid(65, 16, af))[:, None]
    torch.testing.assert_close(summed, embedding.additive(tokens, af[:, None]))
    joined = embedding.join_embedding(summed) + embedding.join_place(place)[:, None]
    expected = embedding.norm(summed + joined)
    got = embedding(tokens, embedding.site_terms(af, position)[:, None])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_weights_of_ranks_sum_to_1():
    torch.manual_seed(0)
    neighbours, made = Neighbours(torch.randint(2, (3, 2, 4, 65))), RankWeights(4)
    with torch.no_grad():
        made.logit.normal_()
    weights = made(neighbours)
    assert weights.shape == neighbours.alleles.shape
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 2, 65))
    assert (weights == weights[:1, :1, :, :1]).all()
    assert len(weights[0, 0, :, 0].unique()) == 4


@pytest.mark.parametrize("length", [1, 8, 24])
def test_attention(length):
    """Padding takes no share."""
    torch.manual_seed(0)
    block, qkv = Block(16, 2, 0.0), torch.randn(3, length, 48)
    valid = torch.arange(length) < torch.tensor([length, length // 2 + 1, 1])[:, None]
    query, key, value = qkv.reshape(3, length, 3, 2, 8).permute(2, 0, 3, 1, 4)
    score = query @ key.transpose(2, 3) / math.sqrt(8)
    for given in (None, valid):
        seen = score if given is None else score.masked_fill(~given[:, None, None], -torch.inf)
        expected = (seen.softmax(-1) @ value).transpose(1, 2).flatten(2)
        torch.testing.assert_close(block._attend(qkv, given), expected)


def test_block_is_a_transformer_layer():
    torch.manual_seed(0)
    block = Block(16, 4, 0.0).eval()
    reference = torch.nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
    ).eval()
    pairs = {
        "self_attn.in_proj_": block.qkv,
        "self_attn.out_proj.": block.project,
        "linear1.": block.feed_forward[0],
        "linear2.": block.feed_forward[2],
        "norm1.": block.attention_norm,
        "norm2.": block.feed_forward_norm,
    }
    state = {name + "weight": module.weight for name, module in pairs.items()}
    reference.load_state_dict(state | {name + "bias": made.bias for name, made in pairs.items()})
    x = torch.randn(3, 11, 16)
    with torch.no_grad():
        torch.testing.assert_close(block(x), reference(x), atol=1e-5, rtol=1e-5)
