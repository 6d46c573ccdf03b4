"""The public formats: how to recognise one, what is special about it, and which of our names are which of theirs."""

import re
from typing import NamedTuple

from torch import Tensor, nn

from models.checkpoints.files import CheckpointError
from models.checkpoints.names import TABLES, translate
from models.recogniser import Recogniser

_COUNTER = "num_batches_tracked"
_CAFFE2_LEAVES = {
    True: {"weight": "_s", "bias": "_b", "running_mean": "_rm", "running_var": "_riv"},
    False: {"weight": "_w", "bias": "_b"},
}


class Format(NamedTuple):
    """A public format.

    Attributes:
        title: what people call it.
        sign: regular expression that some key of such a file fits, and none of the formats below it.
        wrapper: key under which its files hold the weights; "" for none.
        skipped: keys that belong to training, or repeat what is read; they are reported and not loaded.
        bgr: its models take the channels of a picture in the order blue, green, red.
        prefix: before every key in the files it writes.
    """

    title: str
    sign: str
    wrapper: str = ""
    skipped: str = r"(?!)"
    bgr: bool = False
    prefix: str = ""


FORMATS: dict[str, Format] = {
    "pyslowfast": Format("PySlowFast", r"s1\.pathway0_stem\..*", "model_state"),
    "caffe2": Format(
        "Caffe2 (PySlowFast's .pkl)", r"(t_)?res_conv1_bn_\w+", "blobs", r".*_momentum|lr|model_iter", bgr=True
    ),
    "pytorchvideo": Format("PyTorchVideo", r"blocks\.0\..*", "model_state"),
    "mmaction2": Format("MMAction2", r"backbone\..*", "state_dict"),
    "tsm": Format("TSM", r"base_model\..*", "state_dict", prefix="module."),
    "coarse_fine": Format("Coarse-Fine Networks", r"conv1_s\..*", "model_state_dict", r".*\.split_bn\.\w+"),
    "pytorch_i3d": Format("pytorch-i3d", r"Conv3d_1a_7x7\..*"),
    "torchvision": Format("torchvision", r"(stem\.0|conv1)\.weight"),
}

# What a user of such weights must know, by format and family.
_IMAGENET = (
    "trained on pictures normalised with ImageNet's statistics, not with this encoder's pixel_mean and pixel_std"
)
NOTES = {
    ("mmaction2", "Slow"): _IMAGENET,
    (
        "mmaction2",
        "SlowFast",
    ): f"{_IMAGENET}; its slow pathway saw every alpha-th frame from the first, ours sees them evenly "
    "spread from the first to the last",
}
# By class of our encoders, named and not imported, so that who loads one of them does not depend on all.
_FAMILIES = {
    "X3D": "X3D",
    "SlowFast": "SlowFast",
    "AdaptiveResNet3D": "3DResNet",
    "R2Plus1D": "R2Plus1D",
    "TSMResNet": "TSM",
    "InceptionI3D": "I3D (Inception)",
}
# What a file of a format can look like without being the network that bears the same name here.
_OTHER_NETWORKS = {
    ("mmaction2", "I3D"): "MMAction2's I3D halves time in its stem and its first pool, ours (PySlowFast's) behind res2",
    ("mmaction2", "3DResNet"): "MMAction2 has no such network",
}


def recognise(keys: list[str], name: str) -> str:
    """The format that these keys are of.

    Raises:
        CheckpointError: of none; the message lists the formats.
    """
    if any(key.startswith("detection_head.") for key in keys):
        raise CheckpointError(f"{name} is a PyTorchVideo detector, whose res5 is dilated: another network than ours")
    for form, (_, sign, *_rest) in FORMATS.items():
        pattern = re.compile(sign)
        if any(pattern.fullmatch(key) for key in keys):
            return form
    known = ", ".join(form.title for form in FORMATS.values())
    raise CheckpointError(f"{name} is of no known format ({known}); its keys begin with {', '.join(keys[:4])}")


def family(encoder: nn.Module) -> str:
    """The kind of network that public code has one naming for.

    Raises:
        CheckpointError: no public code has such a network.
    """
    name = type(encoder).__name__
    if name == "ResNet3D":
        return "I3D" if encoder.temporal_strides["res3"] > 1 else "Slow"  # type: ignore[index]
    if name in _FAMILIES:
        return _FAMILIES[name]
    raise CheckpointError(f"{type(encoder).__name__} is in no public format; ours are safetensors files")


def names(form: str, model: nn.Module) -> dict[str, str]:
    """Their key for each of our state's keys, as far as they have one.

    Args:
        form: a key of :data:`FORMATS`.
        model: a :class:`~models.recogniser.Recogniser` or an encoder alone.

    Raises:
        CheckpointError: the format has no such network; the message says which it has.
    """
    encoder = encoder_of(model)
    kind = family(encoder)
    if kind not in TABLES[form]:
        reason = _OTHER_NETWORKS.get((form, kind), f"it has {', '.join(TABLES[form])}")
        raise CheckpointError(f"{FORMATS[form].title} has no {kind} that fits ours: {reason}")
    last = (
        {n: len(list(encoder.get_submodule(f"res{n}.fast.blocks").children())) - 1 for n in range(2, 6)}
        if kind == "SlowFast"
        else {}
    )
    found = {}
    for key in model.state_dict():
        module, _, leaf = key.removeprefix("encoder.").rpartition(".")
        theirs = translate(TABLES[form][kind], module, last)
        if theirs is None or (form == "caffe2" and leaf == _COUNTER):
            continue
        norm = isinstance(model.get_submodule(key.rpartition(".")[0]), nn.modules.batchnorm._BatchNorm)
        if form == "caffe2":
            found[key] = theirs + _CAFFE2_LEAVES[norm][leaf]
        elif form == "coarse_fine" and leaf not in ("weight", "bias"):
            found[key] = f"{theirs}.bn.{leaf}"
        else:
            found[key] = f"{theirs}.{leaf}"
    return found


def encoder_of(model: nn.Module) -> nn.Module:
    """The encoder of a recogniser, or the model itself."""
    return model.encoder if isinstance(model, Recogniser) else model


def turned(tensor: Tensor, form: str, theirs: str) -> Tensor:
    """A tensor between our and their order of colour channels (its own inverse)."""
    stem = FORMATS[form].bgr and theirs.removeprefix("t_") == "conv1_w"
    return tensor.flip(1) if stem else tensor
