"""Measurements of end-to-end training: gradient replay against direct training, and the planner against the allocator.

They need torch and numpy only, so they run on a bare GPU machine: there at the paper's sizes, on a CPU at small ones.
"""

import statistics
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.encoders import build_encoder
from models.encoders.snippets import snippet_features
from models.heads import build_head
from models.norm import train_mode
from pipeline.bench.timing import device_seconds
from pipeline.training.device import device, set_threads
from pipeline.training.memory import measured_peak
from pipeline.training.plan import Setting
from pipeline.training.replay import Lazy, replayed
from stages._planner import make_planner

FRAMES = 8


class Sizes(NamedTuple):
    """Of the replay benchmark: the encoder, px, snippets of a chunk, lengths of memory, and L of time and gradient."""

    encoder: str
    base_width: int
    side: int
    chunk: int
    lengths: tuple[int, ...]
    length: int
    repeats: int


SIZES = {
    "cpu": Sizes("tsm_resnet18", 32, 64, 8, (25, 100, 400), 25, 3),
    "cuda": Sizes("tsm_resnet18", 64, 224, 16, (25, 100, 400), 100, 5),
}


def replay() -> dict[str, Any]:
    """Peak memory of each phase by L, time and gradient against direct training (asked: flat to 10 %, 1.5x, 1e-5)."""
    where = device()
    set_threads(1)
    sizes = SIZES[where.type]
    encoder = _encoder(sizes.encoder, sizes.base_width).to(where)
    width = int(encoder.feature_dim)  # type: ignore[arg-type]
    # ActionFormer: its memory grows with L only, so that L = 400 can be measured; G-TAD has an anchor per pair of snippets.
    head = build_head("actionformer", feature_dim=width, dropout=0.0, drop_path=0.0).to(where)
    phases = {length: _phases(encoder, head, sizes, length, where) for length in sizes.lengths}
    encoder_peaks = {name: [row[name] for row in phases.values()] for name in ("encode_MiB", "replay_MiB")}
    rows: dict[str, Any] = {
        "variant": where.type,
        "device": torch.cuda.get_device_name() if where.type == "cuda" else "cpu, 1 thread",
        "sizes": sizes._asdict(),
        "memory_by_L": phases,
        "encoder_memory_max_over_min": {k: round(max(v) / min(v), 3) for k, v in encoder_peaks.items()},
    }
    for precision in ("float32", "bf16") if where.type == "cuda" else ("float32",):
        rows[precision] = _against_direct(encoder, sizes, where, precision)
    return rows


def plan() -> dict[str, Any]:
    """The planner's peak against the allocator's, on settings that nothing was fitted to (asked: within 15 %)."""
    where = device()
    set_threads(1)
    big = where.type == "cuda"
    rows = []
    for name, base_width in (("tsm_resnet18", 64), ("tsm_resnet50", 64 if big else 32)):
        for head, precision in (("gtad", "float32"), ("gtad", "bf16"), ("actionformer", "float32")):
            planner = make_planner(
                name, head, frames=FRAMES, options={"base_width": base_width}, precision=precision, device=where.type
            )
            kind = {"encoder": name, "base_width": base_width, "head": head, "precision": precision}
            for setting in _settings(big):
                predicted = planner.cost(setting).work
                measured = _measured_step(name, base_width, head, precision, setting, where)
                sizes = {"predicted_MiB": predicted / 2**20, "measured_MiB": measured / 2**20}
                rounded = {key: round(value, 2) for key, value in sizes.items()}
                rows.append({**kind, **vars(setting), **rounded, "ratio": round(predicted / measured, 4)})
    errors = [abs(row["ratio"] - 1) for row in rows]
    return {
        "variant": where.type,
        "device": torch.cuda.get_device_name() if big else "cpu, 1 thread",
        "settings": len(rows),
        "largest_error": round(max(errors), 4),
        "median_error": round(statistics.median(errors), 4),
        "rows": rows,
    }


def _settings(big: bool) -> list[Setting]:
    if big:
        return [
            Setting(25, 224, 224, 2),
            Setting(50, 158, 158, 1),
            Setting(100, 224, 224, 2, 16),
            Setting(100, 112, 112, 4, 32),
        ]
    return [Setting(4, 80, 80, 1), Setting(3, 64, 96, 2), Setting(25, 48, 64, 1, 4), Setting(6, 64, 64, 2, 5)]


def _encoder(name: str, base_width: int) -> nn.Module:
    torch.manual_seed(0)
    encoder = build_encoder(name, base_width=base_width)
    train_mode(encoder, "frozen")
    return encoder


