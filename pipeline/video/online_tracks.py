"""Online trackers of a library behind the project's form: SORT, ByteTrack and OC-SORT of Roboflow's ``trackers``.

They see picture after picture and never look ahead. The library is optional; only this file names it.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.video.tracks import NO_TRACK

TRACKERS = {"sort": "SORTTracker", "bytetrack": "ByteTrackTracker", "ocsort": "OCSORTTracker"}
"""Names of the library's classes by ours."""

_BEGIN = {
    "sort": "track_activation_threshold",
    "bytetrack": "track_activation_threshold",
    "ocsort": "high_conf_det_threshold",
}
"""What the library calls the least score of a detection that begins a tube."""

_ROUNDING_S = 1e-6  # times that went through a file agree to a microsecond


def link_online(
    pts: NDArray[np.float64],
    picture: NDArray[np.int64],
    box: NDArray[np.float64],
    label: NDArray[np.int64],
    score: NDArray[np.float64],
    shot_start: Sequence[float] | NDArray[np.float64],
    *,
    tracker: str = "bytetrack",
    max_gap_s: float = 1.0,
    begin_score: float | None = None,
    **options: Any,
) -> NDArray[np.int32]:
    """The tube of each detection, int32 [N]: numbers from 0 in the order in which tubes begin, or ``NO_TRACK``.

    Args:
        pts: time of each searched picture in seconds [P], rising; pictures without a detection count too.
        picture: row of ``pts`` that a detection belongs to [N].
        box: x1, y1, x2, y2 in pixels [N, 4].
        label: class index [N]; a tube has one class.
        score: [N].
        shot_start: start of each shot in seconds; no tube is in two of them.
        tracker: of :data:`TRACKERS`.
        max_gap_s: a tube that was not seen for longer has ended.
        begin_score: least score of a detection that begins a tube; None: the library's own.
        options: of the library's class (``minimum_consecutive_frames``, ``minimum_iou_threshold``, ...).

    Raises:
        ValueError: unknown tracker or option, or columns that differ in length.
        ModuleNotFoundError: the library is not installed; the message says how to install it.
    """
    if tracker not in TRACKERS:
        raise ValueError(f"tracker is {tracker!r}; allowed: {', '.join(TRACKERS)}")
    if not len(picture) == len(box) == len(label) == len(score):
        raise ValueError(
            f"{len(picture)} pictures, {len(box)} boxes, {len(label)} labels, {len(score)} scores: not one per row"
        )
    try:
        import supervision
        import trackers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"tracker {tracker!r} needs the libraries trackers and supervision: pip install trackers "
            "(it asks for opencv-python; where opencv-python-headless is installed, add --no-deps and name both)"
        ) from error
    make = getattr(trackers, TRACKERS[tracker])
    fps = 1 / max(float(np.median(np.diff(pts))), _ROUNDING_S) if len(pts) > 1 else 1.0
    # The buffer is counted in pictures at 30 a second and scaled by the rate.
    settings = {"lost_track_buffer": max(1, round(max_gap_s * 30)), "frame_rate": fps, **options}
    if begin_score is not None:
        settings[_BEGIN[tracker]] = begin_score
    shot = np.searchsorted(np.sort(np.asarray(shot_start, np.float64)), np.asarray(pts) + _ROUNDING_S, side="right")
    found: dict[tuple[int, int, int], list[int]] = {}
    for which in np.unique(shot):
        for kind in np.unique(label[np.isin(picture, np.flatnonzero(shot == which))]):
            try:
                one = make(**settings)
            except TypeError as error:
                raise ValueError(f"tracker {tracker!r}: {error}") from error
            for at in np.flatnonzero(shot == which):
                rows = np.flatnonzero((picture == at) & (label == kind))
                given = supervision.Detections(
                    xyxy=np.asarray(box, np.float64)[rows].reshape(-1, 4), confidence=np.asarray(score)[rows],
                    data={"row": rows},
                )  # fmt: skip
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    seen = one.update(given, timestamp=float(pts[at]))
                for row, number in zip(seen.data.get("row", ()), seen.tracker_id if len(seen) else (), strict=True):
                    if number >= 0:
                        found.setdefault((int(which), int(kind), int(number)), []).append(int(row))
    track = np.full(len(picture), NO_TRACK, np.int32)
    for number, tube in enumerate(sorted(found.values(), key=lambda rows: (picture[rows[0]], rows[0]))):
        track[tube] = number
    return track
