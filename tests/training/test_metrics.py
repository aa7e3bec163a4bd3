"""Metrics against loops over genotypes, on the sites of their strata."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from snvrag.evaluation.strata import STRATA
from snvrag.training.metrics import Metrics

CPU = torch.device("cpu")
EDGES = [0.05, 0.95, *10 * [0.5]]


def made(seed: int = 0, num_samples: int = 12) -> tuple[torch.Tensor, ...]:
    """hap_dosage, alleles, scored and af of correlated predictions."""
    random = np.random.default_rng(seed)
    ranges = ((0, 0.05), (0.95, 1), (0.05, 0.95))
    af = np.concatenate([*(random.uniform(*ends, 20) for ends in ranges), EDGES])
    alleles = random.random((num_samples, 2, af.size)) < af
    noise = random.normal(0, 0.25, alleles.shape)
    dosage = np.clip(0.8 * alleles + 0.1 + noise, 0, 1)
    scored = random.random((num_samples, af.size)) < 0.6
    tensors = dosage.astype(np.float32), alleles.astype(np.uint8), scored, af.astype(np.float32)
    dosage, alleles, scored, af = map(torch.from_numpy, tensors)
    return dosage, alleles, scored, af.expand(num_samples, -1)


def metrics_of(*data: torch.Tensor) -> Metrics:
    metrics = Metrics(CPU)
    metrics.update(*data)
    return metrics


IN_STRATUM = {
    "overall": lambda af: True,
    "rare": lambda af: min(af, 1 - af) < 0.05,
    "common": lambda af: min(af, 1 - af) >= 0.05,
    "rare_alt": lambda af: af < 0.05,
}


@pytest.mark.parametrize("stratum", STRATA)
def test_against_loops(stratum):
    """Exact, with a dosage rounded to 1 / 4096; ALT is the minor allele up to AF 0.5."""
    data = made()
    dosage, alleles, scored, af = (tensor.numpy() for tensor in data)
    hits = num_called = num_true = 0
    x, y = [], []
    for b, s in zip(*np.nonzero(scored), strict=True):
        if not IN_STRATUM[stratum](af[b, s]):
            continue
        truth, call = alleles[b, :, s] == 1, dosage[b, :, s] > 0.5
        hits, num_called = hits + sum(truth & call), num_called + sum(call)
        num_true += sum(truth)
        folded = af[b, s] > 0.5
        units = round(float(dosage[b, :, s].sum()) * 4096)
        x.append(2 - sum(truth) if folded else sum(truth))
        y.append(8192 - units if folded else units)
    metrics = metrics_of(*data)
    x, y = np.array(x), np.array(y)
    expected = [hits, num_called - hits, num_true - hits]
    expected += [x.size, x.sum(), y.sum(), x @ x, y @ y, x @ y]
    assert metrics.sums[STRATA.index(stratum)].tolist() == expected
    results = metrics.compute()
    recall, precision = hits / num_true, hits / num_called
    assert results[f"recall_{stratum}"] == pytest.approx(recall)
    assert results[f"precision_{stratum}"] == pytest.approx(precision)
    assert results[f"f1_{stratum}"] == pytest.approx(2 / (1 / recall + 1 / precision))
    assert results[f"r2_{stratum}"] == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_frequencies_of_a_panel_fall_where_the_mask_rule_puts_them():
    """All frequencies c / H of some panels: float32 in a batch, float64 in the mask rule.

    0.05 and 0.95 are common: rare is below the threshold.
    """
    for num_haplotypes in (20, 40, 360, 400, 480, 5008):
        exact = np.arange(num_haplotypes + 1) / num_haplotypes
        one, scored = torch.ones(1, 2, exact.size), torch.ones(1, exact.size).bool()
        af = torch.from_numpy(exact.astype(np.float32))[None]
        num_rare = int((exact < 0.05).sum())
        expected = [exact.size, 2 * num_rare, exact.size - 2 * num_rare, num_rare]
        assert metrics_of(one, one.byte(), scored, af).sums[:, 3].tolist() == expected


def test_folding_to_the_minor_allele():
    """At sites whose ALT is the major allele, R2 is that of REF: with ALT, the difference in
    frequency between sites passes for accuracy."""
    af = torch.tensor([[0.01, 0.99]]).expand(50, -1)
    alleles = torch.zeros(50, 2, 2, dtype=torch.uint8)
    alleles[:, :, 1] = 1
    alleles[0, 0] = torch.tensor([1, 0])
    dosage = torch.zeros(50, 2, 2)
    dosage[:, :, 1] = 1
    dosage[1, 0] = torch.tensor([1.0, 0.0])  # a wrong sample at both sites
    result = metrics_of(dosage, alleles, torch.ones(50, 2).bool(), af).compute()["r2_overall"]
    assert result == pytest.approx(1 / 49**2, rel=1e-6)
    unfolded = np.corrcoef(alleles.sum(1).ravel(), dosage.sum(1).ravel())[0, 1] ** 2
    assert unfolded > 0.9


def test_r2_does_not_depend_on_which_allele_is_alt():
    dosage, alleles, scored, af = made(5)
    scored &= af != 0.5
    one = metrics_of(dosage, alleles, scored, af).compute()["r2_overall"]
    other = metrics_of(1 - dosage, 1 - alleles, scored, 1 - af).compute()["r2_overall"]
    assert one == pytest.approx(other, abs=1e-6)


def test_batches_add_up():
    """And sites that are not scored do not count."""
    dosage, alleles, scored, af = made(6)
    expected = metrics_of(dosage, alleles, scored, af).sums
    unscored = ~scored[:, None].expand(-1, 2, -1)
    other = dosage.masked_fill(unscored, 0.9), alleles.masked_fill(unscored, 3), scored, af
    for parts in (1, 2, 3, 12):
        summed = Metrics(CPU)
        for part in zip(*(tensor.chunk(parts) for tensor in other), strict=True):
            summed.update(*part)
        assert torch.equal(expected, summed.sums)


def test_perfect_useless_and_no_predictions():
    _, alleles, scored, af = made(8)
    perfect = metrics_of(alleles.float(), alleles, scored, af).compute()
    assert all(value == pytest.approx(1) for value in perfect.values())
    useless = metrics_of(torch.zeros(alleles.shape), alleles, scored, af).compute()
    assert useless["recall_common"] == useless["f1_common"] == 0
    assert math.isnan(useless["precision_common"])
    empty = metrics_of(alleles.float(), alleles, torch.zeros_like(scored), af)
    assert all(math.isnan(value) for value in empty.compute().values())


def test_r2_of_an_all_but_constant_dosage():
    """A correlation with a constant is 0 / 0, and rounding must pass neither for an answer nor for
    more than 1."""
    for num_samples in (3, 10, 101, 50_001):
        random = np.random.default_rng(0)
        alleles = torch.from_numpy((random.random((num_samples, 2, 7)) < 0.3).astype(np.uint8))
        scored, af = torch.ones(num_samples, 7).bool(), torch.full((num_samples, 7), 0.3)
        for constant in (0.0, 0.3, 1 / 3):
            metrics = metrics_of(torch.full(alleles.shape, constant), alleles, scored, af)
            assert math.isnan(metrics.compute()["r2_overall"])
    scored, af = torch.ones(40, 5).bool(), torch.full((40, 5), 0.3)
    for seed in range(50):
        random = np.random.default_rng(seed)
        dosage = torch.from_numpy((0.3 + 1e-7 * random.random((40, 2, 5))).astype(np.float32))
        alleles = torch.from_numpy((random.random((40, 2, 5)) < 0.3).astype(np.uint8))
        r2 = metrics_of(dosage, alleles, scored, af).compute()["r2_overall"]
        assert math.isnan(r2) or 0 <= r2 <= 1 + 1e-9
