"""Statistics and text of imputed dosages, as an imputed VCF has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import _core

# Dosages and probabilities are held, and written, in thousandths.
SCALE = 1000
# Bytes of a sample: a tab, GT, and six numbers of at most five characters and a separator each.
CELL_BYTES = 4 + 6 * 6


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
    heads: Sequence[str], hap_dosage: NDArray[np.uint16], haploid: NDArray[np.bool_]
) -> bytes:
    """Return whole records: each head, and ``GT:DS:HDS:GP`` of every sample, each after a tab.

    GP are the products of the haplotypes' probabilities, in thousandths, and sum to 1. GT is the
    most probable genotype, at a tie that with fewer ALT alleles; in a heterozygote the haplotype of
    the higher dosage has ALT, the first at a tie. The other parameters are those of
    `site_statistics`.
    """
    text = "".join(f"{head}\n" for head in heads).encode()
    rows = np.ascontiguousarray(hap_dosage).reshape(len(heads), -1)
    return _core.imputed_records(text, rows, haploid)
