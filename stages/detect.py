"""detect: people and objects in every video at a fixed rate.

In: frames, and the detector. Out: one ``detections`` artifact per video: boxes in source pixels with class, score and
time, and on request the feature of each region. Where the data set has boxes of its own, AP50 on the test split, with a
percentile bootstrap over its videos, and COCO's AP, of the classes that both know.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage, totals
from stages import _box_scores, _boxes, _detector, _outputs

F16_MOST = 65504.0
"""The largest number of half precision."""


class Regions(Section):
    """Features of the boxes, stored with them; ``track.method: linking`` needs them."""

    layer: str = Field("", description="map of the detector (p2, p3, ...), or own: its pooler; empty: none are stored")
    size: int = Field(7, ge=1, description="cells of an aligned region, each way")


class Detect(Section):
    """Section ``detect`` of params.yaml."""

    fps: float = Field(gt=0, description="pictures searched per second; at most those that were decoded")
    min_score: float = Field(0.05, ge=0, lt=1, description="detections below are dropped")
    max_boxes: int = Field(50, ge=1, description="most detections in a picture")
    batch: int = Field(16, ge=1, description="pictures searched at once")
    regions: Regions = Regions()
    threads: int = Field(1, ge=1, description="torch threads of each process; part of what makes equal bytes")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of the test videos")
    seed: int = Field(0, ge=0)


def units(context: Context) -> Sequence[Unit]:
    """One unit per decoded video outside the auxiliary subset."""
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    detector = context.root / _outputs.DETECTOR
    files = (detector / _detector.WEIGHTS_FILE, detector / _detector.SPEC_FILE)
    frames = _outputs.existing(context.root, _outputs.FRAMES, (v for v in dataset if v.subset != "auxiliary"))
    return [
        Unit(video.id, video.file_stem, (path, *files), {"width": video.width, "height": video.height})
        for video, path in frames.items()
    ]


def detect(unit: Unit, params: Detect, folder: Path) -> Mapping[str, Any]:
    """Search the pictures of one video."""
    import torch

    from models.detectors.regions import region_features
    from pipeline.datasets.snippets import FrameStore, frame_indices
    from pipeline.training.device import device

    frames, weights, _ = unit.inputs
    detector, spec = _loaded(weights.parent, weights.stat().st_mtime_ns, params)
    store = FrameStore({"video": frames})
    stored = store.attributes("video")
    times = np.arange(0.0, stored["duration_s"], 1 / params.fps)
    rows = np.unique(frame_indices(store.pts("video"), times))
    scale = np.array([unit.spec["width"] / stored["width"], unit.spec["height"] / stored["height"]] * 2)
    picture, box, label, score = [], [np.zeros((0, 4))], [], []
    embedding: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(rows), params.batch):
            pictures = store.pictures("video", rows[start : start + params.batch])
            tensors = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device())
            pages = detector.detect(tensors)
            if params.regions.layer:
                boxes = [found.boxes for found in pages]
                features = region_features(detector, tensors, boxes, params.regions.layer, params.regions.size)
                embedding.append(features.clamp(-F16_MOST, F16_MOST).half().cpu().numpy())
            for number, found in enumerate(pages, start):
                boxes, labels, scores = (value.cpu().numpy() for value in found)
                picture += [number] * len(boxes)
                box.append(boxes * scale)
                label += labels.tolist()
                score += scores.tolist()
    pts = store.pts("video")[rows]
    numbers = np.array(picture, np.int32)
    kinds.DETECTIONS.write(
        folder / "unit.h5",
        {
            "pts": pts,
            "picture": numbers,
            "t": pts[numbers],
            "box": np.concatenate(box),
            "label": np.array(label, np.int16),
            "score": np.array(score, np.float32),
            **({"embedding": np.concatenate(embedding)} if embedding else {}),
        },
        {"classes": ",".join(spec.classes), **unit.spec, "duration_s": stored["duration_s"]},
    )
    return {"pictures": len(rows), "boxes": len(numbers)}


@lru_cache(maxsize=1)
def _loaded(folder: Path, _changed: int, params: Detect) -> tuple[Any, _detector.DetectorSpec]:
    # Once per process: a pool's worker searches many videos.
    from pipeline.training.device import device, set_deterministic, set_threads

    set_threads(params.threads)
    set_deterministic(strict=False)
    detector, spec = _detector.load(folder, min_score=params.min_score, max_boxes=params.max_boxes)
    return detector.to(device()), spec


def finish(context: Context, folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Count; score the test videos whose boxes are known (one that failed has found none)."""
    params: Detect = context.params
    metrics = totals(records, "pictures", "boxes")
    known, shared, videos = _detector.load_spec(context.root / _outputs.DETECTOR).classes, [], []
    for video in Dataset.load(context.root / _outputs.DATASET_FILE).subset("testing"):
        given = _nothing_found(video.duration_s, params.fps)
        if video.id in records:
            given = kinds.DETECTIONS.read(folder / f"{video.file_stem}.h5")
        true = _boxes.read_true_boxes(_outputs.truth(context.root, video), given["pts"])
        if true is not None and true.known.any() and (shared := _box_scores.shared_classes(known, true.classes)):
            videos.append(_box_scores.scored(true, given, known))
    if not videos:
        return metrics
    scores = _box_scores.box_metrics(videos, shared, params.resamples, params.seed)
    return {**metrics, **scores, "test_videos": float(len(videos))}


def _nothing_found(duration_s: float, fps: float) -> dict[str, Any]:
    return {"pts": np.arange(0.0, duration_s, 1 / fps), "picture": [], "label": [], "box": [], "score": []}


def _entries(_params: Any, root: Path, _variant: str) -> Sequence[str]:
    return [_detector.table_entry(_detector.load_spec(root / _outputs.DETECTOR).network)]


STAGE = VideoStage(
    name="detect",
    section=Detect,
    reads=(kinds.FRAMES, kinds.TRUTH),
    writes=(kinds.DETECTIONS,),
    needs="gpu",
    code=_entries,
    out=_outputs.DETECTIONS,
    units=units,
    process=detect,
    finish=finish,
)

if __name__ == "__main__":
    main("detect")
