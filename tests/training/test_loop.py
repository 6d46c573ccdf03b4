"""The training loop: exact resume, best by the metric, errors that name what went wrong."""

import math
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.training.checkpoint import CheckpointError, load_checkpoint
from pipeline.training.loop import train
from pipeline.training.optim import lr_schedule, make_optimizer
from pipeline.training.sampler import batch_indices
from tests.training import toy

STEPS = 24


class Killed(Exception):
    """Ends a training from its progress callback."""


def killed_at(step: int) -> Any:
    def on_step(done: int, steps: int, values: dict[str, float]) -> None:
        if done == step:
            raise Killed

    return on_step


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_it_learns_and_resumes_exactly(tmp_path: Path, name: str) -> None:
    whole, expected = toy.run(STEPS, name=name)
    assert expected.history[-1]["classes"] < 0.7 * expected.history[0]["classes"]
    for kills in ([1], [3], [7], [8, 13, 22], [23]):
        path = tmp_path / f"{kills}"
        for kill in kills:
            with pytest.raises(Killed):
                toy.run(STEPS, path, name, on_step=killed_at(kill))
        seen: list[int] = []
        model, result = toy.run(STEPS, path, name, on_step=lambda done, *_, seen=seen: seen.append(done))
        assert seen == list(range(kills[-1] // 3 * 3 + 1, STEPS + 1))  # it saves every 3 steps
        assert toy.weights(model) == toy.weights(whole)
        assert result.history == expected.history and result.best_step == expected.best_step
        assert all(torch.equal(result.best_state[key], value) for key, value in expected.best_state.items())
    # Finished: asked again, it computes nothing and answers the same.
    model, result = toy.run(STEPS, path, name, on_step=killed_at(STEPS))
    assert toy.weights(model) == toy.weights(whole) and result.history == expected.history


def run_script(checkpoint: Path, out: Path, kill_after: int | None, steps: int) -> tuple[int, list[int]]:
    """Run toy.py; SIGKILL it when it has printed ``kill_after`` lines. Returns its exit code and printed steps."""
    command = [sys.executable, "-m", "tests.training.toy", str(checkpoint), str(out), "--steps", str(steps)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(int(line))
            if len(printed) == kill_after:
                os.kill(process.pid, signal.SIGKILL)
        return process.wait(), printed


def test_sigkill_at_random_moments_ends_with_the_same_bytes(tmp_path: Path) -> None:
    steps, chance = 400, random.Random(0)
    outs = [tmp_path / "whole", tmp_path / "killed"]
    for out in outs:
        out.mkdir()
    assert run_script(tmp_path / "whole.ckpt", outs[0], None, steps)[0] == 0
    for _ in range(2):
        code, _printed = run_script(tmp_path / "killed.ckpt", outs[1], chance.randint(20, 100), steps)
        assert code == -signal.SIGKILL
        assert load_checkpoint(tmp_path / "killed.ckpt", "toy").step >= 18
        assert not list(outs[1].iterdir())
    code, printed = run_script(tmp_path / "killed.ckpt", outs[1], None, steps)
    assert code == 0 and printed[0] > 36 and printed[-1] == steps
    for name in ("final.safetensors", "best.safetensors", "history.txt"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()


def test_nothing_but_the_step_matters() -> None:
    """Prefetching, logging, saving and the caller's random state leave the weights alone; the seed does not."""
    expected = toy.weights(toy.run(STEPS)[0])
    torch.manual_seed(1234)
    before = torch.get_rng_state()
    model, _ = toy.run(STEPS, prefetch=True, log_every=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert toy.weights(model) == expected
    assert toy.weights(toy.run(STEPS, validate=None, metric="")[0]) == expected
    assert toy.weights(toy.run(STEPS, seed=6)[0]) != expected


def test_prefetch_runs_beside_and_passes_errors_on() -> None:
    threads: list[str] = []

    def batches(step: int) -> Any:
        threads.append(threading.current_thread().name)
        if step == 5:
            raise OSError("video 5 is gone")
        return toy.make_batch(step)

    with pytest.raises(OSError, match="video 5 is gone"):
        toy.run(STEPS, batches=batches, prefetch=True)
    assert len(threads) == 6 and all(name.startswith("batches") for name in threads)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_checkpoint_by_the_clock_and_of_another_training(tmp_path: Path) -> None:
    path = tmp_path / "training.ckpt"
    with pytest.raises(Killed):
        toy.run(STEPS, path, checkpoint_every=0, checkpoint_seconds=1e9, on_step=killed_at(10))
    assert not path.exists()
    with pytest.raises(Killed):
        toy.run(STEPS, path, checkpoint_every=0, checkpoint_seconds=0, on_step=killed_at(10))
    assert load_checkpoint(path, "toy").step == 10
    with pytest.raises(CheckpointError, match="another training"):
        toy.run(STEPS, path, fingerprint="other")
    with pytest.raises(ValueError, match="at step 10, beyond the 4 steps"):
        toy.run(4, path)


def test_best_is_the_metric_not_the_loss() -> None:
    """The score peaks in mid-training, twice: the earlier peak is kept."""
    scores = iter([0.1, 0.9, 0.3, 0.9, 0.2])
    kept: dict[int, Tensor] = {}

    def validate(model: nn.Module) -> dict[str, float]:
        kept[len(kept) + 1] = model[0].weight.detach().clone()  # type: ignore[index]
        return {"mAP": next(scores), "other": 1.0}

    model, result = toy.run(18, validate=validate, validate_every=4, metric="mAP", log_every=100)
    assert result.best_step == 8
    assert torch.equal(result.best_state["0.weight"], kept[2])
    assert not torch.equal(result.best_state["0.weight"], model.state_dict()["0.weight"])
    assert [(row["step"], row["mAP"]) for row in result.history] == [
        (4, 0.1),
        (8, 0.9),
        (12, 0.3),
        (16, 0.9),
        (18, 0.2),
    ]


def test_without_validation_the_last_is_best() -> None:
    model, result = toy.run(6, validate=None, metric="", log_every=4)
    assert result.best_step == 6
    assert torch.equal(result.best_state["0.weight"], model.state_dict()["0.weight"])
    assert [row["step"] for row in result.history] == [4, 6]


def test_history_averages_the_steps_since_the_row_before() -> None:
    seen: list[dict[str, float]] = []
    _, result = toy.run(11, validate_every=4, on_step=lambda done, steps, values: seen.append(values))
    assert [row["step"] for row in result.history] == [4, 5, 8, 10, 11]
    assert result.history[0]["total"] == pytest.approx(sum(values["total"] for values in seen[:4]) / 4)
    assert result.history[1]["total"] == seen[4]["total"]
    assert all(type(value) in (int, float) for row in result.history for value in row.values())
    assert ["accuracy" in row for row in result.history] == [True, False, True, False, True]


def test_module_modes_survive_validation() -> None:
    model, _ = toy.run(STEPS, frozen=True)
    assert not model[1].training and model.training and model[5].training  # type: ignore[index]
    assert torch.equal(model[1].running_mean, torch.zeros(8))  # type: ignore[index]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_weights(tmp_path: Path, bad: float) -> None:
    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        terms = toy.noisy_loss(model, batch, generator)
        return (
            terms | {"total": terms["total"] + terms["size"] * bad, "size": terms["size"] * bad} if calls() else terms
        )

    calls = iter([False] * 5 + [True] * 100).__next__
    with pytest.raises(FloatingPointError, match=r"step 5: loss term total, size is not finite; all terms: .*classes"):
        toy.run(STEPS, tmp_path / "training.ckpt", loss=loss, checkpoint_every=1)
    saved = load_checkpoint(tmp_path / "training.ckpt", "toy")
    assert saved.step == 5 and all(torch.isfinite(value).all() for value in saved.model.values())


def test_a_gradient_that_is_not_finite_stops() -> None:
    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        return {"total": (model[6].weight * 0).abs().sqrt().sum()}  # type: ignore[index]  # value 0, slope 0 * inf

    with pytest.raises(FloatingPointError, match="step 0: the gradient is not finite"):
        toy.run(STEPS, loss=loss)


def test_metrics_that_cannot_be_compared_are_errors() -> None:
    with pytest.raises(ValueError, match=r"returned \['accuracy'\]; the metric 'mAP'"):
        toy.run(STEPS, metric="mAP")
    with pytest.raises(FloatingPointError, match="after step 7 the metric 'accuracy' is nan"):
        toy.run(STEPS, validate=lambda model: {"accuracy": math.nan})
    with pytest.raises(ValueError, match="metric is ''"):
        toy.run(STEPS, metric="")
    with pytest.raises(ValueError, match="must have a term 'total'"):
        toy.run(STEPS, loss=lambda model, batch, generator: {"loss": torch.zeros(())})
    with pytest.raises(ValueError, match="allowed: float32, bf16"):
        toy.run(STEPS, precision="float16")


def test_bf16_computes_in_bf16_and_keeps_float32_weights() -> None:
    seen: set[torch.dtype] = set()

    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        seen.add(model(batch["images"]).dtype)
        return toy.noisy_loss(model, batch, generator)

    model, result = toy.run(STEPS, loss=loss, precision="bf16")
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert result.history[-1]["classes"] < 0.8 * result.history[0]["classes"]


@pytest.mark.parametrize("clip", [None, 0.05])
def test_accumulated_micro_batches_equal_the_big_batch(clip: float | None) -> None:
    def loss(model: nn.Module, rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        images, labels = torch.from_numpy(toy.IMAGES[rows]).double(), torch.from_numpy(toy.LABELS[rows])
        return {"total": nn.functional.cross_entropy(model(images), labels)}

    def trained(micro: int) -> nn.Module:
        model = toy.make_model(norm=False).double()
        train(
            model,
            loss,
            lambda i: torch.from_numpy(batch_indices(0, i, 12 // micro, toy.ITEMS, "wrap")),
            steps=10,
            optimizer=make_optimizer(model, "sgd", 0.1, momentum=0.9),
            lr=lr_schedule("step", 10, every=4),
            seed=0,
            accumulate=micro,
            clip_norm=clip,
        )
        return model

    big, small, start = trained(1), trained(4), toy.make_model(norm=False).double()
    for key, value in big.state_dict().items():
        torch.testing.assert_close(small.state_dict()[key], value, rtol=1e-12, atol=1e-14)
        assert not torch.allclose(start.state_dict()[key], value)
