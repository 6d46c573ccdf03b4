"""Small random spans for the tests of long-form models."""

import torch

from models.object_transformer import Tokens


def random_tokens(counts: list[int], dim: int = 6, sources: int = 1, seed: int = 0) -> Tokens:
    """Spans of so many tokens each, of up to 4 instances; padding is zeros, as from ``pad_spans``."""
    generator = torch.Generator().manual_seed(seed)
    most, rows = max(1, *counts), len(counts)
    valid = torch.arange(most) < torch.tensor(counts)[:, None]

    def numbers(high: int, *shape: int) -> torch.Tensor:
        drawn = torch.randint(high, (rows, most, *shape), generator=generator)
        return drawn * valid.reshape(rows, most, *[1] * len(shape))

    time, shot = numbers(50, 3), numbers(4, 3)
    time[..., 2] -= 20
    return Tokens(
        torch.randn(rows, most, dim, generator=generator) * valid[..., None],
        numbers(sources),
        torch.rand(rows, most, 5, generator=generator) * valid[..., None],
        time,
        shot,
        numbers(4),
        valid,
    )


def part(tokens: Tokens, row: int, count: int) -> Tokens:
    """One span of a batch, without padding."""
    return Tokens(*(value[row : row + 1, :count] for value in tokens))
