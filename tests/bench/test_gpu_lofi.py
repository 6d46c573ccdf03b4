"""LoFi's GPU benchmark at toy size: every fidelity in every form, and the loop that processes feed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.bench import bench, gpu_lofi
from pipeline.datasets.snippets import snippet_indices
from pipeline.datasets.world import world_plan
from pipeline.training.grid import Grid
from tests.test_architecture import NOT_ON_A_LIGHT_MACHINE


def test_the_papers_shapes() -> None:
    found = {kind: gpu_lofi.shape_of(kind, gpu_lofi.PAPER.full) for kind in ("s", "t", "st", "full")}
    assert found == {
        "s": Grid(16, 100, 112, 112), "t": Grid(16, 25, 224, 224), "st": Grid(16, 50, 158, 158),
        "full": Grid(16, 100, 224, 224),
    }  # fmt: skip


@pytest.mark.parametrize("part", ["full", pytest.param("t", marks=pytest.mark.slow)])
def test_a_fidelity_in_all_forms(part: str, tmp_path: Path, root: Path, one_thread: None) -> None:
    assert bench(root, ["gpu-lofi"], part=part, toy=True, out=tmp_path) == 0
    written = json.loads((tmp_path / f"gpu-lofi-{part}.json").read_text())
    assert {"commit", "date", "device", "command"} <= set(written)
    found = written[part]
    assert not found["not_measured"] and not [row for row in found["rows"] if "failed" in row]
    assert len(found["rows"]) == len(gpu_lofi.FORMS) * (3 if part == "full" else 2)
    for row in found["rows"]:
        assert row["videos_per_s"] == pytest.approx(row["batch"] / row["s"])
    peak = {(row["batch"], row["chunk"]): row for row in found["rows"] if row["precision"] == "float32"}
    if part == "full":
        assert peak[2, 4]["peak_MiB"] < peak[2, None]["peak_MiB"]


def test_the_loop_is_fed_by_processes(one_thread: None) -> None:
    found = gpu_lofi.gpu_lofi("fed", toy=True)["fed"]
    assert "failed" not in found
    assert 0 <= found["waiting_share"] <= 1 and 0 < found["busy"] <= 1
    assert found["frames_per_s"] > 0 and found["loader_alone_frames_per_s"] > 0


def test_snippets_are_cut_from_one_window_and_differ_by_step() -> None:
    cut = gpu_lofi.Cut(Grid(2, 4, 32, 32), 2)
    batch = np.zeros(cut.shape(0), np.uint8)
    for item, out in enumerate(batch):
        cut(0, item, out)
    again = np.zeros_like(batch)
    cut(0, 1, again[1])
    assert np.array_equal(again[1], batch[1]) and batch.any()
    cut(1, 1, again[1])
    assert not np.array_equal(again[1], batch[1])


def test_snippets_are_those_of_the_reader() -> None:
    """The nearest stored frames to the times that a snippet has by LoFi's rule."""
    grid = Grid(1, 6, 32, 32)
    cut = gpu_lofi.Cut(grid, 1)
    pictures, wanted, which = cut._videos[0]
    pts = np.arange(len(pictures)) / gpu_lofi.RATE
    plan = next(plan for plan in world_plan("medium", 0) if plan.subset == "training")
    expected = snippet_indices(pts, plan.duration_s, grid.T, gpu_lofi.FRAMES, gpu_lofi.WINDOW_S)
    assert np.abs(wanted[which.reshape(expected.shape)] - expected).max() == 0


def test_the_memory_format_is_put_back() -> None:
    own = gpu_lofi.tsm.image_format
    with gpu_lofi.memory_format("contiguous"):
        assert gpu_lofi.tsm.image_format(64) is torch.contiguous_format
    assert gpu_lofi.tsm.image_format is own


def test_it_imports_on_a_light_machine(root: Path) -> None:
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {(*NOT_ON_A_LIGHT_MACHINE, "safetensors")!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import pipeline.bench.gpu_lofi
from pipeline.cli import main
try:
    main(["bench", "gpu-lofi", "--part", "nine", "--toy"])
except SystemExit as end:
    assert "allowed: s, t, st, full, fed" in str(end.code), end.code
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
