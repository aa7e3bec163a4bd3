"""What an epoch adds up does not depend on the order."""

from __future__ import annotations

import random

import torch

from snvrag.training.sums import EpochSums


class Nothing:
    """A batch without a scored site."""

    window_row = torch.zeros(1, dtype=torch.int64)
    scored = torch.zeros(1, 3, dtype=torch.bool)
    panel_af = torch.zeros(1, 3)
    alleles = torch.zeros(1, 2, 3, dtype=torch.uint8)
    hap_dosage = torch.zeros(1, 2, 3)


def test_loss_is_the_same_in_every_order():
    order = random.Random(0)
    losses = [torch.tensor(10 ** order.uniform(-6, 6)) for _ in range(300)]
    totals = set()
    for _ in range(5):
        order.shuffle(losses)
        sums = EpochSums(torch.device("cpu"))
        for loss in losses:
            sums.add_batch(loss, Nothing(), Nothing())
        totals.add(float(sums.loss))
    assert len(totals) == 1
    assert abs(totals.pop() / sum(map(float, losses)) - 1) < 1e-9
    assert len({sum(map(float, order.sample(losses, 300))) for _ in range(5)}) > 1  # rounded


def test_loss_that_is_no_number_stays_one():
    sums = EpochSums(torch.device("cpu"))
    for loss in (1.0, float("nan"), 1.0):
        sums.add_batch(torch.tensor(loss), Nothing(), Nothing())
    assert sums.loss.isnan()
