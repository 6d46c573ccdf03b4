"""track: link detections to tubes, within shots.

In: detections and shots. Out: one ``tracks`` artifact per video: the detections that belong to a tube, with its number.
Where the data set has boxes of its own, IDF1 and MOTA of people on the test split at the pictures that were searched. A
tube ends at a cut, so there the same person after a cut is another one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage, totals
from stages import _boxes, _outputs

_NOTHING: Mapping[str, np.ndarray] = {
    "picture": np.zeros(0, np.int32),
    "label": np.zeros(0, np.int16),
    "track": np.zeros(0, np.int32),
    "box": np.zeros((0, 4), np.float32),
}


class Track(Section):
    """Section ``track`` of params.yaml."""

    begin_score: float = Field(gt=0, le=1, description="least score of a detection that begins a tube")
    continue_score: float = Field(gt=0, le=1, description="least score of one that continues a tube")
    min_similarity: float = Field(ge=-1, le=1, description="least generalised IoU with the expected box")
    max_gap_s: float = Field(gt=0, description="a tube that was not seen for longer has ended")
    min_length: int = Field(2, ge=1, description="tubes of fewer detections are dropped")
    smoothing: float = Field(0.5, ge=0, lt=1, description="share of the old velocity in the new one")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of the test videos")
    seed: int = Field(0, ge=0)


def units(context: Context) -> Sequence[Unit]:
    """One unit per searched video; its shots must be there."""
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    found = _outputs.existing(context.root, _outputs.DETECTIONS, dataset)
    return [
        Unit(video.id, video.file_stem, (path, context.root / _outputs.SHOTS / path.name))
        for video, path in found.items()
    ]


def track(unit: Unit, params: Track, folder: Path) -> Mapping[str, Any]:
    """Link the detections of one video."""
    from pipeline.video.tracks import link

    detections, shots = unit.inputs
    with kinds.DETECTIONS.open(detections) as reader:
        given, attributes = {name: reader[name] for name in kinds.DETECTIONS.arrays}, reader.attributes
    tubes = link(
        given["t"],
        given["box"],
        given["label"],
        given["score"],
        kinds.SHOTS.read(shots)["t_start"],
        begin_score=params.begin_score,
        continue_score=params.continue_score,
        min_similarity=params.min_similarity,
        max_gap_s=params.max_gap_s,
        min_length=params.min_length,
        smoothing=params.smoothing,
    )
    kept = tubes >= 0
    rows = {name: values if name == "pts" else values[kept] for name, values in given.items()}
    kinds.TRACKS.write(folder / "unit.h5", {**rows, "track": tubes[kept]}, attributes)
    return {"tracks": int(tubes.max(initial=-1)) + 1, "boxes": int(kept.sum())}


def finish(context: Context, folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Count; score the people of the test videos whose boxes are known (one that failed here has found none)."""
    from pipeline.evaluation.tracking import TrackTable, count_tracks, total, track_intervals

    params: Track = context.params
    metrics = totals(records, "tracks", "boxes")
    counts = []
    testing = Dataset.load(context.root / _outputs.DATASET_FILE).subset("testing")
    for video, searched in _outputs.existing(context.root, _outputs.DETECTIONS, testing).items():
        with kinds.DETECTIONS.open(searched) as reader:
            pts, classes = reader["pts"], reader.attributes["classes"]
        given: Mapping[str, np.ndarray] = (
            kinds.TRACKS.read(folder / f"{video.file_stem}.h5") if video.id in records else _NOTHING
        )
        true = _boxes.read_true_boxes(_outputs.truth(context.root, video), pts)
        if true is None or true.classes != tuple(classes.split(",")):
            continue
        ours, theirs = true.label == 0, given["label"] == 0
        counts.append(
            count_tracks(
                TrackTable(true.picture[ours], true.track[ours], true.box[ours]),
                TrackTable(given["picture"][theirs], given["track"][theirs], given["box"][theirs]),
            )
        )
    if not counts or not total(counts).true:
        return metrics
    for name, interval in zip(("IDF1", "MOTA"), track_intervals(counts, params.resamples, params.seed), strict=True):
        metrics |= interval.metrics(name)
    return {**metrics, "switches": float(total(counts).switches), "test_videos": float(len(counts))}


STAGE = VideoStage(
    name="track",
    section=Track,
    reads=(kinds.DETECTIONS, kinds.SHOTS, kinds.TRUTH),
    writes=(kinds.TRACKS,),
    out=_outputs.TRACKS,
    units=units,
    process=track,
    finish=finish,
)

if __name__ == "__main__":
    main("track")
