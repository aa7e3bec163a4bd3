"""Slow, readable twins of the Li-Stephens kernels, in double precision; for tests alone."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .evidence import EVIDENCE

Doubles = NDArray[np.float64]


def forward_backward(emission: Doubles, change: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Run both passes over (T, K) emissions and (T - 1,) probabilities of a draw.

    Returns (T, K) forward probabilities that add up to 1 at each site; (T, K) backward ones, scaled
    so that the sum of the product of both is 1; and the (T,) factors of the likelihood.
    """
    num_sites, num_states = emission.shape
    forward, backward = np.empty_like(emission), np.ones_like(emission)
    factors = np.empty(num_sites)
    for i in range(num_sites):
        before = forward[i - 1] if i else np.zeros(num_states)
        drawn = change[i - 1] if i else 1.0
        forward[i] = ((1 - drawn) * before + drawn / num_states) * emission[i]
        factors[i] = forward[i].sum()
        forward[i] /= factors[i]
    for i in range(num_sites - 2, -1, -1):
        next_one = backward[i + 1] * emission[i + 1] / factors[i + 1]
        backward[i] = (1 - change[i]) * next_one + change[i] * next_one.mean()
    return forward, backward, factors


def li_stephens_dosage(
    query: NDArray[Any],
    panel: NDArray[Any],
    observed: NDArray[np.bool_],
    cumulative_rho: Doubles,
    mismatch: float,
    exclude: tuple[int, ...] = (),
) -> Doubles:
    """Run forward-backward over (H, S) alleles for one (S,) query; (S,) in double precision."""
    left = [h for h in range(len(panel)) if h not in exclude]
    copied = panel[left].astype(np.float64)
    sites = np.flatnonzero(observed)
    if sites.size == 0:
        return np.asarray(copied.mean(axis=0))
    emission = np.where(copied[:, sites] == query[sites], 1 - mismatch, mismatch).T
    change = -np.expm1(-np.diff(cumulative_rho[sites]))
    forward, backward, _ = forward_backward(emission, change)
    posterior = forward * backward
    posterior /= posterior.sum(axis=1, keepdims=True)
    dosage = np.empty(len(query))
    for s in range(len(query)):
        after = int(np.searchsorted(sites, s))
        before = after if after < sites.size and sites[after] == s else after - 1
        before, after = max(before, 0), min(after, sites.size - 1)
        first, last = cumulative_rho[sites[before]], cumulative_rho[sites[after]]
        t = (cumulative_rho[s] - first) / (last - first) if last > first else 0.5
        t = min(max(t, 0.0), 1.0)
        dosage[s] = ((1 - t) * posterior[before] + t * posterior[after]) @ copied[:, s]
    return dosage


# --- over states that change along the panel ------------------------------------------------------


class Model(NamedTuple):
    """What one query's paths follow; T observed sites.

    ``states`` are those at each observed site, or one list if there is none. A missing allele is
    one that every haplotype emits with probability 1.
    """

    query: NDArray[Any]
    panel: NDArray[Any]
    missing: NDArray[Any]
    sites: list[int]
    cumulative_rho: Doubles
    mismatch: float
    states: list[list[int]]

    def differs(self, rank: int, states: list[int]) -> NDArray[np.bool_]:
        """Return which states have another allele than the query at an observed site."""
        site = self.sites[rank]
        differ = self.panel[states, site] != self.query[site]
        return np.asarray(differ & (self.missing[site] == 0))

    def emission(self, rank: int) -> Doubles:
        """Return the probability of the query's allele for each state at an observed site."""
        if self.missing[self.sites[rank]]:
            return np.ones(len(self.states[rank]))
        return np.where(self.differs(rank, self.states[rank]), self.mismatch, 1 - self.mismatch)

    def rho(self, site: int, other: int) -> float:
        """Return the switches expected between two sites."""
        return float(self.cumulative_rho[other] - self.cumulative_rho[site])

    def jump(self, rank: int) -> float:
        """Return the probability of a draw between an observed site and the one before it."""
        return -math.expm1(-self.rho(self.sites[rank - 1], self.sites[rank]))


def transition(states: list[int], following: list[int], jump: float) -> Doubles:
    """Return the probabilities to go from each state to each of those that follow."""
    stays = np.equal.outer(np.array(states), np.array(following)).astype(np.float64)
    stays[stays.sum(axis=1) == 0] = 1 / len(following)  # what they lack is drawn anew in any case
    return np.asarray((1 - jump) * stays + jump / len(following))


