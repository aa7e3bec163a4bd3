"""Layers of the transformer: embedding of sites, weights of neighbours, attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batches.batch import PAD, Batch, Neighbours

NUM_TOKENS = 4
NUM_FREQUENCIES = 32


class FrequencyEncoding(nn.Module):
    """Allele frequency as sines and cosines of learnable frequencies, then a small perceptron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        spread = torch.logspace(0.0, 2.0, NUM_FREQUENCIES)
        self.log_frequency = nn.Parameter(spread.log())
        self.perceptron = nn.Sequential(
            nn.Linear(2 * NUM_FREQUENCIES, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Linear(width, width),
        )

    def forward(self, af: Tensor) -> Tensor:
        """(...) frequencies to (..., D)."""
        angle = 2 * math.pi * af[..., None] * self.log_frequency.exp()
        encoded: Tensor = self.perceptron(torch.cat([angle.sin(), angle.cos()], -1))
        return encoded


class SiteEmbedding(nn.Module):
    """Embeddings of tokens at the sites of a window: token, position and frequency terms, summed,
    then joined with the place in the window by a linear layer with residual and LayerNorm.

    A haplotype enters only by its token and the layer is linear, so its share of the sum before the
    norm is one of four vectors, and the sites' share is the same for a sample's two haplotypes and
    all their neighbours: `site_terms` is computed once, not 2 x (1 + K) times.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(NUM_TOKENS, width)
        self.frequency = FrequencyEncoding(width)
        channels = max(8, width // 8)
        self.first_place = nn.Conv1d(1, channels, 7, padding=3)
        self.second_place = nn.Conv1d(channels, channels, 7, padding=3)
        self.join_embedding = nn.Linear(width, width)
        self.join_place = nn.Linear(channels, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def additive(self, tokens: Tensor, af: Tensor) -> Tensor:
        """(..., L) tokens and frequencies to (..., L, D): the terms that V18 retrieves by."""
        site = self.frequency(af) + sinusoid(af.shape[-1], self.token.embedding_dim, af)
        summed: Tensor = site + self.token(tokens)
        return summed

    @property
    def allele_distance(self) -> Tensor:
        """() float32: squared distance of REF and ALT, at any site, in the additive embedding."""
        ref, alt = self.token.weight[:2]
        squared: Tensor = (alt - ref).square().sum()
        return squared

    def site_terms(self, af: Tensor, position: Tensor, valid: Tensor | None = None) -> Tensor:
        """(N, L) frequencies and positions in [0, 1] to (N, L, D): all but the token's share.

        `valid` is (N, L), None if every site exists: padding must be as nothing to the convolution.
        """
        site = self.frequency(af) + sinusoid(af.shape[-1], self.token.embedding_dim, af)
        place = F.gelu(self.first_place(position[:, None, :]))
        if valid is not None:
            place = place * valid[:, None, :]
        place = F.gelu(self.second_place(place)).transpose(1, 2)
        terms: Tensor = site + self.join_embedding(site) + self.join_place(place)
        return terms

    def forward(self, tokens: Tensor, site_terms: Tensor) -> Tensor:
        """(..., L) tokens over (..., L, D) site terms to (..., L, D)."""
        shares = self.token.weight + F.linear(self.token.weight, self.join_embedding.weight)
        normed: Tensor = self.norm(F.embedding(tokens, shares) + site_terms)
        return normed


def sinusoid(length: int, width: int, like: Tensor) -> Tensor:
    """(L, D) sinusoidal encoding of the site's number in its window (Vaswani et al., 2017)."""
    place = torch.arange(length, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(
        torch.arange(0, width, 2, device=like.device, dtype=torch.float32)
        * (-math.log(10_000.0) / width)
    )
    angle = place * rate
    return torch.stack([angle.sin(), angle.cos()], -1).reshape(length, -1)[:, :width].to(like.dtype)


class RankWeights(nn.Module):
    """One learned weight for each rank among the neighbours."""

    def __init__(self, num_neighbours: int) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(num_neighbours))

    def forward(self, neighbours: Neighbours) -> Tensor:
        """(B, 2, K, L) weights that sum to 1 over K."""
        weights = self.logit.softmax(0)[:, None]
        return weights.expand(neighbours.alleles.shape).to(torch.float32)


class SiteScale(nn.Module):
    """A learned scale of a site's embedding in the search, from its frequency; at first it is 1.

    It is within [exp(-1.5), exp(1.5)].
    """

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.perceptron = nn.Sequential(nn.Linear(2, hidden), nn.GELU(), nn.Linear(hidden, 1))
        for parameter in self.perceptron[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, af: Tensor) -> Tensor:
        """(...) frequencies to (...)."""
        maf = torch.minimum(af, 1 - af)
        seen = torch.stack([maf, maf.clamp_min(1e-4).log10()], -1)
        scale: Tensor = (1.5 * self.perceptron(seen)[..., 0].tanh()).exp()
        return scale


class DistanceWeights(nn.Module):
    """Weights of the neighbours by rank and by the distance that they were found at.

    The distance is the share of the observed sites' weights at which query and neighbour differ, so
    that the gradient reaches the weights of the sites. What is left of 1 is the weight of no
    neighbour at all: it gives a single neighbour's distance a say.
    """

    def __init__(self, num_neighbours: int) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(num_neighbours))
        self.log_sharpness = nn.Parameter(torch.tensor(3.0))
        self.no_neighbour = nn.Parameter(torch.tensor(-4.0))

    def forward(self, neighbours: Neighbours, batch: Batch, site_weights: Tensor) -> Tensor:
        """(N, L) weights of sites to (B, 2, K, L) of neighbours, whose sum over K is below 1."""
        counts = ~batch.hidden[batch.window_row] & (batch.alleles[:, 0] != PAD)
        weights = site_weights[batch.window_row] * counts
        differs = (neighbours.alleles != batch.alleles[:, :, None]).to(weights.dtype)
        distance = torch.einsum("bhkl,bl->bhk", differs, weights)
        distance = distance / weights.sum(-1).clamp_min(1e-6)[:, None, None]
        score = self.logit - self.log_sharpness.exp() * distance
        score = torch.cat([score, self.no_neighbour.expand(*score.shape[:2], 1)], -1)
        of_neighbours: Tensor = score.softmax(-1)[..., :-1, None]
        return of_neighbours.expand(neighbours.alleles.shape)


class Block(nn.Module):
    """A transformer layer with normalisation first."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """(rows, L, D) to the same shape; `valid` is (rows, L), None if every site exists."""
        x = x + self.drop(self.project(self._attend(self.qkv(self.attention_norm(x)), valid)))
        fed: Tensor = x + self.drop(self.feed_forward(self.feed_forward_norm(x)))
        return fed

    def _attend(self, qkv: Tensor, valid: Tensor | None = None) -> Tensor:
        rows, length, _ = qkv.shape
        qkv = qkv.reshape(rows, length, 3, self.heads, qkv.shape[-1] // (3 * self.heads))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        # No dropout inside: with it, the CPU has no fused kernel and the (L, L) matrix is formed.
        mask = None if valid is None else valid[:, None, None]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return attended.transpose(1, 2).flatten(2)
