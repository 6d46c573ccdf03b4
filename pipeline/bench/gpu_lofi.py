"""LoFi's training step on a GPU at the paper's size: ``python -m pipeline bench gpu-lofi --part t`` (:data:`PARTS`).

``s``, ``t``, ``st``, ``full``: a whole optimiser step of TSM-ResNet18 and G-TAD at batch 16 (L = 100, 224 px reduced as
in section 4.3), direct and replayed; bf16, channels-last and ``torch.compile`` on and off. Full fidelity does not fit
directly at batch 16, which its row says; it is measured at batch 4 too. ``fed``: T-LoFi with its batches cut by processes
from videos of the medium world rendered straight to arrays: share of the time that the GPU computes (asked: 0.9), and
that the training waits for batches. Peaks stand beside what the planner predicts.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.encoders import build_encoder, tsm
from models.encoders.snippets import snippet_features
from models.heads import build_head
from models.norm import train_mode
from pipeline.bench import gpu
from pipeline.datasets.world import render_arrays, world_plan
from pipeline.training.grid import LOFI_KINDS, Grid, lofi_factors, lofi_grid
from pipeline.training.plan import Setting
from pipeline.training.replay import replayed
from pipeline.training.sampler import batch_indices, step_rng
from pipeline.training.workers import WorkerBatches
from pipeline.video.crop import crop_resize
from stages._planner import make_planner

FRAMES, WINDOW_S, RATE, REDUCTION = 8, 2.1333, 5.0, 4.0
"""Frames and seconds of a snippet, stored frames per second, and LoFi's reduction of snippets x height x width."""
MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Scale(NamedTuple):
    """Sizes of the benchmark: full fidelity, encoder's width, replay's chunk, rounds, and of ``fed``: videos and steps."""

    full: Grid
    base_width: int
    chunk: int
    rounds: int
    videos: int
    steps: int


PAPER, TOY = Scale(Grid(16, 100, 224, 224), 64, 64, 5, 16, 24), Scale(Grid(2, 8, 64, 64), 16, 4, 1, 2, 3)


class Form(NamedTuple):
    """How a step is computed."""

    precision: str
    memory_format: str
    compiled: bool


FORMS = (
    Form("float32", "contiguous", False),
    Form("float32", "channels_last", False),
    Form("bf16", "contiguous", False),
    Form("bf16", "channels_last", False),
    Form("bf16", "channels_last", True),
)


class Step:
    """An encoder and a head in training, one optimiser step per call on ``[B * L, 3, T, H, W]`` clips."""

    def __init__(self, scale: Scale, batch: int, chunk: int | None, form: Form, where: torch.device) -> None:
        torch.manual_seed(0)
        encoder = build_encoder("tsm_resnet18", base_width=scale.base_width).to(where)
        train_mode(encoder, "frozen")
        self._head = build_head("gtad", feature_dim=int(encoder.feature_dim)).to(where)  # type: ignore[arg-type]
        # On a CPU the compiler's own front end is all that is tried: no C++ compiler need be there.
        backend = "inductor" if where.type == "cuda" else "aot_eager"
        encoder.to(memory_format=MEMORY_FORMATS[form.memory_format])
        self._encoder: Any = torch.compile(encoder, backend=backend) if form.compiled else encoder
        self._batch, self._chunk, self._form, self._where = batch, chunk, form, where
        self._optimizer = torch.optim.SGD([*encoder.parameters(), *self._head.parameters()], lr=1e-3, weight_decay=1e-4)
        self._generator = torch.Generator(where)

    def __call__(self, clips: Tensor) -> Tensor:
        """The loss, on the device; it is not waited for."""
        self._optimizer.zero_grad(set_to_none=True)
        with gpu.autocast(self._where, self._form.precision):
            if self._chunk is None:
                features = snippet_features(self._encoder, clips)
            else:
                features = replayed(snippet_features, self._encoder, clips, chunk=self._chunk)
            features = features.view(self._batch, -1, features.shape[1]).transpose(1, 2)
            segments = [torch.tensor([[0.1, 0.4], [0.5, 0.9]])] * self._batch
            head: Any = self._head
            labels = head.labels(segments, features.shape[2])
            loss: Tensor = head.loss(head(features), labels, self._generator.manual_seed(0)).total
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()