class Chances(NamedTuple):
    """Of each observed site: (K,) forward probabilities of its states, which add up to 1; (K,)
    backward ones, without the emission there; and the factor of the likelihood. The sum of the
    product of both probabilities is 1.
    """

    forward: list[Doubles]
    backward: list[Doubles]
    factors: list[float]


def chances(model: Model) -> Chances:
    """Run both passes with a dense matrix for each transition."""
    num_observed = len(model.sites)
    steps = [
        transition(model.states[i - 1], model.states[i], model.jump(i))
        for i in range(1, num_observed)
    ]
    emissions = [model.emission(i) for i in range(num_observed)]
    forward: list[Doubles] = []
    factors: list[float] = []
    for i, emission in enumerate(emissions):
        prior = forward[i - 1] @ steps[i - 1] if i else np.full(len(emission), 1 / len(emission))
        factors.append(float((prior * emission).sum()))
        forward.append(prior * emission / factors[i])
    backward = [np.ones(len(emission)) for emission in emissions]
    for i in range(num_observed - 1, 0, -1):
        backward[i - 1] = steps[i - 1] @ (emissions[i] * backward[i] / factors[i])
    return Chances(forward, backward, factors)


def li_stephens_events(model: Model) -> tuple[Doubles, float, int, float]:
    """Compute the expected draws between observed sites and mismatches of a query.

    Returns (T - 1,) draws, the mismatches, the number of alleles and the log-likelihood.
    """
    forward, backward, factors = chances(model)
    draws, mismatches, num_alleles = [], 0.0, 0
    for i, site in enumerate(model.sites):
        if i > 0:  # the sum of the forward probabilities before the draw is 1
            draws.append(model.jump(i) * (model.emission(i) * backward[i] / factors[i]).mean())
        mismatches += float((forward[i] * backward[i])[model.differs(i, model.states[i])].sum())
        num_alleles += int(model.missing[site] == 0)
    return np.array(draws), mismatches, num_alleles, math.fsum(map(math.log, factors))


def estimate_rates(
    models: list[Model], given: Doubles, first_mismatch: float, *, iterations: int, prior: float
) -> tuple[Doubles, float, list[float]]:
    """Learn rho and mismatch from the models of one or more queries; see the kernel."""
    sites = models[0].sites
    cumulative_rho, mismatch, log_likelihood = given, first_mismatch, []
    for _ in range(iterations):
        each = [
            li_stephens_events(model._replace(cumulative_rho=cumulative_rho, mismatch=mismatch))
            for model in models
        ]
        log_likelihood.append(math.fsum(events[3] for events in each))
        num_alleles = sum(events[2] for events in each)
        if num_alleles == 0:
            continue
        steps = np.diff(given, prepend=given[0])
        for i, (site, after) in enumerate(itertools.pairwise(sites)):
            rho = given[after] - given[site]
            jump = math.fsum(events[0][i] for events in each) - prior * math.expm1(-rho)
            learned = -math.log1p(-min(jump / (len(models) + prior), 1 - 2.0**-40))
            inside = slice(site + 1, after + 1)
            steps[inside] = steps[inside] / rho * learned if rho > 0 else learned / (after - site)
        cumulative_rho = given[0] + np.cumsum(steps)
        weight = prior * len(sites)
        mismatches = math.fsum(events[1] for events in each) + weight * first_mismatch
        mismatch = min(max(mismatches / (num_alleles + weight), 1e-6), 0.5)
    return cumulative_rho, mismatch, log_likelihood


# --- evidence -------------------------------------------------------------------------------------


