"""Every whole model by name: what it is built from, the clip it is published with, and what its paper says it costs."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models import tables
from models.encoders import build_encoder
from models.recogniser import recogniser

# Entries without a builder of their own are an encoder with its family's classifier.
ENCODER = "models.catalogue:encoder_model"
FRAMES = "models.coarse_fine.builders:published"


class Model(NamedTuple):
    """A model as published.

    Attributes:
        frames: of the clip it sees, ``size`` its height and width in px.
        paper_params: parameters as printed by the source, in millions; None: not printed.
        paper_macs: its "GFLOPs" (multiply-accumulates) at this clip, in thousands of millions; None: not printed.
        note: where that figure is from, and why ours is another one where it is.
        classes: of the data set those figures are for.
        build: import string of a function ``(name, classes) -> nn.Module`` over ``[B, 3, T, H, W]``.
    """

    frames: int
    size: int
    paper_params: float | None = None
    paper_macs: float | None = None
    note: str = ""
    classes: int = 400
    build: str = ENCODER


MODELS: dict[str, Model] = {
    "tsm_resnet18": Model(8, 224, note="LoFi's encoder"),
    "tsm_resnet50": Model(8, 224, 24.3, 33, "TSM paper"),
    "x3d_xs": Model(4, 160, 3.8, 0.60, "X3D paper; it tests at 182 px"),
    "x3d_s": Model(13, 160, 3.76, 1.96, "X3D paper; 3.79 in its zoo"),
    "x3d_m": Model(16, 224, 3.8, 4.73, "X3D paper"),
    "x3d_l": Model(16, 312, 6.1, 18.37, "X3D paper"),
    "x3d_xl": Model(16, 312, 11.09, 35.84, "X3D paper; PySlowFast's rounding of widths gives 11.09 M and 36.65 G"),
    "slowfast_4x16_r50": Model(32, 256, 34.4, 36.1, "SlowFast paper, PyTorchVideo"),
    "slowfast_4x16_r101": Model(32, 256, note="no printed cost"),
    "slowfast_8x8_r18": Model(32, 224, None, 30.9, "adaptive-resolution paper, on 194 classes", 194),
    "slowfast_8x8_r50": Model(32, 256, 34.6, 65.7, "SlowFast paper, PyTorchVideo"),
    "slowfast_8x8_r50_nl": Model(32, 256, note="PySlowFast SLOWFAST_NLN_8x8_R50; no printed cost"),
    "slowfast_8x8_r101": Model(32, 256, 53.77, 106, "SlowFast paper (R101_50_50)"),
    "slowfast_8x8_r101_101": Model(32, 256, 62.83, 127.20, "PyTorchVideo, whose zoo counts about 1 % more throughout"),
    "slowfast_8x8_r101_nl": Model(32, 256, note="the parameters of 16x8; no printed cost"),
    "slowfast_16x8_r50": Model(64, 256, note="PySlowFast SLOWFAST_16x8_R50 of Charades; no printed cost", classes=157),
    "slowfast_16x8_r101": Model(64, 256, 53.77, 213, "SlowFast paper (R101_50_50)"),
    "slowfast_16x8_r101_nl": Model(
        64, 256, 59.9, 234, "SlowFast paper; its 234 lies between convolutions alone and with the products of matrices"
    ),
    "slow_4x16_r50": Model(4, 256, 32.45, 27.55, "PyTorchVideo, whose zoo counts about 1 % more throughout"),
    "slow_8x8_r50": Model(8, 256, 32.45, 54.52, "PyTorchVideo"),
    "i3d_r50": Model(8, 256, 28.04, 37.53, "PyTorchVideo, about 1 % more; 148.4 at 32 frames in the ATFR paper"),
    "i3d_r50_nl": Model(8, 256, note="PySlowFast I3D_NLN_8x8_R50; no printed cost"),
    "i3d_r50_thesis": Model(16, 224, note="thesis, Table 6.3; no printed cost"),
    "i3d_r50_thesis_nl": Model(16, 224, note="thesis, Table 6.3; no printed cost"),
    "i3d_inception": Model(64, 224, None, None, "I3D paper: 12 M without classifier; no printed cost"),
    "r2plus1d_18": Model(
        16, 112, 31.5, 40.5, "torchvision; the ATFR paper's R(2+1)D (46.5 at 32x224) is a variant nobody has defined"
    ),
    "resnet3d_18": Model(32, 224, note="ATFR paper prints its cost with SGS only; 194 classes", classes=194),
    "resnet3d_50": Model(32, 256, None, 40.8, "ATFR paper, 194 classes", 194),
    "fine_only": Model(128, 224, 3.29, 37.96, "Coarse-Fine paper, X3D-M at every frame", 157, FRAMES),
    "coarse_only": Model(128, 224, None, 16.53, "Coarse-Fine paper, tables 3d, 3e: Grid Pool", 157, FRAMES),
    "coarse_fine": Model(
        128,
        224,
        7.82,
        73.37,
        "Coarse-Fine paper, with the fusion counted at 128 coarse frames; 33 are 60.93",
        157,
        FRAMES,
    ),
    "fine_fine": Model(128, 224, 7.80, 94.80, "Coarse-Fine paper", 157, FRAMES),
    "slowfast_det": Model(
        128, 224, 7.41, 54.31, "Coarse-Fine paper, without details: the parameters match, the cost cannot", 157, FRAMES
    ),
}


def build_model(name: str, classes: int | None = None) -> nn.Module:
    """Build a model of :data:`MODELS` for ``classes`` (None: as published), with fresh weights.

    Raises:
        ValueError: unknown name; the message lists the allowed ones.
    """
    table = {key: model.build for key, model in MODELS.items()}
    count = classes if classes is not None or name not in MODELS else MODELS[name].classes
    model: nn.Module = tables.build(table, "model", name, {"name": name, "classes": count})
    return model


def encoder_model(name: str, classes: int) -> nn.Module:
    """The encoder ``name`` with the classifier its family has."""
    return recogniser(build_encoder(name), classes)


def meta_model(
    name: str, classes: int | None = None, frames: int | None = None, size: int | None = None
) -> tuple[nn.Module, Tensor]:
    """A model and one clip for it on the ``meta`` device: shapes without content, to count with."""
    with torch.device("meta"):
        model = build_model(name, classes)
        entry = MODELS[name]
        clip = torch.empty(1, 3, frames or entry.frames, *(size or entry.size,) * 2)
    return model, clip
