"""Statistics and text of imputed dosages, as an imputed VCF has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Dosages and probabilities are held, and written, in thousandths.
SCALE = 1000
# Bytes of a sample: a tab, GT, and six numbers of at most five characters and a separator each.
CELL_BYTES = 4 + 6 * 6


def genotype_probabilities(
    hap_dosage: NDArray[np.uint16],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the probabilities of the genotypes, and the most probable genotype.

    Parameters
    ----------
    hap_dosage : (..., 2) uint16
        Probability of ALT on each haplotype, in thousandths.

    Returns
    -------
    (..., 3) int64
        Probabilities of 0, 1 and 2 ALT alleles, in thousandths. They sum to 1,000.
    (..., 2) bool
        Whether each haplotype of the most probable genotype has ALT. At a tie of genotypes the one
        with fewer ALT alleles is taken. In a heterozygote the haplotype of the higher dosage has
        ALT, the first at a tie.
    """
    first, second = hap_dosage[..., 0].astype(np.int64), hap_dosage[..., 1].astype(np.int64)
    both = (first * second + SCALE // 2) // SCALE
    none = ((SCALE - first) * (SCALE - second) + SCALE // 2) // SCALE
    probabilities = np.stack([none, SCALE - none - both, both], axis=-1)
    genotype = probabilities.argmax(axis=-1)
    on_first = (genotype == 2) | ((genotype == 1) & (first >= second))
    on_second = (genotype == 2) | ((genotype == 1) & (first < second))
    return probabilities, np.stack([on_first, on_second], axis=-1)


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


def sample_columns(hap_dosage: NDArray[np.uint16], haploid: NDArray[np.bool_]) -> list[str]:
    """Return the sample columns of each record: ``GT:DS:HDS:GP`` of every sample, after a tab.

    Parameters are those of `site_statistics`. The text of all samples and sites is written into one
    array of cells of equal width, and the padding is removed: Python formats no number.
    """
    n, num_samples, _ = hap_dosage.shape
    cells = np.zeros((n, num_samples, CELL_BYTES), np.uint8)
    cells[:, ~haploid] = _diploid_cells(hap_dosage[:, ~haploid])
    cells[:, haploid] = _haploid_cells(hap_dosage[:, haploid, 0])
    table = cells.reshape(n, num_samples * CELL_BYTES)
    used = table != 0
    ends = used.sum(axis=1).cumsum().tolist()
    text = table[used].tobytes().decode("ascii")
    return [text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _numbers() -> NDArray[np.uint8]:
    """Return the text of 0 to 2 * SCALE thousandths, (2 * SCALE + 1, 5) padded by zero bytes."""
    texts = [f"{n / SCALE:g}".encode().ljust(5, b"\0") for n in range(2 * SCALE + 1)]
    return np.frombuffer(b"".join(texts), np.uint8).reshape(-1, 5)


_NUMBERS = _numbers()


def _put_numbers(
    cells: NDArray[np.uint8], at: int, columns: Sequence[tuple[str, NDArray[np.integer[Any]]]]
) -> None:
    """Write numbers into cells from a byte on, each after its separator."""
    for separator, values in columns:
        cells[..., at] = ord(separator)
        cells[..., at + 1 : at + 6] = _NUMBERS[values]
        at += 6


def _diploid_cells(hap_dosage: NDArray[np.uint16]) -> NDArray[np.uint8]:
    probabilities, alt = genotype_probabilities(hap_dosage)
    first, second = hap_dosage[..., 0], hap_dosage[..., 1]
    none, one, both = np.moveaxis(probabilities, -1, 0)
    cells = np.zeros((*first.shape, CELL_BYTES), np.uint8)
    cells[..., 0] = ord("\t")
    cells[..., 1] = ord("0") + alt[..., 0]
    cells[..., 2] = ord("|")
    cells[..., 3] = ord("0") + alt[..., 1]
    columns = [(":", first + second), (":", first), (",", second)]
    _put_numbers(cells, 4, [*columns, (":", none), (",", one), (",", both)])
    return cells


def _haploid_cells(dosage: NDArray[np.uint16]) -> NDArray[np.uint8]:
    cells = np.zeros((*dosage.shape, CELL_BYTES), np.uint8)
    cells[..., 0] = ord("\t")
    cells[..., 1] = ord("0") + (2 * dosage > SCALE)
    _put_numbers(cells, 4, [(":", dosage), (":", dosage), (":", SCALE - dosage), (",", dosage)])
    return cells
