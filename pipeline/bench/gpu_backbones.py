"""Throughput and memory of every encoder on a GPU: inference and training, eager and compiled, float32 and bf16.

``python -m pipeline bench gpu-backbones --part x3d`` (:data:`PARTS`; without ``--part`` all, about an hour). Each
network of :mod:`models.catalogue` sees the clip it is published with, random pixels already on the device, as many at once
as :data:`PIXELS` allows; training is a step of SGD on the cross entropy. ``float32`` is full float32: no TF32. All forms of
a network run in one process one after the other; eager ones come first, so that a part that runs out of time lacks compiled
figures only. A toy compiles nothing: a CPU
would do so for minutes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.catalogue import ENCODER, MODELS, Model, build_model
from models.coarse_fine import build_frame_network
from models.encoders import build_encoder
from models.recogniser import recogniser
from pipeline.bench import gpu
from pipeline.training.device import set_threads

PARTS: dict[str, tuple[str, ...]] = {
    "tsm": ("tsm_resnet18", "tsm_resnet50"),
    "x3d": ("x3d_xs", "x3d_s", "x3d_m"),
    "x3d-large": ("x3d_l", "x3d_xl"),
    "slowfast": ("slowfast_8x8_r18", "slowfast_4x16_r50", "slowfast_8x8_r50", "slowfast_8x8_r50_nl"),
    "slowfast-16x8": ("slowfast_16x8_r50",),
    "slowfast-r101": ("slowfast_4x16_r101", "slowfast_8x8_r101", "slowfast_8x8_r101_101", "slowfast_8x8_r101_nl"),
    "slowfast-16x8-r101": ("slowfast_16x8_r101", "slowfast_16x8_r101_nl"),
    "i3d": ("slow_4x16_r50", "slow_8x8_r50", "i3d_r50", "i3d_r50_nl"),
    "i3d-thesis": ("i3d_r50_thesis", "i3d_r50_thesis_nl", "i3d_inception"),
    "resnet3d": ("r2plus1d_18", "resnet3d_18", "resnet3d_50"),
    "frame-wise": ("fine_only", "coarse_only", "slowfast_det"),
    "coarse-fine": ("coarse_fine", "fine_fine"),
}
"""Networks of each part; together all of the catalogue."""

PIXELS = {"inference": 32 * 16 * 224 * 224, "training": 8 * 16 * 224 * 224}
"""Pixels of a batch, T x H x W of all its clips."""

FORMS = (
    ("float32", "eager"),
    ("bf16", "eager"),
    ("bf16", "eager, channels last"),
    ("float32", "compiled"),
    ("bf16", "compiled"),
)

ROUNDS = 10
TOY = Model(4, 32)
TOY_WIDTH = 8


class Case(NamedTuple):
    """One row of the result."""

    name: str
    work: str
    precision: str
    form: str


def gpu_backbones(part: str | None = None, toy: bool = False) -> dict[str, Any]:
    """Rows of the named part, or of all.

    Raises:
        ValueError: unknown part; no GPU and no ``toy``.
    """
    parts, where = gpu.chosen(PARTS, part), gpu.target(toy)
    if where.type == "cpu":
        set_threads(1)  # toy networks have 8 channels: see models/memory_format.py on channels-last and several threads
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    rows: list[gpu.Row] = []
    left: list[Case] = []
    for one in parts:
        forms = [form for form in FORMS if not (toy and form[1] == "compiled")]
        cases = [Case(name, work, *form) for form in forms for name in PARTS[one] for work in PIXELS]
        for case in gpu.within(cases, left):
            rows.append({"part": one, **case._asdict(), **_measure(case, where, toy)})
            print(rows[-1], flush=True)
    return {**gpu.hardware(where), "toy": toy, "rows": rows, "not_measured": [case._asdict() for case in left]}


def _measure(case: Case, where: torch.device, toy: bool) -> gpu.Row:
    entry = TOY if toy else MODELS[case.name]
    clip = (entry.frames, entry.size, entry.size)
    batch = 2 if toy else max(1, PIXELS[case.work] // (clip[0] * clip[1] * clip[2]))
    row: gpu.Row = {"batch": batch, "clip": "x".join(map(str, clip))}
    with gpu.failure_in(row):
        found = gpu.measured(_action(case, where, (batch, 3, *clip), toy), where, 1 if toy else ROUNDS)
        row |= {"clips_per_s": round(batch / found["s"], 2), "frames_per_s": round(batch * clip[0] / found["s"], 1)}
        row |= {**found, "MiB_per_clip": round(found["peak_MiB"] / batch, 1)}
    torch.compiler.reset()
    if where.type == "cuda":
        torch.cuda.empty_cache()
    return row


def _action(case: Case, where: torch.device, size: tuple[int, ...], toy: bool) -> Callable[[], Any]:
    """What is timed: a forward pass without a graph, or a whole training step."""
    torch.manual_seed(0)
    model = _network(case.name, toy).to(where)
    pixels = torch.randn(size, device=where)
    if "channels last" in case.form:
        model, pixels = _channels_last(model), pixels.contiguous(memory_format=torch.channels_last_3d)
    run: Callable[[Tensor], Tensor] = torch.compile(model) if case.form == "compiled" else model
    if case.work == "inference":
        model.eval()

        def infer() -> None:
            with torch.no_grad(), gpu.autocast(where, case.precision):
                run(pixels)

        return infer
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with gpu.autocast(where, case.precision):
            loss = _loss(run(pixels))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _loss(logits: Tensor) -> Tensor:
    """Cross entropy of classes, or of labels of every frame for the networks that answer frame by frame."""
    if logits.dim() == 2:
        return F.cross_entropy(logits.float(), torch.arange(len(logits), device=logits.device))
    return F.binary_cross_entropy_with_logits(logits.float(), torch.zeros_like(logits, dtype=torch.float32))


def _network(name: str, toy: bool) -> nn.Module:
    if not toy:
        return build_model(name)
    if MODELS[name].build == ENCODER:
        return recogniser(build_encoder(name, base_width=TOY_WIDTH), 5)
    return build_frame_network(name, classes=5, base_width=TOY_WIDTH)


def _channels_last(model: nn.Module) -> nn.Module:
    """Convolutions' weights with their channels last, in 2-D and 3-D."""
    for parameter in model.parameters():
        if parameter.dim() in (4, 5):
            layout = torch.channels_last if parameter.dim() == 4 else torch.channels_last_3d
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return model
