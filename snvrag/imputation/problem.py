"""The sites that the model reads for a chunk, as the kernels take them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..io.matching import MatchedBlock
from ..kernels import States, li_stephens_evidence
from ..li_stephens.rates import map_cm
from ..li_stephens.states import states_of
from .imputed import PanelAndTarget
from .phasing import DiploidModel, Genotypes


class ChunkProblem:
    """L sites of a chunk, typed or wanted.

    Parameters
    ----------
    data : PanelAndTarget
    chunk_sites : MatchedBlock
    rows : (L,) int64
        Those of the chunk's sites.
    observed, wanted : (L,) bool
        Sites at which the target is typed, and those that are predicted.
    cumulative_rho : (L,) float64
    mismatch : float
    first_rank : int
        Number of typed sites of the chromosome before the first observed one.
    neighbours : int
        By which the states of a sample are chosen.
    threads : int, optional
    """

    def __init__(
        self,
        data: PanelAndTarget,
        chunk_sites: MatchedBlock,
        rows: NDArray[np.int64],
        *,
        observed: NDArray[np.bool_],
        wanted: NDArray[np.bool_],
        cumulative_rho: NDArray[np.float64],
        mismatch: float,
        first_rank: int,
        neighbours: int,
        threads: int | None,
    ) -> None:
        sites = chunk_sites.select(rows)
        self.data, self.sites, self.rows, self.threads = data, sites, rows, threads
        self.wanted = np.flatnonzero(wanted)
        self.alt_count = sites.alt_count[self.wanted]
        self.alt_is_minor = 2 * self.alt_count <= data.num_haplotypes
        self.diploid = DiploidModel(
            site_bits=sites.site_bits,
            haplotype_bits=_core.transpose_bits(sites.site_bits, data.num_haplotypes),
            num_haplotypes=data.num_haplotypes,
            observed=observed,
            position_cm=map_cm(sites.position, data.genetic_map),
            cumulative_rho=cumulative_rho,
            mismatch=mismatch,
            first_rank=first_rank,
            neighbours=neighbours,
            threads=threads,
        )
        self._has_missing = bool(sites.target_missing_bits.any())

    @property
    def num_observed(self) -> int:
        """The number of typed sites."""
        return int(np.count_nonzero(self.diploid.observed))

    def genotypes(self, samples: NDArray[np.int64]) -> Genotypes:
        """Return the genotypes of some samples."""

        def rows(bits: NDArray[np.uint64], columns: NDArray[np.int64]) -> NDArray[np.uint64]:
            return _core.gather_columns(bits, 0, bits.shape[0], columns)

        haplotypes = (2 * samples[:, None] + np.arange(2)).ravel()
        own = self.data.own_haplotypes[samples]
        return Genotypes(
            rows(self.sites.target_bits, haplotypes),
            rows(self.sites.target_missing_bits, haplotypes) if self._has_missing else None,
            rows(self.sites.target_unphased_bits, samples),
            own if (own >= 0).any() else None,
        )

    def keys(self, samples: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return what the draws of some samples are drawn from: their names."""
        names = [self.data.target_samples[sample].encode() for sample in samples.tolist()]
        return np.array([zlib.crc32(name) for name in names], np.uint64)

    def heterozygous_samples(self) -> NDArray[np.bool_]:
        """Return (T,) bool: True where two alleles differ at a typed site; one may be missing."""
        observed = self.diploid.observed
        differ = np.zeros(self.sites.target_bits.shape[1], np.uint64)
        for bits in (self.sites.target_bits[observed], self.sites.target_missing_bits[observed]):
            differ |= np.bitwise_or.reduce(bits ^ (bits >> np.uint64(1)), axis=0)
        num_samples = len(self.data.target_samples)
        result: NDArray[np.bool_] = _core.unpack_rows(differ[None], 2 * num_samples)[0, ::2] != 0
        return result

    def queries(self, genotypes: Genotypes, pairs: Pairs) -> Queries:
        """Return pairs of haplotypes, with what they may copy from."""
        model = self.diploid
        bits, missing = genotypes.haplotypes(pairs.sample, pairs.swapped)
        exclude = genotypes.exclude
        if exclude is not None:
            exclude = np.repeat(exclude[pairs.sample], 2, axis=0)
        states = states_of(
            bits,
            model.site_bits,
            num_haplotypes=model.num_haplotypes,
            observed=model.observed,
            position_cm=model.position_cm,
            exclude=exclude,
            missing=missing,
            threads=self.threads,
        )
        return Queries(self, bits, missing, exclude, states)


class Pairs(NamedTuple):
    """Phasings of samples: haplotypes in pairs.

    Attributes
    ----------
    sample : (P,) int64
        Ascending.
    swapped : (P, W) uint64
        As of `sample_phasings`.
    weight : (P,) float32
        Adds up to 1 in each sample.
    """

    sample: NDArray[np.int64]
    swapped: NDArray[np.uint64]
    weight: NDArray[np.float32]

    def slice(self, start: int, stop: int) -> Pairs:
        """Return the pairs of a half-open range."""
        return Pairs(self.sample[start:stop], self.swapped[start:stop], self.weight[start:stop])

    def parts(self, most: int) -> Iterator[tuple[int, int]]:
        """Yield half-open ranges of whole samples, of at most so many pairs or of one sample."""
        ends = np.append(np.flatnonzero(np.diff(self.sample)) + 1, self.sample.size)
        start = 0
        while start < self.sample.size:
            last = int(np.searchsorted(ends, start + most, side="right")) - 1
            stop = int(ends[max(last, int(np.searchsorted(ends, start, side="right")))])
            yield start, stop
            start = stop


@dataclass(frozen=True)
class Queries:
    """Haplotypes of a target, pair after pair, with what they may copy from."""

    problem: ChunkProblem
    bits: NDArray[np.uint64]
    missing: NDArray[np.uint64] | None
    exclude: NDArray[np.int64] | None
    states: States | None

    def evidence(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the (Q, N, E) evidence of the pairs from start to stop at the wanted sites."""
        problem, model = self.problem, self.problem.diploid
        part = slice(2 * start, 2 * stop)
        return li_stephens_evidence(
            self.bits[part],
            model.haplotype_bits,
            observed=model.observed,
            sites=problem.wanted,
            alt_count=problem.alt_count,
            cumulative_rho=model.cumulative_rho,
            mismatch=model.mismatch,
            states=None if self.states is None else _part_of(self.states, part),
            exclude=None if self.exclude is None else self.exclude[part],
            missing=None if self.missing is None else self.missing[part],
            threads=problem.threads,
        )


def _part_of(states: States, part: slice) -> States:
    """Return the states of some queries."""
    offsets = states.offsets[part]
    first, last = int(offsets[0, 0]), int(offsets[-1, -1])
    return States(states.block_starts, offsets - first, states.haplotypes[first:last])
