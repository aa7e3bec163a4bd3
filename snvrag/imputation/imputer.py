"""Imputation by Li-Stephens evidence and a head, over whole chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.matching import MatchedBlock
from ..io.model_file import Adapted
from ..kernels import EVIDENCE, head_log_odds
from ..li_stephens.rates import map_cm, rho_between, rho_of_a_cm
from ..li_stephens.states import BLOCK_SITES
from ..panel.genetic_map import GeneticMap
from ..panel.regions import Region
from .chunks import Chunk, ChunkPlan, affordable_sites, cut_chunks
from .imputed import ImputedBlock, OnProgress, PanelAndTarget
from .phase_sets import Phase
from .phaser import Phaser, fit_rates
from .phasing import PhasingRates, pair_neighbours
from .predicted import Predicted
from .problem import ChunkProblem, Pairs, Queries

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
# if each block has a thousand for both haplotypes; and of the phasings that are drawn together.
_STATES_BYTES = 256 << 20
_BLOCK_BYTES = 8 * 1024
_DRAWN_BYTES = 64 << 20


class Imputer:
    """Imputes the sites of a panel in a target's samples, with what was learned from the panel.

    A sample whose phase is unknown, or not to be trusted, is imputed in several phasings, drawn
    from the diploid Li-Stephens model, and what is predicted is averaged.

    Parameters
    ----------
    adapted : Adapted
        Its typed sites are those of the target, or more on both sides.
    data : PanelAndTarget
    plan : ChunkPlan, optional
    phase_only : bool
        Predict nothing: only genotypes of the target are phased.
    threads : int, optional
        By default one for each core.

    Notes
    -----
    Memory does not grow with the number of sites: it holds a chunk of the panel and of the target
    (one bit an allele), two bytes for each haplotype's dosage and six for each unphased genotype,
    and evidence, states and phasings of some samples. Only `sample_phasings`, in each thread, holds
    some kilobytes for each typed site of a chunk.
    """

    unit = "sites x samples"

    def __init__(
        self,
        adapted: Adapted,
        data: PanelAndTarget,
        *,
        plan: ChunkPlan | None = None,
        phase_only: bool = False,
        threads: int | None = None,
    ) -> None:
        self._adapted = adapted
        self._data = data
        self._phase_only = phase_only
        # Of the first chunk with a heterozygote, for all.
        self._phasing_rates: PhasingRates | None = None
        self._threads = threads
        # Whole samples, as many as memory allows, and one for every two threads.
        self._least = max(1, (threads or 1) // 2)
        flank_cm = _flank_cm(adapted, data.genetic_map)
        self.plan = plan or plan_of(data.num_haplotypes, len(data.target_samples), flank_cm)

    @property
    def switch_error(self) -> float | None:
        """How often the target's phase is taken as wrong; None if nothing in it is phased."""
        rates = self._phasing_rates
        return rates.switch_error if rates is not None and rates.switch_error > 0 else None

    def run(
        self,
        blocks: Iterable[MatchedBlock],
        on_progress: OnProgress | None = None,
        region: Region | None = None,
    ) -> Iterator[ImputedBlock]:
        """See `ImputesBlocks`."""
        num_haplotypes = self._data.num_haplotypes
        before: list[Phase] = []
        for chunk in cut_chunks(blocks, num_haplotypes, self.plan, self._data.genetic_map):
            kept = chunk if region is None else chunk.within(region.first, region.last)
            if kept is not None:
                predicted = Predicted.empty(kept, len(self._data.target_samples), before)
                self._predict(kept, predicted, on_progress)
                before = [phase.until(kept.stop) for phase in predicted.phases]
                yield predicted.block(num_haplotypes)

    def _predict(self, chunk: Chunk, out: Predicted, on_progress: OnProgress | None) -> None:
        """Predict the sites that a chunk writes."""
        problem = self._problem(chunk)
        if problem is None:
            return
        if self._phasing_rates is None:
            self._phasing_rates = fit_rates(problem)
        phaser = Phaser(problem, self._phasing_rates)
        num_samples = len(self._data.target_samples)
        num_blocks = 1 + problem.num_observed // BLOCK_SITES
        most_pairs = _STATES_BYTES // (_BLOCK_BYTES * num_blocks)
        at_once = max(self._least, min(most_pairs, _DRAWN_BYTES // phaser.sample_bytes))
        for group in range(0, num_samples, at_once):
            samples = np.arange(group, min(group + at_once, num_samples))
            genotypes = problem.genotypes(samples)
            pairs, phases = phaser.pairs(genotypes, samples)
            for sample, phase in zip(samples.tolist(), phases, strict=True):
                out.set_phase(sample, phase)
            if problem.wanted.size == 0:
                if on_progress is not None:
                    on_progress(problem.num_observed * samples.size)
                continue
            for start, stop in pairs.parts(max(self._least, most_pairs)):
                part = pairs.slice(start, stop)
                # Without a name, so that the states are let go of before the next ones.
                self._predict_pairs(problem.queries(genotypes, part), part, group, out, on_progress)

    def _predict_pairs(
        self,
        queries: Queries,
        pairs: Pairs,
        group: int,
        out: Predicted,
        on_progress: OnProgress | None,
    ) -> None:
        """Predict from phasings; ``group`` is the sample of number 0 among those of the pairs."""
        num_wanted = queries.problem.wanted.size
        size = max(self._least, _EVIDENCE_BYTES // (8 * len(EVIDENCE) * num_wanted))
        for start, stop in pairs.parts(size):
            some = pairs.slice(start, stop)
            probability = self._probability(queries, start, stop)
            out.set_dosage(queries.problem, group, some, probability)
            if on_progress is not None:
                on_progress(num_wanted * np.unique(some.sample).size)

    def _problem(self, chunk: Chunk) -> ChunkProblem | None:
        """Return the typed and wanted sites of a chunk; None if there is nothing to do."""
        sites = chunk.sites
        typed = sites.typed & chunk.polymorphic
        # Blocks of states begin where they would without chunks.
        early = np.flatnonzero(typed)[: -self._rank(sites.position[typed]) % BLOCK_SITES]
        typed[early[early < chunk.start]] = False
        lacks = (sites.target_missing_bits != 0).any(axis=1)
        wanted = chunk.polymorphic & (~typed | lacks)
        wanted[: chunk.start] = wanted[chunk.stop :] = False
        wanted &= not self._phase_only
        rows = np.flatnonzero(wanted | typed)  # those that the model reads
        if not wanted.any() and not sites.target_unphased_bits.any():
            return None
        position = sites.position[rows]
        return ChunkProblem(
            self._data,
            sites,
            rows,
            observed=typed[rows],
            wanted=wanted[rows],
            cumulative_rho=self._cumulative_rho(position, np.flatnonzero(typed[rows])),
            mismatch=self._adapted.mismatch,
            first_rank=self._rank(sites.position[typed]),
            neighbours=pair_neighbours(self._adapted.position.size),
            threads=self._threads,
        )

    def _probability(self, queries: Queries, first: int, stop: int) -> NDArray[np.float32]:
        """Return (P, 2, N), the probability of ALT on the haplotypes of some pairs."""
        evidence = queries.evidence(first, stop)
        head = self._adapted.head
        log_odds = (
            evidence[..., 0]
            if head is None
            else head_log_odds(evidence, head, threads=self._threads)
        )
        if not np.isfinite(log_odds).all():
            raise InputError("must give finite predictions, got NaN", argument="model")
        # Of ALT: 1 - sigmoid(x) is sigmoid(-x).
        minus = np.where(queries.problem.alt_is_minor, np.float32(-1), np.float32(1)) * log_odds
        np.exp(np.minimum(minus, np.float32(80), out=minus), out=minus)
        result: NDArray[np.float32] = 1 / (1 + minus)
        return result.reshape(stop - first, 2, -1)

    def _rank(self, typed_position: NDArray[np.int64]) -> int:
        """Return which of the model's typed sites is the first of some consecutive ones."""
        return int(np.searchsorted(self._adapted.position, typed_position[:1]).sum())

    def _cumulative_rho(
        self, position: NDArray[np.int64], typed: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return cumulative rho at the sites of a chunk, of which some are typed."""
        cm = map_cm(position, self._data.genetic_map)
        prior = cm * rho_of_a_cm(self._data.num_haplotypes)
        if typed.size == 0:
            return prior
        first = self._rank(position[typed])
        return rho_between(prior, typed, self._adapted.cumulative_rho[first : first + typed.size])


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
