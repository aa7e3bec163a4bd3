"""Options of the transformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config.options import Options, option
from ..errors import InputError


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Options):
    """What the network is made of."""

    title = "Network"

    width: int = option(
        48,
        "width of the transformer; its feed-forward part is four times as wide",
        least=1,
        v18=384,
    )
    layers: int = option(2, "number of transformer layers", least=1, v18=12)
    heads: int = option(2, "number of attention heads in a transformer layer", least=1, v18=12)
    span: int = option(
        256,
        "sites that attend to each other, every other layer shifted by half; 0: the whole window",
        least=0,
        v18=0,
    )
    dropout: float = option(
        0.0, "share of activations dropped in training", least=0, below=1, v18=0.1
    )
    weighting: Literal["local", "rank"] = option(
        "local",
        "weights of the neighbours: at every site by how far they match around it (local), or by "
        "rank alone, the same at all sites (rank, as V18)",
        v18="rank",
    )
    neighbour_prior: bool = option(
        True,
        "start the prediction from the neighbours' weighed alleles, which the network corrects",
        formerly="copying",
        v18=False,
    )
    output_heads: Literal["plain", "v18"] = option(
        "plain",
        "layers after the transformer: one hidden layer for haplotypes and one for genotypes, from "
        "the same features (plain), or V18's, which infer genotypes from the haplotypes' "
        "probabilities (v18)",
        v18="v18",
    )

    @property
    def needs_features(self) -> bool:
        """Whether the network looks at match features of the neighbours."""
        return self.weighting == "local"

    def check(self) -> None:
        """Refuse a width that the heads do not divide."""
        if self.width % self.heads:
            raise InputError(
                f"must be a divisor of the width {self.width}, got {self.heads}", argument="heads"
            )
