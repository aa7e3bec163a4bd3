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
    st.sampled_from(["full", "window", "none"]),
    st.integers(0, 2**31),
    st.integers(0, 30),
    st.integers(0, 40),
)
def test_each_pair_once_an_epoch(num_windows, num_samples, size, shuffle, seed, epoch, first):
    sampler = KeySampler(num_windows, num_samples, size, seed=seed, shuffle=shuffle)
    made = batches(sampler, epoch)
    assert len(made) == len(sampler)
    assert all(1 <= len(batch) <= size for batch in made)
    keys = [key for batch in made for key in batch]
    assert {key.mask_seed for key in keys} == {epoch}
    pairs = [(key.window, key.sample) for key in keys]
    assert sorted(pairs) == [(w, s) for w in range(num_windows) for s in range(num_samples)]
    if shuffle == "window":
        assert all(len({key.window for key in batch}) == 1 for batch in made)
    if shuffle == "none":
        assert pairs == sorted(pairs)
    assert batches(sampler, epoch, first) == made[first:]
    assert len(sampler) == len(made)


@pytest.mark.parametrize("shuffle", ["full", "window"])
def test_order_is_a_pure_function_of_seed_and_epoch(shuffle):
    """V18's sampler seeds accumulated, so a resumed run shuffled otherwise."""

    def made(seed: int, epochs: list[int]) -> list[list[Key]]:
        sampler = KeySampler(5, 20, 8, seed=seed, shuffle=shuffle)
        return [batches(sampler, epoch) for epoch in epochs][-1]

    torch.manual_seed(1)
    first = made(7, [3])
    torch.manual_seed(2)
    assert made(7, [0, 1, 2, 3]) == first
    assert made(7, [3, 3]) == first
    seeds = [(7, 3), (7, 4), (8, 3), (3, 7), (8, 2), (6, 4)]
    orders = [[key[1:] for batch in made(s, [e]) for key in batch] for s, e in seeds]
    assert len({tuple(order) for order in orders}) == len(orders)
