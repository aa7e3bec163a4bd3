"""How well imputed dosages meet the truth: sums that add up over sites and are kept by sample."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

RARE_MAF = 0.05
MAF_EDGES = (0.0, 0.001, 0.005, 0.01, 0.05, 0.5)
CALIBRATION_BINS = 20

MEASURES = (
    "r2", "site_r2", "recall", "precision", "f1", "concordance", "nonref_concordance",
)  # fmt: skip

# What is summed for every sample and cell.
_SUMS = (
    "n", "x", "y", "xx", "yy", "xy", "hit", "false", "missed", "equal", "nonref", "nonref_equal",
)  # fmt: skip


class Strata:
    """Groups of sites by frequency, each a union of cells that do not overlap.

    Parameters
    ----------
    edges : sequence of float
        Edges of the MAF bins, ascending, from 0 to 0.5: bins are [edges[i], edges[i + 1]), the
        last one with 0.5.

    Attributes
    ----------
    names : tuple of str
        ``overall``; ``rare``, MAF < 0.05; ``common``, the others; ``rare_alt``, AF < 0.05; then the
        MAF bins in percent, such as ``0.1-0.5%``.
    bins : list of (float, float)
        The MAF bins, which are the last strata.
    members : (T, C) bool
        The cells of each stratum.
    """

    def __init__(self, edges: Sequence[float] = MAF_EDGES) -> None:
        increasing = all(a < b for a, b in itertools.pairwise(edges))
        if len(edges) < 2 or not increasing or edges[0] < 0 or edges[-1] > 0.5:
            raise InputError(
                "--maf-edges must be two or more ascending numbers from 0 to 0.5, got "
                + " ".join(f"{edge:g}" for edge in edges)
            )
        self.bins = list(itertools.pairwise(edges))
        self._cuts = np.unique([0.0, RARE_MAF, 0.5, *edges])
        low = np.repeat(self._cuts[:-1], 2)
        flipped = np.tile([False, True], self._cuts.size - 1)
        rare = low < RARE_MAF
        rows = [np.ones(low.size, bool), rare, ~rare, rare & ~flipped]
        rows += [(low >= first) & (low < last) for first, last in self.bins]
        self.members: NDArray[np.bool_] = np.array(rows)
        self.names = (
            "overall", "rare", "common", "rare_alt",
            *(f"{100 * first:g}-{100 * last:g}%" for first, last in self.bins),
        )  # fmt: skip

    @property
    def num_cells(self) -> int:
        """C, the number of cells: pairs of a MAF range and of whether ALT is the major allele."""
        return int(self.members.shape[1])

    def cells(self, maf: NDArray[np.float64], flipped: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the cell of each site, given its MAF and whether ALT is its major allele."""
        part = np.searchsorted(self._cuts, maf, side="right") - 1
        return 2 * np.minimum(part, self._cuts.size - 2) + flipped


