"""Stateless sampling and step-wise random numbers."""

from collections import Counter

import numpy as np
import pytest
import torch

from pipeline.training.sampler import batch_indices, count_steps, shuffle, step_generator, step_rng, take


@pytest.mark.parametrize(("batch", "n"), [(4, 12), (5, 12), (1, 7), (12, 12), (20, 12)])
def test_each_item_once_per_epoch(batch: int, n: int) -> None:
    keep = [batch_indices(3, s, batch, n, "keep") for s in range(count_steps(2, batch, n, "keep"))]
    half = len(keep) // 2
    assert sorted(np.concatenate(keep[:half])) == sorted(np.concatenate(keep[half:])) == list(range(n))
    assert not np.array_equal(np.concatenate(keep[:half]), np.concatenate(keep[half:]))

    wrapped = np.concatenate([batch_indices(3, s, batch, n, "wrap") for s in range(count_steps(2, batch, n, "wrap"))])
    assert len(wrapped) % batch == 0
    assert sorted(wrapped[:n]) == sorted(wrapped[n : 2 * n]) == list(range(n))


def test_last_batch_rules() -> None:
    def sizes(last: str) -> list[int]:
        return [len(batch_indices(0, s, 5, 12, last)) for s in range(count_steps(2, 5, 12, last))]

    assert sizes("keep") == [5, 5, 2, 5, 5, 2]
    assert sizes("drop") == [5, 5, 5, 5]
    assert sizes("wrap") == [5, 5, 5, 5, 5]
    dropped = np.concatenate([batch_indices(0, s, 5, 12, "drop") for s in range(2)])
    assert len(set(dropped)) == 10
    with pytest.raises(ValueError, match="allowed: wrap, keep, drop"):
        batch_indices(0, 0, 5, 12, "pad")
    with pytest.raises(ValueError, match="no step at all"):
        count_steps(1, 20, 12, "drop")
    with pytest.raises(ValueError, match="batch is 0"):
        batch_indices(0, 0, 0, 12, "wrap")


def test_indices_are_a_pure_function_of_their_arguments() -> None:
    late = batch_indices(7, 41, 4, 10, "wrap")
    for step in (5, 40, 3):
        batch_indices(7, step, 4, 10, "wrap")
    np.random.default_rng().random()
    assert np.array_equal(batch_indices(7, 41, 4, 10, "wrap"), late)
    assert any(not np.array_equal(batch_indices(seed, 41, 4, 10, "wrap"), late) for seed in (8, 9))


def test_micro_batches_and_changing_batch_sizes_read_the_same_row() -> None:
    big = batch_indices(1, 3, 8, 10, "wrap")
    assert np.array_equal(np.concatenate([batch_indices(1, 6 + i, 4, 10, "wrap") for i in range(2)]), big)
    sizes = [8, 3, 1, 13, 5]
    starts = np.cumsum([0, *sizes[:-1]])
    pieces = [take(1, int(start), size, 10) for start, size in zip(starts, sizes, strict=True)]
    assert all(count == 3 for count in Counter(np.concatenate(pieces).tolist()).values())


def test_every_order_is_equally_likely() -> None:
    orders = Counter(tuple(shuffle(5, epoch, 3).tolist()) for epoch in range(600))
    assert len(orders) == 6
    assert min(orders.values()) > 60  # 100 expected, standard deviation 9


def test_step_random_numbers() -> None:
    assert step_rng(1, 5).random() == step_rng(1, 5).random()
    draws = {step_rng(seed, step).random() for seed in range(10) for step in range(100)}
    assert len(draws) == 1000
    one, two = (torch.rand(3, generator=step_generator(1, step)) for step in (5, 6))
    assert torch.equal(one, torch.rand(3, generator=step_generator(1, 5))) and not torch.equal(one, two)
    # The streams of one number stay apart: an epoch's shuffle says nothing about a step's augmentation.
    assert not np.array_equal(shuffle(1, 5, 100), step_rng(1, 5).permutation(100))
    with pytest.raises(ValueError, match="seed is -1"):
        step_rng(-1, 0)
