"""Speed of the evaluators."""

from typing import Any

import numpy as np

from pipeline.bench.timing import median_seconds
from pipeline.evaluation.activitynet import evaluate
from pipeline.evaluation.full_size import cpu_seconds
from pipeline.evaluation.segments import GroundTruth, Predictions
from pipeline.evaluation.soft_nms import soft_nms


def evaluation() -> dict[str, Any]:
    """The ActivityNet rule on 45,000 predictions (asked: under a second) and soft-NMS on 5,050 proposals."""
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
        "activitynet_45000_predictions_cpu_s": round(median_seconds(lambda: evaluate(truth, predictions)), 4),
        "soft_nms_5050_proposals_top_100_cpu_ms": round(
            1000 * median_seconds(lambda: soft_nms(ends, scores, top_k=100)), 2
        ),
    }


def protocols() -> dict[str, Any]:
    """Every evaluator at its data set's full size (asked: none takes minutes); CPU seconds of one run."""
    return {"cpu_s": cpu_seconds()}