class Accuracy:
    """Sums over sites from which every measure of one imputed file follows.

    Attributes
    ----------
    sums : (12, C, N) float64
        For each cell and sample: genotypes, sums of the true (x) and imputed (y) dosage of the
        minor allele, of their squares and product, ALT alleles found, wrongly called and missed,
        genotypes called rightly, those not REF in truth or call, and the rightly called of them.
    site_sums : (4, C) float64
        Sites, those with a per-site R2, the sum of it, and the sum of MAF.
    calibration_sums : (3, 20) float64
        Genotypes, predicted and observed ALT dosage, by bins of 0.1 of the predicted one.

    Notes
    -----
    Memory does not grow with sites: 96 bytes a sample and cell.
    """

    def __init__(self, num_samples: int, strata: Strata) -> None:
        self.strata = strata
        self.sums = np.zeros((len(_SUMS), strata.num_cells, num_samples))
        self.site_sums = np.zeros((4, strata.num_cells))
        self.calibration_sums = np.zeros((3, CALIBRATION_BINS))

    def update(
        self,
        truth: NDArray[np.float64],
        dosage: NDArray[np.float64],
        call: NDArray[np.float64],
        ploidy: NDArray[np.float64],
        maf: NDArray[np.float64],
        flipped: NDArray[np.bool_],
    ) -> None:
        """Add sites.

        Parameters
        ----------
        truth : (S, N) float64
            True number of ALT alleles; NaN where it is not known, which leaves the genotype out.
        dosage : (S, N) float64
            Imputed one, from 0 to the ploidy.
        call : (S, N) float64
            ALT alleles of the called genotype.
        ploidy : (S, N) float64
            Of the true genotype, 1 or 2.
        maf : (S,) float64
        flipped : (S,) bool
            Whether ALT is the major allele: dosages are then folded to REF.
        """
        known = ~np.isnan(truth)
        alt, dose, called, ploidy = (
            np.where(known, values, 0.0) for values in (truth, dosage, call, ploidy)
        )
        cell = self.strata.cells(maf, flipped)
        x = np.where(flipped[:, None], ploidy - alt, alt)
        y = np.where(flipped[:, None], ploidy - dose, dose)
        right = known & (alt == called)
        nonref = known & ((alt > 0) | (called > 0))
        found = np.minimum(alt, called)
        quantities = (
            known, x, y, x * x, y * y, x * y, found, called - found, alt - found, right, nonref,
            right & nonref,
        )  # fmt: skip
        member = np.zeros((self.strata.num_cells, cell.size))
        member[cell, np.arange(cell.size)] = 1
        for total, quantity in zip(self.sums, quantities, strict=True):
            total += member @ quantity.astype(np.float64, copy=False)

        site_r2 = _site_r2(known, x, y)
        defined = ~np.isnan(site_r2)
        per_site = (np.ones(cell.size), defined, np.where(defined, site_r2, 0), maf)
        for site_total, values in zip(self.site_sums, per_site, strict=True):
            site_total += member @ values

        scale = 2 / ploidy[known]  # haploid calls count on the scale of diploid ones
        predicted, observed = dose[known] * scale, alt[known] * scale
        bins = np.minimum(
            (predicted * (CALIBRATION_BINS / 2)).astype(np.int64), CALIBRATION_BINS - 1
        )
        weights = (np.ones(predicted.size), predicted, observed)
        for calibration_total, values in zip(self.calibration_sums, weights, strict=True):
            calibration_total += np.bincount(bins, values, CALIBRATION_BINS)

    def compute(self) -> dict[str, NDArray[np.float64]]:
        """Return every measure by name, each (T,) over the strata; NaN where undefined.

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
        """Return 95% intervals over samples, by measure: (2, T), NaN where undefined.

        Parameters
        ----------
        weights : (R, N) float64
            How often each resample holds each sample (`resamples`).

        Returns
        -------
        dict
            All measures of `compute` that are sums over samples: without ``site_r2``.

        Notes
        -----
        Cost: R x N x 12 C multiplications.
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
        rows = []
        for b, (n, predicted, observed) in enumerate(self.calibration_sums.T.tolist()):
            mean = (predicted / n, observed / n) if n else (float("nan"), float("nan"))
            low = 2 * b / CALIBRATION_BINS
            rows.append({
                "from": low, "to": low + 2 / CALIBRATION_BINS, "genotypes": n,
                "predicted": mean[0], "observed": mean[1],
            })  # fmt: skip
        return rows


def resamples(num_samples: int, count: int, seed: int) -> NDArray[np.float64]:
    """Return how often each of the resamples holds each sample: (count, num_samples) float64."""
    random = np.random.default_rng(seed)
    share = np.full(num_samples, 1 / num_samples)
    return random.multinomial(num_samples, share, size=count).astype(np.float64)


def ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    """Return the quotient, NaN where the denominator is not above 0."""
    result = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def squared_correlation(
    n: NDArray[Any], x: NDArray[Any], y: NDArray[Any],
    xx: NDArray[Any], yy: NDArray[Any], xy: NDArray[Any],
) -> NDArray[np.float64]:  # fmt: skip
    """Return R2 from sums; NaN where a variance is rounding error alone."""
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    varies = (spread_x > 1e-12 * n * xx) & (spread_y > 1e-12 * n * yy)
    return ratio((n * xy - x * y) ** 2, np.where(varies, spread_x * spread_y, 0))


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
    """Return the measures that follow from (12, T, R) sums, each (T, R)."""
    n, x, y, xx, yy, xy, hit, false, missed, equal, nonref, nonref_equal = totals
    return {
        "genotypes": n,
        "r2": squared_correlation(n, x, y, xx, yy, xy),
        "recall": ratio(hit, hit + missed),
        "precision": ratio(hit, hit + false),
        "f1": ratio(2 * hit, 2 * hit + false + missed),
        "concordance": ratio(equal, n),
        "nonref_concordance": ratio(nonref_equal, nonref),
    }
