"""Which items a step sees and which random numbers it draws, as pure functions of (seed, step).

Nothing here has state, so nothing of it needs saving: a training that is resumed at step s draws what the
uninterrupted one would have drawn.
"""

import numpy as np
import torch

LAST_RULES = ("wrap", "keep", "drop")
"""What happens to an epoch's last, partial batch; see :func:`batch_indices`."""

# Keeps the streams apart: without it the shuffle of epoch 3 and the augmentation of step 3 would be the same numbers.
_SHUFFLE, _NUMPY, _TORCH = range(3)


def _sequence(seed: int, stream: int, index: int) -> np.random.SeedSequence:
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; it must lie in 0..2**32-1")
    return np.random.SeedSequence([seed, stream, index])


def step_rng(seed: int, step: int) -> np.random.Generator:
    """NumPy generator of one step (sampling, augmentation)."""
    return np.random.default_rng(_sequence(seed, _NUMPY, step))


def step_seed(seed: int, step: int) -> int:
    """A 63-bit torch seed of one step."""
    return int(_sequence(seed, _TORCH, step).generate_state(1, np.uint64)[0] >> 1)


def step_generator(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Torch generator of one step on ``device``."""
    return torch.Generator(device).manual_seed(step_seed(seed, step))


def shuffle(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order of ``n`` items in ``epoch``: a permutation of 0..n-1, int64 [n]."""
    return np.random.default_rng(_sequence(seed, _SHUFFLE, epoch)).permutation(n)


def take(seed: int, start: int, count: int, n: int) -> np.ndarray:
    """Items start..start+count-1 of the endless row of shuffled epochs of ``n`` items, int64 [count].

    This is what a schedule with a changing batch size calls, with ``start`` the sum of the sizes before.
    """
    if n < 1 or count < 1 or start < 0:
        raise ValueError(
            f"cannot take {count} from position {start} of {n} items; needed: count >= 1, start >= 0, n >= 1"
        )
    positions = np.arange(start, start + count)
    epochs = np.unique(positions // n)
    return np.concatenate([shuffle(seed, int(e), n)[positions[positions // n == e] % n] for e in epochs])


def batch_indices(seed: int, step: int, batch: int, n: int, last: str) -> np.ndarray:
    """The items of one step when every batch has ``batch`` items, int64.

    Args:
        seed: of the shuffles; each epoch is shuffled anew.
        step: from 0.
        batch: items a step.
        n: items in the data set, numbered 0..n-1.
        last: when ``batch`` does not divide ``n``, "wrap" fills the epoch's last batch from the next epoch (all batches
            full, every item equally often), "keep" makes it smaller, "drop" leaves those items out of this epoch.
    """
    per_epoch = count_steps(1, batch, n, last)
    if last == "wrap":
        return take(seed, step * batch, batch, n)
    epoch, within = divmod(step, per_epoch)
    return shuffle(seed, epoch, n)[within * batch : (within + 1) * batch]


def count_steps(epochs: int, batch: int, n: int, last: str) -> int:
    """Steps in ``epochs`` epochs under the rule ``last`` (see :func:`batch_indices`).

    Raises:
        ValueError: unknown rule, or no step at all.
    """
    if last not in LAST_RULES:
        raise ValueError(f"last is {last!r}; allowed: {', '.join(LAST_RULES)}")
    if batch < 1:
        raise ValueError(f"batch is {batch}; it must be at least 1")
    steps = {"wrap": -(-epochs * n // batch), "keep": epochs * -(-n // batch), "drop": epochs * (n // batch)}[last]
    if steps < 1:
        raise ValueError(f"{epochs} epochs of {n} items in batches of {batch} (last batch: {last}) are no step at all")
    return steps
