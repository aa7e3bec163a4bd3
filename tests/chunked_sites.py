"""Sites that stream by, for the tests of how they are cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from snvrag.imputation.chunks import Chunk
from snvrag.io.matching import MatchedBlock

NUM_HAPLOTYPES = 70


def blocks(polymorphic: NDArray[np.bool_], size: int) -> Iterator[MatchedBlock]:
    """Yield sites at 100, 101, ...; what is not polymorphic is ALT alone at odd positions."""
    for start in range(0, polymorphic.size, size):
        part = polymorphic[start : start + size]
        n = part.size
        position = 100 + start + np.arange(n)
        bits = np.zeros((n, 2), np.uint64)
        bits[part, 0] = position[part].astype(np.uint64)
        all_alt = ~part & (position % 2 == 1)
        bits[all_alt] = [2**64 - 1, 2 ** (NUM_HAPLOTYPES - 64) - 1]
        target = (position[:, None] + 1).astype(np.uint64)
        yield MatchedBlock(
            position,
            np.array([["A", "G"]] * n),
            [f"rs{p}" for p in position.tolist()],
            bits,
            alt_count=np.bitwise_count(bits).sum(axis=1, dtype=np.int64),
            typed=position % 5 == 0,
            target_bits=target,
            target_missing_bits=target + np.uint64(1),
            target_unphased_bits=target + np.uint64(2),
        )


def written(chunks: Iterable[Chunk]) -> list[int]:
    return [p for c in chunks for p in c.sites.position[c.start : c.stop].tolist()]
