"""The GPU benchmarks at toy size: every network and form runs, and what is written can be repeated."""

import json
import time
from pathlib import Path

import pytest
import torch

from models.catalogue import MODELS
from pipeline.bench import bench, gpu, gpu_backbones, gpu_temporal

CPU = torch.device("cpu")


def test_the_parts_are_the_whole_catalogue() -> None:
    named = [name for names in gpu_backbones.PARTS.values() for name in names]
    assert sorted(named) == sorted(MODELS)


@pytest.mark.parametrize("part", ["tsm", "i3d-thesis", "coarse-fine"])
def test_networks_in_all_forms(part: str, one_thread: None) -> None:
    found = gpu_backbones.gpu_backbones(part, toy=True)
    assert not [row for row in found["rows"] if "failed" in row] and not found["not_measured"]
    asked = {(name, work) for name in gpu_backbones.PARTS[part] for work in ("inference", "training")}
    assert {(row["name"], row["work"]) for row in found["rows"]} == asked
    assert {row["precision"] for row in found["rows"]} == {"float32", "bf16"}
    memory = {(row["name"], row["work"], row["precision"], row["form"]): row["peak_MiB"] for row in found["rows"]}
    for name in gpu_backbones.PARTS[part]:
        assert memory[name, "training", "float32", "eager"] > memory[name, "inference", "float32", "eager"] > 0


def test_temporal_parts_are_written_with_what_repeats_them(tmp_path: Path, root: Path, one_thread: None) -> None:
    for part in gpu_temporal.PARTS:
        assert bench(root, ["gpu-temporal"], part=part, toy=True, out=tmp_path) == 0
        found = json.loads((tmp_path / f"gpu-temporal-{part}.json").read_text())
        assert found["command"] == f"python -m pipeline bench gpu-temporal --part {part} --toy"
        assert {"commit", "date", "device", "torch"} <= set(found) and found["toy"] and found[part]
    fusion = json.loads((tmp_path / "gpu-temporal-fusion.json").read_text())["fusion"]
    assert fusion[0]["relative_difference"] < 1e-6


def test_a_toy_is_not_kept_as_a_figure(tmp_path: Path, one_thread: None) -> None:
    bench(tmp_path, ["gpu-temporal"], part="fusion", toy=True)
    assert not (tmp_path / "reports").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="--toy"):
        gpu_backbones.gpu_backbones("tsm")


def test_unknown_parts_and_misplaced_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="part is 'x4d'; allowed: tsm, x3d"):
        gpu_backbones.gpu_backbones("x4d", toy=True)
    with pytest.raises(ValueError, match=r"--part and --toy belong to gpu-backbones.*named: world"):
        bench(tmp_path, ["world"], toy=True)
    with pytest.raises(ValueError, match="no benchmark 'worlds'"):
        bench(tmp_path, ["worlds"])


def test_the_busy_share_counts_overlapping_kernels_once() -> None:
    assert gpu.covered([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.5, 5.6)]) == 4.0
    assert gpu.busy(lambda: time.sleep(0.2), CPU) < 0.5


def test_a_failure_is_a_finding_and_what_had_no_time_is_named() -> None:
    row: gpu.Row = {}
    with gpu.failure_in(row):
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert row["failed"].startswith("RuntimeError: ") and "mat1 and mat2" in row["failed"]
    left: list[str] = []
    assert list(gpu.within(["a", "b"], left, limit_s=0)) == [] and left == ["a", "b"]
