"""The phasings in which the samples of a chunk are imputed, and the phase that is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .phase_sets import Phase
from .phasing import Genotypes, PhasingRates
from .problem import ChunkProblem, Pairs

# Phasings that the phase is taken from, and those of them that are imputed. On 60 samples of the
# 1000 Genomes Project, R2 with four was lower by up to 0.005, with sixteen higher by up to 0.003.
_DRAWS, IMPUTED_DRAWS = 32, 8


@dataclass(frozen=True)
class Phaser:
    """Draws phasings of samples where their phase is not to be trusted.

    Attributes
    ----------
    problem : ChunkProblem
    rates : PhasingRates or None
        None if the phase of all samples is true.
    key : int
        Tells its draws from those of other chunks.
    """

    problem: ChunkProblem
    rates: PhasingRates | None
    key: int

    @classmethod
    def of(cls, problem: ChunkProblem, key: int) -> Phaser:
        """Return that of a chunk, with rates of some heterozygous samples."""
        heterozygous = np.flatnonzero(problem.heterozygous_samples())
        is_unphased = bool(problem.sites.target_unphased_bits.any())
        if heterozygous.size == 0:
            return cls(problem, None, key)
        rates = problem.diploid.fit(problem.genotypes, heterozygous)
        return cls(problem, rates if is_unphased or rates.switch_error > 0 else None, key)

    def pairs(self, genotypes: Genotypes, samples: NDArray[np.int64]) -> tuple[Pairs, list[Phase]]:
        """Return the phasings to impute of each sample, and the phase to write."""
        num_samples, num_words = genotypes.unphased.shape
        sample = np.arange(num_samples)
        as_in_file = Pairs(
            sample, np.zeros((num_samples, num_words), np.uint64), np.ones(num_samples, np.float32)
        )
        phases = [Phase.of_file(self.problem.rows[:0], self.problem.sites.position[:0])]
        phases *= num_samples
        if self.rates is None:
            return as_in_file, phases
        is_unphased = (genotypes.unphased != 0).any(axis=1)
        uncertain = is_unphased
        if self.rates.switch_error > 0:
            uncertain = uncertain | (genotypes.heterozygous != 0).any(axis=1)
        chosen = np.flatnonzero(uncertain)
        keys = samples[chosen].astype(np.uint64) << np.uint64(32) | np.uint64(self.key)
        drawn = self.problem.diploid.draw(genotypes.select(chosen), self.rates, keys, _DRAWS)
        parts = [as_in_file.slice(s, s + 1) for s in range(num_samples)]
        for number, s in enumerate(chosen.tolist()):
            phases[s] = self._phase(genotypes, s, drawn[number], is_unphased=bool(is_unphased[s]))
            some, count = np.unique(drawn[number, :IMPUTED_DRAWS], axis=0, return_counts=True)
            weight = (count / IMPUTED_DRAWS).astype(np.float32)
            parts[s] = Pairs(np.full(count.size, s), some, weight)
        pairs = Pairs(
            np.concatenate([part.sample for part in parts]),
            np.concatenate([part.swapped for part in parts]),
            np.concatenate([part.weight for part in parts]),
        )
        return pairs, phases

    def _phase(
        self, genotypes: Genotypes, sample: int, drawn: NDArray[np.uint64], *, is_unphased: bool
    ) -> Phase:
        """Return what most draws of a sample have, or the file's phase where that has one."""
        problem = self.problem
        differ = genotypes.heterozygous[sample : sample + 1]
        differ = _core.unpack_rows(differ, problem.rows.size)[0] != 0
        sites = np.flatnonzero(differ & problem.diploid.observed)
        place = problem.rows[sites], problem.sites.position[sites]
        if not is_unphased:
            return Phase.of_file(*place)
        bits = _core.unpack_rows(drawn, problem.rows.size)[:, sites] != 0
        return Phase.of_draws(*place, bits)
