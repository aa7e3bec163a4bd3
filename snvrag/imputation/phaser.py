"""The phasings in which the samples of a chunk are imputed, and the phase that is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .phase_sets import Phase, bits_at
from .phasing import Genotypes, PhasingRates
from .problem import ChunkProblem, Pairs

# Phasings that the phase is taken from, and those of them that are imputed. On 60 samples of the
# 1000 Genomes Project, R2 with four was lower by up to 0.005, with sixteen higher by up to 0.003.
_DRAWS, IMPUTED_DRAWS = 128, 8


@dataclass(frozen=True)
class Phaser:
    """Draws phasings of samples, for which the phase of the file is evidence.

    Attributes
    ----------
    problem : ChunkProblem
    rates : PhasingRates or None
        None if no sample is heterozygous. Where the switch error is 0, samples that are phased
        throughout are taken as they are.
    """

    problem: ChunkProblem
    rates: PhasingRates | None

    @property
    def sample_bytes(self) -> int:
        """Bytes of the phasings that are drawn of a sample."""
        return (1 if self.rates is None else _DRAWS) * (8 + self.problem.rows.size // 8)

    def pairs(self, genotypes: Genotypes, samples: NDArray[np.int64]) -> tuple[Pairs, list[Phase]]:
        """Return the phasings to impute of each sample, and the phase to write.

        ``samples`` are the target's samples whose genotypes are given.
        """
        num_samples, num_words = genotypes.unphased.shape
        as_in_file = Pairs(
            np.arange(num_samples),
            np.zeros((num_samples, num_words), np.uint64),
            np.ones(num_samples, np.float32),
        )
        none = self.problem.rows[:0]
        phases = [Phase.of_file(none, none)] * num_samples
        if self.rates is None:
            return as_in_file, phases
        parts = [as_in_file.slice(s, s + 1) for s in range(num_samples)]
        is_unphased = (genotypes.unphased != 0).any(axis=1)
        is_phased = ~is_unphased & (genotypes.heterozygous != 0).any(axis=1)
        is_phased &= self.rates.switch_error > 0
        for chosen, draws in ((is_phased, IMPUTED_DRAWS), (is_unphased, _DRAWS)):
            some = np.flatnonzero(chosen)
            if some.size == 0:
                continue
            keys = self.problem.keys(samples[some])
            drawn = self.problem.diploid.draw(genotypes.select(some), self.rates, keys, draws)
            for number, s in enumerate(some.tolist()):
                phases[s] = self._phase(genotypes, s, drawn[number])
                parts[s] = _distinct(s, drawn[number, :IMPUTED_DRAWS])
        pairs = Pairs(
            np.concatenate([part.sample for part in parts]),
            np.concatenate([part.swapped for part in parts]),
            np.concatenate([part.weight for part in parts]),
        )
        return pairs, phases

    def _phase(self, genotypes: Genotypes, sample: int, drawn: NDArray[np.uint64]) -> Phase:
        """Return what most draws of a sample have, or the file's phase where that has one."""
        problem = self.problem
        one = genotypes.select(np.array([sample]))
        observed = np.flatnonzero(problem.diploid.observed)
        sites = observed[bits_at(one.heterozygous, observed)[0]]
        place = problem.rows[sites], problem.sites.position[sites]
        if one.are_phased:
            return Phase.of_file(*place)
        return Phase.of_draws(*place, bits_at(drawn, sites))


def fit_rates(problem: ChunkProblem) -> PhasingRates | None:
    """Return the most likely rates of a chunk's samples; None if none is heterozygous."""
    heterozygous = np.flatnonzero(problem.heterozygous_samples())
    if heterozygous.size == 0:
        return None
    return problem.diploid.fit(problem.genotypes, heterozygous)


def _distinct(sample: int, drawn: NDArray[np.uint64]) -> Pairs:
    """Return the phasings of a sample, each once, with their share of the draws."""
    # As one item each: of rows, NumPy makes records of as many fields as words.
    rows = drawn.astype(">u8").view(f"V{8 * drawn.shape[1]}")[:, 0]
    _, first, count = np.unique(rows, return_index=True, return_counts=True)
    weight = (count / len(drawn)).astype(np.float32)
    return Pairs(np.full(count.size, sample), drawn[first], weight)
