"""Options of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config.options import Options, option
from ..errors import InputError

HIDDEN_UNITS = 64


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Options):
    """What the network is made of."""

    title = "Network"

    network: Literal["head", "transformer"] = option(
        "head",
        "a small network per site that corrects the Li-Stephens model (head), or V18's transformer "
        "over windows and retrieved haplotypes (transformer)",
        v18="transformer",
    )
    hidden: int = option(HIDDEN_UNITS, "hidden units of the head", least=1)
    width: int = option(
        384, "width of the transformer; its feed-forward part is four times as wide", least=1
    )
    layers: int = option(12, "number of transformer layers", least=1)
    heads: int = option(12, "number of attention heads in a transformer layer", least=1)
    dropout: float = option(
        0.1, "share of the transformer's activations dropped in training", least=0, below=1
    )

    def check(self) -> None:
        """Refuse a width that the heads do not divide."""
        if self.width % self.heads:
            raise InputError(
                f"must be a divisor of the width {self.width}, got {self.heads}", argument="heads"
            )
