"""Adaptation: learn rates and a head on the panel, at the typed sites of one target.

What is learned depends on the panel and the typed sites alone. torch is loaded only to fit a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..io.model_file import Adapted
from ..kernels import HeadWeights, head_log_odds
from ..li_stephens.rates import (
    ChosenRates,
    HiddenSites,
    OwnHaplotypes,
    choose_rates,
    learn_rates,
    map_rho,
)
from ..panel.genetic_map import GeneticMap
from ..panel.panel import Panel

# The head is fitted to so many regions, spread evenly, each with so many hidden sites.
_MOST_REGIONS, _REGION_SITES, _REGION_BYTES = 8, 12_500, 32 << 20
# It is fitted to so many haplotypes, and pairs of a haplotype and a site, before some are drawn.
_MOST_QUERIES, _MOST_PAIRS = 400, 2_500_000
_QUERIES_AT_ONCE = 40
_LEAST_SHARE = 0.3
# The samples that are kept back. A head that cannot be tested at so many pairs is not fitted.
_KEPT_QUERIES, _MOST_KEPT_PAIRS, _LEAST_ROWS = 100, 1_000_000, 500
# One sample of so many is kept back, to choose rates and between the head and the expert alone.
_KEPT_SHARE = 5
# How much of the correction of a fitted head is taken. A little less than all of it costs less than
# 1% of the loss, and keeps more of what the expert knows of alleles that the panel has once or
# twice: on held-out samples R2 was higher where the MAF of all samples is from 0.5% to 5%.
_TRUST = 0.75
_SEED = 2024

OnPhase = Callable[[str, int, "int | None"], object]
"""Called with the name of a phase, what is done of it, and the whole of it where that is known."""


@dataclass(frozen=True)
class AdaptationRegion:
    """Consecutive sites of a panel, of which those of the flanks belong to other regions.

    Attributes
    ----------
    panel : Panel
        S sites, with flanks.
    observed : (S,) bool
        The target's typed sites.
    start, stop : int
        The half-open range of sites that are this region's own.
    """

    panel: Panel
    observed: NDArray[np.bool_]
    start: int
    stop: int


def adapt(
    regions: Iterable[AdaptationRegion],
    *,
    genetic_map: GeneticMap | None = None,
    panel_name: str = "",
    start: HeadWeights | None = None,
    has_head: bool = True,
    threads: int | None = None,
    on_phase: OnPhase | None = None,
) -> Adapted:
    """Learn the rates and the head for the typed sites of consecutive regions of a chromosome.

    Regions are read once, and only some thousand sites of a few of them are kept in memory. At
    least one region must be given; all have the same samples. ``start`` is a head trained
    elsewhere, from whose weights the learning of the head begins; without ``has_head`` none is
    learned.
    """
    on_phase = on_phase or _ignore
    gathered = _Gathered(genetic_map, threads)
    for region in regions:
        gathered.add(region)
        on_phase("rates", gathered.num_regions, None)
    panel = gathered.kept[0].panel
    samples = np.arange(panel.num_samples)
    is_kept = samples % _KEPT_SHARE == min(2, panel.num_samples - 1)
    mismatch = gathered.mismatch
    rates = choose_rates(gathered.kept, mismatch, samples[is_kept], threads=threads)
    typed = gathered.typed()
    rho = typed.learned if rates.is_learned else typed.prior
    head = None
    if has_head and typed.position.size:
        rows = _Rows(gathered.kept, rates, threads, on_phase)
        head = _head(rows, samples[~is_kept], samples[is_kept], start, on_phase)
    return Adapted(
        chrom=panel.chrom,
        position=typed.position,
        alleles=typed.alleles,
        cumulative_rho=rates.scale * (rho - rho[:1].sum()),
        mismatch=rates.mismatch,
        head=head,
        panel=panel_name,
        num_haplotypes=panel.num_haplotypes,
    )


def _ignore(name: str, done: int, total: int | None) -> None:
    """Report no phase."""


class _Typed(NamedTuple):
    """Typed sites, and their cumulative rho as given and as learned."""

    position: NDArray[np.int64]
    alleles: NDArray[np.str_]
    prior: NDArray[np.float64]
    learned: NDArray[np.float64]


class _Gathered:
    """What was learned from the regions so far, and the sites of some that are kept."""

    def __init__(self, genetic_map: GeneticMap | None, threads: int | None) -> None:
        self.num_regions = 0
        self.kept: list[HiddenSites] = []
        self._genetic_map, self._threads = genetic_map, threads
        self._stride = 1
        self._typed: list[_Typed] = []
        self._mismatches: list[tuple[float, int]] = []

    @property
    def mismatch(self) -> float:
        """The mean of the regions' mismatches, weighted by their typed sites."""
        count = sum(n for _, n in self._mismatches)
        if count == 0:
            return self._mismatches[0][0]
        return sum(value * n for value, n in self._mismatches) / count

    def add(self, region: AdaptationRegion) -> None:
        """Learn the rates of a region."""
        panel, observed = region.panel, region.observed
        prior = map_rho(panel.position, panel.num_haplotypes, self._genetic_map)
        learned, mismatch = learn_rates(panel, observed, prior, threads=self._threads)
        own = np.arange(region.start, region.stop)
        typed = own[observed[own]]
        self._mismatches.append((mismatch, typed.size))
        shift = self._shift(observed, typed[0], prior, learned) if typed.size else 0.0
        self._typed.append(
            _Typed(
                panel.position[typed],
                panel.alleles[typed],
                prior[typed],
                learned[typed] + shift,
            )
        )
        if self.num_regions % self._stride == 0:
            self._keep(region, prior, learned)
        self.num_regions += 1

    def typed(self) -> _Typed:
        """Return the typed sites of all regions."""
        return _Typed(*(np.concatenate(column) for column in zip(*self._typed, strict=True)))

    def _shift(
        self,
        observed: NDArray[np.bool_],
        first: int,
        prior: NDArray[np.float64],
        learned: NDArray[np.float64],
    ) -> float:
        """Return what is added to a region's rho, so that it continues that of the typed sites.

        ``first`` is the region's first own typed site. Rho from the typed site before it is as
        learned where the flank has that, and else as given.
        """
        last = next((part for part in reversed(self._typed) if part.position.size), None)
        if last is None:
            return 0.0
        before = np.flatnonzero(observed[:first])
        if before.size:
            return float(last.learned[-1] - learned[before[-1]])
        return float(last.learned[-1] + prior[first] - last.prior[-1] - learned[first])

    def _keep(
        self,
        region: AdaptationRegion,
        prior: NDArray[np.float64],
        learned: NDArray[np.float64],
    ) -> None:
        """Keep the typed sites of a region, and some of its own hidden ones."""
        panel, observed = region.panel, region.observed
        own = np.arange(region.start, region.stop)
        count = panel.alt_count[own]
        hidden = own[~observed[own] & (count > 0) & (count < panel.num_haplotypes)]
        most = min(_REGION_SITES, _REGION_BYTES // (8 * panel.site_bits.shape[1]))
        if hidden.size > most:
            random = np.random.default_rng([_SEED, self.num_regions])
            hidden = random.choice(hidden, most, replace=False)
        rows = np.sort(np.concatenate([np.flatnonzero(observed), hidden]))
        self.kept.append(
            HiddenSites(panel.select_sites(rows), observed[rows], prior[rows], learned[rows])
        )
        if len(self.kept) > _MOST_REGIONS:
            self.kept, self._stride = self.kept[::2], 2 * self._stride


class _Parts(NamedTuple):
    """(n, E) evidence, (n,) whether the allele is the minor one, and (n,) weights of the pairs."""

    evidence: NDArray[np.float32]
    is_minor: NDArray[np.bool_]
    weight: NDArray[np.float32]


class _Rows:
    """Evidence of panel haplotypes that are hidden like the target, and the truth.

    Pairs of a haplotype and a site are drawn by how unsure the expert is, and weighted by the
    inverse: sure ones teach little, and are most. On simulated panels, as many steps with a third
    of the pairs gave the same loss.
    """

    def __init__(
        self,
        regions: list[HiddenSites],
        rates: ChosenRates,
        threads: int | None,
        on_phase: OnPhase,
    ) -> None:
        self._regions, self._rates = regions, rates
        self._threads, self._on_phase = threads, on_phase
        self._done = 0

    def of(self, samples: NDArray[np.int64], most: int, most_pairs: int) -> _Parts:
        """Return the evidence of at most so many haplotypes of the samples, and as many pairs."""
        parts = []
        for number, region in enumerate(self._regions):
            queries = OwnHaplotypes.spread(region.panel, samples, most)
            hidden = np.flatnonzero(~region.observed)
            wanted = most_pairs // max(1, queries.haplotypes.size * len(self._regions))
            places = np.linspace(0, hidden.size - 1, min(wanted, hidden.size))
            sites = hidden[places.astype(np.int64)]
            for start in range(0, max(1, queries.haplotypes.size), _QUERIES_AT_ONCE):
                some = queries.haplotypes[start : start + _QUERIES_AT_ONCE]
                random = np.random.default_rng([_SEED, number, start])
                parts.append(self._some(region, OwnHaplotypes(region.panel, some), sites, random))
            self._done += 1
            self._on_phase("evidence", self._done, 2 * len(self._regions))
        return _Parts(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _some(
        self,
        region: HiddenSites,
        queries: OwnHaplotypes,
        sites: NDArray[np.int64],
        random: np.random.Generator,
    ) -> _Parts:
        rates, threads = self._rates, self._threads
        evidence = queries.evidence(
            region.observed,
            sites,
            rates.scale * (region.learned if rates.is_learned else region.prior),
            rates.mismatch,
            states=queries.states(region.observed, region.prior, threads),
            threads=threads,
        )
        is_minor = queries.is_minor(sites)
        # 2 sqrt(p (1 - p)) of the expert's probability.
        share = np.maximum(1 / np.cosh(evidence[:, :, 0] / 2), _LEAST_SHARE)
        drawn = queries.scored(sites) & (random.random(share.shape, np.float32) < share)
        return _Parts(evidence[drawn], is_minor[drawn], np.reciprocal(share[drawn]))


def _head(
    rows: _Rows,
    samples: NDArray[np.int64],
    kept: NDArray[np.int64],
    start: HeadWeights | None,
    on_phase: OnPhase,
) -> HeadWeights | None:
    """Fit a head to some samples; None if it does not lower the loss on those kept back."""
    test = rows.of(kept, _KEPT_QUERIES, _MOST_KEPT_PAIRS)
    if test.is_minor.size < _LEAST_ROWS:
        return None
    from ..network.fitting import fit_head

    head = fit_head(
        *rows.of(samples, _MOST_QUERIES, _MOST_PAIRS),
        start=start,
        on_step=lambda *of: on_phase("head", *of),
    )
    # Weights of the correction alone: of the log-odds it adds, so much is taken.
    head = head._replace(
        output_weight=_TRUST * head.output_weight, output_bias=_TRUST * head.output_bias
    )
    expert = _loss(test.evidence[:, 0], test)
    return head if _loss(head_log_odds(test.evidence, head), test) < expert else None


def _loss(log_odds: NDArray[np.float32], parts: _Parts) -> float:
    """Return the sum of the binary cross-entropies."""
    right = np.where(parts.is_minor, log_odds, -log_odds).astype(np.float64)
    return float(parts.weight @ np.logaddexp(0, -right))
