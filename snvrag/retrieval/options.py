"""Options of retrieval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config.options import Options, option


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig(Options):
    """What is retrieved for a query, and the memory that indexes may take."""

    title = "Retrieval"

    retrieval: Literal["hamming", "dense"] = option(
        "hamming",
        "distances of the search: observed sites that differ (hamming), or their learned weights, "
        "those of the network's own embedding of the alleles (dense)",
    )
    k: int = option(16, "haplotypes retrieved for each query and segment", least=1, v18=1)
    segment_size: int = option(
        255, "sites that share one list of neighbours; 0: the whole window", least=0, v18=0
    )
    segment_flank: int = option(
        255, "sites on each side of a segment that count in its search", least=0, v18=0
    )
    decay_sites: float = option(
        8.0, "scale of the decayed mismatch counts around a site, in observed sites", above=0
    )
    cache_mb: float = option(
        1024.0, "budget of the just-in-time indexes, in MiB", above=0, resume="noted"
    )
