"""Device choice, threads and deterministic algorithms."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.training.device import device, set_threads, to_device

SCRIPT = """
import sys, torch
from pipeline.training.device import device, set_deterministic, set_threads
set_threads(1)
set_deterministic()
assert device() == torch.device("cpu"), device()
assert torch.get_num_threads() == 1 and torch.are_deterministic_algorithms_enabled()
assert not torch.is_deterministic_algorithms_warn_only_enabled() and not torch.backends.cudnn.benchmark
import pipeline.training.loop, pipeline.training.grid
unwanted = {"pydantic", "mlflow", "av", "h5py", "prefect", "scipy", "cv2", "models", "stages"} & set(sys.modules)
assert not unwanted, unwanted
"""


def test_settings_and_imports_in_a_fresh_process(root: Path) -> None:
    """Hidden devices are not used, and training imports nothing that a bare torch machine lacks."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, cwd=root, env=environment)


def test_device_and_thread_errors() -> None:
    assert device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="threads is 0"):
        set_threads(0)


def test_to_device_keeps_the_structure() -> None:
    batch = {"a": torch.zeros(2), "b": [torch.ones(1), "name"], "c": (1, torch.ones(1))}
    moved = to_device(batch, torch.device("meta"))
    assert moved["a"].device.type == moved["b"][0].device.type == moved["c"][1].device.type == "meta"
    assert moved["b"][1] == "name" and isinstance(moved["c"], tuple) and moved["c"][0] == 1
