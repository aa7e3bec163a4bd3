"""Panels: phased haplotypes as bits, with their sites and samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import InputError

# Sites handled at once where a pass over all bits needs temporary memory.
_SITES_AT_ONCE = 8192
_EVEN_BITS = np.uint64(0x5555555555555555)


@dataclass(frozen=True)
class Panel:
    """Phased haplotypes of diploid and haploid samples on one chromosome.

    A haploid sample (a male on chromosome X) has one haplotype. It counts as one allele in allele
    frequencies, and as a homozygote where a genotype is asked for.

    Attributes
    ----------
    chrom : str
        Name of the chromosome.
    position : (S,) int64
        1-based positions in bp, ascending.
    alleles : (S, 2) str
        REF and ALT, one letter each.
    samples : tuple of str
        Names. Haplotypes are in the samples' order: without haploid samples, sample i has 2 * i
        and 2 * i + 1.
    site_bits : (S, ceil(H / 64)) uint64
        One row a site, one bit a haplotype: bit j of word w is haplotype 64 * w + j. Site-major,
        as files deliver it and as an index over some of the sites wants it.
    populations : tuple of str
        Names of the populations.
    population_index : (num_samples,) int64
        Population of each sample.
    ploidy : (num_samples,) int64 or None
        Haplotypes of each sample, 1 or 2; None if all have two.
    """

    chrom: str
    position: NDArray[np.int64]
    alleles: NDArray[np.str_]
    samples: tuple[str, ...]
    site_bits: NDArray[np.uint64]
    populations: tuple[str, ...] = ("all",)
    population_index: NDArray[np.int64] | None = None
    ploidy: NDArray[np.int64] | None = None

    @property
    def num_sites(self) -> int:
        """S, the number of sites."""
        return int(self.position.shape[0])

    @property
    def num_samples(self) -> int:
        """The number of samples."""
        return len(self.samples)

    @property
    def num_haplotypes(self) -> int:
        """H, the sum of the samples' ploidy."""
        return 2 * len(self.samples) if self.ploidy is None else int(self.ploidy.sum())

    @property
    def sample_ploidy(self) -> NDArray[np.int64]:
        """(num_samples,) int64: haplotypes of each sample, 1 or 2."""
        return np.full(self.num_samples, 2) if self.ploidy is None else self.ploidy

    @property
    def sample_population(self) -> NDArray[np.int64]:
        """(num_samples,) int64: population of each sample."""
        if self.population_index is None:
            return np.zeros(self.num_samples, np.int64)
        return self.population_index

    @cached_property
    def alt_count(self) -> NDArray[np.int64]:
        """(S,) int64: number of ALT alleles at each site."""
        counts = np.empty(self.num_sites, np.int64)
        for part in self._parts():
            counts[part] = np.bitwise_count(self.site_bits[part]).sum(axis=1, dtype=np.int64)
        return counts

    @cached_property
    def af(self) -> NDArray[np.float64]:
        """(S,) float64: ALT frequency of each site."""
        return self.alt_count / self.num_haplotypes

    @cached_property
    def population_genotype_frequency(self) -> NDArray[np.float32]:
        """(P, S, 3) float32: frequency of 0, 1 and 2 ALT alleles in each population.

        A haploid sample counts as a homozygote: its ALT allele as two.
        """
        frequency = np.empty((len(self.populations), self.num_sites, 3), np.float32)
        for p, members in enumerate(self._members()):
            haplotypes = self.haplotypes_of(members).ravel()
            keep = self._columns_as_bits(haplotypes)
            for part in self._parts():
                if self.ploidy is None:  # the haplotypes of a sample are neighbours in one word
                    bits = self.site_bits[part] & keep
                else:
                    bits = self._gather(haplotypes, part)
                homozygous = bits & (bits >> np.uint64(1)) & _EVEN_BITS
                hom = np.bitwise_count(homozygous).sum(axis=1, dtype=np.int64)
                alt = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
                counts = np.stack([members.size - alt + hom, alt - 2 * hom, hom], axis=1)
                frequency[p, part] = counts / members.size
        return frequency

    @cached_property
    def population_af(self) -> NDArray[np.float32]:
        """(P, S) float32: ALT frequency of each site among the haplotypes of each population."""
        af = np.empty((len(self.populations), self.num_sites), np.float32)
        for p, members in enumerate(self._members()):
            keep = self._columns_as_bits(self.haplotypes_of(members).ravel())
            size = self.sample_ploidy[members].sum()
            for part in self._parts():
                alt = np.bitwise_count(self.site_bits[part] & keep).sum(axis=1, dtype=np.int64)
                af[p, part] = alt / size
        return af

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that a model trained on this panel depends on, in hex."""
        digest = hashlib.sha256()
        digest.update("\0".join([self.chrom, *self.samples, "", *self.populations]).encode())
        for array in (self.position, self.alleles, self.sample_population, self.site_bits):
            digest.update(str((array.dtype, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
        if self.ploidy is not None:
            digest.update(self.ploidy.tobytes())
        return digest.hexdigest()

    @cached_property
    def haplotype_rows(self) -> NDArray[np.uint64]:
        """(H, ceil(S / 64)) uint64: the haplotypes, one row each; made once, as large as the panel.

        Bit j of word w is site 64 * w + j.
        """
        return self.haplotype_bits(np.arange(self.num_haplotypes), 0, self.num_sites)

    def haplotypes_of(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the two haplotypes of samples, one twice for a haploid: (n,) to (n, 2)."""
        if self.ploidy is None:
            pairs: NDArray[np.int64] = 2 * samples[:, None] + np.array([0, 1])
            return pairs
        last = np.cumsum(self.ploidy)[samples] - 1
        return np.stack([last - self.ploidy[samples] + 1, last], axis=1)

    def own_haplotypes(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `haplotypes_of` samples, and -1 twice for a sample -1, which the panel lacks."""
        own: NDArray[np.int64] = self._pairs[samples]
        return own

    @cached_property
    def _pairs(self) -> NDArray[np.int64]:
        """(num_samples + 1, 2) int64: the haplotypes of each sample, and -1 in the last row."""
        return np.append(self.haplotypes_of(np.arange(self.num_samples)), [[-1, -1]], axis=0)

    def haplotype_bits(
        self, haplotypes: NDArray[np.int64], start: int, stop: int
    ) -> NDArray[np.uint64]:
        """Return haplotypes over the sites [start, stop), (n, ceil((stop - start) / 64)) uint64."""
        return _core.gather_columns(self.site_bits, start, stop, haplotypes)

    def sample_alleles(self, samples: NDArray[np.int64], start: int, stop: int) -> NDArray[np.int8]:
        """Return both haplotypes of samples over the sites [start, stop): (n, 2, stop - start).

        Those of a haploid sample are equal.
        """
        bits = self.haplotype_bits(self.haplotypes_of(samples).ravel(), start, stop)
        return _core.unpack_rows(bits, stop - start).reshape(samples.size, 2, stop - start)

    def select_samples(self, indices: Sequence[int] | NDArray[np.int64]) -> Panel:
        """Return the panel of some samples, in the order given."""
        chosen = np.asarray(indices, np.int64)
        pairs = self.haplotypes_of(chosen)
        haplotypes = pairs[np.arange(2) < self.sample_ploidy[chosen][:, None]]
        bits = np.empty((self.num_sites, (haplotypes.size + 63) // 64), np.uint64)
        for part in self._parts():
            bits[part] = self._gather(haplotypes, part)
        return replace(
            self,
            samples=tuple(self.samples[i] for i in chosen.tolist()),
            site_bits=bits,
            population_index=self.sample_population[chosen],
            ploidy=None if self.ploidy is None else self.ploidy[chosen],
        )

    def select_sites(self, indices: NDArray[np.int64]) -> Panel:
        """Return the panel of some sites, in ascending order."""
        return replace(
            self,
            position=self.position[indices],
            alleles=self.alleles[indices],
            site_bits=self.site_bits[indices],
        )

    def polymorphic_sites(self) -> NDArray[np.int64]:
        """Return the indices of the sites at which the panel has both alleles."""
        return np.flatnonzero((self.alt_count > 0) & (self.alt_count < self.num_haplotypes))

    def with_populations(self, names: Sequence[str]) -> Panel:
        """Return the panel with the population of each sample given by name."""
        populations, index = np.unique(np.asarray(names, dtype=object), return_inverse=True)
        return replace(
            self,
            populations=tuple(str(name) for name in populations),
            population_index=index.astype(np.int64),
        )

    def sample_indices(
        self, names: Sequence[str], *, argument: str = "", path: str | Path = ""
    ) -> NDArray[np.int64]:
        """Return the indices of named samples.

        InputError, if the panel lacks one, names ``argument`` and ``path``, where they come from.
        """
        index = {name: i for i, name in enumerate(self.samples)}
        missing = [name for name in names if name not in index]
        if missing:
            count = f"{len(missing)} of {len(names)} names are not"
            problem = f"sample {missing[0]} is not in the panel ({count})"
            raise InputError(problem, argument=argument, path=path)
        return np.array([index[name] for name in names], np.int64)

    def _members(self) -> Iterator[NDArray[np.int64]]:
        """Yield the samples of each population; none may be empty."""
        for p, name in enumerate(self.populations):
            members = np.flatnonzero(self.sample_population == p)
            if members.size == 0:
                raise InputError(f"population {name} has no sample in the panel")
            yield members

    def _columns_as_bits(self, haplotypes: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return a row of bits with those of some haplotypes set."""
        columns = np.zeros(self.num_haplotypes, bool)
        columns[haplotypes] = True
        row: NDArray[np.uint64] = _core.pack_rows(columns[None, :])[0]
        return row

    def _gather(self, haplotypes: NDArray[np.int64], part: slice) -> NDArray[np.uint64]:
        """Return the bits of some haplotypes, in the order given, over a range of sites."""
        rows = _core.gather_columns(self.site_bits, part.start, part.stop, haplotypes)
        return _core.transpose_bits(rows, part.stop - part.start)

    def _parts(self) -> list[slice]:
        return [
            slice(start, min(start + _SITES_AT_ONCE, self.num_sites))
            for start in range(0, self.num_sites, _SITES_AT_ONCE)
        ]
