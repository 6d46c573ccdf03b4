"""Cuts of the procedural world under shake, flashes and fast pans, which are no cuts."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from pipeline.datasets.world import render_arrays, world_plan
from pipeline.evaluation.shot_boundaries import CutCounts, count_cuts, cuts_of, f1_interval, total
from pipeline.video.decode import Frame
from pipeline.video.shots import find_shots

DISTURBANCES = ("none", "shake", "flashes", "fast", "all")
LEAST_CUTS, SIDE, TOLERANCE_S = 200, 72, 0.1
SEED = 1  # settings were chosen on 48 videos of seeds 0 and 2


def shots() -> dict[str, Any]:
    """F1 of the cuts of at least 200 (asked: 0.97), by detector and by what disturbs; bounds are a bootstrap over videos."""
    settings: dict[str, dict[str, Any]] = {
        "adaptive": {"detector": "adaptive"},
        "content": {"detector": "content", "min_change": 15.0},
    }
    counts: dict[tuple[str, str], list[CutCounts]] = {(n, d): [] for n in settings for d in DISTURBANCES}
    plans = (
        p for subset in ("testing", "validation", "training") for p in world_plan("small", SEED) if p.subset == subset
    )
    cuts = videos = 0
    for plan in plans:
        if cuts >= LEAST_CUTS:
            break
        pictures, truth = render_arrays(plan, None, SIDE)
        true = cuts_of(truth.shot_start)
        cuts, videos = cuts + len(true), videos + 1
        for disturbance in DISTURBANCES:
            seen = list(disturbed(pictures, disturbance, plan.fps, plan.index))
            for name, options in settings.items():
                found = find_shots(seen, duration_s=plan.duration_s, **options)
                counts[name, disturbance].append(count_cuts(true, cuts_of(found.t_start), TOLERANCE_S))
    rows = {
        name: {disturbance: _figures(counts[name, disturbance]) for disturbance in DISTURBANCES} for name in settings
    }
    return {"videos": videos, "true_cuts": cuts, "tolerance_s": TOLERANCE_S, "settings": settings, "detectors": rows}


def disturbed(pictures: np.ndarray, kind: str, fps: float, seed: int) -> Iterator[Frame]:
    """The frames of a video [T, H, W, 3] with a disturbance of :data:`DISTURBANCES` on top.

    shake: the picture jumps by up to 1.5 % of its height each way, frame by frame. flashes: one every 4 s on average, one
    or two frames nearly white. fast: one every 6 s on average, a pan over half the picture and back within a second.
    """
    rng = np.random.default_rng([seed, DISTURBANCES.index(kind)])
    n, height, width, _ = pictures.shape
    shift, gain = np.zeros((n, 2)), np.zeros(n)
    if kind in ("shake", "all"):
        shift += rng.uniform(-0.015, 0.015, (n, 2)) * height
    if kind in ("flashes", "all"):
        for start in np.flatnonzero(rng.random(n) < 1 / (4 * fps)):
            gain[start : start + rng.integers(1, 3)] = rng.uniform(0.6, 0.9)
    if kind in ("fast", "all"):
        length = round(fps)
        for start in np.flatnonzero(rng.random(n - length) < 1 / (6 * fps)):
            way = np.sin(np.pi * np.arange(length) / length) ** 2
            shift[start : start + length, 0] += rng.choice([-1, 1]) * width / 2 * way
    for i, picture in enumerate(pictures):
        if shift[i].any():
            matrix = np.array([[1, 0, shift[i, 0]], [0, 1, shift[i, 1]]])
            picture = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        if gain[i]:
            picture = cv2.addWeighted(picture, 1 - gain[i], np.full_like(picture, 255), gain[i], 0)
        yield Frame(i / fps, picture)


def _figures(counts: list[CutCounts]) -> dict[str, float]:
    summed, interval = total(counts), f1_interval(counts)
    return {
        "F1": round(interval.value, 4),
        "F1_low": round(interval.low, 4),
        "F1_high": round(interval.high, 4),
        "precision": round(summed.precision, 4),
        "recall": round(summed.recall, 4),
    }
