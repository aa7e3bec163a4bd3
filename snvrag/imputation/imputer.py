"""Imputation by Li-Stephens evidence and a head, over whole chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import InputError
from ..io.imputed_columns import SCALE
from ..io.matching import MatchedBlock
from ..io.model_file import Adapted
from ..kernels import EVIDENCE, States, head_log_odds, li_stephens_evidence
from ..li_stephens.rates import map_cm, rho_between, rho_of_a_cm
from ..li_stephens.states import BLOCK_SITES, states_of
from ..panel.genetic_map import GeneticMap
from ..panel.regions import Region
from .chunks import Chunk, ChunkPlan, affordable_sites, cut_chunks
from .imputed import ImputedBlock, OnProgress, PanelAndTarget, with_known_alleles

# Polymorphic sites of a chunk, and what is read on each side of it: where the panel's haplotypes
# are long, more. With 480 haplotypes of the 1000 Genomes Project, what is more than 1 cM away
# changed one dosage in ten thousand by more than a thousandth, and one by 0.18; what is more than
# 2 cM away, none. With 2,000 simulated ones of a young population, 0.27 switches in a cM, what is
# more than 4 cM away still changed some by more than a thousandth.
_CHUNK_SITES = 131_072
_FLANK_TYPED = 200
_FLANK_SWITCHES = 8.0
_FLANK_CM, _MOST_FLANK_CM = 3.0, 15.0
# Most bytes of evidence in memory, of one sample or more.
_EVIDENCE_BYTES = 24 << 20
# Bytes of the states that are retrieved together, which takes as long for one sample as for many,
# if each block has a thousand for both haplotypes.
_STATES_BYTES = 256 << 20
_BLOCK_BYTES = 8 * 1024


class Imputer:
    """Imputes the sites of a panel in a target's samples, with what was learned from the panel.

    Parameters
    ----------
    adapted : Adapted
        Its typed sites are those of the target, or more on both sides.
    data : PanelAndTarget
    plan : ChunkPlan, optional
    threads : int, optional
        By default one for each core.

    Notes
    -----
    Memory does not grow with the number of sites: it holds a chunk of the panel and of the target
    (one bit an allele), two bytes for each haplotype's dosage, and evidence of some haplotypes.
    """

    unit = "sites x samples"

    def __init__(
        self,
        adapted: Adapted,
        data: PanelAndTarget,
        *,
        plan: ChunkPlan | None = None,
        threads: int | None = None,
    ) -> None:
        self._adapted = adapted
        self._data = data
        self._threads = threads
        flank_cm = _flank_cm(adapted, data.genetic_map)
        self.plan = plan or plan_of(data.num_haplotypes, len(data.target_samples), flank_cm)

    def run(
        self,
        blocks: Iterable[MatchedBlock],
        on_progress: OnProgress | None = None,
        region: Region | None = None,
    ) -> Iterator[ImputedBlock]:
        """See `ImputesBlocks`."""
        num_haplotypes = self._data.num_haplotypes
        for chunk in cut_chunks(blocks, num_haplotypes, self.plan, self._data.genetic_map):
            kept = chunk if region is None else chunk.within(region.first, region.last)
            if kept is not None:
                sites = kept.sites.slice(kept.start, kept.stop)
                dosage = self._predict(kept, on_progress)
                yield with_known_alleles(sites, dosage, num_haplotypes)

    def _predict(self, chunk: Chunk, on_progress: OnProgress | None) -> NDArray[np.uint16]:
        """Return the (n, T, 2) dosages of the sites that a chunk writes, where they are unknown."""
        sites, num_samples = chunk.sites, len(self._data.target_samples)
        typed = sites.typed & chunk.polymorphic
        # Blocks of states begin where they would without chunks.
        early = np.flatnonzero(typed)[: -self._rank(sites.position[typed]) % BLOCK_SITES]
        typed[early[early < chunk.start]] = False
        lacks = (sites.target_missing_bits != 0).any(axis=1)
        wanted = chunk.polymorphic & (~typed | lacks)
        wanted[: chunk.start] = wanted[chunk.stop :] = False
        out = np.zeros((chunk.stop - chunk.start, 2 * num_samples), np.uint16)
        rows = np.flatnonzero(wanted | typed)  # those that the model reads
        if not wanted.any():
            return out.reshape(-1, num_samples, 2)
        problem = _Problem(self._data, sites.select(rows), typed[rows], wanted[rows])
        rho = self._cumulative_rho(problem)
        to = np.flatnonzero(wanted[chunk.start : chunk.stop])
        # Whole samples, as many as memory allows, and one for every two threads.
        least = max(1, (self._threads or 1) // 2)
        size = max(least, _EVIDENCE_BYTES // (8 * len(EVIDENCE) * to.size))
        num_blocks = 1 + np.count_nonzero(problem.observed) // BLOCK_SITES
        at_once = max(size, _STATES_BYTES // (_BLOCK_BYTES * num_blocks))
        for group in range(0, num_samples, at_once):
            stop = min(group + at_once, num_samples)
            queries = problem.queries(group, stop, self._threads)
            for first in range(group, stop, size):
                part = slice(2 * first, 2 * min(first + size, stop))
                within = slice(part.start - 2 * group, part.stop - 2 * group)
                evidence = queries.evidence(within, rho, self._adapted.mismatch, self._threads)
                out[to, part] = self._hap_dosage(evidence, problem.alt_is_minor).T
                if on_progress is not None:
                    on_progress(to.size * (part.stop - part.start) // 2)
        return out.reshape(-1, num_samples, 2)

    def _hap_dosage(
        self, evidence: NDArray[np.float32], alt_is_minor: NDArray[np.bool_]
    ) -> NDArray[np.uint16]:
        """Return the (Q, N) probability of ALT, in thousandths."""
        head = self._adapted.head
        log_odds = (
            evidence[..., 0]
            if head is None
            else head_log_odds(evidence, head, threads=self._threads)
        )
        if not np.isfinite(log_odds).all():
            raise InputError("must give finite predictions, got NaN", argument="model")
        # Of ALT: 1 - sigmoid(x) is sigmoid(-x).
        minus = np.where(alt_is_minor, np.float32(-1), np.float32(1)) * log_odds
        np.exp(np.minimum(minus, np.float32(80), out=minus), out=minus)
        thousandths = np.float32(SCALE) / (1 + minus)
        result: NDArray[np.uint16] = np.rint(thousandths).astype(np.uint16)
        return result

    def _rank(self, typed_position: NDArray[np.int64]) -> int:
        """Return which of the model's typed sites is the first of some consecutive ones."""
        return int(np.searchsorted(self._adapted.position, typed_position[:1]).sum())

    def _cumulative_rho(self, problem: _Problem) -> NDArray[np.float64]:
        """Return cumulative rho at the sites of a chunk."""
        prior = problem.position_cm * rho_of_a_cm(self._data.num_haplotypes)
        sites = np.flatnonzero(problem.observed)
        if sites.size == 0:
            return prior
        first = self._rank(problem.sites.position[sites])
        return rho_between(prior, sites, self._adapted.cumulative_rho[first : first + sites.size])


