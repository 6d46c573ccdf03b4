"""Gradient replay: the exact gradient of end-to-end training in the memory of one chunk of snippets.

What the paper calls inoperable (LoFi, section 1) is holding the activations of all snippets of a video at once. They are
not needed at once: a snippet's features depend on that snippet only, so

    forward    encode all snippets, chunk by chunk, without a graph; the features are all that is kept;
    head       features to loss and back to the gradient at the features, as with stored features;
    backward   encode chunk by chunk once more, with a graph, and push that chunk's gradient through it.

The sum over chunks is the gradient, for one extra forward pass (4 instead of 3 of them). :func:`replayed` is one node of
autograd that does this, so whatever works on a direct ``encode(module, inputs)`` works on it: the loop, gradient
accumulation, autocast, clipping, and DDP, which sees each parameter's gradient once, complete (one reduction a step).
Activations within a chunk can be recomputed as well (:mod:`pipeline.training.recompute`).

Random numbers: both passes of a chunk start from the same state of torch's global generators, and the forward pass
draws as a direct encoding chunk by chunk would; dropout masks are those of the forward pass.

Batch statistics: ``frozen`` ones give the gradient of direct training. With ``running`` ones a chunk is normalised by its
own statistics: the result is the exact gradient of training with batches of one chunk for the normalisation ("ghost"
batch normalisation), not that of the whole batch, and it depends on ``chunk``. Running means move once per chunk, in the
forward pass only, so they are averaged over smaller batches but not moved twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Encode = Callable[[nn.Module, Tensor], Tensor]
"""(module, inputs ``[n, ...]``) to features ``[n, D]``; the module's parameters are all that it learns by."""

TOLERANCE = 1e-2
"""Largest norm-wise difference between the features of the two passes; bf16 rounds to 4e-3, another crop is at 1e-1."""


@dataclass(frozen=True)
class Lazy:
    """Inputs that are made when their chunk is computed, so that they need not be in memory together.

    Attributes:
        count: N, number of inputs.
        load: (start, stop) to inputs ``[stop - start, ...]``, already on the module's device. It is called twice for each
            chunk and must give the same inputs both times: a pure function of its arguments and the step.
    """

    count: int
    load: Callable[[int, int], Tensor]

    @staticmethod
    def of(inputs: Tensor) -> "Lazy":
        """Inputs that are in memory already."""
        return Lazy(len(inputs), lambda start, stop: inputs[start:stop])


