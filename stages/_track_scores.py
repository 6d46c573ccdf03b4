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
_NEARLY_S = 0.75
"""Pictures at least as far apart are key frames, one a second, each shown by the picture nearest to it."""


class Scored(NamedTuple):
    """True and found tracks of the people of one video at its P pictures whose truth is known, at ``pts`` [P] seconds."""

    pts: np.ndarray
    true: TrackTable
    found: TrackTable


def read(root: Path, video: Video, tracks: Path | None) -> Scored | None:
    """The tracks of a video; ``tracks``: folder of its artifact, None: tracking failed, so nothing was found.

    None where it was not searched, or its boxes or those of people are not known at any picture.
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
    if true is None or not true.known.any() or PERSON not in true.classes or PERSON not in classes:
        return None
    ours = true.label == true.classes.index(PERSON)
    theirs = np.zeros(0, np.int64)
    if tracks is not None:
        theirs = np.flatnonzero((label == classes.index(PERSON)) & true.known[picture])
    number = np.cumsum(true.known) - 1  # of a picture among those that are known
    return Scored(
        pts[true.known],
        TrackTable(number[true.picture[ours]], true.track[ours], true.box[ours]),
        TrackTable(number[picture[theirs]], track[theirs].astype(np.int64), box[theirs].astype(np.float64)),
    )


def each_second(one: Scored) -> Scored:
    """The same at the pictures nearest to the middles of whole seconds, or at all where they are about a second apart."""
    if (np.diff(one.pts) > _NEARLY_S).all():
        return one
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
