"""track: link detections to tubes, within shots.

In: detections and shots. Out: one ``tracks`` artifact per video: the detections that belong to a tube, with its number.
Where the data set has boxes of its own, IDF1, MOTA and HOTA of people on the test split at the pictures that were tracked,
and IDF1 at one picture a second. A tube ends at a cut, so there the same person after a cut is another one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage, totals
from pipeline.video.tracks import NO_TRACK, link, of_length
from stages import _outputs, _track_scores


class Online(Section):
    """A tracker of the optional library ``trackers`` that goes picture by picture."""

    tracker: Literal["bytetrack", "sort", "ocsort"] = "bytetrack"


class Linking(Section):
    """By appearance, as AVA's boxes were linked (thesis, section 8.2.3); needs ``detect.regions``."""

    fps: float = Field(1.0, gt=0, description="key frames per second; only their boxes are in tubes")
    min_similarity: float = Field(0.5, ge=-1, le=1, description="least cosine of the features of two boxes")


class Track(Section):
    """Section ``track`` of params.yaml."""

    method: Literal["hungarian", "online", "linking"] = Field(
        "hungarian", description="by place (own), by a library's tracker, or by appearance"
    )
    begin_score: float = Field(gt=0, le=1, description="least score of a detection that begins a tube; linking: of all")
    continue_score: float = Field(gt=0, le=1, description="least score of one that continues a tube")
    min_similarity: float = Field(ge=-1, le=1, description="hungarian: least generalised IoU with the expected box")
    max_gap_s: float = Field(gt=0, description="a tube that was not seen for longer has ended")
    min_length: int = Field(2, ge=1, description="tubes of fewer detections are dropped")
    smoothing: float = Field(0.5, ge=0, lt=1, description="hungarian: share of the old velocity in the new one")
    online: Online = Online()
    linking: Linking = Linking()
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
    detections, shots = unit.inputs
    with kinds.DETECTIONS.open(detections) as reader:
        given, attributes = (
            {name: reader[name] for name in kinds.DETECTIONS.arrays if name in reader},
            reader.attributes,
        )
    embedding = given.pop("embedding", None)
    if params.method == "linking":
        if embedding is None:
            raise ValueError("the detections hold no features; track.method: linking needs detect.regions.layer")
        given, kept = at_key_frames(given, attributes["duration_s"], params.linking.fps)
        embedding = embedding[kept]
    tubes = tubes_of(given, embedding, kinds.SHOTS.read(shots)["t_start"], params)
    found = tubes >= 0
    rows = {name: values if name == "pts" else values[found] for name, values in given.items()}
    kinds.TRACKS.write(folder / "unit.h5", {**rows, "track": tubes[found]}, attributes)
    return {"tracks": int(tubes.max(initial=NO_TRACK)) + 1, "boxes": int(found.sum())}


def tubes_of(
    given: Mapping[str, np.ndarray], embedding: np.ndarray | None, shot_start: np.ndarray, params: Track
) -> np.ndarray:
    """The tube of each detection, int32 [N], by ``params.method``; ``NO_TRACK`` where it has none."""
    t, box, label, score = (given[name] for name in ("t", "box", "label", "score"))
    if params.method == "hungarian":
        return link(
            t, box, label, score, shot_start, begin_score=params.begin_score, continue_score=params.continue_score,
            min_similarity=params.min_similarity, max_gap_s=params.max_gap_s, min_length=params.min_length,
            smoothing=params.smoothing,
        )  # fmt: skip
    tubes = np.full(len(t), NO_TRACK, np.int32)
    if params.method == "online":
        from pipeline.video.online_tracks import link_online

        kept = score >= params.continue_score
        tubes[kept] = link_online(
            given["pts"], given["picture"][kept], box[kept], label[kept], score[kept], shot_start,
            tracker=params.online.tracker, max_gap_s=params.max_gap_s, begin_score=params.begin_score,
        )  # fmt: skip
        return of_length(tubes, params.min_length)
    from pipeline.video.embedding_links import link_by_embedding

    assert embedding is not None, "the caller says where there is none"
    kept = score >= params.begin_score
    tubes[kept] = link_by_embedding(
        t[kept], embedding[kept], label[kept], shot_start, min_similarity=params.linking.min_similarity,
        # Searched pictures are not exactly at the key frames' instants: neighbours may be up to half as far again apart.
        max_gap_s=max(params.max_gap_s, 1.5 / params.linking.fps), min_length=params.min_length,
    )  # fmt: skip
    return tubes


def at_key_frames(
    given: Mapping[str, np.ndarray], duration_s: float, fps: float
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The detections at the pictures nearest to the middles of equal parts of the video, and the rows that these are."""
    instants = np.arange(0.5 / fps, max(duration_s, 1 / fps), 1 / fps)
    pictures = np.unique(np.abs(given["pts"] - instants[:, None]).argmin(axis=1))
    rows = np.flatnonzero(np.isin(given["picture"], pictures))
    chosen = {name: values[rows] for name, values in given.items() if name != "pts"}
    renumbered = np.searchsorted(pictures, chosen["picture"]).astype(np.int32)
    return {**chosen, "pts": given["pts"][pictures], "picture": renumbered}, rows


def finish(context: Context, folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Count; score the people of the test videos whose boxes are known (one that failed here has found none)."""
    params: Track = context.params
    metrics = totals(records, "tracks", "boxes")
    videos = Dataset.load(context.root / _outputs.DATASET_FILE).subset("testing")
    scored = [
        one
        for video in videos
        if (one := _track_scores.read(context.root, video, folder if video.id in records else None)) is not None
    ]
    return {**metrics, **_track_scores.metrics(scored, params.resamples, params.seed)}


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
