"""The phase of held-out samples: switched on purpose, and compared with the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cyvcf2
import numpy as np
from numpy.typing import NDArray

from snvrag.kernels import pack_haplotypes
from snvrag.panel.panel import Panel

SWITCH_SEED = 12


def switch_phase(truth: Panel, observed: NDArray[np.bool_], rate: float) -> Panel:
    """Return the samples with their phase switched at typed heterozygotes, each at this rate.

    From such a site on, up to the next, the two haplotypes of the sample are swapped.
    """
    if not rate:
        return truth
    alleles = truth.sample_alleles(np.arange(truth.num_samples), 0, truth.num_sites)
    first, second = alleles.reshape(truth.num_samples, 2, -1).transpose(1, 2, 0)
    drawn = np.random.default_rng(SWITCH_SEED).random(first.shape) < rate
    switches = drawn & (first != second) & observed[:, None]
    swapped = switches.cumsum(axis=0) % 2 == 1
    pairs = np.where(swapped, [second, first], [first, second]).transpose(1, 2, 0)
    switched = np.ascontiguousarray(pairs.reshape(truth.num_sites, -1))
    return replace(truth, site_bits=pack_haplotypes(switched))


def switch_error(truth: NDArray[np.int8], calls: NDArray[np.int16]) -> float:
    """Return the share of neighbouring heterozygotes with another relative phase than the truth's.

    ``truth`` is (S, T, 2), the alleles of each of T samples; ``calls`` is (S, T, 3), the alleles
    that a method has written and whether they are phased. A neighbour that is unphased or not
    heterozygous there counts as half an error, as a guess would. Phase sets are not looked at: what
    counts is the order in which the alleles are written. NaN where no sample has two heterozygotes.
    """
    errors, pairs = 0.0, 0
    for i in range(truth.shape[1]):
        heterozygous = truth[:, i, 0] != truth[:, i, 1]
        expected, called = truth[heterozygous, i], calls[heterozygous, i]
        known = (called[:, 2] == 1) & (called[:, 0] != called[:, 1])
        swapped = called[:, 0] != expected[:, 0]
        wrong = np.where(known[1:] & known[:-1], swapped[1:] != swapped[:-1], 0.5)
        errors, pairs = errors + wrong.sum(), pairs + wrong.size
    return float(errors / pairs) if pairs else float("nan")


def switch_error_of(path: Path, typed: Panel) -> float:
    """Return the switch error of a VCF at the sites of ``typed``; NaN where it lacks genotypes."""
    sites = zip(typed.position.tolist(), map(tuple, typed.alleles.tolist()), strict=True)
    rows = {site: s for s, site in enumerate(sites)}
    calls = np.zeros((typed.num_sites, typed.num_samples, 3), np.int16)
    with cyvcf2.VCF(str(path), strict_gt=True) as records:
        for record in records:
            s = rows.get((record.POS, (record.REF, *record.ALT)))
            if s is not None:
                if "GT" not in record.FORMAT:
                    return float("nan")
                calls[s] = record.genotype.array()
    alleles = typed.sample_alleles(np.arange(typed.num_samples), 0, typed.num_sites)
    truth = alleles.reshape(typed.num_samples, 2, -1).transpose(2, 0, 1)
    return switch_error(truth, calls)
