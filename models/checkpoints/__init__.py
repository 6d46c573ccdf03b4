"""Weights in the formats of public code: read into our models, and written for others to read.

:func:`load_checkpoint` recognises a file by the names in it, translates them, and accounts for every key on either side:
what it did not load, what the file did not have, and why. It never loads half of an encoder.
"""

import io
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.checkpoints.files import CheckpointError, tensors_of
from models.checkpoints.formats import FORMATS, NOTES, encoder_of, family, names, recognise, turned
from models.recogniser import Recogniser

__all__ = ["FORMATS", "CheckpointError", "LoadedCheckpoint", "export_checkpoint", "load_checkpoint", "save_checkpoint"]

# PyTorchVideo's X3D lacks this normalisation, which the paper's code has.
_X3D_SHORTCUT = "res2.0.shortcut_norm."


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What became of a file.

    Attributes:
        format: a key of :data:`FORMATS`.
        not_loaded: keys of the file that the model has no place for.
        fresh: keys of the model that the file does not fill; they keep what they had.
        messages: what a user should read: a head of another width, a known difference between the formats.
    """

    format: str
    not_loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    messages: tuple[str, ...]


def load_checkpoint(model: nn.Module, source: Path | bytes | Mapping[str, Tensor]) -> LoadedCheckpoint:
    """Load a public checkpoint into a recogniser or an encoder.

    Every tensor of the encoder must be in the file with its shape, and every tensor of the file must have a place, or be
    known to belong to training or to the classifier. A classifier of another number of classes is not loaded.

    Args:
        model: left untouched when anything does not fit.
        source: a file, its content, or its tensors by name.

    Raises:
        CheckpointError: unreadable, of no known format, or keys missing, unexpected or of another shape; the message
            lists every one.
    """
    tensors, name = tensors_of(source)
    form = recognise(list(tensors), name)
    ours = model.state_dict()
    theirs = names(form, model)
    messages = [text for key, text in NOTES.items() if key == (form, family(encoder_of(model)))]
    if FORMATS[form].bgr:
        messages.append("its pictures are blue, green, red: the first convolution was turned to red, green, blue")
    state, problems, replaced = dict(ours), [], set()
    for key in ours:
        found = theirs.get(key, "")
        if found in tensors:
            value = _fitted(turned(tensors[found], form, found), ours[key])
            if value is not None:
                state[key] = value
            elif key.startswith("head.linear.") and tensors[found].shape[1:] == ours[key].shape[1:]:
                replaced.add(key)
            else:
                shapes = f"{list(tensors[found].shape)} in the file, {list(ours[key].shape)} in the model"
                problems.append(f"shape: {found} is {shapes} ({key})")
    lacking = [key for key in ours if theirs.get(key, "") not in tensors and not key.endswith(".num_batches_tracked")]
    identity = _identity(form, encoder_of(model), lacking, ours)
    if identity:
        state.update(identity)
        messages.append(
            "PyTorchVideo's X3D has no normalisation on the shortcut of res2's first block (563 keys of X3D-S where "
            "PySlowFast has 568); ours is set to the identity, which is the same network in evaluation"
        )
    fresh = [key for key in lacking if key not in identity and (key.startswith("head.") or _plugged(key))]
    problems += [
        f"missing: {theirs.get(key, 'no name for')} {list(ours[key].shape)} ({key})"
        for key in lacking
        if key not in identity and key not in fresh
    ]
    left = [key for key in tensors if key not in set(theirs.values())]
    heads = set() if isinstance(model, Recogniser) else _head_keys(form, model)
    not_loaded = [key for key in left if re.fullmatch(FORMATS[form].skipped, key) or key in heads]
    problems += [f"unexpected: {key} {list(tensors[key].shape)}" for key in left if key not in not_loaded]
    if problems:
        raise CheckpointError(_refusal(name, form, model, problems))
    if replaced:
        width = (tensors[theirs[key]].shape[0] for key in sorted(replaced))
        kept = ours["head.linear.weight"].shape[0]
        messages.append(f"the file's classifier has {next(width)} classes, the model {kept}: the model's own stays")
        fresh += sorted(replaced)
        not_loaded += [theirs[key] for key in sorted(replaced)]
    if fresh:
        messages.append(f"not in the file, left as they were: {', '.join(fresh)}")
    model.load_state_dict(state)
    return LoadedCheckpoint(form, tuple(sorted(not_loaded)), tuple(sorted(fresh)), tuple(messages))


def export_checkpoint(model: nn.Module, form: str) -> dict[str, Tensor]:
    """The model's tensors under the names, and in the shapes, of a public format.

    Raises:
        CheckpointError: the format has no such network, or cannot express these weights.
    """
    if form not in FORMATS:
        raise CheckpointError(f"unknown format {form!r}; allowed: {', '.join(FORMATS)}")
    state, theirs = {key: value.detach() for key, value in model.state_dict().items()}, names(form, model)
    if form == "pytorchvideo" and family(encoder_of(model)) == "X3D":
        state = _without_shortcut_norm(state)
    nameless = [key for key in state if key not in theirs and not key.endswith(".num_batches_tracked")]
    if nameless:
        raise CheckpointError(f"{FORMATS[form].title} has no name for {', '.join(nameless)}")
    found = {theirs[key]: turned(value, form, theirs[key]) for key, value in state.items() if key in theirs}
    if form == "mmaction2":
        found = {key: value.flatten(1) if key == "cls_head.fc1.weight" else value for key, value in found.items()}
    if form == "pytorch_i3d" and "logits.conv3d.weight" in found:
        found["logits.conv3d.weight"] = found["logits.conv3d.weight"][..., None, None, None]
    if form == "coarse_fine":
        # Its training copy of the statistics, with one split.
        found |= {key.replace(".bn.", ".split_bn."): value.clone() for key, value in found.items() if ".bn." in key}
    return {FORMATS[form].prefix + key: value for key, value in found.items()}


def save_checkpoint(model: nn.Module, form: str) -> bytes:
    """A file of a public format; the caller writes it.

    Raises:
        CheckpointError: see :func:`export_checkpoint`.
    """
    state: dict[str, Any] = {key: value.cpu().contiguous() for key, value in export_checkpoint(model, form).items()}
    wrapper = FORMATS[form].wrapper
    if form == "caffe2":
        return pickle.dumps({wrapper: {key: value.numpy() for key, value in state.items()}}, protocol=2)
    buffer = io.BytesIO()
    torch.save({wrapper: state} if wrapper else state, buffer)
    return buffer.getvalue()


def _fitted(found: Tensor, wanted: Tensor) -> Tensor | None:
    """``found`` in the shape of ``wanted`` if they differ by axes of length 1 at the end at most."""
    longer = max(found.dim(), wanted.dim())
    shapes = [(*one.shape, *(1,) * (longer - one.dim())) for one in (found, wanted)]
    return found.reshape(wanted.shape) if shapes[0] == shapes[1] else None


def _plugged(key: str) -> bool:
    return key.removeprefix("encoder.").startswith("after.")


def _head_keys(form: str, encoder: nn.Module) -> set[str]:
    """Their names for a classifier on this encoder."""
    from models.recogniser import recogniser

    with torch.device("meta"):
        probe = Recogniser(encoder, recogniser(encoder, 1).head)
    return {theirs for ours, theirs in names(form, probe).items() if ours.startswith("head.")}


def _identity(form: str, encoder: nn.Module, lacking: list[str], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What stands for the normalisation that PyTorchVideo's X3D lacks: exactly x in evaluation."""
    keys = [key for key in lacking if key.removeprefix("encoder.").startswith(_X3D_SHORTCUT)]
    if form != "pytorchvideo" or family(encoder) != "X3D" or len(keys) != 4:
        return {}
    norm = encoder.get_submodule(_X3D_SHORTCUT.rstrip("."))
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - float(norm.eps)}  # type: ignore[arg-type]
    return {key: torch.full_like(ours[key], values[key.rpartition(".")[2]]) for key in keys}


