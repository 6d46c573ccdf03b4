"""The training checkpoint: everything a killed training needs to go on, in one atomically written file.

Sampling, augmentation, dropout and learning rate are pure functions of the step, so their state is the step itself.
"""

import hashlib
import io
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from pipeline.run.files import write_bytes

# A file is MAGIC, a BLAKE2b digest of the rest, and the rest: a `torch.save` archive. The digest is ours because
# `torch.load` does not verify checksums: a flipped bit in a weight would load without a word.
_MAGIC = b"training state 1\n"
_DIGEST_BYTES = 16


class CheckpointError(ValueError):
    """A file that is no intact training checkpoint, or one of another training."""


@dataclass
class TrainingState:
    """Where a training stands after ``step`` optimiser steps.

    Attributes:
        step: optimiser steps done.
        model: the model's ``state_dict``.
        optimizer: the optimiser's ``state_dict``.
        history: closed rows, see :func:`pipeline.training.loop.train`.
        window: values of the steps since the last row, which the next row will average.
        best_step: steps done when ``best_value`` was measured; None before the first validation.
        best_value: highest metric so far.
        best_state: the model's ``state_dict`` of ``best_step``, on the CPU.
    """

    step: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    window: list[dict[str, float]] = field(default_factory=list)
    best_step: int | None = None
    best_value: float = float("-inf")
    best_state: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, state: TrainingState, fingerprint: str) -> None:
    """Write ``state`` to ``path`` atomically; ``fingerprint`` names the training it belongs to.

    Raises:
        DiskFull: the disk has no space left; the previous checkpoint stays.
    """
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint} | {f.name: getattr(state, f.name) for f in fields(state)}, buffer)
    payload = buffer.getvalue()
    write_bytes(path, _MAGIC + hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest() + payload)


def load_checkpoint(path: Path, fingerprint: str) -> TrainingState:
    """Read the checkpoint at ``path``, tensors on the CPU; nothing in the file can execute.

    Raises:
        FileNotFoundError: there is none.
        CheckpointError: the file is damaged, no training checkpoint, or carries another fingerprint.
    """
    data = Path(path).read_bytes()
    body = len(_MAGIC) + _DIGEST_BYTES
    if not data.startswith(_MAGIC):
        raise CheckpointError(f"{path} is not a training checkpoint of this version; delete it to train from the start")
    payload = data[body:]
    if hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest() != data[len(_MAGIC) : body]:
        raise CheckpointError(f"{path} is damaged (its digest does not match); delete it to train from the start")
    values = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    found = values.pop("fingerprint")
    if found != fingerprint:
        raise CheckpointError(
            f"{path} belongs to another training: its fingerprint is {found!r}, this training's is {fingerprint!r}; "
            "use another checkpoint path or delete the file"
        )
    return TrainingState(**values)
