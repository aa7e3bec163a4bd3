"""Keys are a function of numbers: each pair once an epoch, in an order of its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snvrag.batches.keys import Key, KeySampler


def batches(sampler: KeySampler, epoch: int, first: int = 0) -> list[list[Key]]:
    return list(sampler.batches(epoch, first))


@given(
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 15),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
    st.integers(0, 30),
    st.integers(0, 40),
)
def test_each_pair_once_an_epoch(
    num_windows, num_samples, size, whole, shuffle, seed, epoch, first
):
    sampler = KeySampler(
        num_windows, num_samples, size, seed=seed, whole_samples=whole, shuffle=shuffle
    )
    made = batches(sampler, epoch)
    assert len(made) == len(sampler)
    most = max(len(batch) for batch in made)
    assert most == sampler.most_samples * (num_windows if whole else 1)
    keys = [key for batch in made for key in batch]
    assert {key.mask_seed for key in keys} == {epoch}
    pairs = [(key.window, key.sample) for key in keys]
    assert sorted(pairs) == [(w, s) for w in range(num_windows) for s in range(num_samples)]
    if whole:
        for batch in made:
            samples = sorted({key.sample for key in batch})
            assert len(samples) <= size
            assert [key[1:] for key in batch] == [
                (w, s) for s in samples for w in range(num_windows)
            ]
        if not shuffle:
            assert [s for _, s in pairs] == sorted(s for _, s in pairs)
    elif shuffle:
        assert all(len({key.window for key in batch}) == 1 for batch in made)
    else:
        assert pairs == sorted(pairs)
    assert batches(sampler, epoch, first) == made[first:]


@pytest.mark.parametrize("whole", [False, True])
def test_order_is_a_pure_function_of_seed_and_epoch(whole):
    """V18's sampler seeds accumulated, so a resumed run shuffled otherwise."""

    def made(seed: int, epochs: list[int]) -> list[list[Key]]:
        sampler = KeySampler(5, 20, 8, seed=seed, whole_samples=whole, shuffle=True)
        return [batches(sampler, epoch) for epoch in epochs][-1]

    torch.manual_seed(1)
    first = made(7, [3])
    torch.manual_seed(2)
    assert made(7, [0, 1, 2, 3]) == first
    assert made(7, [3, 3]) == first
    seeds = [(7, 3), (7, 4), (8, 3), (3, 7), (8, 2), (6, 4)]
    orders = [[key[1:] for batch in made(s, [e]) for key in batch] for s, e in seeds]
    assert len({tuple(order) for order in orders}) == len(orders)
