"""Sums of an evaluation: they add up, and resamples are evaluations of their samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snvrag.evaluation.accuracy import Accuracy, resamples
from snvrag.evaluation.strata import Strata


def made(seed: int, num_sites: int = 120, num_samples: int = 8) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    ploidy = np.where(np.arange(num_samples) == 3, 1.0, 2.0) * np.ones((num_sites, 1))
    truth = np.minimum(random.integers(0, 3, (num_sites, num_samples)), ploidy)
    truth[random.random(truth.shape) < 0.1] = np.nan
    dosage = np.clip(np.nan_to_num(truth, nan=1) + random.normal(0, 0.4, truth.shape), 0, ploidy)
    return {
        "truth": truth,
        "dosage": dosage,
        "call": np.rint(dosage),
        "ploidy": ploidy,
        "maf": random.random(num_sites) ** 3 / 2,
        "alt_is_major": random.random(num_sites) < 0.5,
    }


def summed(data: dict[str, Any], samples: Any = slice(None), parts: int = 1) -> Accuracy:
    data = {name: v[:, samples] if v.ndim == 2 else v for name, v in data.items()}
    accuracy = Accuracy(data["truth"].shape[1], Strata())
    for rows in np.array_split(np.arange(data["maf"].size), parts):
        accuracy.update(**{name: values[rows] for name, values in data.items()})
    return accuracy


def test_blocks_of_sites_add_up():
    data = made(1)
    whole = summed(data)
    for parts in (2, 7, 120, 200):
        added = summed(data, parts=parts)
        for name, values in whole.compute().items():
            assert added.compute()[name] == pytest.approx(values, rel=1e-12, nan_ok=True), name
        for got, expected in zip(added.calibration(), whole.calibration(), strict=True):
            assert got == pytest.approx(expected, nan_ok=True)


def test_a_resample_is_an_evaluation_of_its_samples():
    """One resample alone: both ends of the interval are what its samples, repeated, give."""
    data = made(2)
    chosen = np.array([0, 0, 0, 2, 3, 5, 5, 7])
    weights = np.bincount(chosen, minlength=8)[None].astype(float)
    intervals = summed(data).bootstrap(weights)
    expected = summed(data, chosen).compute()
    assert set(intervals) == set(expected) - {"sites", "genotypes", "mean_maf", "site_r2"}
    for name, interval in intervals.items():
        for end in interval:
            assert end == pytest.approx(expected[name], rel=1e-9, nan_ok=True), name


def test_intervals_hold_95_of_100():
    data = made(3)
    weights = resamples(8, 400, seed=1)
    assert (weights.sum(axis=1) == 8).all()
    accuracy = summed(data)
    low, high = accuracy.bootstrap(weights)["r2"]
    ones = [accuracy.bootstrap(row[None])["r2"][0, 0] for row in weights]
    inside = np.mean([low[0] <= r2 <= high[0] for r2 in ones])
    assert inside == pytest.approx(0.95, abs=0.01)


def test_alleles_may_change_places():
    """REF and ALT exchanged, R2 is the same: it is that of the minor allele."""
    data = made(4)
    other = dict(data)
    for name in ("truth", "dosage", "call"):
        other[name] = data["ploidy"] - data[name]
    other["alt_is_major"] = ~data["alt_is_major"]
    one, two = summed(data).compute(), summed(other).compute()
    kept = [t for t, stratum in enumerate(Strata().names) if stratum != "rare_alt"]
    for name in ("r2", "site_r2", "concordance"):
        assert two[name][kept] == pytest.approx(one[name][kept], rel=1e-9)
    assert two["recall"][0] != pytest.approx(one["recall"][0])


def test_nothing_seen_is_nan():
    for name, values in Accuracy(3, Strata()).compute().items():
        expected = 0 if name in ("sites", "genotypes") else np.nan
        assert values == pytest.approx(expected, nan_ok=True), name


def test_a_constant_is_no_correlation_by_rounding():
    data = made(5, num_sites=1000, num_samples=101)
    data["ploidy"][:] = 2
    data["alt_is_major"][:] = False
    for constant in (0.1, 0.3, 2 / 3):
        data["dosage"][:] = constant
        results = summed(data).compute()
        assert np.isnan(results["r2"]).all()
        assert results["site_r2"][0] == 0
