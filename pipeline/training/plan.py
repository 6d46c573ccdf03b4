"""The memory planner: what an end-to-end training step needs and costs, before a frame is decoded.

Nothing is computed: the step runs once on fake tensors, which have shapes but no content, and the bytes alive at every
moment are counted (:class:`pipeline.training.memory.TracedMemory`). The terms of a step's peak:

``static``    parameters, buffers and the optimiser's state.
``inputs``    uint8 snippets ``[B, L, 3, T, H, W]``; with lazy inputs those of one chunk.
``work``      the largest of the step's phases. *Direct*: forward and backward pass of encoder and head in one trace: the
              activations that are saved for the backward pass, and the gradients and temporaries that live beside them.
              *Replay* (:mod:`pipeline.training.replay`), with F the features ``[B L, D]`` and P a module's parameters:
              - encode   F, and a chunk's forward pass without a graph;
              - head     F, and the head's forward and backward pass at (B, L);
              - replay   2 F (features and their gradient), P of the head (its gradient), P of the encoder (the sum), and a
                         chunk's forward and backward pass, its gradients included.
              Either way at least what the optimiser's step needs: the gradients and a copy, of all of them at once on a
              GPU and of one at a time on a CPU.

What operators allocate inside is known for the CPU (:func:`pipeline.training.memory.cpu_workspace`); cuDNN's workspace is
its own choice and not in the figures, nor is the CUDA context, so a GPU needs a margin.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from pipeline.training.memory import TracedMemory, cpu_workspace
from pipeline.training.replay import Encode

OPTIMIZER_STATES = {"sgd": 0, "sgd_momentum": 1, "adam": 2, "adamw": 2}
"""Tensors of a parameter's size that an optimiser keeps."""


@dataclass(frozen=True)
class Setting:
    """One way to train a step end to end.

    Attributes:
        length: L, snippets per video.
        height: px.
        width: px.
        batch: B, videos per step (micro-batch, with accumulation).
        chunk: snippets that are encoded together by gradient replay; None for direct training.
    """

    length: int
    height: int
    width: int
    batch: int
    chunk: int | None = None


@dataclass(frozen=True)
class Cost:
    """What a step of a :class:`Setting` needs at most, in bytes, and computes.

    Attributes:
        static: see the module's page.
        inputs: see there.
        work: see there.
        phases: bytes of each phase of ``work`` by name.
        macs: multiply-accumulates of the step, forward and backward, in convolutions and matrix products.
    """

    static: int
    inputs: int
    work: int
    phases: dict[str, int]
    macs: int

    @property
    def peak(self) -> int:
        """All of it."""
        return self.static + self.inputs + self.work


@dataclass(frozen=True)
class Trace:
    """Of one pass: ``peak`` bytes above what was there before, ``saved`` for the backward pass, and ``macs``."""

    peak: int
    saved: int
    macs: int


