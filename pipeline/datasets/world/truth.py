"""Every ground truth of a video at once: segments, frame labels, boxes and tracks, shots, video labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.datasets.schema import Segment
from pipeline.datasets.world.actions import CHEST_FLOOR, CHEST_SIZE
from pipeline.datasets.world.body import HEAD_RADIUS
from pipeline.datasets.world.camera import Camera
from pipeline.datasets.world.motion import Tracks
from pipeline.datasets.world.plan import BOX_CLASSES, CLASSES, PEOPLE, RELATIONS, PlannedVideo
from pipeline.datasets.world.script import Script
from pipeline.run.kinds import TRUTH

_CHEST_TRACK = 60
_LEAST_SEEN = 0.3


@dataclass(frozen=True)
class Truth:
    """Ground truth of T frames. Times in seconds, boxes (x1, y1, x2, y2) in pixels of the picture.

    ``pts`` [T]; ``labels`` [T, classes] 0/1; ``box_frame`` [B] row of ``pts``; ``box`` [B, 4]; ``box_class`` [B] index
    of BOX_CLASSES; ``box_track`` [B], one id for the same person or thing over the whole video, across cuts;
    ``box_action`` [B, classes] 0/1, what the person in the box does (both who meet); none of things and passers-by;
    ``shot_start`` [shots]; ``segments``; ``video_labels``. Boxes show the whole figure, also where something is in
    front of it, cut off at the picture's edge.
    """

    pts: np.ndarray
    labels: np.ndarray
    box_frame: np.ndarray
    box: np.ndarray
    box_class: np.ndarray
    box_track: np.ndarray
    box_action: np.ndarray
    shot_start: np.ndarray
    segments: tuple[Segment, ...]
    video_labels: dict[str, str]

    def write(self, path: Path) -> None:
        """Write the dense truths as an artifact of kind ``truth``, atomically."""
        TRUTH.write(
            path,
            {"pts": self.pts, "labels": self.labels, "box_frame": self.box_frame, "box": self.box,
             "box_class": self.box_class, "box_track": self.box_track, "box_action": self.box_action,
             "shot_start": self.shot_start},
            {"box_classes": ",".join(BOX_CLASSES), "label_classes": "\n".join(CLASSES)},
        )  # fmt: skip


def make_truth(
    script: Script, tracks: Tracks, camera: Camera, frames: np.ndarray | None = None, height: int | None = None
) -> Truth:
    """Ground truth of a script at ``frames`` (all by default), boxes for pictures of ``height`` pixels."""
    plan = script.plan
    rows = np.arange(plan.n_frames) if frames is None else np.asarray(frames)
    labels = np.zeros((plan.n_frames, len(CLASSES)), np.uint8)
    segments = []
    for event in script.events:
        if event.label is not None:
            labels[event.start : event.stop, CLASSES.index(event.label)] = 1
            segments.append(Segment(event.label, event.start / plan.fps, event.stop / plan.fps))
    frame, box, kind, track = _boxes(script, tracks, camera, rows, height or plan.height)
    return Truth(
        pts=rows / plan.fps, labels=labels[rows], box_frame=frame, box=box, box_class=kind, box_track=track,
        box_action=_actions(script, rows[frame], track),
        shot_start=np.array([shot.start / plan.fps for shot in script.shots]), segments=tuple(segments),
        video_labels=video_labels(plan, script),
    )  # fmt: skip


def video_labels(plan: PlannedVideo, script: Script) -> dict[str, str]:
    """The three video labels. ``relation`` is the closest that anybody got to each other in the whole video."""
    happened = {event.label for event in script.events}
    relation = RELATIONS[2 if "hand_over" in happened else 1 if "shake_hands" in happened else 0]
    return {"place": plan.place, "people": PEOPLE[plan.people - 1], "relation": relation}


def _actions(script: Script, frame: np.ndarray, track: np.ndarray) -> np.ndarray:
    """What is done [B, classes] in the boxes of tracks ``track`` [B] at the video's frames ``frame`` [B]."""
    action = np.zeros((len(frame), len(CLASSES)), np.uint8)
    for event in script.events:
        if event.label is not None:
            theirs = np.isin(track, [script.people[who].track for who in event.who])
            action[theirs & (frame >= event.start) & (frame < event.stop), CLASSES.index(event.label)] = 1
    return action


def _boxes(
    script: Script, tracks: Tracks, camera: Camera, rows: np.ndarray, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    plan = script.plan
    width = 2 * round(plan.width * height / plan.height / 2) if height != plan.height else plan.width
    starts = np.array([shot.start for shot in script.shots])
    away = np.array([shot.cutaway for shot in script.shots])[np.searchsorted(starts, rows, side="right") - 1]
    found: list[tuple[np.ndarray, int, int, np.ndarray]] = []  # corners [T, 4] in picture heights, class, track, seen
    for group, people, seen in ((tracks.joints, script.people, ~away), (tracks.extras, script.extras, away)):
        for joints, person in zip(group, people, strict=True):
            found.append((_person_box(joints[rows], person.height), 0, person.track, seen))
    for i, item in enumerate(script.items):
        at = tracks.items[i, rows]
        corners = np.concatenate([at - item.radius, at + item.radius], 1)
        found.append((corners, BOX_CLASSES.index(item.kind), item.track, tracks.seen[i, rows] & ~away))
    half = CHEST_SIZE[0] / 2
    top = CHEST_FLOOR - CHEST_SIZE[1] * (1 + 0.55 * tracks.lid[rows])
    ones = np.ones(len(rows))
    chest = np.stack([(script.chest_x - half) * ones, top, (script.chest_x + half) * ones, CHEST_FLOOR * ones], 1)
    found.append((chest, BOX_CLASSES.index("chest"), _CHEST_TRACK, ~away))

    scale = camera.zoom[rows] * height
    middle = np.stack([camera.x[rows], camera.y[rows]] * 2, 1)
    frames, boxes, kinds, ids = [], [], [], []
    for corners, kind, track, seen in found:
        pixels = (corners - middle) * scale[:, None] + np.array([width, height] * 2) / 2
        clipped = np.clip(pixels, 0, [width, height] * 2)
        area = np.prod(pixels[:, 2:] - pixels[:, :2], axis=1)
        part = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1) / area
        keep = np.flatnonzero(seen & (part >= _LEAST_SEEN))
        frames.append(keep)
        boxes.append(clipped[keep])
        kinds.append(np.full(len(keep), kind))
        ids.append(np.full(len(keep), track))
    frame = np.concatenate(frames)
    order = np.lexsort((np.concatenate(ids), frame))
    return (
        frame[order].astype(np.int32), np.concatenate(boxes)[order].astype(np.float32),
        np.concatenate(kinds)[order].astype(np.int16), np.concatenate(ids)[order].astype(np.int32),
    )  # fmt: skip


def _person_box(joints: np.ndarray, height: float) -> np.ndarray:
    """Corners [T, 4] around joints [T, 14, 2], with the flesh around them."""
    reach = np.full((joints.shape[1], 1), 0.042 * height)
    reach[0] = (HEAD_RADIUS + 0.008) * height
    return np.concatenate([(joints - reach).min(1), (joints + reach).max(1)], 1)
