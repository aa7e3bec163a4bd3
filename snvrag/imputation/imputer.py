"""Imputation by Li-Stephens evidence and a head, over whole chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import InputError
from ..io.imputed_columns import SCALE
from ..io.matching import MatchedBlock
from ..io.model_file import Adapted
from ..kernels import EVIDENCE, head_log_odds, li_stephens_evidence
from ..li_stephens.rates import map_rho, rho_between
from ..panel.panel import Panel
from ..panel.regions import Region
from .chunks import Chunk, ChunkPlan, affordable_sites, cut_chunks
from .imputed import ImputedBlock, OnProgress, PanelAndTarget, with_known_alleles

# Polymorphic sites of a chunk, and what is read on each side of it. With 480 haplotypes, what is
# more than 1 cM away changed one dosage in ten thousand by more than a thousandth, and one by 0.18;
# what is more than 2 cM away, none. Haplotypes that are alike for so long are rare.
_CHUNK_SITES = 131_072
_FLANK_TYPED = 200
_FLANK_CM = 3.0
# Most bytes of evidence in memory, of one query or more.
_EVIDENCE_BYTES = 64 << 20


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
        self.plan = plan or plan_of(data.num_haplotypes, len(data.target_samples))
        own = Panel(
            data.chrom,
            np.empty(0, np.int64),
            np.empty((0, 2), "U1"),
            tuple(data.panel_samples),
            np.empty((0, 0), np.uint64),
            ploidy=data.ploidy,
        ).own_haplotypes(data.panel_sample)
        self._own = np.repeat(own, 2, axis=0) if (data.panel_sample >= 0).any() else None

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
        sites, typed = chunk.sites, chunk.sites.typed & chunk.polymorphic
        is_written = np.zeros(sites.num_sites, bool)
        is_written[chunk.start : chunk.stop] = True
        lacks = (sites.target_missing_bits != 0).any(axis=1)
        wanted = is_written & chunk.polymorphic & (~typed | lacks)
        num_samples = len(self._data.target_samples)
        out = np.zeros((chunk.stop - chunk.start, 2 * num_samples), np.uint16)
        rows = np.flatnonzero(wanted | typed)  # those that the model reads
        found = np.flatnonzero(wanted[rows])
        if found.size:
            to = rows[found] - chunk.start
            panel = _core.transpose_bits(sites.site_bits[rows], self._data.num_haplotypes)
            alt_count = sites.alt_count[rows[found]]
            alt_is_minor = 2 * alt_count <= self._data.num_haplotypes
            rho = self._cumulative_rho(sites.position[rows], typed[rows])
            queries = _haplotypes(sites.target_bits[rows], 2 * num_samples)
            missing = None
            if lacks[rows].any():
                missing = _haplotypes(sites.target_missing_bits[rows], 2 * num_samples)
            # Whole samples, as many as memory allows, and one for every two threads.
            size = _EVIDENCE_BYTES // (8 * len(EVIDENCE) * found.size)
            size = max(1, size, (self._threads or 1) // 2)
            for first in range(0, num_samples, size):
                part = slice(2 * first, 2 * min(first + size, num_samples))
                evidence = li_stephens_evidence(
                    queries[part],
                    panel,
                    observed=typed[rows],
                    sites=found,
                    alt_count=alt_count,
                    cumulative_rho=rho,
                    mismatch=self._adapted.mismatch,
                    exclude=None if self._own is None else self._own[part],
                    missing=None if missing is None else missing[part],
                    threads=self._threads,
                )
                out[to, part] = self._hap_dosage(evidence, alt_is_minor).T
                if on_progress is not None:
                    on_progress(found.size * (part.stop - part.start) // 2)
        return out.reshape(-1, num_samples, 2)

    def _hap_dosage(
        self, evidence: NDArray[np.float32], alt_is_minor: NDArray[np.bool_]
    ) -> NDArray[np.uint16]:
        """Return the (Q, N) probability of ALT, in thousandths."""
        head = self._adapted.head
        log_odds = evidence[..., 0] if head is None else head_log_odds(evidence, head)
        if not np.isfinite(log_odds).all():
            raise InputError("must give finite predictions, got NaN", argument="model")
        # Of ALT: 1 - sigmoid(x) is sigmoid(-x).
        minus = np.where(alt_is_minor, np.float32(-1), np.float32(1)) * log_odds
        np.exp(np.minimum(minus, np.float32(80), out=minus), out=minus)
        thousandths = np.float32(SCALE) / (1 + minus)
        result: NDArray[np.uint16] = np.rint(thousandths).astype(np.uint16)
        return result

    def _cumulative_rho(
        self, position: NDArray[np.int64], typed: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return cumulative rho at the sites of a chunk."""
        known = self._adapted
        prior = map_rho(position, self._data.num_haplotypes, self._data.genetic_map)
        sites = np.flatnonzero(typed)
        if sites.size == 0:
            return prior
        # Typed sites of the chunk follow each other in the model, too.
        first = int(np.searchsorted(known.position, position[sites[0]]))
        return rho_between(prior, sites, known.cumulative_rho[first : first + sites.size])


def plan_of(num_haplotypes: int, num_targets: int = 1) -> ChunkPlan:
    """Return chunks that fit into memory, with flanks as the Li-Stephens model needs them."""
    num_sites = affordable_sites(_CHUNK_SITES, num_haplotypes, num_targets)
    return ChunkPlan(max(1, num_sites), flank_typed=_FLANK_TYPED, flank_cm=_FLANK_CM)


def _haplotypes(bits: NDArray[np.uint64], num_haplotypes: int) -> NDArray[np.uint64]:
    """Return the haplotypes of all samples, packed by haplotype."""
    return _core.gather_columns(bits, 0, bits.shape[0], np.arange(num_haplotypes))
