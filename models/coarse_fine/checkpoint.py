"""Weights of the Coarse-Fine Networks release: one file for the Fine stream, one for the Coarse stream with the fusion."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from models.checkpoints import CheckpointError, LoadedCheckpoint, load_checkpoint
from models.checkpoints.files import tensors_of
from models.coarse_fine.stream import Stream
from models.coarse_fine.two_stream import CoarseFine
from models.recogniser import Recogniser

# Their modules that are no part of an X3D, and ours.
_NAMES: dict[str, Callable[[re.Match[str]], str]] = {
    r"pool_1\.conv([12])": lambda m: f"coarse.pool.convs.{int(m[1]) - 1}",
    r"pool_1\.bn([12])(?:\.bn)?": lambda m: f"coarse.pool.norms.{int(m[1]) - 1}",
    r"pool_1\.conv3": lambda m: "coarse.pool.last",
    r"rw([2345])\.(\w+)": lambda m: f"fusion.levels.{int(m[1]) - 2}.{m[2]}",
    r"rw6\.(\w+)": lambda m: f"fusion.late.{m[1]}",
    r"mix([2345])\.conv_at": lambda m: f"fusion.mix_shift.{int(m[1]) - 2}",
    r"mix([2345])\.conv_at2": lambda m: f"fusion.mix_scale.{int(m[1]) - 2}",
}
_CLASSES = re.compile(r"rw6\.fc[24]\.\w+")


def load_stream(stream: Stream, source: Path | bytes | Mapping[str, Tensor]) -> LoadedCheckpoint:
    """Load X3D weights, of any format that has them, into a stream; Grid Pool keeps what it has.

    Raises:
        CheckpointError: see :func:`models.checkpoints.load_checkpoint`.
    """
    return load_checkpoint(_as_recogniser(stream), source)


def load_coarse_fine(network: CoarseFine, source: Path | bytes | Mapping[str, Tensor]) -> LoadedCheckpoint:
    """Load the release's file of the Coarse stream and the fusion; the Fine stream has a file of its own.

    Its numbers were made with ``centres="released"``.

    Raises:
        CheckpointError: a key is missing, unexpected or of another shape; the message lists every one.
    """
    tensors, name = tensors_of(source)
    ours = network.state_dict()
    wanted = {key for key in ours if key.startswith(("coarse.pool.", "fusion.")) and not key.endswith("_tracked")}
    extras = {key: value for key, value in tensors.items() if key.startswith(("pool_1.", "rw", "mix"))}
    state: dict[str, Tensor] = {}
    problems, skipped = [], []
    for key, value in extras.items():
        here = _name(key)
        if ".split_bn." in key or key.endswith("num_batches_tracked"):
            skipped.append(key)
        elif here not in wanted:
            problems.append(f"unexpected: {key} {list(value.shape)}")
        elif value.numel() == ours[here].numel() and value.shape[:2] == ours[here].shape[:2]:
            state[here] = value.reshape(ours[here].shape)  # the release's point-wise layers are 1-D
        elif _CLASSES.fullmatch(key) and value.shape[1:2] == ours[here].shape[1:2]:
            skipped.append(key)
        else:
            problems.append(f"shape: {key} is {list(value.shape)} in the file, {list(ours[here].shape)} in the model")
    fresh = {_name(key) for key in skipped} & wanted
    problems += [f"missing: {key} {list(ours[key].shape)}" for key in sorted(wanted - set(state) - fresh)]
    if problems:
        listing = "\n  ".join(problems)
        raise CheckpointError(
            f"{name} (Coarse-Fine Networks, Coarse stream) does not fit {type(network).__name__}:\n  {listing}"
        )
    rest = load_stream(network.coarse, {key: value for key, value in tensors.items() if key not in extras})
    network.load_state_dict(state, strict=False)
    messages = rest.messages
    if fresh:
        messages = (*messages, f"of another number of classes, left as they were: {', '.join(sorted(fresh))}")
    return LoadedCheckpoint(
        rest.format,
        tuple(sorted((*rest.not_loaded, *skipped))),
        tuple(sorted({*rest.fresh, *fresh})),
        messages,
    )


def _name(theirs: str) -> str:
    """Our key of one of their extra keys; "" where there is none."""
    module, _, leaf = theirs.rpartition(".")
    for pattern, name in _NAMES.items():
        match = re.fullmatch(pattern, module)
        if match:
            return f"{name(match)}.{leaf}"
    return ""


def _as_recogniser(stream: Stream) -> nn.Module:
    return Recogniser(stream.encoder, stream.head.classifier, per_frame=True)
