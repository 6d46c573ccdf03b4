"""COCO box AP by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.detection import BoxTable

NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
"""Average precision over IoU 0.5:0.05:0.95, at 0.5, at 0.75, and by size (areas to 32 x 32, to 96 x 96, above)."""


def coco_ap(truth: Sequence[BoxTable], found: Sequence[BoxTable], classes: Sequence[str]) -> dict[str, float]:
    """COCO's figures in 0..1, -1 where COCO says -1 (no such boxes).

    Args:
        truth: true boxes x1, y1, x2, y2 in pixels, one table per video, pictures numbered within it.
        found: detections of the same videos.
        classes: names; labels of the tables index them.
    """
    from pycocotools.coco import COCO  # late: it imports matplotlib

    dataset = COCO()
    pictures: dict[tuple[int, int], int] = {}
    annotations = [
        {**_entry(pictures, video, table, row), "id": 0, "iscrowd": 0}
        for video, table in enumerate(truth)
        for row in range(len(table.label))
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    results = [
        {**_entry(pictures, video, table, row), "score": float(table.score[row])}
        for video, table in enumerate(found)
        for row in range(len(table.label))
    ]
    dataset.dataset = {
        "info": {},  # newer releases copy it without asking whether it is there
        "images": [{"id": number} for number in pictures.values()],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        dataset.createIndex()
        if not results:
            return dict.fromkeys(NAMES, 0.0)
        return _figures(dataset, dataset.loadRes(results))


def _entry(pictures: dict[tuple[int, int], int], video: int, table: BoxTable, row: int) -> dict[str, Any]:
    x1, y1, x2, y2 = np.asarray(table.box[row], np.float64).tolist()
    picture = pictures.setdefault((video, int(table.picture[row])), len(pictures) + 1)
    width, height = x2 - x1, y2 - y1
    return {
        "image_id": picture,
        "category_id": int(table.label[row]),
        "bbox": [x1, y1, width, height],
        "area": width * height,
    }


def coco_files(truth: Path, results: Path) -> dict[str, float]:
    """The same figures of a COCO annotation file and a results file."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO(str(truth))
        return _figures(dataset, dataset.loadRes(str(results)))


def _figures(dataset: Any, results: Any) -> dict[str, float]:
    from pycocotools.cocoeval import COCOeval

    evaluator = COCOeval(dataset, results, "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return dict(zip(NAMES, (float(value) for value in evaluator.stats[:6]), strict=True))