def _clips(count: int, side: tuple[int, int], where: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, FRAMES, *side), dtype=torch.uint8, generator=generator).to(where)


def _segments(batch: int) -> list[Tensor]:
    return [torch.tensor([[0.1, 0.4], [0.5, 0.9]])] * batch


def _loss(head: nn.Module, features: Tensor, batch: int) -> Tensor:
    features = features.view(batch, -1, features.shape[1]).transpose(1, 2)
    labels = head.labels(_segments(batch), features.shape[2])  # type: ignore[operator]
    total: Tensor = head.loss(head(features), labels, torch.Generator().manual_seed(0)).total  # type: ignore[operator]
    return total


def _phases(encoder: nn.Module, head: nn.Module, sizes: Sizes, length: int, where: torch.device) -> dict[str, float]:
    """Peak of each phase above what is there when it starts, MiB; the snippets are the same 8 over and over."""
    few = _clips(sizes.chunk, (sizes.side, sizes.side), where)
    lazy = Lazy(length, lambda start, stop: few[: stop - start])
    kept: dict[str, Tensor] = {}

    def encode() -> None:
        kept["features"] = replayed(snippet_features, encoder, lazy, chunk=sizes.chunk)

    def on_head() -> None:
        kept["leaf"] = kept["features"].detach().requires_grad_()
        _loss(head, kept["leaf"], 1).backward()  # type: ignore[no-untyped-call]

    def again() -> None:
        kept["features"].backward(kept["leaf"].grad)  # type: ignore[no-untyped-call]

    encoder.zero_grad(set_to_none=True)
    head.zero_grad(set_to_none=True)
    peaks = {f"{name}_MiB": round(measured_peak(phase, where) / 2**20, 2) for name, phase in
             (("encode", encode), ("head", on_head), ("replay", again))}  # fmt: skip
    return peaks | {"uint8_input_MiB": round(length * 3 * FRAMES * sizes.side**2 / 2**20, 2)}


def _against_direct(encoder: nn.Module, sizes: Sizes, where: torch.device, precision: str) -> dict[str, float]:
    """Time and gradient of a step with G-TAD, replayed against direct, on the same clips."""
    torch.manual_seed(1)
    head = build_head("gtad", feature_dim=int(encoder.feature_dim)).to(where)  # type: ignore[arg-type]
    clips = _clips(sizes.length, (sizes.side, sizes.side), where)
    ours, theirs = (nn.ModuleDict({"encoder": deepcopy(encoder), "head": deepcopy(head)}) for _ in range(2))

    def step(model: nn.ModuleDict, chunk: int | None) -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
            if chunk is None:
                features = snippet_features(model["encoder"], clips)
            else:
                features = replayed(snippet_features, model["encoder"], clips, chunk=chunk)
            loss = _loss(model["head"], features, 1)
        loss.backward()  # type: ignore[no-untyped-call]

    forms: dict[str, Callable[[], None]] = {
        "direct": lambda: step(theirs, None),
        "replay": lambda: step(ours, sizes.chunk),
    }
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for form in forms.values():
        form()
    for _ in range(sizes.repeats):
        for name, form in forms.items():
            seconds[name].append(device_seconds(form, where.type))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = [
        (a.grad.double(), b.grad.double())
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
        if a.grad is not None and b.grad is not None
    ]
    apart = sum(float((a - b).square().sum()) for a, b in pairs) / sum(float(b.square().sum()) for _, b in pairs)
    return {
        "L": sizes.length,
        "direct_s": round(medians["direct"], 4),
        "replay_s": round(medians["replay"], 4),
        "time_over_direct": round(medians["replay"] / medians["direct"], 3),
        "gradient_relative_difference": apart**0.5,
        "direct_peak_MiB": round(measured_peak(forms["direct"], where) / 2**20, 1),
        "replay_peak_MiB": round(measured_peak(forms["replay"], where) / 2**20, 1),
    }


def _measured_step(
    name: str, base_width: int, head_name: str, precision: str, setting: Setting, where: torch.device
) -> int:
    """Peak bytes of a training step, above parameters and inputs."""
    encoder = _encoder(name, base_width).to(where)
    head = build_head(head_name, feature_dim=int(encoder.feature_dim)).to(where)  # type: ignore[arg-type]
    clips = _clips(setting.batch * setting.length, (setting.height, setting.width), where)
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1, weight_decay=1e-4)

    def step() -> None:
        with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
            if setting.chunk is None:
                features = snippet_features(encoder, clips)
            else:
                features = replayed(snippet_features, encoder, clips, chunk=setting.chunk)
            loss = _loss(head, features, setting.batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()  # what a head keeps per length is made once and is not the step's
    return measured_peak(step, where)
