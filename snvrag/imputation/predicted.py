"""What is predicted for the sites that a chunk writes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..io.imputed_columns import PRODUCT, SCALE
from ..io.matching import MatchedBlock
from .chunks import Chunk
from .imputed import ImputedBlock, with_known_alleles
from .phase_sets import Phase, bits_at
from .problem import ChunkProblem, Pairs


@dataclass
class Predicted:
    """Dosages and phase of T samples at the n sites that a chunk writes.

    Attributes
    ----------
    chunk : Chunk
    hap_dosage : (n, T, 2) uint16
        As of `ImputedBlock`, 0 where nothing is predicted.
    before : list of Phase
        The phase of each sample in the chunk before, or none.
    phases : list of Phase
        The phase of each sample up to the last site that is written.
    """

    chunk: Chunk
    hap_dosage: NDArray[np.uint16]
    before: list[Phase]
    phases: list[Phase] = field(default_factory=list)
    _hom_alt: NDArray[np.uint16] | None = None

    @classmethod
    def empty(cls, chunk: Chunk, num_samples: int, before: list[Phase]) -> Predicted:
        """Return that of a chunk, without dosages."""
        shape = chunk.stop - chunk.start, num_samples, 2
        return cls(chunk, np.zeros(shape, np.uint16), before)

    def set_phase(self, sample: int, phase: Phase) -> None:
        """Set the phase of a sample, in the order of that before; of one sample after the other."""
        self.phases.append(phase.continuing(self.before[sample] if self.before else None))

    def set_dosage(
        self, problem: ChunkProblem, first: int, pairs: Pairs, probability: NDArray[np.float32]
    ) -> None:
        """Set the dosages at the wanted sites, the mean over the pairs of each sample.

        ``first`` is the sample of number 0 among the pairs', ``probability`` (P, 2, N) that of ALT.
        """
        to = problem.rows[problem.wanted] - self.chunk.start
        position = problem.sites.position[problem.wanted]
        samples, starts = np.unique(pairs.sample, return_index=True)
        stops = np.append(starts[1:], pairs.sample.size)
        for sample, start, stop in zip((first + samples).tolist(), starts, stops, strict=True):
            phase = self.phases[sample]
            dosage = probability[start:stop]
            if phase.position.size:
                at = np.searchsorted(problem.rows, phase.site)
                draws = bits_at(pairs.swapped[start:stop], at)
                swaps = phase.swaps(draws, position)[:, None]
                dosage = np.where(swaps, dosage[:, ::-1], dosage)
            weight = pairs.weight[start:stop]
            if stop - start > 1:
                if self._hom_alt is None:
                    self._hom_alt = np.full(self.hap_dosage.shape[:2], PRODUCT, np.uint16)
                both = weight @ (dosage[:, 0] * dosage[:, 1])
                self._hom_alt[to, sample] = np.rint(both * np.float32(SCALE))
            mean = weight @ dosage.reshape(weight.size, -1) * np.float32(SCALE)
            self.hap_dosage[to, sample] = np.rint(mean).reshape(2, -1).T

    def block(self, num_haplotypes: int) -> ImputedBlock:
        """Return what is written; ``num_haplotypes`` is that of the panel."""
        chunk, num_samples = self.chunk, self.hap_dosage.shape[1]
        sites = chunk.sites.slice(chunk.start, chunk.stop)
        phase_set = None
        if any(phase.phase_set.any() for phase in self.phases):
            swapped = np.zeros((sites.num_sites, num_samples), np.uint8)
            phase_set = np.zeros((sites.num_sites, num_samples), np.int32)
            for sample, phase in enumerate(self.phases):
                within = (phase.site >= chunk.start) & (phase.site < chunk.stop)
                rows = phase.site[within] - chunk.start
                swapped[rows, sample] = phase.swapped[within]
                phase_set[:, sample] = phase.phase_set_at(sites.position)
                phase_set[rows, sample] = phase.phase_set[within]
            sites = _exchanged(sites, swapped)
        hom_alt = self._hom_alt
        if hom_alt is not None:
            typed = np.flatnonzero(sites.typed)
            missing = _core.unpack_rows(sites.target_missing_bits[typed], 2 * num_samples) != 0
            is_known = ~missing.reshape(typed.size, num_samples, 2).all(axis=2)
            hom_alt[typed] = np.where(is_known, np.uint16(PRODUCT), hom_alt[typed])
        block = with_known_alleles(sites, self.hap_dosage, num_haplotypes)
        return replace(block, hom_alt=hom_alt, phase_set=phase_set)


def _exchanged(sites: MatchedBlock, swapped: NDArray[np.uint8]) -> MatchedBlock:
    """Return sites with the two alleles of some (n, T) genotypes in the other order."""
    chosen = _core.pack_rows(np.repeat(swapped, 2, axis=1))

    def exchange(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low = np.uint64(0x5555555555555555)
        other = (bits >> np.uint64(1)) & low | (bits & low) << np.uint64(1)
        result: NDArray[np.uint64] = bits ^ ((bits ^ other) & chosen)
        return result

    return replace(
        sites,
        target_bits=exchange(sites.target_bits),
        target_missing_bits=exchange(sites.target_missing_bits),
    )