def replayed(encode: Encode, module: nn.Module, inputs: Tensor | Lazy, *, chunk: int) -> Tensor:
    """``encode(module, inputs)`` with the memory of ``chunk`` inputs, in the forward and in the backward pass.

    Args:
        encode: how ``module`` turns inputs into features, each input for itself.
        module: the encoder, on its device and in its mode; those of its parameters that require a gradient get one. Put
            ``encode(module, ...)`` under ``torch.utils.checkpoint`` in its non-reentrant form only.
        inputs: ``[N, ...]`` uint8 or float, or :class:`Lazy` ones.
        chunk: inputs that are encoded together.

    Returns:
        ``[N, D]``. Without gradients enabled it is simply encoded chunk by chunk.

    Raises:
        ValueError: ``chunk`` below 1, no inputs, inputs that require a gradient, or features that are not ``[n, D]``.
        RuntimeError: in the backward pass, when the inputs, the parameters or the module have changed in between.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1")
    if isinstance(inputs, Tensor):
        if inputs.requires_grad:
            raise ValueError("replayed inputs require a gradient; only the module's parameters get one")
        inputs = Lazy.of(inputs)
    if inputs.count < 1:
        raise ValueError("there is no input to encode")
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not parameters or not torch.is_grad_enabled():
        return _filled(inputs.count, chunk, lambda span: _encoded(encode, module, inputs, span))
    features: Tensor = _Replay.apply(encode, module, inputs, chunk, *parameters)
    return features


def _spans(count: int, chunk: int) -> list[tuple[int, int]]:
    return [(start, min(start + chunk, count)) for start in range(0, count, chunk)]


def _filled(count: int, chunk: int, part: Callable[[tuple[int, int]], Tensor]) -> Tensor:
    """The parts of all spans one after the other, put into place as they come: a list of them would hold all twice."""
    spans = _spans(count, chunk)
    first = part(spans[0])
    if len(spans) == 1:
        return first
    whole = first.new_empty(count, first.shape[1])
    whole[: len(first)] = first
    for span in spans[1:]:
        whole[slice(*span)] = part(span)
    return whole


def _encoded(encode: Encode, module: nn.Module, inputs: Lazy, span: tuple[int, int]) -> Tensor:
    features = encode(module, inputs.load(*span))
    if features.dim() != 2 or len(features) != span[1] - span[0]:
        raise ValueError(f"expected features [{span[1] - span[0]}, D], got {list(features.shape)}")
    return features


class _Replay(torch.autograd.Function):
    """Parameters are its arguments and their gradients its results, so that autograd accumulates and DDP reduces them."""

    @staticmethod
    def forward(ctx: Any, encode: Encode, module: nn.Module, inputs: Lazy, chunk: int, *parameters: Tensor) -> Tensor:
        device = parameters[0].device
        ctx.call, ctx.autocast = (encode, module, inputs, chunk), _Autocast.now(device)
        ctx.random = []

        def part(span: tuple[int, int]) -> Tensor:
            ctx.random.append(_RandomState.now(device, ctx.random[-1] if ctx.random else None))
            with ctx.autocast.again():
                return _encoded(encode, module, inputs, span)

        features = _filled(inputs.count, chunk, part)
        # Saved for their version counters too: an optimiser step before the backward pass is an error here as elsewhere.
        ctx.save_for_backward(features, *parameters)
        return features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        encode, module, inputs, chunk = ctx.call
        features, *parameters = ctx.saved_tensors
        sums: list[Tensor | None] = [None] * len(parameters)
        value: Tensor | None
        changed, size = (torch.zeros((), device=features.device) for _ in range(2))
        with _kept_buffers(module), _RandomState.now(features.device).restored():
            for span, random in zip(_spans(inputs.count, chunk), ctx.random, strict=True):
                random.set()
                with torch.enable_grad(), ctx.autocast.again():
                    part = _encoded(encode, module, inputs, span)
                changed += (part.detach() - features[slice(*span)]).float().square().sum()
                size += part.detach().float().square().sum()
                found = torch.autograd.grad(part, parameters, gradient[slice(*span)], allow_unused=True)
                del part
                for index, value in enumerate(found):
                    if value is not None:
                        total = sums[index]
                        # Cloned: autograd may hand out one tensor twice, and this one is added to.
                        sums[index] = value.clone() if total is None else total.add_(value)
                del found, value  # not while the next chunk's graph is built
        if changed > TOLERANCE**2 * size:  # one transfer for all chunks
            raise RuntimeError(
                f"the second pass gave features that differ by {float((changed / size).sqrt()):.1e} (norm-wise) from the "
                "first: the inputs are not a pure function of their numbers, or the module's state changed"
            )
        return None, None, None, None, *sums


@dataclass(frozen=True)
class _Autocast:
    """The autocast state of the forward pass, under which the second pass runs again."""

    device: str
    enabled: bool
    dtype: torch.dtype

    @staticmethod
    def now(device: torch.device) -> "_Autocast":
        enabled = torch.is_autocast_enabled(device.type)
        return _Autocast(device.type, enabled, torch.get_autocast_dtype(device.type))

    def again(self) -> torch.autocast:
        # No weight cache: copies made in the pass without a graph must not be met by the one with it.
        return torch.autocast(self.device, self.dtype, self.enabled, cache_enabled=False)


@dataclass(frozen=True)
class _RandomState:
    """The state of torch's global generators, of the CPU and of one CUDA device."""

    device: torch.device
    cpu: Tensor
    cuda: Tensor | None

    @staticmethod
    def now(device: torch.device, last: "_RandomState | None" = None) -> "_RandomState":
        """The present state; ``last`` itself where nothing was drawn since, for a state is 5 kB."""
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        state = _RandomState(device, torch.get_rng_state(), cuda)
        if last is None or not torch.equal(state.cpu, last.cpu):
            return state
        return last if cuda is None or (last.cuda is not None and torch.equal(cuda, last.cuda)) else state

    def set(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Come back to this state at the end."""
        try:
            yield
        finally:
            self.set()


@contextmanager
def _kept_buffers(module: nn.Module) -> Iterator[None]:
    """Put the buffers of modules in training mode (running statistics) back to what they were.

    Only theirs: writing to a frozen one would invalidate graphs that have saved it.
    """
    moving = [buffer for child in module.modules() if child.training for buffer in child.buffers(recurse=False)]
    before = [buffer.clone() for buffer in moving]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(moving, before, strict=True):
                buffer.copy_(value)
