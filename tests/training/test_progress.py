"""Sums do not depend on the order; clocks count every second once."""

from __future__ import annotations

import random
import time
from dataclasses import asdict

import torch

from snvrag.training.progress import EpochClock, EpochSums, peak_bytes


class Nothing:
    """A batch without a scored site, and its prediction."""

    scored = torch.zeros(1, 3, dtype=torch.bool)
    strata_af = torch.zeros(1, 3)
    alleles = torch.zeros(1, 2, 3, dtype=torch.uint8)
    hap_dosage = torch.zeros(1, 2, 3)


def summed(losses: list[torch.Tensor]) -> EpochSums:
    sums = EpochSums(torch.device("cpu"))
    for loss in losses:
        sums.add_batch(loss, Nothing(), Nothing())
    return sums


def test_loss_is_the_same_in_every_order():
    order = random.Random(0)
    losses = [torch.tensor(10 ** order.uniform(-6, 6)) for _ in range(300)]
    totals = {float(summed(order.sample(losses, 300)).loss) for _ in range(5)}
    assert len(totals) == 1
    assert abs(totals.pop() / sum(map(float, losses)) - 1) < 1e-9
    assert len({sum(map(float, order.sample(losses, 300))) for _ in range(5)}) > 1  # rounded


def test_loss_that_is_no_number_stays_one():
    assert summed([torch.tensor(loss) for loss in (1.0, float("nan"), 1.0)]).loss.isnan()


def test_bad_sums_are_not_added():
    total, part = summed([torch.tensor(1.0)]), summed([torch.tensor(2.0)])
    total.add(part, torch.tensor(1.0))
    assert float(total.loss) == 1
    total.add(part, torch.tensor(0.0))
    assert float(total.loss) == 3


def test_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def items():
        for item in "ab":
            now[0] += 1  # is waited for
            yield item

    clock = EpochClock(seconds=100.0)
    for _ in clock.waiting(items()):
        now[0] += 3
    clock.tick(training=True)
    now[0] += 2
    clock.tick(training=False)
    assert asdict(clock) == {"seconds": 110.0, "train_seconds": 8.0, "waited_seconds": 2.0}
    assert clock.data_share == 0.25


def test_peak_is_of_this_process():
    before = peak_bytes()
    assert 10e6 < before < 1e12
    block = torch.ones(int(before + 50e6) // 4)
    assert peak_bytes() > before
    del block
