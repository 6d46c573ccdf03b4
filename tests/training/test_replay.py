"""Gradient replay against direct training: gradients, random numbers, statistics, autocast, accumulation, DDP."""

import itertools
import socket
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from models.encoders import build_encoder
from models.encoders.snippets import snippet_features
from models.heads import build_head
from models.heads.targets import gtad_targets
from models.losses import gtad_loss
from models.norm import train_mode
from pipeline.training.grid import Grid, lofi_grid
from pipeline.training.loop import train
from pipeline.training.optim import lr_schedule, make_optimizer
from pipeline.training.recompute import recompute
from pipeline.training.replay import Lazy, replayed

FRAMES, SIDE, DIM = 4, 32, 64


@pytest.fixture(autouse=True)
def _seeded(one_thread: None) -> None:
    torch.manual_seed(0)


def make_model(norm: str = "frozen", dtype: torch.dtype = torch.float32, name: str = "tsm_resnet18") -> nn.ModuleDict:
    torch.manual_seed(1)
    encoder = build_encoder(name, base_width=8)
    for module in encoder.modules():  # statistics and scales as after a training, not 0 and 1
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    width = int(encoder.feature_dim)  # type: ignore[arg-type]
    head = build_head("gtad", feature_dim=width, hidden=16, groups=4, inner_points=4, aligned=16, localisation=8)
    model = nn.ModuleDict({"encoder": encoder, "head": head}).to(dtype)
    train_mode(model, norm)  # type: ignore[arg-type]
    return model


