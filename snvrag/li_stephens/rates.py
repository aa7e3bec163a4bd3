"""Rates of the Li-Stephens model, learned from the panel's own haplotypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..kernels import States, estimate_rates, li_stephens_evidence, unpack_haplotypes
from ..panel.genetic_map import DEFAULT_CM_PER_MB, GeneticMap
from ..panel.panel import Panel
from .states import ALL_HAPLOTYPES, states_of

# Of the rates given, where nothing was learned.
EFFECTIVE_SIZE = 100_000
# Share of a genetic map in the distances of the model, the rest being even along the chromosome. A
# map's cold spots are not as cold for every pair of haplotypes: on held-out samples half of it did
# better than all of it, and than none, at every frequency.
_MAP_SHARE = 0.5
# Haplotypes that rates are learned from. Fewer where the panel is so large that all of them would
# take many seconds: queries x typed sites x states.
_MOST_QUERIES, _FEWEST_QUERIES, _MOST_WORK = 500, 100, 80_000_000
# The loss is computed for so many haplotypes, at so many hidden sites.
_LOSS_QUERIES, LOSS_SITES = 100, 1000
_LEAST_PROBABILITY = 1e-4
_ITERATIONS, _PRIOR = 15, 10.0


def map_rho(
    position: NDArray[np.int64],
    num_haplotypes: int,
    genetic_map: GeneticMap | None = None,
    effective_size: float = EFFECTIVE_SIZE,
) -> NDArray[np.float64]:
    """Return (S,) cumulative rho, ``4 Ne d / H`` for a genetic distance of ``d`` morgans.

    Distances are those of `map_cm`.
    """
    cm = map_cm(position, genetic_map)
    rho: NDArray[np.float64] = cm * rho_of_a_cm(num_haplotypes, effective_size)
    return rho


def rho_of_a_cm(num_haplotypes: int, effective_size: float = EFFECTIVE_SIZE) -> float:
    """Return the rho of a centimorgan."""
    return 4 * effective_size / 100 / num_haplotypes


def map_cm(
    position: NDArray[np.int64], genetic_map: GeneticMap | None = None
) -> NDArray[np.float64]:
    """Return (S,) centimorgans: the mean of the genetic map's and of 1 cM a Mb."""
    even = position.astype(np.float64) * (DEFAULT_CM_PER_MB * 1e-6)
    if genetic_map is None:
        return even
    cm: NDArray[np.float64] = _MAP_SHARE * genetic_map.at(position) + (1 - _MAP_SHARE) * even
    return cm


