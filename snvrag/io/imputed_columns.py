"""Statistics and text of imputed and phased genotypes, as VCF files have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import _core

# Dosages and probabilities are held, and written, in thousandths.
SCALE = 1000
# Where the probability of two ALT alleles is the product of the haplotypes' probabilities.
PRODUCT = 65535
# Bytes of a sample: a tab, GT, six numbers of at most five characters and a separator each, and a
# phase set of at most ten digits.
CELL_BYTES = 4 + 6 * 6 + 11


def site_statistics(
    hap_dosage: NDArray[np.uint16], haploid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return AF and DR2 of each site.

    With h the probability of ALT of a haplotype, AF = mean(h) and DR2 = (mean(h^2) - AF^2) /
    (AF (1 - AF)): the variance of the imputed dosages over the variance of true alleles of the same
    frequency. It is the Rsq of Minimac (Das et al., Nature Genetics 48:1284, 2016), after MaCH (Li
    et al., Genetic Epidemiology 34:816, 2010). DR2 is 0 where AF is 0 or 1.

    Parameters
    ----------
    hap_dosage : (n, T, 2) uint16
        In thousandths.
    haploid : (T,) bool
        Samples of which only the first haplotype counts.

    Returns
    -------
    (n,) float64, (n,) float64
    """
    counted = np.ones((haploid.size, 2), bool)
    counted[haploid, 1] = False
    h = hap_dosage[:, counted].astype(np.float64) / SCALE
    af = h.mean(axis=1)
    expected = af * (1 - af)
    known = expected > 0
    variance = np.maximum((h * h).mean(axis=1) - af * af, 0)
    return af, np.divide(variance, expected, out=np.zeros_like(af), where=known).clip(0, 1)


def record_lines(
    heads: Sequence[str],
    hap_dosage: NDArray[np.uint16],
    haploid: NDArray[np.bool_],
    hom_alt: NDArray[np.uint16] | None = None,
    phase_set: NDArray[np.int32] | None = None,
) -> bytes:
    """Return whole records: each head, and the fields of every sample, each after a tab.

    The fields are ``GT:DS:HDS:GP``, with ``phase_set`` ``GT:DS:HDS:GP:PS``. GP are in thousandths
    and sum to 1. GT is the most probable genotype, at a tie that with fewer ALT alleles; in a
    heterozygote the haplotype of the higher dosage has ALT.

    Parameters
    ----------
    heads : n str
    hap_dosage, haploid
        As in `site_statistics`.
    hom_alt : (n, T) uint16, optional
        The probability of two ALT alleles, in thousandths: GP are (1 - DS + hom_alt, DS - 2
        hom_alt, hom_alt), of the nearest ``hom_alt`` for which none is negative. Where it is
        `PRODUCT`, and without it, GP are the products of the haplotypes' probabilities. In a
        heterozygote of equal dosages the second haplotype has ALT, of `PRODUCT` the first one.
        Haploid samples do not use it.
    phase_set : (n, T) int32, optional
        PS, 0 for none; ValueError if one is negative.
    """
    rows = np.ascontiguousarray(hap_dosage).reshape(len(heads), -1)
    hom_alt = None if hom_alt is None else np.ascontiguousarray(hom_alt)
    phase_set = None if phase_set is None else np.ascontiguousarray(phase_set)
    return _core.imputed_records(_lines(heads), rows, haploid, hom_alt, phase_set)


def phased_lines(
    heads: Sequence[str],
    bits: NDArray[np.uint64],
    missing_bits: NDArray[np.uint64],
    haploid: NDArray[np.bool_],
    phase_set: NDArray[np.int32],
) -> bytes:
    """Return whole records: each head, and ``GT:PS`` of every sample, each after a tab.

    Parameters
    ----------
    heads : n str
    bits, missing_bits : (n, ceil(2 * T / 64)) uint64
        Bits 2 * i and 2 * i + 1 are the alleles of sample i, and 1 where one is missing.
    haploid : (T,) bool
        Samples of which only the first allele is written.
    phase_set : (n, T) int32
        As in `record_lines`.
    """
    bits, missing_bits = np.ascontiguousarray(bits), np.ascontiguousarray(missing_bits)
    phase_set = np.ascontiguousarray(phase_set)
    return _core.phased_records(_lines(heads), bits, missing_bits, haploid, phase_set)


def _lines(heads: Sequence[str]) -> bytes:
    return "".join(f"{head}\n" for head in heads).encode()
