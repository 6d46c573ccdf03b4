"""Weights files of public code as plain tensors by name; nothing in a file can execute."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.checkpoints.restricted import read_pickle

# Where training code puts the weights in what it saves, the most particular name first.
WRAPPERS = ("model_state", "model_state_dict", "state_dict", "blobs")


class CheckpointError(ValueError):
    """A file of weights cannot be read, or does not fit the model."""


def read_tensors(data: bytes, name: str) -> dict[str, Tensor]:
    """The tensors of a ``.pth``, ``.pyth``, ``.pt`` or ``.pkl`` file by their names in it.

    Args:
        data: the file.
        name: of the file, for messages.

    Raises:
        CheckpointError: unreadable, or it holds anything but tensors under names, or wants to run code.
    """
    content = _load(data, name)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{name} holds a {type(content).__name__}, not a mapping of names to tensors")
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor) and isinstance(key, str)}
    if not tensors:
        raise CheckpointError(f"{name} holds no tensors; keys: {', '.join(map(str, list(content)[:8])) or 'none'}")
    return tensors


def tensors_of(source: Path | bytes | Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file, its content or a mapping, and a name for messages.

    Names come without the ``module.`` that DataParallel and DistributedDataParallel put before every one.

    Raises:
        CheckpointError: see :func:`read_tensors`.
    """
    name = str(source) if isinstance(source, Path) else "checkpoint"
    if not isinstance(source, Mapping):
        source = read_tensors(source.read_bytes() if isinstance(source, Path) else source, name)
    prefix = "module." if all(key.startswith("module.") for key in source) else ""
    return {key.removeprefix(prefix): value for key, value in source.items()}, name


def _load(data: bytes, name: str) -> Any:
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are not its own
        refused = error
    if data[:2] == b"PK":
        raise CheckpointError(f"{name} holds more than tensors and plain values; nothing was executed: {refused}")
    try:
        return read_pickle(data)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{name} is not a file of plain weights; nothing was executed: {error}") from error
