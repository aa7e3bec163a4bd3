"""V18's network: a transformer over a window that also sees the retrieved haplotypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batches.batch import ALT, PAD, REF, Batch, Neighbours
from .heads import merge_heterozygotes, v18_genotype_head, v18_haplotype_head
from .layers import Block, DistanceWeights, RankWeights, SiteEmbedding, SiteScale
from .loss import imputation_loss
from .options import NetworkConfig
from .prediction import Prediction


class ImputationNetwork(nn.Module):
    """Predicts hidden alleles from the masked target and its retrieved neighbours.

    Nothing of a position or of a panel is in the weights: sites enter by their frequency and their
    relative place, so one model serves any region. A ``dense`` one has weights of sites for the
    search, and the neighbours weigh by the distances that follow.
    """

    loss = staticmethod(imputation_loss)
    least_frequency: Tensor

    def __init__(self, config: NetworkConfig, *, num_neighbours: int, dense: bool = False) -> None:
        super().__init__()
        # The lowest frequency in training: rarer sites are seen as if they had it.
        self.register_buffer("least_frequency", torch.tensor(0.0))
        width = config.width
        self.embedding = SiteEmbedding(width)
        self.site_scale = SiteScale() if dense else None
        self.weights: nn.Module
        self.weights = DistanceWeights(num_neighbours) if dense else RankWeights(num_neighbours)
        self.gate = nn.Sequential(nn.Linear(2, width // 2), nn.GELU(), nn.Linear(width // 2, width))
        self.fuse = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
        self.fuse_scale = nn.Parameter(torch.tensor(0.1))
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.dropout) for _ in range(config.layers)
        )
        # Most rows of a batch in training and in evaluation, to which compiled layers' input is
        # padded; None while they are not compiled.
        self._padded_rows: dict[bool, int] | None = None
        self.norm = nn.LayerNorm(width)
        self.haplotype_head = v18_haplotype_head(width)
        self.genotype_head = v18_genotype_head(config.dropout)

    def compile_blocks(self, **options: Any) -> None:
        """Compile the transformer's layers, in place: names of parameters stay as they are.

        They are all but a few per cent of the work, and alike, so that one compilation serves all
        of them. Shapes are static: a batch smaller than one before, as the last of an epoch may be,
        is padded with blank rows. There is one more compilation for windows shorter than L, which
        need a mask, and the same for evaluation. ``options`` are those of `torch.compile`.
        """
        self._padded_rows = {}
        for block in self.blocks:
            block.compile(dynamic=False, fullgraph=True, **options)

    def forget_padding(self) -> None:
        """Pad batches of compiled layers no longer to the size of earlier ones."""
        if self._padded_rows is not None:
            self._padded_rows.clear()

    def forward(self, batch: Batch, neighbours: Neighbours) -> Prediction:
        """Predict every site of a batch, hidden or not."""
        row = batch.window_row
        num_samples = batch.num_samples
        valid = batch.alleles[:, 0] != PAD if batch.is_padded else None
        af = self._seen(batch.af)
        sites = self.embedding.site_terms(af, batch.relative_position[row], valid)
        query = self.embedding(batch.tokens, sites[:, None])

        frequencies = torch.stack([af, self._seen(batch.population_af)], -1)
        if self.site_scale is None:
            weights = self.weights(neighbours)
            copied = (weights * (neighbours.alleles == ALT)).sum(2)
        else:
            weights = self.weights(neighbours, batch, self.site_weights(batch.panel_af))
            copied = (weights * (neighbours.alleles == ALT)).sum(2)
            copied = copied + (1 - weights.sum(2)) * batch.af[:, None]
        x = query + self._retrieved(query, sites, batch, frequencies, copied)

        x = self.drop(x).flatten(0, 1)
        both_valid = None if valid is None else valid.repeat_interleave(2, 0)
        x = self.norm(self._transform(x, both_valid)).reshape(num_samples, 2, *x.shape[1:])
        per_haplotype = frequencies[:, None].expand(-1, 2, -1, -1)
        haplotypes = self.haplotype_head(torch.cat([x, per_haplotype], -1)).float()
        first, second = haplotypes.softmax(-1).unbind(1)
        seen = torch.cat([first, second, batch.genotype_frequency], -1)
        return Prediction(haplotypes, merge_heterozygotes(self.genotype_head(seen).float()))

    @property
    def retrieval_weights(self) -> Callable[[Tensor], Tensor] | None:
        """`site_weights` of a dense network; None of another one, which retrieves without."""
        return None if self.site_scale is None else self.site_weights

    def site_weights(self, panel_af: Tensor) -> Tensor:
        """Return the (N, L) float32 weights of sites in a dense network's search.

        ``panel_af``, (N, L), are their ALT frequencies in the panel. A weight is the squared
        distance of the site's two alleles in the additive embedding, scaled site by site.
        """
        assert self.site_scale is not None
        with torch.autocast(panel_af.device.type, enabled=False):
            scale: Tensor = self.site_scale(panel_af)
            return scale.square() * self.embedding.allele_distance

    def _transform(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(rows, L, D) through the layers, padded to one size if they are compiled."""
        num_rows = x.shape[0]
        if self._padded_rows is not None:
            most = max(num_rows, self._padded_rows.get(self.training, 0))
            self._padded_rows[self.training] = most
            if num_rows < most:
                x = F.pad(x, (0, 0, 0, 0, 0, most - num_rows))
                if valid is not None:  # all sites of a blank row exist
                    valid = F.pad(valid, (0, 0, 0, most - num_rows), value=True)
        for block in self.blocks:
            x = block(x, valid)
        return x[:num_rows]

    def _retrieved(
        self,
        query: Tensor,
        sites: Tensor,
        batch: Batch,
        frequencies: Tensor,
        copied: Tensor,
    ) -> Tensor:
        """(B, 2, L, D): what the neighbours add to the query.

        Their embeddings are gated by site and averaged; a site has but two of them, for REF and
        ALT, so the average over K needs only the weight of ALT.
        """
        alt_share = copied[..., None].to(query.dtype)
        # REF and ALT; made on the device, as a copy from the host would wait for it.
        tokens = torch.arange(REF, ALT + 1, device=sites.device)[:, None].expand(-1, sites.shape[1])
        ref, alt = self.embedding(tokens, sites[:, None]).unbind(1)
        gate = self.gate(frequencies).sigmoid()
        pooled = (gate * ref)[:, None] + (gate * (alt - ref))[:, None] * alt_share
        fused = self.fuse(torch.cat([query, pooled], -1))
        maf = torch.minimum(batch.af, 1 - batch.af).clamp_min(1e-6)
        rarity = torch.log1p(1 / maf).clamp_max(3.0)[:, None, :, None]
        retrieved: Tensor = self.fuse_scale * rarity * fused
        return retrieved

    def _seen(self, af: Tensor) -> Tensor:
        """Bring frequencies into the range of training, beyond which an encoding says nothing."""
        least = self.least_frequency
        return torch.minimum(torch.maximum(af, least), 1 - least)
