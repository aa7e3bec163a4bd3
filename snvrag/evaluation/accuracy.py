"""Accuracy of imputed dosages: sums over sites, kept by sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .measures import accuracy_measures, ratio
from .strata import Strata

CALIBRATION_BINS = 20

# With their titles in tables.
MEASURES = {
    "r2": "R2",
    "site_r2": "site R2",
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "concordance": "concordance",
    "nonref_concordance": "non-ref concordance",
}
_NUM_SUMS = 12


class Accuracy:
    """Sums over sites from which every measure of one imputed file follows.

    Attributes
    ----------
    sums : (12, cells, samples) float64
        Genotypes, sums of the true (x) and imputed (y) dosage of the minor allele, of their squares
        and product; ALT alleles called rightly, called wrongly and missed; genotypes called
        rightly, those not homozygous REF in truth or call, and the rightly called of them.
    site_sums : (4, cells) float64
        Sites, those with a per-site R2, the sum of it, and the sum of MAF.
    calibration_sums : (3, 20) float64
        Genotypes, predicted and observed ALT dosage, by bins of 0.1 of the predicted one.

    Notes
    -----
    Memory does not grow with sites: 96 bytes a sample and cell.
    """

    def __init__(self, num_samples: int, strata: Strata) -> None:
        self.strata = strata
        self.sums = np.zeros((_NUM_SUMS, strata.num_cells, num_samples))
        self.site_sums = np.zeros((4, strata.num_cells))
        self.calibration_sums = np.zeros((3, CALIBRATION_BINS))

    def update(
        self,
        truth: NDArray[np.float64],
        dosage: NDArray[np.float64],
        call: NDArray[np.float64],
        ploidy: NDArray[np.float64],
        maf: NDArray[np.float64],
        alt_is_major: NDArray[np.bool_],
    ) -> None:
        """Add S sites of N samples.

        Parameters
        ----------
        truth : (S, N) float64
            True number of ALT alleles; NaN where it is not known, which leaves the genotype out.
        dosage : (S, N) float64
            Imputed dosage of ALT, from 0 to the ploidy.
        call : (S, N) float64
            ALT alleles of the called genotype.
        ploidy : (S, N) float64
            Ploidy of the true genotype, 1 or 2.
        maf : (S,) float64
        alt_is_major : (S,) bool
            Whether AF > 0.5: R2 is then that of the dosage of REF.
        """
        known = ~np.isnan(truth)
        truth, dosage, call, ploidy = (
            np.where(known, values, 0.0) for values in (truth, dosage, call, ploidy)
        )
        x = np.where(alt_is_major[:, None], ploidy - truth, truth)
        y = np.where(alt_is_major[:, None], ploidy - dosage, dosage)
        hits = np.minimum(truth, call)
        equal = known & (truth == call)
        nonref = known & ((truth > 0) | (call > 0))
        moments = (known, x, y, x * x, y * y, x * y)
        counts = (hits, call - hits, truth - hits, equal, nonref, equal & nonref)
        cell = self.strata.cells(maf, alt_is_major)
        member = np.zeros((self.strata.num_cells, cell.size))
        member[cell, np.arange(cell.size)] = 1
        for total, quantity in zip(self.sums, (*moments, *counts), strict=True):
            total += member @ quantity.astype(np.float64, copy=False)

        site_r2 = _site_r2(known, x, y)
        defined = ~np.isnan(site_r2)
        per_site = (np.ones(cell.size), defined, np.where(defined, site_r2, 0), maf)
        for site_total, values in zip(self.site_sums, per_site, strict=True):
            site_total += member @ values

        scale = 2 / ploidy[known]  # haploid calls count on the scale of diploid ones
        self._update_calibration(dosage[known] * scale, truth[known] * scale)

    def _update_calibration(
        self, predicted: NDArray[np.float64], observed: NDArray[np.float64]
    ) -> None:
        bins = (predicted * (CALIBRATION_BINS / 2)).astype(np.int64)
        bins = np.minimum(bins, CALIBRATION_BINS - 1)
        weights = (np.ones(predicted.size), predicted, observed)
        for total, values in zip(self.calibration_sums, weights, strict=True):
            total += np.bincount(bins, values, CALIBRATION_BINS)

    def compute(self) -> dict[str, NDArray[np.float64]]:
        """Return every measure by name, each (strata,) float64; NaN where undefined.

        ``sites``, ``genotypes``, ``mean_maf`` (of the sites); ``r2``, the squared correlation of
        true and imputed dosage of the minor allele, pooled over sites and samples; ``site_r2``, the
        mean of the sites' own, over those at which the truth varies (0 where the imputed dosage
        does not); ``recall``, ``precision``, ``f1`` of ALT alleles, counted by genotype whatever
        the phase; ``concordance``, the share of genotypes called rightly; ``nonref_concordance``,
        the same among those that are not homozygous REF in truth or call.
        """
        sites, num_defined, site_r2, maf = self.site_sums @ self.strata.members.T
        measures = _measures(self.strata.members @ self.sums.sum(axis=2)[:, :, None])
        return {
            "sites": sites,
            "mean_maf": ratio(maf, sites),
            "site_r2": ratio(site_r2, num_defined),
            **{name: values[:, 0] for name, values in measures.items()},
        }

    def bootstrap(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return 95% intervals over samples, by measure: (2, strata), NaN where undefined.

        ``weights``, (R, samples) float64, are how often each of R `resamples` holds each sample.
        All measures of `compute` that are sums over samples have one: not ``site_r2``. Cost: 12 R
        multiplications for each sample and cell.
        """
        resampled = _measures(self.strata.members @ (self.sums @ weights.T))
        resampled.pop("genotypes")
        intervals = {}
        for name, values in resampled.items():
            interval = np.full((2, values.shape[0]), np.nan)
            for t, row in enumerate(values):
                defined = row[~np.isnan(row)]
                if defined.size:
                    interval[:, t] = np.percentile(defined, [2.5, 97.5])
            intervals[name] = interval
        return intervals

    def calibration(self) -> list[dict[str, float]]:
        """Return predicted and observed mean ALT dosage for each bin of the predicted one."""
        genotypes, predicted, observed = self.calibration_sums
        edges = 2 * np.arange(CALIBRATION_BINS) / CALIBRATION_BINS
        columns = {
            "from": edges,
            "to": edges + 2 / CALIBRATION_BINS,
            "genotypes": genotypes,
            "predicted": ratio(predicted, genotypes),
            "observed": ratio(observed, genotypes),
        }
        return [
            dict(zip(columns, row, strict=True))
            for row in np.stack(list(columns.values()), axis=1).tolist()
        ]