def _without_shortcut_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """X3D's state for PyTorchVideo: the first shortcut's normalisation folded into its convolution.

    Raises:
        CheckpointError: it shifts, which a convolution without bias cannot.
    """
    prefix = next(key for key in state if _X3D_SHORTCUT in key).rpartition(".")[0].removesuffix(".shortcut_norm")
    norm = {leaf: state[f"{prefix}.shortcut_norm.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var")}
    scale = norm["weight"] / (norm["running_var"] + 1e-5).sqrt()
    if (norm["bias"] - norm["running_mean"] * scale).abs().max() > 0:
        raise CheckpointError(
            "PyTorchVideo's X3D has no normalisation on the shortcut of res2's first block, and this model's shifts its "
            "values: no such file can hold it"
        )
    kept = {key: value for key, value in state.items() if _X3D_SHORTCUT not in key}
    kept[f"{prefix}.shortcut_conv.weight"] = kept[f"{prefix}.shortcut_conv.weight"] * scale[:, None, None, None, None]
    return kept


def _refusal(name: str, form: str, model: nn.Module, problems: list[str]) -> str:
    kind = type(encoder_of(model)).__name__
    hint = ""
    if form == "mmaction2" and any("lateral.bn" in line for line in problems):
        hint = (
            "\n  MMAction2's SlowFast without lateral_norm has neither normalisation nor ReLU on its lateral connections: "
            "another network"
        )
    listing = "\n  ".join(problems)
    return f"{name} ({FORMATS[form].title}) does not fit {kind}:\n  {listing}{hint}"
