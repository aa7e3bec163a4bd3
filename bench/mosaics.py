"""Simulated haplotypes for the benchmarks: mosaics of founders, made as bits, cheap for a million.

Allele frequencies follow the neutral spectrum (density 1 / x), so about half of the sites are rare.
An ancestor is a mosaic of five segments of founders. Half of the haplotypes descend from one
ancestor, half from two, one on each side of a breakpoint, with one mutation in 2,000 sites.
Neighbouring sites are therefore in linkage disequilibrium, and a query has near neighbours, as in
real panels: with 60% of the sites hidden, the eighth nearest of 5,008 haplotypes differs from the
query at a tenth of the sites at which two random haplotypes differ (7% to 24% on the 1000 Genomes
Project's chromosome 20, with 552 haplotypes).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snvrag.kernels import HammingIndex, af_guided_mask, pack_haplotypes, unpack_haplotypes
from snvrag.panel.panel import Panel

NUM_QUERIES = 48
HIDDEN_RATE = 0.6
_ROWS_AT_ONCE = 16_384
# Entry n has its n lowest bits set.
_LOW_BITS = np.array([(1 << n) - 1 for n in range(65)], np.uint64)


def make_panel(site_bits: NDArray[np.uint64], num_haplotypes: int, prefix: str = "s") -> Panel:
    """Return a panel of (S, ceil(H / 64)) bits by site, one site in 100 bp."""
    num_sites = len(site_bits)
    return Panel(
        chrom="1",
        position=np.arange(1, num_sites + 1, dtype=np.int64) * 100,
        alleles=np.tile(np.array([["A", "G"]]), (num_sites, 1)),
        samples=tuple(f"{prefix}{i}" for i in range(num_haplotypes // 2)),
        site_bits=site_bits,
    )


class Founders:
    """The ancestors of a population, over L sites."""

    def __init__(
        self, num_sites: int, *, seed: int, num_founders: int = 200, num_ancestors: int = 300
    ) -> None:
        rng = np.random.default_rng([seed, 0])
        self.num_sites = num_sites
        carriers = np.exp(rng.uniform(0, np.log(0.9 * num_founders), num_sites))
        ranks = rng.permuted(np.tile(np.arange(num_founders)[:, None], num_sites), axis=0)
        founders = pack_haplotypes(ranks < carriers)
        self._bits = np.empty((num_ancestors, founders.shape[1]), np.uint64)
        self._fill(self._bits, founders, rng, num_switches=4, switch_range=num_sites)

    def descendants(self, num_haplotypes: int, *, seed: int) -> NDArray[np.uint64]:
        """Return (H, W) packed haplotypes, made in blocks of some MB."""
        bits = np.empty((num_haplotypes, self._bits.shape[1]), np.uint64)
        for start in range(0, num_haplotypes, _ROWS_AT_ONCE):
            part = bits[start : start + _ROWS_AT_ONCE]
            rng = np.random.default_rng([seed, 1, start])
            self._fill(part, self._bits, rng, num_switches=1, switch_range=2 * self.num_sites)
        return bits

    def _fill(
        self,
        bits: NDArray[np.uint64],
        sources: NDArray[np.uint64],
        rng: np.random.Generator,
        *,
        num_switches: int,
        switch_range: int,
        mutation_rate: float = 5e-4,
    ) -> None:
        num_haplotypes, num_words = bits.shape
        cuts = np.sort(rng.integers(0, switch_range, (num_haplotypes, num_switches)), axis=1)
        ends = np.pad(cuts, ((0, 0), (0, 1)), constant_values=64 * num_words)
        source = rng.integers(0, len(sources), ends.shape)
        first_site = 64 * np.arange(num_words)
        bits[:] = 0
        before = np.zeros_like(bits)
        for end, rows in zip(ends.T, source.T, strict=True):
            up_to = _LOW_BITS[np.clip(end[:, None] - first_site, 0, 64)]
            bits |= sources[rows] & (up_to & ~before)
            before = up_to
        count = rng.poisson(num_haplotypes * self.num_sites * mutation_rate)
        rows = rng.integers(0, num_haplotypes, count)
        sites = rng.integers(0, self.num_sites, count)
        flips = np.uint64(1) << (sites % 64).astype(np.uint64)
        np.bitwise_xor.at(bits, (rows, sites // 64), flips)


@dataclass(frozen=True)
class Window:
    """A panel over one window of L sites, held-out queries of the same population, and a mask.

    Haplotypes are packed; ``af`` is of the panel's first 10,000. ``observed`` is False at the 60%
    of the sites that the mask kernel hides, rare ones at the same rate: at the default of 0.7 the
    search would have fewer words to compare.
    """

    num_sites: int
    bits: NDArray[np.uint64]
    query_bits: NDArray[np.uint64]
    af: NDArray[np.float64]
    observed: NDArray[np.bool_]

    @classmethod
    def make(cls, num_haplotypes: int, num_sites: int, *, seed: int = 0) -> Window:
        """Make a panel and queries."""
        founders = Founders(num_sites, seed=seed)
        bits = founders.descendants(num_haplotypes, seed=seed)
        sample = unpack_haplotypes(bits[:10_000], num_sites)
        af = sample.mean(axis=0, dtype=np.float64)
        mask = af_guided_mask(af, seed=seed, window=0, rate=HIDDEN_RATE, rare_rate=HIDDEN_RATE)
        return cls(num_sites, bits, founders.descendants(NUM_QUERIES, seed=seed + 1), af, ~mask)

    @property
    def num_haplotypes(self) -> int:
        """H."""
        return len(self.bits)

    @property
    def haplotypes(self) -> NDArray[np.int8]:
        """(H, L) int8 alleles of the panel."""
        return unpack_haplotypes(self.bits, self.num_sites)

    @property
    def queries(self) -> NDArray[np.int8]:
        """(Q, L) int8 alleles of the queries."""
        return unpack_haplotypes(self.query_bits, self.num_sites)

    def head(self, num_haplotypes: int) -> Window:
        """Return the window with the panel's first haplotypes only."""
        return replace(self, bits=self.bits[:num_haplotypes])

    def index(self) -> HammingIndex:
        """Return the index of the observed sites."""
        return HammingIndex(self.bits, num_sites=self.num_sites, observed=self.observed)

    def observed_bytes(self, bits: NDArray[np.uint64], multiple: int) -> NDArray[np.uint8]:
        """Return the observed alleles as other libraries take them: (n, bytes), padded with 0.

        The number of bytes of a row is rounded up to a multiple of ``multiple``.
        """
        num_bytes = -(-int(self.observed.sum()) // (8 * multiple)) * multiple
        packed = np.zeros((len(bits), num_bytes), np.uint8)
        for start in range(0, len(bits), _ROWS_AT_ONCE):
            alleles = unpack_haplotypes(bits[start : start + _ROWS_AT_ONCE], self.num_sites)
            part = np.packbits(alleles[:, self.observed], axis=1)
            packed[start : start + _ROWS_AT_ONCE, : part.shape[1]] = part
        return packed