def resamples(num_samples: int, count: int, seed: int) -> NDArray[np.float64]:
    """Return how often each of the resamples holds each sample: (count, num_samples) float64."""
    random = np.random.default_rng(seed)
    share = np.full(num_samples, 1 / num_samples)
    return random.multinomial(num_samples, share, size=count).astype(np.float64)


def _site_r2(
    known: NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each site's R2: NaN where x does not vary, 0 where only y does not."""
    n = np.maximum(known.sum(axis=1, keepdims=True), 1)
    varies = [
        np.where(known, v, -np.inf).max(axis=1, initial=-1)
        > np.where(known, v, np.inf).min(axis=1, initial=3)
        for v in (x, y)
    ]
    # Centred: a site's variance may be small beside its mean.
    dx, dy = (np.where(known, v - v.sum(axis=1, keepdims=True) / n, 0) for v in (x, y))
    spread = (dx * dx).sum(axis=1) * (dy * dy).sum(axis=1)
    r2 = ratio((dx * dy).sum(axis=1) ** 2, np.where(varies[0] & varies[1], spread, 0))
    return np.where(varies[0] & ~varies[1], 0.0, r2)


def _measures(totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the measures that follow from (12, strata, R) sums, each (strata, R)."""
    genotypes, (equal, nonref, nonref_equal) = totals[0], totals[9:]
    return {
        "genotypes": genotypes,
        **accuracy_measures(totals[6:9], totals[:6]),
        "concordance": ratio(equal, genotypes),
        "nonref_concordance": ratio(nonref_equal, nonref),
    }