def make_clips(videos: int, length: int, side: int = SIDE, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (videos, length, 3, FRAMES, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def make_encode(dtype: torch.dtype = torch.float32) -> Callable[[nn.Module, Tensor], Tensor]:
    """The encoder's own function; in float64 for the exact comparison, which it is never used in."""
    if dtype == torch.float32:
        return snippet_features
    return lambda module, clips: module(clips.to(dtype) / 255 - 0.5).mean(dim=(2, 3, 4))


def head_loss(model: nn.ModuleDict, features: Tensor, videos: int, seed: int = 3) -> Tensor:
    features = features.unflatten(0, (videos, -1)).transpose(1, 2)
    segments = [torch.tensor([[0.1 + 0.05 * i, 0.5], [0.6, 0.9]]) for i in range(videos)]
    targets = gtad_targets(segments, features.shape[2])
    return gtad_loss(model["head"](features), targets, torch.Generator().manual_seed(seed)).total


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def distance(model: nn.Module, other: nn.Module) -> float:
    """Norm of the difference of the gradients over the norm."""
    ours, theirs = gradients(model), gradients(other)
    assert len(ours) == len(theirs) == len(list(model.parameters()))
    difference = sum(float((a - b).double().square().sum()) for a, b in zip(ours, theirs, strict=True))
    return (difference / sum(float(b.double().square().sum()) for b in theirs)) ** 0.5


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("name", ["tsm_resnet18", "tsm_resnet50"])
@pytest.mark.parametrize("chunk", [1, 5, 16, 100])
def test_gradients_are_those_of_direct_training(name: str, dtype: torch.dtype, bound: float, chunk: int) -> None:
    model, clips = make_model(dtype=dtype, name=name), make_clips(2, 8).flatten(0, 1)
    direct, encode = deepcopy(model), make_encode(dtype)
    ours = head_loss(model, replayed(encode, model["encoder"], clips, chunk=chunk), 2)
    ours.backward()
    theirs = head_loss(direct, encode(direct["encoder"], clips), 2)
    theirs.backward()
    assert abs(ours.item() - theirs.item()) <= bound * theirs.item()
    assert distance(model, direct) <= bound


def test_each_encoder_parameter_for_itself() -> None:
    """A whole-network norm is ruled by its largest gradients; no parameter is off on its own."""
    model, clips = make_model(dtype=torch.float64), make_clips(2, 5).flatten(0, 1)
    direct, encode = deepcopy(model), make_encode(torch.float64)
    head_loss(model, replayed(encode, model["encoder"], clips, chunk=3), 2).backward()
    head_loss(direct, encode(direct["encoder"], clips), 2).backward()
    for ours, theirs in zip(gradients(model["encoder"]), gradients(direct["encoder"]), strict=True):
        assert (ours - theirs).norm() <= 1e-9 * theirs.norm()


def test_lazy_inputs_are_asked_for_twice_and_in_chunks() -> None:
    model, clips = make_model(), make_clips(1, 7).flatten(0, 1)
    asked: list[tuple[int, int]] = []

    def load(start: int, stop: int) -> Tensor:
        asked.append((start, stop))
        return clips[start:stop].clone()

    head_loss(model, replayed(snippet_features, model["encoder"], Lazy(7, load), chunk=3), 1).backward()
    assert asked == 2 * [(0, 3), (3, 6), (6, 7)]
    direct = make_model()
    head_loss(direct, replayed(snippet_features, direct["encoder"], clips, chunk=3), 1).backward()
    assert distance(model, direct) == 0


def test_inputs_that_change_between_the_passes_are_an_error() -> None:
    model, clips, calls = make_model(), make_clips(1, 6).flatten(0, 1), itertools.count()
    lazy = Lazy(6, lambda start, stop: clips[start:stop].roll(next(calls), dims=4))
    with pytest.raises(RuntimeError, match="not a pure function"):
        head_loss(model, replayed(snippet_features, model["encoder"], lazy, chunk=2), 1).backward()


def test_parameters_that_change_between_the_passes_are_an_error() -> None:
    model, clips = make_model(), make_clips(1, 4).flatten(0, 1)
    loss = head_loss(model, replayed(snippet_features, model["encoder"], clips, chunk=2), 1)
    with torch.no_grad():
        model["encoder"].conv1.weight.mul_(1.001)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_dropout_masks_are_those_of_the_first_pass() -> None:
    """Equal to a direct encoding chunk by chunk from the same state; the state after is the same too."""
    model, clips = make_model(dtype=torch.float64), make_clips(1, 7).flatten(0, 1)
    drop = nn.Dropout(0.5)

    def encode(module: nn.Module, part: Tensor) -> Tensor:
        return drop(module(part.double() / 255 - 0.5).mean(dim=(2, 3, 4)))

    direct = deepcopy(model)
    torch.manual_seed(9)
    loss = head_loss(model, replayed(encode, model["encoder"], clips, chunk=3), 1)
    before_backward = torch.get_rng_state()
    loss.backward()
    assert torch.equal(torch.get_rng_state(), before_backward)
    torch.manual_seed(9)
    parts = [encode(direct["encoder"], part) for part in clips.split(3)]
    assert torch.equal(torch.get_rng_state(), before_backward)
    head_loss(direct, torch.cat(parts), 1).backward()
    assert distance(model, direct) <= 1e-10


def test_running_statistics_are_those_of_chunks() -> None:
    """Exact for chunk-wise normalisation, running means moved once per chunk; not the gradient of the whole batch."""
    model, clips = make_model("running", torch.float64), make_clips(2, 6).flatten(0, 1)
    chunked, whole, encode = deepcopy(model), deepcopy(model), make_encode(torch.float64)
    head_loss(model, replayed(encode, model["encoder"], clips, chunk=4), 2).backward()
    head_loss(chunked, torch.cat([encode(chunked["encoder"], part) for part in clips.split(4)]), 2).backward()
    head_loss(whole, encode(whole["encoder"], clips), 2).backward()
    assert distance(model, chunked) <= 1e-10
    assert distance(model, whole) > 1e-2
    for ours, theirs in zip(model.buffers(), chunked.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    assert int(model["encoder"].bn1.num_batches_tracked) == 3
    assert int(whole["encoder"].bn1.num_batches_tracked) == 1


def test_bf16_autocast_in_both_passes() -> None:
    """The second pass runs in the precision of the first, though the backward pass is outside the autocast context."""
    model, clips = make_model(), make_clips(2, 6).flatten(0, 1)
    direct, types = deepcopy(model), []

    def encode(module: nn.Module, part: Tensor) -> Tensor:
        found = snippet_features(module, part)
        types.append((found.dtype, torch.is_grad_enabled()))
        return found

    with torch.autocast("cpu", torch.bfloat16):
        loss = head_loss(model, replayed(encode, model["encoder"], clips, chunk=5), 2)
    loss.backward()
    assert types == [(torch.bfloat16, False)] * 3 + [(torch.bfloat16, True)] * 3
    with torch.autocast("cpu", torch.bfloat16):
        loss = head_loss(direct, torch.cat([snippet_features(direct["encoder"], c) for c in clips.split(5)]), 2)
    loss.backward()
    assert all(g.dtype == torch.float32 for g in gradients(model))
    assert distance(model, direct) <= 5e-3  # sums of bf16 products in another order


def test_backward_inside_autocast_finds_the_weights() -> None:
    """Autocast's cache of weights made without a graph must not cut the second pass off."""
    model, clips = make_model(), make_clips(1, 6).flatten(0, 1)
    with torch.autocast("cpu", torch.bfloat16):
        head_loss(model, replayed(snippet_features, model["encoder"], clips, chunk=2), 1).backward()
    assert len(gradients(model)) == len(list(model.parameters()))
    assert all(float(g.norm()) > 0 for g in gradients(model["encoder"]))


def test_with_activation_checkpointing() -> None:
    model, clips = make_model(dtype=torch.float64), make_clips(2, 5).flatten(0, 1)
    direct, encode = deepcopy(model), make_encode(torch.float64)
    names = list(model.state_dict())
    recompute([block for stage in range(1, 5) for block in model["encoder"].get_submodule(f"layer{stage}")])
    assert list(model.state_dict()) == names
    head_loss(model, replayed(encode, model["encoder"], clips, chunk=3), 2).backward()
    head_loss(direct, encode(direct["encoder"], clips), 2).backward()
    assert distance(model, direct) <= 1e-10
    with pytest.raises(ValueError, match="recomputed already"):
        recompute([model["encoder"].layer1[0]])


def test_gradients_accumulate_over_micro_batches() -> None:
    model, encode = make_model(dtype=torch.float64), make_encode(torch.float64)
    direct = deepcopy(model)
    for seed in (4, 5):
        clips = make_clips(1, 6, seed=seed).flatten(0, 1)
        head_loss(model, replayed(encode, model["encoder"], clips, chunk=4), 1).backward()
        head_loss(direct, encode(direct["encoder"], clips), 1).backward()
    assert distance(model, direct) <= 1e-10


def test_the_loop_trains_over_lofi_grids_to_the_same_weights() -> None:
    """Three steps of S-, T- and ST-LoFi in the loop, direct and replayed: the same trajectory in rounding."""
    full = Grid(2, 8, 64, 64)
    grids = [lofi_grid("s", full, r_s=2), lofi_grid("t", full, r_t=4), lofi_grid("st", full, r_t=2, r_s=2**0.5)]
    result = []
    for chunk in (None, 3):
        model = make_model()

        def loss(
            model: nn.ModuleDict, clips: Tensor, generator: torch.Generator, chunk: Any = chunk
        ) -> dict[str, Tensor]:
            flat, encoder = clips.flatten(0, 1), model["encoder"]
            found = (
                snippet_features(encoder, flat)
                if chunk is None
                else replayed(snippet_features, encoder, flat, chunk=chunk)
            )
            return {"total": head_loss(model, found, len(clips))}

        train(
            model, loss, lambda step: make_clips(2, grids[step].T, grids[step].H, seed=step),
            steps=3, optimizer=make_optimizer(model, "sgd", 0.05), lr=lr_schedule("constant", 3), seed=0, clip_norm=1.0,
        )  # fmt: skip
        result.append([p.detach().clone() for p in model.parameters()])
    moved = [p - q for p, q in zip(result[0], make_model().parameters(), strict=True)]
    apart = [p - q for p, q in zip(*result, strict=True)]
    assert torch.stack([m.norm() for m in moved]).norm() > 1e-3
    assert torch.stack([a.norm() for a in apart]).norm() <= 1e-4 * torch.stack([m.norm() for m in moved]).norm()


def test_without_gradients_it_only_encodes() -> None:
    model, clips = make_model(), make_clips(1, 5).flatten(0, 1)
    with torch.no_grad():
        features = replayed(snippet_features, model["encoder"], clips, chunk=2)
        torch.testing.assert_close(features, snippet_features(model["encoder"], clips))
    assert not features.requires_grad
    frozen = model["encoder"].requires_grad_(False)
    assert not replayed(snippet_features, frozen, clips, chunk=2).requires_grad


def test_an_encoder_that_is_frozen_in_part() -> None:
    model, clips = make_model(dtype=torch.float64), make_clips(1, 5).flatten(0, 1)
    model["encoder"].layer1.requires_grad_(False)
    encode = make_encode(torch.float64)
    head_loss(model, replayed(encode, model["encoder"], clips, chunk=2), 1).backward()
    assert all(p.grad is None for p in model["encoder"].layer1.parameters())
    assert model["encoder"].conv1.weight.grad is not None


def test_bad_arguments_are_named() -> None:
    model, clips = make_model(), make_clips(1, 4).flatten(0, 1)
    with pytest.raises(ValueError, match="chunk is 0; it must be at least 1"):
        replayed(snippet_features, model["encoder"], clips, chunk=0)
    with pytest.raises(ValueError, match="there is no input"):
        replayed(snippet_features, model["encoder"], clips[:0], chunk=2)
    with pytest.raises(ValueError, match="require a gradient"):
        replayed(lambda m, x: m(x), nn.Linear(3, 2), torch.zeros(4, 3, requires_grad=True), chunk=2)
    with pytest.raises(ValueError, match=r"expected features \[2, D\], got \[2, 64, 4, 1, 1\]"):
        replayed(lambda m, x: m(x.float()), model["encoder"], clips, chunk=2)


class EndToEnd(nn.Module):
    """What DDP wraps: from clips to the loss."""

    def __init__(self, model: nn.ModuleDict) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor:
        encode = make_encode(torch.float64)
        return head_loss(self.model, replayed(encode, self.model["encoder"], clips.flatten(0, 1), chunk=3), len(clips))


def _worker(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", world_size=2, rank=rank)
    try:
        model = make_model(dtype=torch.float64)
        parallel, reduced = nn.parallel.DistributedDataParallel(EndToEnd(model)), []

        def hook(_state: None, bucket: GradBucket) -> torch.futures.Future[Tensor]:
            reduced.append(sum(p.numel() for p in bucket.parameters()))
            return allreduce_hook(None, bucket)  # type: ignore[arg-type]

        parallel.register_comm_hook(None, hook)
        clips = make_clips(4, 5)[2 * rank : 2 * rank + 2]
        with parallel.no_sync():
            (parallel(clips[:1]) / 2).backward()
        assert not reduced
        (parallel(clips[1:]) / 2).backward()
        torch.save({"grads": gradients(model), "reduced": sum(reduced)}, Path(folder) / f"{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_ddp_reduces_once_and_gives_the_gradient_of_all_videos(tmp_path: Path) -> None:
    """Two processes, accumulation under no_sync on each: the mean over all four videos, one reduction of all parameters."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_worker, (port, str(tmp_path)), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    model, encode = make_model(dtype=torch.float64), make_encode(torch.float64)
    for video in make_clips(4, 5):
        (head_loss(model, encode(model["encoder"], video), 1) / 4).backward()
    for rank in ranks:
        assert rank["reduced"] == sum(p.numel() for p in model.parameters())
        for ours, theirs in zip(rank["grads"], gradients(model), strict=True):
            assert (ours - theirs).norm() <= 1e-9 * theirs.norm()
