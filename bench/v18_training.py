"""V18's training loop, transcribed plainly from its description, at any size.

The two haplotypes of a sample pass through the network one after the other; attention forms its
L x L matrix, with dropout; the heads end in a softmax, which the loss takes once more; the index of
a window is the panel's flattened embeddings in float32, searched with `torch.cdist` and `topk`; the
host reads loss and calls of every step. The frequency encoding, the sinusoid, the heads' layers and
the focal loss are those of snvrag.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snvrag.batches.batch import Batch
from snvrag.network.heads import v18_genotype_head, v18_haplotype_head
from snvrag.network.layers import FrequencyEncoding, sinusoid
from snvrag.network.loss import focal_loss
from snvrag.network.options import NetworkConfig

_ROWS_AT_ONCE = 64


class Attention(nn.Module):
    """Multi-head attention with an explicit matrix of weights."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        query, key, value = (
            linear(x).view(rows, length, self.heads, -1).transpose(1, 2)
            for linear in self.linears[:3]
        )
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        attended = self.drop(scores.softmax(-1)) @ value
        joined: Tensor = self.linears[3](attended.transpose(1, 2).reshape(rows, length, width))
        return joined


class Layer(nn.Module):
    """A transformer layer with normalisation first."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = Attention(width, heads, dropout)
        self.loader = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norms[0](x)))
        fed: Tensor = x + self.drop(self.loader(self.norms[1](x)))
        return fed


class Embedding(nn.Module):
    """Token, sinusoid and frequency, joined with the relative position by a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(4, width)
        self.frequency = FrequencyEncoding(width)
        channels = max(8, width // 8)
        self.along_window = nn.Sequential(
            nn.Conv1d(1, channels, 7, padding=3),
            nn.GELU(),
            nn.Conv1d(channels, channels, 7, padding=3),
            nn.GELU(),
        )
        self.join = nn.Linear(width + channels, width)
        self.norm = nn.LayerNorm(width)

    def additive(self, tokens: Tensor, af: Tensor) -> Tensor:
        """Return the (..., L, D) embeddings of (..., L) tokens that the index is made of."""
        site = self.frequency(af) + sinusoid(af.shape[-1], self.token.embedding_dim, af)
        summed: Tensor = self.token(tokens) + site
        return summed

    def forward(self, tokens: Tensor, af: Tensor, relative_position: Tensor) -> Tensor:
        x = self.additive(tokens, af)
        relative = self.along_window(relative_position[:, None]).transpose(1, 2)
        normed: Tensor = self.norm(x + self.join(torch.cat([x, relative], -1)))
        return normed


class Network(nn.Module):
    """V18's network."""

    def __init__(self, size: NetworkConfig, num_neighbours: int) -> None:
        super().__init__()
        width = size.width
        self.embedding = Embedding(width)
        self.gate = nn.Sequential(nn.Linear(2, width), nn.GELU(), nn.Linear(width, width))
        self.rank = nn.Parameter(torch.zeros(num_neighbours))
        self.fuse = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
        self.scale = nn.Parameter(torch.tensor(0.1))
        self.layers = nn.ModuleList(
            Layer(width, size.heads, size.dropout) for _ in range(size.layers)
        )
        self.haplotype = v18_haplotype_head(width).append(nn.Softmax(-1))
        self.genotype = v18_genotype_head(size.dropout).append(nn.Softmax(-1))

    def forward(self, batch: Batch, retrieved: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return probabilities of the alleles of both haplotypes, and of the ordered genotype.

        ``retrieved`` are the (B, 2, K, L) alleles of the neighbours.
        """
        relative_position = batch.relative_position[batch.window_row]
        frequencies = torch.stack([batch.af, batch.population_af], -1)
        maf = torch.minimum(batch.af, 1 - batch.af).clamp_min(1e-6)
        rarity = torch.log1p(1 / maf).clamp_max(3.0)[..., None]
        tokens = batch.tokens
        probabilities = []
        for h in range(2):
            x = self.embedding(tokens[:, h], batch.af, relative_position)
            near = [
                self.embedding(neighbour.long(), batch.af, relative_position)
                for neighbour in retrieved[:, h].unbind(1)
            ]
            weights = self.rank.softmax(0)
            gate = self.gate(frequencies).sigmoid()
            pooled = sum(weight * gate * one for weight, one in zip(weights, near, strict=True))
            x = x + self.scale * rarity * self.fuse(torch.cat([x, pooled], -1))
            for layer in self.layers:
                x = layer(x)
            probabilities.append(self.haplotype(torch.cat([x, frequencies], -1)))
        both = torch.cat([*probabilities, batch.genotype_frequency], -1)
        return probabilities, self.genotype(both)


class Loop:
    """V18's training step, with an index of the (H, L) alleles of the panel over a batch's window.

    All are on the device; ``gamma`` is that of the focal loss.
    """

    def __init__(self, network: Network, haplotypes: Tensor, batch: Batch, gamma: float) -> None:
        self.network = network.train()
        self.optimizer = torch.optim.Adam(network.parameters(), lr=7.5e-5)
        self.haplotypes = haplotypes
        self.gamma = gamma
        self.counts = [0, 0, 0]
        self.build(batch)

    @torch.no_grad()
    def build(self, batch: Batch) -> None:
        """Encode the panel over the window: H x L x D x 4 bytes."""
        self.index = torch.cat(
            [
                self.encode(self.haplotypes[start : start + _ROWS_AT_ONCE], batch)
                for start in range(0, len(self.haplotypes), _ROWS_AT_ONCE)
            ]
        )

    def encode(self, alleles: Tensor, batch: Batch) -> Tensor:
        """Return the flattened float32 embeddings of (n, L) alleles under the batch's mask."""
        tokens = alleles.long().masked_fill(batch.hidden[0], 2)
        return self.network.embedding.additive(tokens, batch.panel_af[0]).float().flatten(1)

    @torch.no_grad()
    def retrieve(self, batch: Batch, k: int) -> Tensor:
        """Return the (B, 2, K, L) alleles of the nearest haplotypes."""
        queries = self.encode(batch.alleles.flatten(0, 1), batch)
        nearest = torch.cdist(queries, self.index).topk(k, largest=False).indices
        return self.haplotypes[nearest].unflatten(0, (-1, 2))

    def step(self, batch: Batch, k: int, autocast: torch.autocast) -> float:
        """Take an optimizer step; return its loss."""
        retrieved = self.retrieve(batch, k)
        scored = batch.scored
        with autocast:
            haplotypes, genotypes = self.network(batch, retrieved)
        alleles = batch.alleles.long()
        loss = 4 * focal_loss(genotypes, 2 * alleles[:, 0] + alleles[:, 1], self.gamma)
        for h in range(2):
            loss = loss + 3 * focal_loss(haplotypes[h], alleles[:, h], self.gamma)
        mean = (loss * scored).sum() / scored.sum()
        mean.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        counted = scored[:, None].expand_as(alleles)
        called = torch.stack([p.argmax(-1) for p in haplotypes], 1)[counted]
        truth = alleles[counted]
        self.counts[0] += int(((called == 1) & (truth == 1)).sum())
        self.counts[1] += int(((called == 1) & (truth == 0)).sum())
        self.counts[2] += int(((called == 0) & (truth == 1)).sum())
        return mean.item()
