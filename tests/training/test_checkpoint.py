"""The training checkpoint: whole or not there, refused when damaged or foreign."""

import resource
from pathlib import Path

import pytest
import torch

from pipeline.training.checkpoint import CheckpointError, TrainingState, load_checkpoint, save_checkpoint


def state(step: int) -> TrainingState:
    return TrainingState(
        step=step,
        model={"weight": torch.full((50, 100), float(step)), "half": torch.ones(3, dtype=torch.bfloat16)},
        optimizer={"state": {0: {"momentum_buffer": torch.arange(4.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        history=[{"step": step, "total": 0.5}],
        best_step=step,
        best_value=0.25,
        best_state={"weight": torch.zeros(2)},
    )


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "training.ckpt"
    save_checkpoint(path, state(7), "abc")
    loaded = load_checkpoint(path, "abc")
    assert (loaded.step, loaded.best_step, loaded.best_value, loaded.history) == (
        7,
        7,
        0.25,
        [{"step": 7, "total": 0.5}],
    )
    assert torch.equal(loaded.model["weight"], state(7).model["weight"])
    assert loaded.model["half"].dtype == torch.bfloat16
    assert torch.equal(loaded.optimizer["state"][0]["momentum_buffer"], torch.arange(4.0))
    assert [p.name for p in path.parent.iterdir()] == ["training.ckpt"]


def test_interrupted_write_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "training.ckpt"
    save_checkpoint(path, state(1), "abc")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the kernel ends the write after 4 KiB
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(path, state(2), "abc")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(path, "abc").step == 1
    assert [p.name for p in tmp_path.iterdir()] == ["training.ckpt"]


def test_every_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "training.ckpt"
    save_checkpoint(path, state(1), "abc")
    intact = path.read_bytes()
    for position in range(0, len(intact), len(intact) // 50):
        damaged = bytearray(intact)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"training\.ckpt"):
            load_checkpoint(path, "abc")
    for broken in (intact[:-1], intact[: len(intact) // 2], intact[:10], b"", b"not a checkpoint at all"):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="delete it"):
            load_checkpoint(path, "abc")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none", "abc")


def test_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.ckpt"
    save_checkpoint(path, state(1), "lr 0.1")
    with pytest.raises(CheckpointError, match=r"'lr 0\.1'.*'lr 0\.2'"):
        load_checkpoint(path, "lr 0.2")
