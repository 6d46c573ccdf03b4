"""Scores of people's tubes against their true tracks, at the pictures that were tracked and at one a second."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.datasets.schema import Video
from pipeline.evaluation.hota import hota
from pipeline.evaluation.tracking import TrackTable, count_tracks, total, track_intervals
from pipeline.run import kinds
from stages import _boxes, _outputs

PERSON = "person"


class Scored(NamedTuple):
    """True and found tracks of the people of one video; ``pts`` [P] in seconds are the times of its pictures."""

    pts: np.ndarray
    true: TrackTable
    found: TrackTable


def read(root: Path, video: Video, tracks: Path | None) -> Scored | None:
    """The tracks of a video; ``tracks``: folder of its artifact, None: tracking failed, so nothing was found.

    None where it was not searched, or its boxes or those of people are not known.
    """
    searched = _outputs.artifact(root, _outputs.DETECTIONS, video)
    if not searched.is_file():
        return None
    kind, path = (kinds.TRACKS, tracks / searched.name) if tracks is not None else (kinds.DETECTIONS, searched)
    with kind.open(path) as reader:
        pts, classes = reader["pts"], reader.attributes["classes"].split(",")
        picture, label, box = reader["picture"], reader["label"], reader["box"]
        track = reader["track"] if tracks is not None else np.zeros(0, np.int32)
    true = _boxes.read_true_boxes(_outputs.truth(root, video), pts)
    if true is None or PERSON not in true.classes or PERSON not in classes:
        return None
    ours = true.label == true.classes.index(PERSON)
    theirs = np.flatnonzero(label == classes.index(PERSON)) if tracks is not None else np.zeros(0, np.int64)
    return Scored(
        pts,
        TrackTable(true.picture[ours], true.track[ours], true.box[ours]),
        TrackTable(picture[theirs].astype(np.int64), track[theirs].astype(np.int64), box[theirs].astype(np.float64)),
    )


def each_second(one: Scored) -> Scored:
    """The same at the pictures nearest to the middles of whole seconds."""
    instants = np.arange(0.5, max(one.pts[-1], 1.0), 1.0)
    chosen = np.unique(np.abs(one.pts - instants[:, None]).argmin(axis=1))
    kept = [np.isin(table.picture, chosen) for table in (one.true, one.found)]
    tables = (
        TrackTable(table.picture[rows], table.track[rows], table.box[rows])
        for table, rows in zip((one.true, one.found), kept, strict=True)
    )
    return Scored(one.pts, *tables)


def metrics(videos: Sequence[Scored], resamples: int, seed: int) -> dict[str, float]:
    """IDF1 and MOTA with their intervals over the videos, HOTA and its parts, switches; empty without a true box."""
    counts = [count_tracks(one.true, one.found) for one in videos]
    if not counts or not total(counts).true:
        return {}
    found: dict[str, float] = {}
    slow = [each_second(one) for one in videos]
    idf1, mota = track_intervals(counts, resamples, seed)
    idf1_1hz, _ = track_intervals([count_tracks(one.true, one.found) for one in slow], resamples, seed)
    for name, interval in (("IDF1", idf1), ("MOTA", mota), ("IDF1_1Hz", idf1_1hz)):
        found |= interval.metrics(name)
    found |= dict(zip(("HOTA", "DetA", "AssA"), hota([(one.true, one.found) for one in videos]), strict=True))
    found = {key: value for key, value in found.items() if np.isfinite(value)}  # a metric is a number
    return {**found, "switches": float(total(counts).switches), "test_videos": float(len(counts))}