@contextmanager
def memory_format(name: str) -> Iterator[None]:
    """TSM's convolutions in this memory format, whatever the encoder would choose."""
    chosen: Any = tsm
    own = chosen.image_format
    chosen.image_format = lambda _width: MEMORY_FORMATS[name]
    try:
        yield
    finally:
        chosen.image_format = own


def gpu_lofi(part: str | None = None, toy: bool = False) -> dict[str, Any]:
    """Figures of the named part, or of all by their names.

    Raises:
        ValueError: unknown part; no GPU and no ``toy``.
    """
    names, where = gpu.chosen(PARTS, part), gpu.target(toy)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    scale = TOY if toy else PAPER
    found: dict[str, Any] = {**gpu.hardware(where), "toy": toy, "encoder": "tsm_resnet18", "head": "gtad"}
    left: list[Any] = []
    for name in gpu.within(names, left):
        found[name] = PARTS[name](name, scale, where)
    return {**found, "not_measured": left}


def shape_of(kind: str, full: Grid) -> Grid:
    """The mini-batch of S-, T- or ST-LoFi, or that of full fidelity."""
    return full if kind == "full" else lofi_grid(kind, full, **lofi_factors(kind, REDUCTION))


def _fidelity(kind: str, scale: Scale, where: torch.device) -> dict[str, Any]:
    grid, left = shape_of(kind, scale.full), list[Any]()
    ways = [(grid.B, scale.chunk), (grid.B, None)] + ([(max(1, grid.B // 4), None)] if kind == "full" else [])
    rows = []
    # The most telling forms first, for what the limit of time cuts off.
    asked = [(form, *way) for form in reversed(FORMS) for way in ways]
    for form, batch, chunk in gpu.within(asked, left):
        row: gpu.Row = {"batch": batch, "chunk": chunk, **form._asdict(), "planned_MiB": None}
        with gpu.failure_in(row), memory_format(form.memory_format):
            row["planned_MiB"] = _planned(scale, grid, batch, chunk, form.precision, where)
            generator = torch.Generator().manual_seed(0)
            sizes = (batch * grid.T, FRAMES, grid.H, grid.W, 3)
            clips = torch.randint(0, 256, sizes, dtype=torch.uint8, generator=generator).to(where)
            step = Step(scale, batch, chunk, form, where)
            row |= gpu.measured(lambda step=step, clips=clips: step(clips.permute(0, 4, 1, 2, 3)), where, scale.rounds)  # type: ignore[misc]
            row["videos_per_s"], row["frames_per_s"] = batch / row["s"], batch * grid.T * FRAMES / row["s"]
        rows.append(row)
    shape = {"snippets": grid.T, "height": grid.H, "width": grid.W, "pixels": grid.pixels}
    return {**shape, "rows": rows, "not_measured": [str(one) for one in left]}


@cache
def _planned(scale: Scale, grid: Grid, batch: int, chunk: int | None, precision: str, where: torch.device) -> float:
    """What the planner says of the step's work, MiB: above parameters and inputs, as it is measured."""
    planner = make_planner(
        "tsm_resnet18", "gtad", frames=FRAMES, options={"base_width": scale.base_width}, precision=precision,
        device=where.type,
    )  # fmt: skip
    return round(planner.cost(Setting(grid.T, grid.H, grid.W, batch, chunk)).work / 2**20, 1)


class Cut:
    """Cuts the snippets of T-LoFi's batches from videos in memory: the work of a process of the loader."""

    def __init__(self, grid: Grid, videos: int) -> None:
        self.grid = grid
        self._videos = []
        plans = [plan for plan in world_plan("medium", 0) if plan.subset == "training"][:videos]
        for plan in plans:
            pictures, _ = render_arrays(plan, fps=RATE, short_side=max(grid.H, grid.W) * 8 // 7)
            # The rule of pipeline.datasets.snippets at a constant rate; that module reads files, which this machine may not.
            centers = (np.arange(grid.T) + 0.5) * plan.duration_s / grid.T
            offsets = (np.arange(FRAMES) - (FRAMES - 1) / 2) * (WINDOW_S / FRAMES)
            rows = np.rint((centers[:, None] + offsets) * RATE).astype(np.int64).clip(0, len(pictures) - 1)
            self._videos.append((pictures, *np.unique(rows, return_inverse=True)))

    def shape(self, _step: int) -> tuple[int, ...]:
        """Of a batch: videos, snippets, frames, height, width, colours."""
        return (self.grid.B, self.grid.T, FRAMES, self.grid.H, self.grid.W, 3)

    def __call__(self, step: int, item: int, out: np.ndarray) -> None:
        """One video's snippets through one random window."""
        chosen = batch_indices(0, step, self.grid.B, len(self._videos), "wrap")[item]
        pictures, wanted, which = self._videos[chosen]
        cut = crop_resize(pictures[wanted], self.grid.H, self.grid.W, step_rng(item, step), 0.8)
        np.take(cut, which.reshape(self.grid.T, FRAMES), axis=0, out=out)


def _fed(_part: str, scale: Scale, where: torch.device) -> dict[str, Any]:
    import cv2

    cv2.setNumThreads(1)
    grid = shape_of("t", scale.full)
    start = time.perf_counter()
    cut = Cut(grid, scale.videos)
    rendered_s, workers = time.perf_counter() - start, max(1, (os.cpu_count() or 2) - 1)
    row: dict[str, Any] = {"workers": workers, "rendering_s": round(rendered_s, 1), "shape": list(cut.shape(0))}
    size = int(np.prod(cut.shape(0)))
    with WorkerBatches(cut, cut.shape, size, workers=workers) as batches:
        batches(0)
        start = time.perf_counter()
        for number in range(1, scale.steps):
            batches(number)
        row["loader_alone_frames_per_s"] = (
            (scale.steps - 1) * size / (grid.H * grid.W * 3) / (time.perf_counter() - start)
        )
    with WorkerBatches(cut, cut.shape, size, workers=workers) as batches, gpu.failure_in(row):
        feed = Feed(batches, where)
        step = Step(scale, grid.B, None, FORMS[3], where)
        for number in range(3):
            float(step(feed(number)))
        feed.waited_s, done = 0.0, 3

        def run() -> None:
            nonlocal done
            for number in range(done, done + scale.steps):
                float(step(feed(number)))  # as the training loop, which looks at every loss
            done += scale.steps

        start = time.perf_counter()
        run()
        taken = time.perf_counter() - start
        row["frames_per_s"] = scale.steps * grid.B * grid.T * FRAMES / taken
        row["waiting_share"] = round(feed.waited_s / taken, 4)
        row["busy"] = round(gpu.busy(run, where), 3)
    return row


class Feed:
    """Batches on the device, the next one copied beside the work on this one."""

    def __init__(self, batches: WorkerBatches, where: torch.device) -> None:
        self._batches, self._where, self.waited_s = batches, where, 0.0
        self._coming: tuple[int, Tensor] | None = None
        self._stream = torch.cuda.Stream(where) if where.type == "cuda" else None  # type: ignore[no-untyped-call]
        if where.type == "cuda":
            for buffer in batches.buffers:  # pinned, so that copies need not be waited for
                host = torch.from_numpy(buffer)
                torch.cuda.cudart().cudaHostRegister(host.data_ptr(), host.nbytes, 0)  # type: ignore[no-untyped-call]

    def __call__(self, step: int) -> Tensor:
        """Clips ``[B * L, 3, T, H, W]`` of the step."""
        number, clips = self._coming or (step, self._copy(step))
        assert number == step
        if self._stream is not None:
            torch.cuda.current_stream(self._where).wait_stream(self._stream)
            clips.record_stream(torch.cuda.current_stream(self._where))
        self._coming = (step + 1, self._copy(step + 1))
        return clips.flatten(0, 1).permute(0, 4, 1, 2, 3)

    def _copy(self, step: int) -> Tensor:
        start = time.perf_counter()
        host = torch.from_numpy(self._batches(step))
        self.waited_s += time.perf_counter() - start
        if self._stream is None:
            return host.clone()
        with torch.cuda.stream(self._stream):
            return host.to(self._where, non_blocking=True)


PARTS: dict[str, Callable[[str, Scale, torch.device], Any]] = {
    **dict.fromkeys((*LOFI_KINDS, "full"), _fidelity),
    "fed": _fed,
}
