"""What is predicted for the sites that a chunk writes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..io.imputed_columns import PRODUCT, SCALE
from ..io.matching import exchanged_alleles
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
        before = self.before[sample] if self.before else None
        self.phases.append(phase.continuing(before, self.chunk.start))

    def set_dosage(
        self, problem: ChunkProblem, first: int, pairs: Pairs, probability: NDArray[np.float32]
    ) -> None:
        """Set the dosages at the wanted sites, the mean over the pairs of each sample.

        ``first`` is the sample of number 0 among the pairs', ``probability`` (P, 2, N) that of ALT.
        """
        site = problem.rows[problem.wanted]
        to = site - self.chunk.start
        position = problem.sites.position[problem.wanted]
        samples, starts = np.unique(pairs.sample, return_index=True)
        stops = np.append(starts[1:], pairs.sample.size)
        for sample, start, stop in zip((first + samples).tolist(), starts, stops, strict=True):
            phase = self.phases[sample]
            dosage = probability[start:stop]
            if phase.position.size:
                at = np.searchsorted(problem.rows, phase.site)
                swaps = phase.swaps(bits_at(pairs.swapped[start:stop], at), site, position)
                dosage = np.where(swaps[:, None], dosage[:, ::-1], dosage)
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
        typed = np.flatnonzero(sites.typed)
        phase_set = None
        is_unphased = sites.target_unphased_bits.any()
        if is_unphased or any(phase.phase_set.any() for phase in self.phases):
            # The phase of a site that the model does not read is unknown: it is a set of its own.
            unphased = _core.unpack_rows(sites.target_unphased_bits[typed], num_samples) != 0
            swapped = np.zeros((typed.size, num_samples), np.uint8)
            phase_set = np.zeros((sites.num_sites, num_samples), np.int32)
            site = np.arange(chunk.start, chunk.stop)
            for sample, phase in enumerate(self.phases):
                within = (phase.site >= chunk.start) & (phase.site < chunk.stop)
                rows = np.searchsorted(typed, phase.site[within] - chunk.start)
                swapped[rows, sample] = phase.swapped[within]
                phase_set[:, sample] = phase.phase_set_at(site, sites.position)
                unphased[rows, sample] = False
            phase_set[typed] = np.where(unphased, sites.position[typed, None], phase_set[typed])
            bits, missing = sites.target_bits.copy(), sites.target_missing_bits.copy()
            for alleles in (bits, missing):
                alleles[typed] = exchanged_alleles(alleles[typed], swapped)
            sites = replace(sites, target_bits=bits, target_missing_bits=missing)
        hom_alt = self._hom_alt
        if hom_alt is not None:
            missing = _core.unpack_rows(sites.target_missing_bits[typed], 2 * num_samples) != 0
            is_known = ~missing.reshape(typed.size, num_samples, 2).all(axis=2)
            hom_alt[typed] = np.where(is_known, np.uint16(PRODUCT), hom_alt[typed])
        block = with_known_alleles(sites, self.hap_dosage, num_haplotypes)
        return replace(block, hom_alt=hom_alt, phase_set=phase_set)
