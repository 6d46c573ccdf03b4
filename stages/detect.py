"""detect: people and objects in every video at a fixed rate.

In: frames, and the detector. Out: one ``detections`` artifact per video: boxes in source pixels with class, score and
time. Where the data set has boxes of its own, AP50 on the test split, with a percentile bootstrap over its videos.
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
from stages import _boxes, _detector, _outputs


class Detect(Section):
    """Section ``detect`` of params.yaml."""

    fps: float = Field(gt=0, description="pictures searched per second; at most those that were decoded")
    min_score: float = Field(0.05, ge=0, lt=1, description="detections below are dropped")
    max_boxes: int = Field(50, ge=1, description="most detections in a picture")
    batch: int = Field(16, ge=1, description="pictures searched at once")
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
    with torch.inference_mode():
        for start in range(0, len(rows), params.batch):
            pictures = store.pictures("video", rows[start : start + params.batch])
            tensors = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device())
            for number, found in enumerate(detector.detect(tensors), start):
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
    from pipeline.evaluation.detection import BoxTable, mean_ap

    params: Detect = context.params
    metrics = totals(records, "pictures", "boxes")
    spec = _detector.load_spec(context.root / _outputs.DETECTOR)
    truth, found = [], []
    for video in Dataset.load(context.root / _outputs.DATASET_FILE).subset("testing"):
        given = _nothing_found(video.duration_s, params.fps)
        if video.id in records:
            given = kinds.DETECTIONS.read(folder / f"{video.file_stem}.h5")
        true = _boxes.read_true_boxes(_outputs.truth(context.root, video), given["pts"])
        if true is None or not spec.own_boxes:
            continue
        index = np.array([spec.classes.index(name) for name in true.classes])
        truth.append(BoxTable.of(true.picture, index[true.label], true.box))
        found.append(BoxTable.of(given["picture"], given["label"], given["box"], given["score"]))
    if not truth:
        return metrics
    for number, name in enumerate(spec.classes):
        value = mean_ap(truth, found, [number], resamples=0).value
        metrics |= {f"AP50/{name}": value} if np.isfinite(value) else {}
    for name, labels in (("person", [0]), ("objects", range(1, len(spec.classes)))):
        metrics |= mean_ap(truth, found, labels, resamples=params.resamples, seed=params.seed).metrics(f"AP50_{name}")
    return {**metrics, "test_videos": float(len(truth))}


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
