"""Benchmarks: ``python -m pipeline bench [NAME...]`` writes ``reports/bench/<name>.json``. A door, like the cli.

CPU seconds of one thread; each figure is the median of several runs, and ratios are of runs that alternate.
"""

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline import bench_decode, bench_storage
from pipeline.bench_compressed import extraction
from pipeline.run.files import write_json

Figures = dict[str, Any]


def bench(root: Path, names: Sequence[str]) -> int:
    """Run the named benchmarks (all without names) and write one JSON each.

    Raises:
        ValueError: unknown name.
    """
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise ValueError(f"there is no benchmark {unknown[0]!r}; benchmarks: {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        figures = {"command": f"python -m pipeline bench {name}", **_where(root), **BENCHMARKS[name]()}
        variant = figures.pop("variant", None)  # of the machine, where a benchmark is worth keeping for several
        write_json(root / "reports" / "bench" / f"{name}{f'-{variant}' if variant else ''}.json", figures)
        print(f"{name}: {json.dumps(figures)}")
    return 0


def world() -> Figures:
    """Rendering and H.264 encoding of the procedural world: seconds of video per CPU second (asked: 10)."""
    from pipeline.datasets.world import world_plan, write_video

    rows = {}
    with tempfile.TemporaryDirectory() as temp:
        for size in ("tiny", "small", "medium"):
            plans = [p for p in world_plan(size, seed=1) if p.subset == "testing"][:4]
            rates = [
                plan.duration_s / _cpu(lambda plan=plan: write_video(plan, Path(temp) / "v.mp4", Path(temp) / "t.h5"))  # type: ignore[misc]
                for plan in plans
            ]
            rows[size] = {"times_real_time_per_core": round(statistics.median(rates), 1), "videos": len(plans)}
    return {"sizes": rows}


def evaluation() -> Figures:
    """The ActivityNet rule on 45,000 predictions (asked: under a second) and soft-NMS on 5,050 proposals."""
    import numpy as np

    from pipeline.evaluation.activitynet import evaluate
    from pipeline.evaluation.segments import GroundTruth, Predictions
    from pipeline.evaluation.soft_nms import soft_nms

    rng = np.random.default_rng(0)
    videos = [f"v{i}" for i in range(4728)]
    start = rng.uniform(0, 100, 7293)
    truth = GroundTruth.from_rows(
        videos, [(videos[i % 4728], f"c{i % 200}", s, s + 20.0) for i, s in enumerate(start.tolist())]
    )
    chosen = rng.integers(0, 7293, 45000)
    rows = [
        (videos[i % 4728], f"c{i % 200}", float(start[i] + shift), float(start[i] + shift + 20), float(score))
        for i, shift, score in zip(chosen.tolist(), rng.normal(0, 5, 45000), rng.random(45000), strict=True)
    ]
    predictions = Predictions.from_rows(rows)
    ends = np.sort(rng.random((5050, 2)), axis=1)
    scores = rng.random(5050)
    return {
        "activitynet_45000_predictions_cpu_s": round(_median(lambda: evaluate(truth, predictions)), 4),
        "soft_nms_5050_proposals_top_100_cpu_ms": round(1000 * _median(lambda: soft_nms(ends, scores, top_k=100)), 2),
    }


def protocols() -> Figures:
    """Every evaluator at its data set's full size (asked: none takes minutes); CPU seconds of one run."""
    from pipeline.evaluation.full_size import cpu_seconds

    return {"cpu_s": cpu_seconds()}


def sgalign() -> Figures:
    """SGAlign with its 1x1 convolution, plain against fused: forward and backward, L = 100, one video, one thread."""
    import torch

    from models.heads.sgalign import SGAlign
    from pipeline.training.device import set_threads
    from pipeline.training.memory import TracedMemory, measured_peak

    set_threads(1)
    rows: Figures = {}
    modules = {form: SGAlign(256, 512, 32, 4, "fixed", form) for form in ("plain", "fused")}
    modules["plain"].load_state_dict(modules["fused"].state_dict())
    features = torch.randn(2, 1, 256, 100, requires_grad=True)
    gradient = torch.randn(1, 5050, 512)

    def step(form: str) -> None:
        modules[form].zero_grad(set_to_none=True)
        features.grad = None
        modules[form](features[0], features[1], 100).backward(gradient)

    for form in ("fused", "plain"):
        step(form)
        peak = measured_peak(lambda form=form: step(form), torch.device("cpu"))  # type: ignore[misc]
        with torch.no_grad(), TracedMemory() as traced:
            modules[form](features[0], features[1], 100)
        rows[form] = {
            "cpu_s": round(_median(lambda form=form: step(form), 3), 4),  # type: ignore[misc]
            "peak_MiB": round(peak / 2**20, 1),
            "largest_tensor_MiB": round(traced.largest / 2**20, 2),
        }
    # As published, anchors that end outside the video are aligned as well: [256, 100 x 100, 36].
    rows["published_tensor_MiB"] = round(256 * 100 * 100 * 36 * 4 / 2**20, 1)
    rows["speed_up"] = round(rows["plain"]["cpu_s"] / rows["fused"]["cpu_s"], 1)
    rows["peak_ratio"] = round(rows["plain"]["peak_MiB"] / rows["fused"]["peak_MiB"], 1)
    rows["largest_tensor_ratio"] = round(rows["published_tensor_MiB"] / rows["fused"]["largest_tensor_MiB"], 1)
    with torch.no_grad():
        plain, fused = (modules[form](features[0], features[1], 100) for form in ("plain", "fused"))
        rows["relative_difference"] = float((plain - fused).norm() / plain.norm())
    return rows


def bank_ava() -> Figures:
    """Feature banks of AVA's size, written and read at random (asked: bounded memory, a window in under a millisecond)."""
    from pipeline.bench_bank import measure_banks

    return measure_banks(videos=300, seconds=900, mean_people=3, dim=2048)


def replay() -> Figures:
    """Gradient replay against direct training: memory by phase and L, time, gradient."""
    from pipeline import bench_training

    return bench_training.replay()


def plan() -> Figures:
    """The memory planner's prediction against the allocator's peak."""
    from pipeline import bench_training

    return bench_training.plan()


def sgs() -> Figures:
    """X3D-S with SGS against X3D-S: frames per second (asked: 1.2 times on a CPU, 1.5 times on a GPU)."""
    from pipeline.bench_sgs import sgs

    return sgs()


def multigrid() -> Figures:
    """Multigrid training against its baseline: how many times fewer steps and seconds (the thesis: 3.4 and 4.5)."""
    from pipeline.bench_multigrid import multigrid_figures

    return multigrid_figures()


def fusion() -> Figures:
    """Multi-stage Fusion of a 224 px video, 128 fine and 33 coarse frames: here at 7 x 7 against the released sizes."""
    import torch

    from models.temporal.fusion import MultiStageFusion, coarse_gaussians
    from pipeline.training.device import set_threads

    set_threads(1)
    channels, sizes = (24, 48, 96, 192), (56, 28, 14, 7)
    module = MultiStageFusion(channels, 432, 157).eval()
    fine = [torch.randn(1, c, 128, 7, 7) for c in channels]
    coarse = [torch.randn(1, c, 33, s, s) for c, s in zip(channels, sizes, strict=True)]
    gaussians = coarse_gaussians(torch.linspace(0, 127, 33)[None], torch.tensor([128]), 128)

    def run(reference: bool) -> list[torch.Tensor]:
        module.reference_form = reference
        with torch.inference_mode():
            prepared = module.prepare(fine, gaussians, [x.shape[3:] for x in coarse])
            return [module.fuse(i, x, prepared) for i, x in enumerate(coarse)]

    small, large = run(False), run(True)
    seconds = {
        "here": round(_median(lambda: run(False), 3), 4),
        "released_sizes": round(_median(lambda: run(True), 3), 4),
    }
    return {
        "cpu_s": seconds,
        "speed_up": round(seconds["released_sizes"] / seconds["here"], 1),
        "relative_difference": max(float((a - b).norm() / b.norm()) for a, b in zip(small, large, strict=True)),
    }


BENCHMARKS: dict[str, Callable[[], Figures]] = {
    "world": world,
    "evaluation": evaluation,
    "protocols": protocols,
    "sgalign": sgalign,
    "compressed-extraction": extraction,
    "decode-stage": bench_decode.decode_stage,
    "decode-memory": bench_decode.decode_memory,
    "decode-storage": bench_storage.storage,
    "loader-clips": bench_decode.loader,
    "bank-ava": bank_ava,
    "replay": replay,
    "plan": plan,
    "sgs": sgs,
    "multigrid": multigrid,
    "fusion": fusion,
}


def _cpu(action: Callable[[], Any]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def _median(action: Callable[[], Any], runs: int = 5) -> float:
    action()
    return statistics.median(_cpu(action) for _ in range(runs))


def _where(root: Path) -> Figures:
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "commit": done.stdout.strip() or "unknown",
        "machine": f"{os.cpu_count()} x {platform.machine()}",
        "date": time.strftime("%Y-%m-%d"),
    }
