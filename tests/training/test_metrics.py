"""Metrics against NumPy, on the sites of their strata."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from snvrag.evaluation.strata import STRATA
from snvrag.training.metrics import Metrics

CPU = torch.device("cpu")


def made(seed: int = 0, num_samples: int = 12, num_sites: int = 80) -> tuple[torch.Tensor, ...]:
    """hap_dosage, alleles, scored and af of correlated predictions."""
    random = np.random.default_rng(seed)
    af = np.concatenate([random.uniform(0, 0.05, 20), random.uniform(0.95, 1, 20),
                         random.uniform(0.05, 0.95, 38), [0.05, 0.95]])[:num_sites]  # fmt: skip
    alleles = random.random((num_samples, 2, af.size)) < af
    noise = random.normal(0, 0.25, alleles.shape)
    dosage = np.clip(0.8 * alleles + 0.1 + noise, 0, 1)
    scored = random.random((num_samples, af.size)) < 0.6
    tensors = dosage.astype(np.float32), alleles.astype(np.uint8), scored, af.astype(np.float32)
    dosage, alleles, scored, af = map(torch.from_numpy, tensors)
    return dosage, alleles, scored, af.expand(num_samples, -1)


def strata(af: np.ndarray) -> dict[str, np.ndarray]:
    maf = np.minimum(af, 1 - af)
    return {
        "overall": np.ones(af.shape, bool),
        "rare": maf < 0.05,
        "common": maf >= 0.05,
        "rare_alt": af < 0.05,
    }


def numpys(dosage, alleles, scored, af) -> dict[str, float]:
    results = {}
    dosage, alleles, scored = dosage.double().numpy(), alleles.numpy(), scored.numpy()
    for name, inside in strata(af.numpy()).items():
        sites = scored & inside
        truth = np.moveaxis(alleles, 1, -1)[sites] == 1
        call = np.moveaxis(dosage, 1, -1)[sites] > 0.5
        hit, false, missed = (truth & call).sum(), (~truth & call).sum(), (truth & ~call).sum()
        recall, precision = hit / (hit + missed), hit / (hit + false)
        results[f"recall_{name}"] = recall
        results[f"precision_{name}"] = precision
        results[f"f1_{name}"] = 2 * recall * precision / (recall + precision)
        x, y = alleles.sum(1).astype(float)[sites], dosage.sum(1)[sites]
        major_is_alt = af.numpy()[sites] > 0.5
        x, y = np.where(major_is_alt, 2 - x, x), np.where(major_is_alt, 2 - y, y)
        results[f"r2_{name}"] = np.corrcoef(x, y)[0, 1] ** 2
    return results


@pytest.mark.parametrize("seed", range(4))
def test_against_numpy(seed):
    metrics, data = Metrics(CPU), made(seed)
    metrics.update(*data)
    got, expected = metrics.compute(), numpys(*data)
    assert list(got) == [f"{m}_{s}" for s in STRATA for m in ("recall", "precision", "f1", "r2")]
    for name, value in expected.items():
        # A dosage is rounded to 1 / 4096.
        assert got[name] == pytest.approx(value, abs=2e-4 if name.startswith("r2") else 1e-9), name


def test_limits_of_the_strata():
    """0.05 and 0.95 are common, as the mask rule has it (rare is below the threshold)."""
    af = torch.tensor([[0.05, 0.95, 0.0499, 0.951]], dtype=torch.float64).float()
    metrics = Metrics(CPU)
    metrics.update(torch.ones(1, 2, 4), torch.ones(1, 2, 4).byte(), torch.ones(1, 4).bool(), af)
    assert dict(zip(STRATA, metrics.sums[:, 0].tolist(), strict=True)) == {
        "overall": 8, "rare": 4, "common": 4, "rare_alt": 2,
    }  # fmt: skip


def test_frequencies_of_a_panel_fall_where_the_mask_rule_puts_them():
    """All frequencies c / H of some panels: float32 in a batch, float64 in the mask rule."""
    for num_haplotypes in (40, 360, 400, 480, 5008):
        exact = np.arange(num_haplotypes + 1) / num_haplotypes
        af = torch.from_numpy(exact.astype(np.float32))[None]
        one = torch.ones(1, 2, exact.size)
        metrics = Metrics(CPU)
        metrics.update(one, one.byte(), torch.ones(1, exact.size).bool(), af)
        assert metrics.sums[STRATA.index("rare_alt"), 0] == 2 * (exact < 0.05).sum()


def test_folding_to_the_minor_allele():
    """At sites whose ALT is the major allele, REF is counted: unfolded, the sites' own difference
    in frequency passes for accuracy."""
    af = torch.tensor([[0.01, 0.99]]).expand(50, -1)
    alleles = torch.zeros(50, 2, 2, dtype=torch.uint8)
    alleles[:, :, 1] = 1
    alleles[0, 0] = torch.tensor([1, 0])
    dosage = torch.zeros(50, 2, 2)
    dosage[:, :, 1] = 1
    dosage[1, 0] = torch.tensor([1.0, 0.0])  # a wrong sample at both sites
    metrics = Metrics(CPU)
    metrics.update(dosage, alleles, torch.ones(50, 2).bool(), af)
    result = metrics.compute()["r2_overall"]
    assert result == pytest.approx(1 / 49**2, rel=1e-6)
    unfolded = np.corrcoef(alleles.sum(1).ravel(), dosage.sum(1).ravel())[0, 1] ** 2
    assert unfolded > 0.9


def test_scores_do_not_depend_on_which_allele_is_alt():
    dosage, alleles, scored, af = made(5)
    one, other = Metrics(CPU), Metrics(CPU)
    one.update(dosage, alleles, scored, af)
    other.update(1 - dosage, 1 - alleles, scored, 1 - af)
    assert one.compute()["r2_overall"] == pytest.approx(other.compute()["r2_overall"], abs=1e-6)


@pytest.mark.parametrize("parts", [2, 3, 12])
def test_batches_add_up(parts):
    data = made(6)
    whole, summed = Metrics(CPU), Metrics(CPU)
    whole.update(*data)
    for part in zip(*(tensor.chunk(parts) for tensor in data), strict=True):
        summed.update(*part)
    assert torch.equal(whole.sums, summed.sums)
    assert whole.compute() == summed.compute()


def test_sums_are_those_of_integers():
    """Exact, with a dosage rounded to 1 / 4096 and folded to the minor allele."""
    dosage, alleles, scored, af = made(9)
    metrics = Metrics(CPU)
    metrics.update(dosage, alleles, scored, af)
    for stratum, inside in enumerate(strata(af.numpy()).values()):
        n = x_sum = y_sum = xx = yy = xy = 0
        for b, s in zip(*np.nonzero(scored.numpy() & inside), strict=True):
            x = int(alleles[b, :, s].sum())
            y = round(float(dosage[b, :, s].sum()) * 4096)
            if af[b, s] > 0.5:
                x, y = 2 - x, 8192 - y
            n, x_sum, y_sum = n + 1, x_sum + x, y_sum + y
            xx, yy, xy = xx + x * x, yy + y * y, xy + x * y
        assert metrics.sums[stratum, 3:].tolist() == [n, x_sum, y_sum, xx, yy, xy]


def test_sites_that_are_not_scored_do_not_count():
    dosage, alleles, scored, af = made(7)
    one, other = Metrics(CPU), Metrics(CPU)
    one.update(dosage, alleles, scored, af)
    unscored = ~scored[:, None].expand(-1, 2, -1)
    other.update(dosage.masked_fill(unscored, 0.9), alleles.masked_fill(unscored, 3), scored, af)
    assert one.compute() == other.compute()


def test_perfect_and_useless_predictions():
    _, alleles, scored, af = made(8)
    perfect = Metrics(CPU)
    perfect.update(alleles.float(), alleles, scored, af)
    assert all(value == pytest.approx(1) for value in perfect.compute().values())
    useless = Metrics(CPU)
    useless.update(torch.zeros(alleles.shape), alleles, scored, af)
    results = useless.compute()
    assert results["recall_common"] == results["f1_common"] == 0
    assert math.isnan(results["precision_common"])


def test_nothing_seen_is_nan():
    empty = Metrics(CPU)
    assert all(math.isnan(value) for value in empty.compute().values())
    dosage, alleles, scored, af = made()
    empty.update(dosage, alleles, torch.zeros_like(scored), af)
    assert all(math.isnan(value) for value in empty.compute().values())


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.3, 0.7, 1 / 3])
@pytest.mark.parametrize("num_samples", [3, 10, 101, 50_001])
def test_r2_of_a_constant_dosage_is_undefined(constant, num_samples):
    """A correlation with a constant is 0 / 0, and rounding must not pass for an answer."""
    random = np.random.default_rng(0)
    alleles = torch.from_numpy((random.random((num_samples, 2, 7)) < 0.3).astype(np.uint8))
    metrics = Metrics(CPU)
    af = torch.full((num_samples, 7), 0.3)
    metrics.update(
        torch.full(alleles.shape, constant), alleles, torch.ones(num_samples, 7).bool(), af
    )
    assert math.isnan(metrics.compute()["r2_overall"])


def test_r2_is_never_above_1():
    """One site alone, over samples that are all but alike."""
    for seed in range(50):
        random = np.random.default_rng(seed)
        dosage = torch.from_numpy((0.3 + 1e-7 * random.random((40, 2, 5))).astype(np.float32))
        alleles = torch.from_numpy((random.random((40, 2, 5)) < 0.3).astype(np.uint8))
        metrics = Metrics(CPU)
        metrics.update(dosage, alleles, torch.ones(40, 5).bool(), torch.full((40, 5), 0.3))
        r2 = metrics.compute()["r2_overall"]
        assert math.isnan(r2) or 0 <= r2 <= 1 + 1e-9
