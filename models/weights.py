"""Model weights in files that cannot execute anything.

Ours are safetensors with one metadata entry (JSON), so that the same weights give the same bytes. torchvision's ResNet
``.pth`` files are recognised too; they are read with ``weights_only=True``.
"""

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

METADATA_KEY = "metadata"


class WeightsError(ValueError):
    """A weights file cannot be read, or does not fit the model."""


@dataclass(frozen=True)
class LoadedWeights:
    """What a file was: its format, our metadata, and the tensors in it that the model has no place for."""

    format: str
    metadata: dict[str, Any]
    not_loaded: tuple[str, ...]


def save_weights(module: nn.Module, metadata: Mapping[str, Any]) -> bytes:
    """The module's parameters and buffers as a safetensors file; the caller writes it.

    Args:
        module: on any device.
        metadata: plain JSON values, returned by :func:`load_weights`; never a time or a machine's name.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    # One entry only: safetensors does not promise an order of several.
    return safetensors.torch.save(tensors, {METADATA_KEY: json.dumps(metadata, sort_keys=True, allow_nan=False)})


def load_weights(module: nn.Module, source: Path | bytes) -> LoadedWeights:
    """Load a file into ``module``; every tensor of the module must be in it, with its shape.

    Args:
        module: left untouched when anything does not fit.
        source: a file, or its content.

    Raises:
        WeightsError: unreadable, or keys missing, unexpected or of another shape; the message lists every one.
    """
    name = "weights" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    not_loaded: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    # A safetensors file starts with the length of its JSON header (8 bytes); a pickle or zip file has no brace there.
    if data[8:9] == b"{":
        file_format = "safetensors"
        tensors, metadata = _read_safetensors(data, name)
    else:
        file_format = "torchvision"
        tensors = read_state_dict(data, name)
        not_loaded = tuple(sorted(key for key in tensors if key.startswith("fc.")))
        tensors = {key: tensor for key, tensor in tensors.items() if key not in not_loaded}
        # Old files lack these counters, which nothing computes with at a fixed momentum.
        for key, tensor in module.state_dict().items():
            if key.endswith(".num_batches_tracked"):
                tensors.setdefault(key, tensor)
    require_fit(module, tensors, f"{name} ({file_format})")
    module.load_state_dict(tensors)
    return LoadedWeights(file_format, metadata, not_loaded)


def require_fit(module: nn.Module, found: Mapping[str, Tensor], name: str) -> None:
    """Refuse tensors that are not exactly the module's own by name and shape; ``name``: of their file.

    Raises:
        WeightsError: keys missing, unexpected or of another shape; the message lists every one.
    """
    expected: Mapping[str, Tensor] = module.state_dict()
    problems = [f"missing: {key} {list(expected[key].shape)}" for key in sorted(expected.keys() - found.keys())]
    problems += [f"unexpected: {key} {list(found[key].shape)}" for key in sorted(found.keys() - expected.keys())]
    problems += [
        f"shape: {key} is {list(found[key].shape)} in the file, {list(expected[key].shape)} in the model"
        for key in sorted(expected.keys() & found.keys())
        if expected[key].shape != found[key].shape
    ]
    if problems:
        listing = "\n  ".join(problems)
        raise WeightsError(f"{name} does not fit {type(module).__name__}:\n  {listing}")


def read_state_dict(data: bytes, name: str) -> dict[str, Tensor]:
    """The tensors of a ``.pth`` file by name; nothing in it can execute. ``name``: of the file.

    Raises:
        WeightsError: unreadable, or it holds anything but tensors under names.
    """
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(
            f"{name} is not a state dict of plain tensors (.pth, read without executing anything): {error}"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{name} holds a {type(state).__name__} that is not a plain mapping of names to tensors")
    return dict(state)


def _read_safetensors(data: bytes, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{name} is not a valid safetensors file: {error}") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    entries = header.get("__metadata__", {})
    return tensors, json.loads(entries[METADATA_KEY]) if METADATA_KEY in entries else dict(entries)