def rho_between(
    prior: NDArray[np.float64], sites: NDArray[np.int64], typed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (S,) cumulative rho with the (T,) values ``typed`` at the T >= 1 sites given.

    Between two of them rho is shared out as in ``prior`` (S,), and outside of them it is that.
    """
    first, last = prior[sites[[0, -1]]]
    outside = np.minimum(prior - first, 0) + np.maximum(prior - last, 0)
    rho: NDArray[np.float64] = np.interp(prior, prior[sites], typed) + outside
    return np.maximum.accumulate(rho)


@dataclass(frozen=True)
class OwnHaplotypes:
    """Haplotypes of a panel as queries, each without its own sample.

    Attributes
    ----------
    panel : Panel
    haplotypes : (Q,) int64
    """

    panel: Panel
    haplotypes: NDArray[np.int64]

    @classmethod
    def spread(cls, panel: Panel, samples: NDArray[np.int64], most: int) -> OwnHaplotypes:
        """Return at most so many haplotypes of the samples, spread evenly.

        A panel of one sample has none: nothing would be left to copy from.
        """
        if panel.num_samples < 2:
            return cls(panel, np.zeros(0, np.int64))
        pairs = panel.haplotypes_of(samples)
        haplotypes = pairs[np.arange(2) < panel.sample_ploidy[samples][:, None]]
        chosen = np.linspace(0, haplotypes.size - 1, min(most, haplotypes.size)).round()
        return cls(panel, haplotypes[chosen.astype(np.int64)])

    @cached_property
    def sample(self) -> NDArray[np.int64]:
        """(Q,) int64: the sample of each haplotype."""
        everyone = np.repeat(np.arange(self.panel.num_samples), self.panel.sample_ploidy)
        return everyone[self.haplotypes]

    @property
    def exclude(self) -> NDArray[np.int64]:
        """(Q, 2) int64: the haplotypes of each one's own sample."""
        return self.panel.own_haplotypes(self.sample)

    @cached_property
    def bits(self) -> NDArray[np.uint64]:
        """(Q, ceil(S / 64)) uint64: the alleles."""
        return self.panel.haplotype_bits(self.haplotypes, 0, self.panel.num_sites)

    def alleles(self, sites: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return the (Q, N) alleles at some sites."""
        return unpack_haplotypes(self.bits, self.panel.num_sites)[:, sites]

    def is_minor(self, sites: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (Q, N) bool: the allele is the minor one, ALT where at most half have that."""
        alt_is_minor = 2 * self.panel.alt_count[sites] <= self.panel.num_haplotypes
        is_minor: NDArray[np.bool_] = (self.alleles(sites) == 1) == alt_is_minor
        return is_minor

    def states(
        self, observed: NDArray[np.bool_], prior: NDArray[np.float64], threads: int | None
    ) -> States | None:
        """Return what each may copy from; ``prior`` (S,) is the cumulative rho of `map_rho`."""
        return states_of(
            self.bits,
            self.panel.site_bits,
            num_haplotypes=self.panel.num_haplotypes,
            observed=observed,
            position_cm=prior / rho_of_a_cm(self.panel.num_haplotypes),
            exclude=self.exclude,
            threads=threads,
        )

    def evidence(
        self,
        observed: NDArray[np.bool_],
        sites: NDArray[np.int64],
        cumulative_rho: NDArray[np.float64],
        mismatch: float,
        *,
        states: States | None,
        threads: int | None,
    ) -> NDArray[np.float32]:
        """Return the (Q, N, E) evidence at some sites; see `li_stephens_evidence`."""
        panel = self.panel
        return li_stephens_evidence(
            self.bits,
            panel.haplotype_rows,
            observed=observed,
            sites=sites,
            alt_count=panel.alt_count[sites],
            cumulative_rho=cumulative_rho,
            mismatch=mismatch,
            states=states,
            exclude=self.exclude,
            threads=threads,
        )

    def scored(self, sites: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (Q, N) bool: True where the panel without the own sample has both alleles."""
        pair = self.panel.sample_alleles(self.sample, 0, self.panel.num_sites)[:, :, sites]
        ploidy = self.panel.sample_ploidy[self.sample][:, None]
        own = np.where(ploidy == 2, pair.sum(1), pair[:, 0])
        others = self.panel.alt_count[sites] - own
        both: NDArray[np.bool_] = (others > 0) & (others < self.panel.num_haplotypes - ploidy)
        return both


def learn_rates(
    panel: Panel,
    observed: NDArray[np.bool_],
    prior: NDArray[np.float64],
    *,
    threads: int | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Learn cumulative rho (S,) and mismatch by expectation-maximisation on a panel.

    ``observed`` (S,) are the typed sites, ``prior`` (S,) the cumulative rho given, of `map_rho`.
    The mismatch given is that of `given_mismatch`. Without a typed site, and from a panel of one
    sample, the rates are those given.
    """
    mismatch = given_mismatch(panel.num_haplotypes)
    sites = np.flatnonzero(observed)
    if sites.size == 0:
        return prior, mismatch
    work = sites.size * min(panel.num_haplotypes, ALL_HAPLOTYPES)
    most = min(max(_MOST_WORK // work, _FEWEST_QUERIES), _MOST_QUERIES)
    typed = panel.select_sites(sites)
    queries = OwnHaplotypes.spread(typed, np.arange(panel.num_samples), most)
    every = np.ones(sites.size, bool)
    learned = estimate_rates(
        queries.bits,
        typed.haplotype_rows,
        observed=every,
        cumulative_rho=prior[sites],
        mismatch=mismatch,
        states=queries.states(every, prior[sites], threads),
        exclude=queries.exclude,
        iterations=_ITERATIONS,
        prior=_PRIOR,
        threads=threads,
    )
    return rho_between(prior, sites, learned.cumulative_rho), learned.mismatch


def given_mismatch(num_haplotypes: int) -> float:
    """Return the mismatch where nothing was learned: 2 / H."""
    return min(0.5, 2 / num_haplotypes)


@dataclass(frozen=True)
class HiddenSites:
    """Hidden sites of panel haplotypes, at which rates are compared.

    Attributes
    ----------
    panel : Panel
        Typed sites, and at most some thousand hidden ones.
    observed : (S,) bool
    prior, learned : (S,) float64
        Cumulative rho as given and as learned.
    """

    panel: Panel
    observed: NDArray[np.bool_]
    prior: NDArray[np.float64]
    learned: NDArray[np.float64]

    def losses(
        self, samples: NDArray[np.int64], *, threads: int | None = None
    ) -> Callable[[NDArray[np.float64], float], tuple[float, int]]:
        """Return a function of rho (S,) and mismatch: the sum of the losses, and their number.

        The loss is the binary cross-entropy at hidden sites of the samples' haplotypes.
        """
        panel = self.panel
        queries = OwnHaplotypes.spread(panel, samples, _LOSS_QUERIES)
        hidden = np.flatnonzero(~self.observed)
        chosen = hidden[np.linspace(0, hidden.size - 1, min(LOSS_SITES, hidden.size)).astype(int)]
        rows = np.sort(np.concatenate([np.flatnonzero(self.observed), chosen]))
        smaller = OwnHaplotypes(panel.select_sites(rows), queries.haplotypes)
        sites = np.flatnonzero(~self.observed[rows])
        scored = smaller.scored(sites)
        is_minor = smaller.is_minor(sites)[scored]
        seen = self.observed[rows]
        states = smaller.states(seen, self.prior[rows], threads)

        def losses(rho: NDArray[np.float64], mismatch: float) -> tuple[float, int]:
            rates = rho[rows], mismatch
            evidence = smaller.evidence(seen, sites, *rates, states=states, threads=threads)
            log_odds = evidence[:, :, 0][scored].astype(np.float64)
            right = 1 / (1 + np.exp(np.where(is_minor, -log_odds, log_odds)))
            return float(-np.log(np.maximum(right, _LEAST_PROBABILITY)).sum()), right.size

        return losses


@dataclass(frozen=True)
class ChosenRates:
    """The rates of the lowest loss.

    Attributes
    ----------
    is_learned : bool
        Whether rho is the learned one or that given.
    scale : float
        Factor of rho.
    mismatch : float
    loss : float
        Mean loss at hidden sites; NaN if there are none.
    """

    is_learned: bool
    scale: float
    mismatch: float
    loss: float


def choose_rates(
    regions: Sequence[HiddenSites],
    mismatch: float,
    samples: NDArray[np.int64],
    *,
    threads: int | None = None,
) -> ChosenRates:
    """Choose rho, its scale and mismatch by the loss at hidden sites of the samples' haplotypes.

    ``mismatch`` is the learned one. The rates given are among the candidates.
    """
    losses = [region.losses(samples, threads=threads) for region in regions]

    def loss(is_learned: bool, scale: float, mismatch: float) -> float:
        parts = [
            of_region(scale * (region.learned if is_learned else region.prior), mismatch)
            for region, of_region in zip(regions, losses, strict=True)
        ]
        count = sum(part[1] for part in parts)
        return sum(part[0] for part in parts) / count if count else float("nan")

    given = given_mismatch(regions[0].panel.num_haplotypes) if regions else mismatch
    learned = loss(True, 1.0, mismatch)
    is_learned = not loss(False, 1.0, given) < learned
    if learned != learned:  # no hidden site
        return ChosenRates(True, 1.0, mismatch, learned)
    start = mismatch if is_learned else given
    scale, _ = _descend(lambda scale: loss(is_learned, scale, start), 1.0)
    best, _ = _descend(lambda value: loss(is_learned, scale, min(value, 0.5)), start)
    best = min(best, 0.5)
    scale, least = _descend(lambda scale: loss(is_learned, scale, best), scale)
    return ChosenRates(is_learned, scale, best, least)


def _descend(loss: Callable[[float], float], start: float) -> tuple[float, float]:
    """Return the value, a power of 2 times ``start``, that no neighbour is better than."""
    known: dict[int, float] = {}

    def at(power: int) -> float:
        if power not in known:
            known[power] = loss(start * 2.0**power)
        return known[power]

    power = 0
    for step in (1, -1):
        while abs(power) < 8 and at(power + step) < at(power):
            power += step
        if power:
            break
    return start * 2.0**power, at(power)
