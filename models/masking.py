"""Which instances of a span are hidden from the model, in pre-training and for the boxes of AVA (thesis, section 8.2.2)."""

from typing import NamedTuple

import torch
from torch import Tensor

from models.object_transformer import Tokens

PROBABILITY = 0.15
"""Of an instance to be chosen; BERT's, and the released code's."""

_HIDE, _REPLACE = 0.8, 0.9


class Masked(NamedTuple):
    """``tokens`` with some features replaced; ``hidden`` [B, N], where the learned vector stands; ``chosen`` [B, N], all
    boxes of the chosen instances: what is to be told.
    """

    tokens: Tokens
    hidden: Tensor
    chosen: Tensor


def choose_instances(tokens: Tokens, generator: torch.Generator, probability: float = PROBABILITY) -> Tensor:
    """All boxes of randomly chosen instances, ``[B, N]`` bool; at least one instance of every span that has any."""
    count = int(tokens.instance.max()) + 1 if tokens.instance.numel() else 1
    draw = _uniform((len(tokens.instance), count), tokens.instance, generator)
    draw = torch.gather(draw, 1, tokens.instance)  # the same number for all boxes of an instance
    draw = torch.where(tokens.valid, draw, torch.inf)
    return ((draw < probability) | (draw == draw.amin(dim=1, keepdim=True))) & tokens.valid


def mask_instances(
    tokens: Tokens, generator: torch.Generator, probability: float = PROBABILITY, passes: int = 1
) -> Masked:
    """Choose instances, and hide their boxes: 80 % by the learned vector, 10 % by another feature, 10 % not at all.

    Args:
        tokens: left as they are.
        generator: draws everything.
        probability: of an instance to be chosen.
        passes: 2 in the released code, which masks twice (about 88, 11 and 1 %).
    """
    chosen = choose_instances(tokens, generator, probability)
    hidden, feature = torch.zeros_like(chosen), tokens.feature
    for _ in range(passes):
        draw = _uniform(chosen.shape, chosen, generator)
        replaced = chosen & (draw >= _HIDE) & (draw < _REPLACE)
        hidden = (hidden | (chosen & (draw < _HIDE))) & ~replaced
        feature = _replace(tokens, feature, replaced, hidden, generator)
    return Masked(tokens._replace(feature=feature), hidden, chosen)


def cover_instances(tokens: Tokens, rounds: int) -> Tensor:
    """Masks ``[rounds, B, N]`` that hide every instance exactly once, for an evaluation that leaves no box out.

    The released code hides 15 % at random ten times; a box that no draw hides gets a score of 0. With as many rounds as
    instances each is seen in the context of all others.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; it must be at least 1")
    number = torch.arange(rounds, device=tokens.instance.device)
    return (tokens.instance % rounds == number[:, None, None]) & tokens.valid


def _replace(tokens: Tokens, feature: Tensor, where: Tensor, hidden: Tensor, generator: torch.Generator) -> Tensor:
    """Features at ``where`` from random boxes of the batch of the same source that are not hidden."""
    feature = feature.clone()
    for source in range(int(tokens.source.max()) + 1):
        wanted = where & (tokens.source == source)
        others = tokens.feature[tokens.valid & ~hidden & (tokens.source == source)]
        if len(others):
            number = _uniform((int(wanted.sum()),), wanted, generator) * len(others)
            feature[wanted] = others[number.long().clamp(max=len(others) - 1)]
    return feature


def _uniform(shape: tuple[int, ...] | torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device).to(like.device)