class Planner:
    """Costs of end-to-end steps with one encoder and one head; traces are kept, so asking for many settings is cheap.

    Args:
        encoder: builds the encoder in its mode for training.
        head: builds the head.
        encode: (encoder, uint8 ``[n, 3, T, H, W]``) to features ``[n, D]``.
        head_loss: (head, features ``[B, D, L]``, targets) to a scalar.
        targets: (head, B, L) to what ``head_loss`` learns from; called outside the trace, with a real head.
        frames: T, per snippet.
        precision: "float32", or "bf16" for autocast.
        optimizer: of :data:`OPTIMIZER_STATES`.
        device: that the step shall run on, "cuda" or "cpu"; none is needed here.
        lazy_inputs: only one chunk of the inputs is in memory (replay).

    Raises:
        ValueError: unknown precision or optimizer.
    """

    def __init__(
        self,
        encoder: Callable[[], nn.Module],
        head: Callable[[], nn.Module],
        encode: Encode,
        head_loss: Callable[[nn.Module, Tensor, Any], Tensor],
        targets: Callable[[nn.Module, int, int], Any],
        *,
        frames: int,
        precision: Literal["float32", "bf16"] = "float32",
        optimizer: str = "sgd",
        device: Literal["cuda", "cpu"] = "cuda",
        lazy_inputs: bool = False,
    ) -> None:
        if precision not in ("float32", "bf16"):
            raise ValueError(f"precision is {precision!r}; allowed: float32, bf16")
        if optimizer not in OPTIMIZER_STATES:
            raise ValueError(f"optimizer is {optimizer!r}; allowed: {', '.join(OPTIMIZER_STATES)}")
        self._encode, self._head_loss, self._targets = encode, head_loss, targets
        self._frames, self._precision, self._lazy_inputs, self._device = frames, precision, lazy_inputs, device
        self._real_head = head()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        with self._fake:
            self._encoder, self._head = encoder(), head()
        self._states = OPTIMIZER_STATES[optimizer]
        self._traced = cache(self._trace)

    def cost(self, setting: Setting) -> Cost:
        """What a step needs.

        Raises:
            ValueError: a size below 1.
        """
        for name, value in vars(setting).items():
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        size, chunk = (setting.height, setting.width), setting.chunk
        count = setting.batch * setting.length
        encoder, head = _bytes(self._encoder.parameters()), _bytes(self._head.parameters())
        buffers = _bytes(self._encoder.buffers()) + _bytes(self._head.buffers())
        static = (encoder + head) * (1 + self._states) + buffers
        held = min(chunk, count) if chunk is not None and self._lazy_inputs else count
        inputs = held * 3 * self._frames * size[0] * size[1]
        if chunk is None:
            step = self._traced("direct", setting.batch, setting.length, *size)
            phases, macs = {"step": step.peak}, step.macs
        else:
            chunk = min(chunk, count)
            encode, graph = self._traced("encode", chunk, 1, *size), self._traced("graph", chunk, 1, *size)
            on_head = self._traced("head", setting.batch, setting.length)
            features = count * self.feature_dim * (2 if self._precision == "bf16" else 4)
            beside = encoder if count > chunk else 0
            phases = {
                "encode": features + encode.peak,
                "head": features + on_head.peak,
                "replay": 2 * features + head + max(beside + graph.peak, 2 * encoder),
            }
            macs = (encode.macs + graph.macs) * count // chunk + on_head.macs
        # Beside the gradients, one copy: torch steps all parameters at once on a GPU, one after the other on a CPU.
        sizes = [_bytes([p]) for m in (self._encoder, self._head) for p in m.parameters()]
        phases["optimiser"] = sum(sizes) + (sum(sizes) if self._device == "cuda" else max(sizes))
        work = max(phases.values())
        return Cost(static, inputs, work, phases, macs)

    def saved(self, setting: Setting) -> int:
        """Bytes that are saved for the backward pass: of the step directly, or of one chunk."""
        size = (setting.height, setting.width)
        if setting.chunk is None:
            return self._traced("direct", setting.batch, setting.length, *size).saved
        return self._traced("graph", min(setting.chunk, setting.batch * setting.length), 1, *size).saved

    @property
    def feature_dim(self) -> int:
        """D, channels of a snippet feature."""
        return int(self._encoder.feature_dim)  # type: ignore[arg-type]

    def _trace(self, kind: str, batch: int, length: int, *size: int) -> Trace:
        targets = None
        if kind in ("direct", "head"):
            targets = self._targets(self._real_head, batch, length)
            with (
                torch.no_grad(),
                self._autocast(),
            ):  # constants that a head keeps per length are made, and kept, for real
                self._real_head(torch.zeros(1, self.feature_dim, length))
        with self._fake:
            if kind == "head":
                dtype = torch.bfloat16 if self._precision == "bf16" else torch.float32
                leaf = torch.zeros(batch * length, self.feature_dim, dtype=dtype, requires_grad=True)
            else:
                clips = torch.zeros(batch * length, 3, self._frames, *size, dtype=torch.uint8)

            def forward() -> Tensor:
                features = leaf if kind == "head" else self._encode(self._encoder, clips)
                if kind in ("encode", "graph"):
                    return features
                return self._head_loss(self._head, features.view(batch, length, -1).transpose(1, 2), targets)

            kept: dict[int, int] = {}

            def pack(tensor: Tensor) -> Tensor:
                kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
                return tensor

            own = {p.untyped_storage()._cdata for m in (self._encoder, self._head) for p in _tensors(m)}
            saving = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
            counter, memory = (
                FlopCounterMode(display=False),
                TracedMemory(cpu_workspace if self._device == "cpu" else None),
            )
            with counter, memory, torch.set_grad_enabled(kind != "encode"):
                with self._autocast(), saving if kind != "encode" else nullcontext():
                    out = forward()
                saved = sum(size for key, size in kept.items() if key not in own)
                if kind == "graph":
                    torch.autograd.grad(out, list(self._encoder.parameters()), torch.zeros_like(out), allow_unused=True)
                elif kind != "encode":
                    out.backward()  # type: ignore[no-untyped-call]
            for module in (self._encoder, self._head):
                module.zero_grad(set_to_none=True)
        return Trace(memory.peak, saved, counter.get_total_flops() // 2)

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self._precision == "bf16")


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def fitting(planner: Planner, settings: Sequence[Setting], memory: int) -> list[tuple[Setting, Cost]]:
    """The settings that need at most ``memory`` bytes, with their costs, in the order given."""
    costs = [(setting, planner.cost(setting)) for setting in settings]
    return [(setting, cost) for setting, cost in costs if cost.peak <= memory]