def match_lengths(model: Model, states: list[int], rank: int, step: int) -> Doubles:
    """Return how far states match the query from an observed site on, left or right."""
    lengths, matches = np.zeros(len(states)), np.ones(len(states), bool)
    at = rank
    while True:
        matches &= np.isin(states, model.states[at]) & ~model.differs(at, states)
        at += step
        if not (matches.any() and 0 <= at < len(model.sites)):
            return lengths
        lengths[matches] = abs(model.rho(model.sites[at], model.sites[rank]))


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability, from 1e-5 to 1 - 1e-5."""
    p = min(max(probability, 1e-5), 1 - 1e-5)
    return math.log(p / (1 - p))


class Surroundings(NamedTuple):
    """What is known on both sides of a site, for each state of the observed site behind it."""

    states: list[int]
    forward: Doubles  # of the observed site before, by the alleles up to there
    backward: Doubles  # of the one behind, by the alleles from there on; both add up to 1
    rho_before: float
    rho_behind: float
    length_before: Doubles
    length_behind: Doubles


def surroundings(model: Model, passes: Chances, site: int) -> Surroundings:
    """Return those of a site; beyond the outermost observed sites, those at the site itself."""
    behind = sum(other < site for other in model.sites)
    before = behind - 1
    has_behind = behind < len(model.sites)
    states = model.states[min(behind, len(model.states) - 1)]
    even, none = np.full(len(states), 1 / len(states)), np.zeros(len(states))
    forward, backward, lengths = even, even, [none, none]
    if before >= 0:
        forward = passes.forward[before] @ transition(model.states[before], states, 0.0)
        lengths[0] = match_lengths(model, states, before, -1)
    if has_behind:
        backward = model.emission(behind) * passes.backward[behind]
        lengths[1] = match_lengths(model, states, behind, 1)
    rho = (0.0, 0.0)
    if before >= 0 and has_behind:
        rho = model.rho(model.sites[before], site), model.rho(site, model.sites[behind])
    return Surroundings(states, forward, backward / backward.sum(), *rho, *lengths)


def evidence_of_site(at: Surroundings, is_carrier: NDArray[np.bool_], count: int) -> list[float]:
    """Compute the columns of the evidence of one site."""

    def after(rho: float, probabilities: Doubles) -> Doubles:
        draw = -math.expm1(-rho)
        return np.asarray((1 - draw) * probabilities + draw / len(at.states))

    def carried(weights: Doubles) -> float:
        return float(weights[is_carrier].sum() / weights.sum())

    def mean_length(lengths: Doubles, which: NDArray[np.bool_]) -> float:
        return math.log(1 + (shares * lengths)[which].sum() / max(1e-6, shares[which].sum()))

    def concentration(which: NDArray[np.bool_]) -> float:
        return math.log(1e-6 + (shares[which] ** 2).sum() / max(1e-6, shares[which].sum()) ** 2)

    def longest(which: NDArray[np.bool_]) -> float:
        return math.log(1 + (at.length_before + at.length_behind)[which].max(initial=0))

    rho = at.rho_before + at.rho_behind
    before, behind = after(at.rho_before, at.forward), after(at.rho_behind, at.backward)
    posterior, unswitched = before * behind, at.forward * at.backward
    first, last = at.forward * after(rho, at.backward), after(rho, at.forward) * at.backward
    shares = after(rho / 2, at.forward) * after(rho / 2, at.backward)
    shares /= shares.sum()
    other, every = ~is_carrier, np.ones(len(is_carrier), bool)
    columns = {
        "log_odds": log_odds(carried(posterior)),
        "forward_odds": log_odds(carried(before)),
        "backward_odds": log_odds(carried(behind)),
        "unswitched_odds": log_odds(carried(unswitched)),
        "switch_odds": log_odds(1 - math.exp(-rho) * unswitched.sum() / posterior.sum()),
        "difference": abs(carried(first) - carried(last)),
        "concentration": concentration(every),
        "carrier_concentration": concentration(is_carrier),
        "other_concentration": concentration(other),
        "carrier_length_before": mean_length(at.length_before, is_carrier),
        "carrier_length_behind": mean_length(at.length_behind, is_carrier),
        "other_length_before": mean_length(at.length_before, other),
        "other_length_behind": mean_length(at.length_behind, other),
        "largest_carrier": log_odds(shares[is_carrier].max(initial=0)),
        "longest_carrier": longest(is_carrier),
        "longest": longest(every),
        "minor_count": math.log(1 + count),
        "carrier_count": math.log(1 + int(is_carrier.sum())),
        "rho_before": math.log(1e-4 + at.rho_before),
        "rho_behind": math.log(1e-4 + at.rho_behind),
    }
    return [columns[name] for name in EVIDENCE]


def li_stephens_evidence(
    model: Model, wanted: list[int], exclude: tuple[int, ...] = ()
) -> NDArray[np.float64]:
    """Compute (N, E) evidence of one query at the wanted sites."""
    passes = chances(model)
    counted = [h for h in range(len(model.panel)) if h not in exclude]
    rows = []
    for site in wanted:
        alleles = model.panel[:, site]
        is_minor = alleles == (2 * alleles.sum() <= len(alleles))
        at = surroundings(model, passes, site)
        rows.append(evidence_of_site(at, is_minor[at.states], int(is_minor[counted].sum())))
    return np.array(rows).reshape(len(wanted), len(EVIDENCE))
