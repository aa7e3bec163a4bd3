from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pytest
from numpy.typing import NDArray

from snvrag.panel.site_block import SiteBlock


@dataclass(frozen=True, kw_only=True)
class TypedBlock(SiteBlock):
    typed: NDArray[np.bool_]


def block(num_sites: int, *, missing: bool) -> TypedBlock:
    rng = np.random.default_rng(num_sites)
    bits = rng.integers(0, 2**63, (2, num_sites, 3), np.uint64)
    return TypedBlock(
        position=np.arange(10, 10 + num_sites),
        alleles=rng.choice(list("ACGT"), (num_sites, 2)),
        ids=[f"rs{i}" for i in range(num_sites)],
        site_bits=bits[0],
        missing_bits=bits[1] if missing else None,
        unphased_bits=bits[1, :, :2] if missing else None,
        typed=rng.random(num_sites) < 0.5,
    )


def test_slices_are_views_and_join_to_the_block() -> None:
    for missing in (True, False):
        whole = block(9, missing=missing)
        parts = [whole.slice(a, b) for a, b in [(0, 4), (4, 4), (4, 8), (8, 9)]]
        joined = TypedBlock.concat(parts)
        assert joined.num_sites == 9
        for name in (field.name for field in fields(TypedBlock)):
            np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
        assert np.shares_memory(parts[0].site_bits, whole.site_bits)
        assert not np.shares_memory(parts[0].copy().site_bits, whole.site_bits)
        assert parts[0].copy().ids == whole.ids[:4]
    blocks = [block(3, missing=False), block(3, missing=True)]
    for order in (blocks, blocks[::-1]):
        with pytest.raises(ValueError, match="arrays"):
            TypedBlock.concat(order)
