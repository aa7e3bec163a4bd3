"""Phasings of a target's samples, drawn from the diploid Li-Stephens model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels import Phasings, States, sample_phasings
from ..li_stephens.states import pair_states_of

_DRAWS_BETWEEN = 2
_FEWEST_NEIGHBOURS, _MOST_NEIGHBOURS, _NEIGHBOURS_TIMES_SITES = 8, 32, 4096
# Where the file's phase is good, the fewest states are chosen, once, for its haplotypes.
_GOOD_PHASE = 0.03
# What the file's phase may be worth: that of the highest likelihood is taken.
_SWITCH_ERRORS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5)
# A pair of haplotypes fits more often by chance than one does, so that fewer switches explain it:
# these factors of rho are compared.
_RHO_SCALES = (0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0)
_FIRST_SCALE = 4
# The likelihood is compared at so many observed sites in the middle, of so many samples that there
# are this many genotypes.
_FIT_SITES, _FIT_GENOTYPES = 192, 4096


def pair_neighbours(num_typed: int) -> int:
    """Return the neighbours by which pairs of states are chosen, where so many sites are typed.

    The fewer there are, the less do matches tell of them: 32 at up to 128 sites, 8 at 512 or more.
    In ``bench/phasings.py``, more of them lowered the switch error at 48 sites, and at some hundred
    the fewest were as good.
    """
    few = _NEIGHBOURS_TIMES_SITES // max(1, num_typed)
    return min(max(few, _FEWEST_NEIGHBOURS), _MOST_NEIGHBOURS)


class Genotypes(NamedTuple):
    """Genotypes of S samples at L sites.

    Attributes
    ----------
    bits : (2 S, ceil(L / 64)) uint64
        Rows 2 i and 2 i + 1 are the alleles of sample i in the file's order.
    missing : (2 S, ceil(L / 64)) uint64, optional
        1 where an allele is missing.
    unphased : (S, ceil(L / 64)) uint64
        1 where the file has no phase for two different alleles.
    exclude : (S, E) int64, optional
        Haplotypes that a sample must not copy from.
    """

    bits: NDArray[np.uint64]
    missing: NDArray[np.uint64] | None
    unphased: NDArray[np.uint64]
    exclude: NDArray[np.int64] | None

    @property
    def are_phased(self) -> bool:
        """Whether the file has the phase of all."""
        return not self.unphased.any()

    @property
    def heterozygous(self) -> NDArray[np.uint64]:
        """(S, ceil(L / 64)) uint64: 1 where the two alleles differ; one of them may be missing."""
        differ: NDArray[np.uint64] = self.bits[0::2] ^ self.bits[1::2]
        if self.missing is not None:
            differ = differ | (self.missing[0::2] ^ self.missing[1::2])
        return differ

    def select(self, samples: NDArray[np.int64]) -> Genotypes:
        """Return those of some samples."""
        rows = (2 * samples[:, None] + np.arange(2)).ravel()
        return Genotypes(
            self.bits[rows],
            None if self.missing is None else self.missing[rows],
            self.unphased[samples],
            None if self.exclude is None else self.exclude[samples],
        )

    def haplotypes(
        self, sample: NDArray[np.int64], swapped: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64] | None]:
        """Return the (2 P, W) alleles and missing ones of P phasings, pair after pair.

        ``sample`` (P,) is that of each phasing, ``swapped`` (P, W) as of `sample_phasings`.
        """

        def swap(rows: NDArray[np.uint64]) -> NDArray[np.uint64]:
            first, second = rows[2 * sample], rows[2 * sample + 1]
            exchanged = (first ^ second) & swapped
            pairs = np.stack([first ^ exchanged, second ^ exchanged], axis=1)
            return pairs.reshape(-1, rows.shape[1])

        return swap(self.bits), None if self.missing is None else swap(self.missing)


class PhasingRates(NamedTuple):
    """What the diploid model is given beside the haploid one's rates.

    Attributes
    ----------
    rho_scale : float
        Factor of rho.
    switch_error : float
        Probability that the phase of the file is wrong between two heterozygotes.
    """

    rho_scale: float
    switch_error: float


@dataclass(frozen=True)
class DiploidModel:
    """The diploid Li-Stephens model at the L sites of a chunk.

    Attributes
    ----------
    site_bits, haplotype_bits : uint64
        The panel, packed by site and by haplotype.
    num_haplotypes : int
    observed : (L,) bool
    position_cm, cumulative_rho : (L,) float64
    mismatch : float
    first_rank : int
        Number of typed sites of the chromosome before the first observed one.
    threads : int, optional
    neighbours : int
        By which states are chosen; see `pair_neighbours`.
    rounds : int
        How often states are chosen: first for greedily phased genotypes, then for haplotypes of
        phasings drawn with the states before.
    """

    site_bits: NDArray[np.uint64]
    haplotype_bits: NDArray[np.uint64]
    num_haplotypes: int
    observed: NDArray[np.bool_]
    position_cm: NDArray[np.float64]
    cumulative_rho: NDArray[np.float64]
    mismatch: float
    first_rank: int
    threads: int | None
    neighbours: int
    rounds: int = 3

    def fit(
        self, of_samples: Callable[[NDArray[np.int64]], Genotypes], samples: NDArray[np.int64]
    ) -> PhasingRates:
        """Return the rates of the highest likelihood of some samples at some sites.

        ``of_samples`` gives the genotypes of those that are chosen among ``samples``.
        """
        sites = np.flatnonzero(self.observed)
        first = max(0, (sites.size - _FIT_SITES) // 2)
        sites = sites[first : first + _FIT_SITES]
        most = min(samples.size, _FIT_GENOTYPES // max(1, sites.size))
        spread = np.linspace(0, samples.size - 1, most).round()
        some = of_samples(samples[spread.astype(np.int64)])
        observed = np.zeros_like(self.observed)
        observed[sites] = True
        part = replace(self, observed=observed)
        states = part._first_states(some, some.are_phased)
        keys = np.zeros(spread.size, np.uint64)

        def likelihood(rates: PhasingRates) -> float:
            return float(part._sample(some, states, rates, keys, 1).log_likelihood.sum())

        scale, error = _RHO_SCALES[_FIRST_SCALE], 0.0
        if (some.heterozygous & ~some.unphased).any():
            error = _climb(_SWITCH_ERRORS, 0, lambda e: likelihood(PhasingRates(scale, e)))
            if error == 0 and some.are_phased:  # nothing of them is drawn
                return PhasingRates(scale, 0.0)
        scale = _climb(_RHO_SCALES, _FIRST_SCALE, lambda s: likelihood(PhasingRates(s, error)))
        return PhasingRates(scale, error)

    def draw(
        self, genotypes: Genotypes, rates: PhasingRates, keys: NDArray[np.uint64], draws: int
    ) -> NDArray[np.uint64]:
        """Return (S, draws, W) phasings, as `sample_phasings` has them in ``swapped``."""
        if rates.switch_error == _SWITCH_ERRORS[-1]:  # the phase tells nothing
            genotypes = genotypes._replace(unphased=genotypes.heterozygous)
        is_good = genotypes.are_phased and rates.switch_error <= _GOOD_PHASE
        states = self._first_states(genotypes, is_good)
        for _ in range(0 if is_good else self.rounds - 1):
            drawn = self._sample(genotypes, states, rates, keys, _DRAWS_BETWEEN)
            samples = np.repeat(np.arange(keys.size), _DRAWS_BETWEEN)
            haplotypes = genotypes.haplotypes(
                samples, drawn.swapped.reshape(samples.size, genotypes.bits.shape[1])
            )
            states = self._states(*haplotypes, genotypes.exclude, 2 * _DRAWS_BETWEEN)
        return self._sample(genotypes, states, rates, keys, draws).swapped

    def _first_states(self, genotypes: Genotypes, is_good: bool) -> States:
        bits, missing, _, exclude = genotypes
        if is_good:
            return self._states(bits, missing, exclude, 2, neighbours=_FEWEST_NEIGHBOURS)
        return self._states(bits, missing, exclude, 2, unphased=genotypes.heterozygous)

    def _states(
        self,
        bits: NDArray[np.uint64],
        missing: NDArray[np.uint64] | None,
        exclude: NDArray[np.int64] | None,
        group_size: int,
        *,
        neighbours: int | None = None,
        unphased: NDArray[np.uint64] | None = None,
    ) -> States:
        return pair_states_of(
            bits,
            self.site_bits,
            num_haplotypes=self.num_haplotypes,
            observed=self.observed,
            position_cm=self.position_cm,
            neighbours=neighbours or self.neighbours,
            group_size=group_size,
            unphased=unphased,
            exclude=None if exclude is None else np.repeat(exclude, group_size, axis=0),
            missing=missing,
            threads=self.threads,
        )

    def _sample(
        self,
        genotypes: Genotypes,
        states: States,
        rates: PhasingRates,
        keys: NDArray[np.uint64],
        draws: int,
    ) -> Phasings:
        return sample_phasings(
            genotypes.bits,
            self.haplotype_bits,
            observed=self.observed,
            cumulative_rho=self.cumulative_rho * rates.rho_scale,
            mismatch=self.mismatch,
            states=states,
            keys=keys,
            first_rank=self.first_rank,
            unphased=genotypes.unphased,
            switch_error=rates.switch_error,
            missing=genotypes.missing,
            draws=draws,
            threads=self.threads,
        )


def _climb(values: Sequence[float], start: int, height: Callable[[float], float]) -> float:
    """Return the value that no neighbour is higher than, from a start."""
    known: dict[int, float] = {}

    def at(place: int) -> float:
        if not 0 <= place < len(values):
            return -np.inf
        if place not in known:
            known[place] = height(values[place])
        return known[place]

    place = start
    for step in (1, -1):
        while at(place + step) > at(place):
            place += step
    return values[place]
