"""Options of retrieval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config.options import Options, option


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig(Options):
    """What is retrieved for a query of the transformer, and the memory that indexes may take."""

    title = "Retrieval (for the transformer)"

    retrieval: Literal["hamming", "dense"] = option(
        "hamming",
        "distances of the search: observed sites that differ (hamming), or their learned weights, "
        "those of the network's own embedding of the alleles (dense)",
    )
    k: int = option(1, "haplotypes retrieved for each query and window", least=1)
    cache_mb: float = option(
        1024.0, "budget of the just-in-time indexes, in MiB", above=0, resume="noted"
    )