class _Problem:
    """The sites that the model reads for a chunk, as the kernels take them."""

    def __init__(
        self,
        data: PanelAndTarget,
        sites: MatchedBlock,
        observed: NDArray[np.bool_],
        wanted: NDArray[np.bool_],
    ) -> None:
        self.data, self.sites, self.observed = data, sites, observed
        self.wanted = np.flatnonzero(wanted)
        self.position_cm = map_cm(sites.position, data.genetic_map)
        self.panel = _core.transpose_bits(sites.site_bits, data.num_haplotypes)
        self.alt_count = sites.alt_count[self.wanted]
        self.alt_is_minor = 2 * self.alt_count <= data.num_haplotypes
        self.has_missing = bool(sites.target_missing_bits.any())

    def queries(self, start: int, stop: int, threads: int | None) -> _Queries:
        """Return the haplotypes of the samples [start, stop), with what they may copy from."""
        haplotypes = np.arange(2 * start, 2 * stop)

        def rows(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
            return _core.gather_columns(bits, 0, bits.shape[0], haplotypes)

        bits = rows(self.sites.target_bits)
        missing = rows(self.sites.target_missing_bits) if self.has_missing else None
        own = self.data.own_haplotypes[start:stop]
        exclude = np.repeat(own, 2, axis=0) if (own >= 0).any() else None
        states = states_of(
            bits,
            self.sites.site_bits,
            num_haplotypes=self.data.num_haplotypes,
            observed=self.observed,
            position_cm=self.position_cm,
            exclude=exclude,
            missing=missing,
            threads=threads,
        )
        return _Queries(self, bits, missing, exclude, states)


@dataclass(frozen=True)
class _Queries:
    """Haplotypes of a target, with what they may copy from."""

    problem: _Problem
    bits: NDArray[np.uint64]
    missing: NDArray[np.uint64] | None
    exclude: NDArray[np.int64] | None
    states: States | None

    def evidence(
        self,
        part: slice,
        cumulative_rho: NDArray[np.float64],
        mismatch: float,
        threads: int | None,
    ) -> NDArray[np.float32]:
        """Return the (Q, N, E) evidence of some of them."""
        problem = self.problem
        return li_stephens_evidence(
            self.bits[part],
            problem.panel,
            observed=problem.observed,
            sites=problem.wanted,
            alt_count=problem.alt_count,
            cumulative_rho=cumulative_rho,
            mismatch=mismatch,
            states=None if self.states is None else _part_of(self.states, part),
            exclude=None if self.exclude is None else self.exclude[part],
            missing=None if self.missing is None else self.missing[part],
            threads=threads,
        )


def _part_of(states: States, part: slice) -> States:
    """Return the states of some queries."""
    offsets = states.offsets[part]
    first, last = int(offsets[0, 0]), int(offsets[-1, -1])
    return States(states.block_starts, offsets - first, states.haplotypes[first:last])


def plan_of(num_haplotypes: int, num_targets: int = 1, flank_cm: float = _FLANK_CM) -> ChunkPlan:
    """Return chunks that fit into memory, with flanks as the Li-Stephens model needs them."""
    num_sites = affordable_sites(_CHUNK_SITES, num_haplotypes, num_targets)
    return ChunkPlan(max(1, num_sites), flank_typed=_FLANK_TYPED, flank_cm=flank_cm)


def _flank_cm(adapted: Adapted, genetic_map: GeneticMap | None) -> float:
    """Return a flank in which some switches are expected by the rates of a model."""
    ends = map_cm(adapted.position[[0, -1]], genetic_map) if adapted.position.size else np.zeros(2)
    if ends[0] == ends[1]:
        return _FLANK_CM
    switches = (adapted.cumulative_rho[-1] - adapted.cumulative_rho[0]) / (ends[1] - ends[0])
    most = _FLANK_SWITCHES / max(switches, _FLANK_SWITCHES / _MOST_FLANK_CM)
    return float(max(_FLANK_CM, most))
