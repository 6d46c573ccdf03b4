"""Weights and pictures that are the same everywhere, made of nothing but names and shapes.

The reference code was run once with these weights (under its own names) and these pictures; what it answered stands as
literals in ``test_reference_outputs.py``.
"""

import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

KEYS = Path(__file__).parent / "keys"


def key_list(form: str, model: str) -> dict[str, list[int]]:
    """Names and shapes of a checkpoint, as the reference code makes them (see the ``from`` of each entry)."""
    entries = json.loads(gzip.decompress((KEYS / f"{form}.json.gz").read_bytes()))
    keys: dict[str, list[int]] = entries[model]["keys"]
    return keys


def key_lists() -> list[tuple[str, str]]:
    """All (format, model) there are lists of."""
    return [
        (path.name.removesuffix(".json.gz"), model)
        for path in sorted(KEYS.glob("*.json.gz"))
        for model in json.loads(gzip.decompress(path.read_bytes()))
    ]


def numbers(name: str, shape: Sequence[int]) -> Tensor:
    """Float64 in [0, 1), without pattern, a function of name and place."""
    places = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    return (torch.sin(places * 12.9898 + zlib.crc32(name.encode()) % 1009) * 43758.5453).frac().abs().view(tuple(shape))


def filled(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """A state in which every tensor counts and no layer dies or explodes."""
    state = {}
    for name, shape in shapes.items():
        u = numbers(name, shape)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
            continue
        if name.endswith("running_var"):
            value = 0.5 + u
        elif len(shape) > 1:
            value = (2 * u - 1) * math.sqrt(3 / math.prod(shape[1:]))
            # A dot-product operator is cubic in its input.
            value *= 1e-3 if "theta" in name else 1
        elif name.endswith("weight"):
            value = 0.5 + 0.5 * u
        else:
            value = 0.4 * u - 0.2
        state[name] = value.float()
    return state


def pictures(frames: int, size: int) -> Tensor:
    """``[1, 3, T, size, size]`` normalised pixels."""
    return (4 * numbers("pictures", (1, 3, frames, size, size)) - 2).float()
