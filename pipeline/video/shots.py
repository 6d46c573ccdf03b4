"""Shot boundaries by PySceneDetect's detectors, on our own clock.

The detectors are fed with the frames that :mod:`pipeline.video.decode` yields, so a boundary is the time of the first
frame of the new shot in seconds from the first shown frame, also in files of variable rate. What counts as too short a
shot is judged here, in seconds; PySceneDetect's own filter counts from the last boundary that it happened to emit.

Hard cuts are found; fades and dissolves are not.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.video.decode import Frame

DETECTORS = ("adaptive", "content")
"""``content``: the mean change of a pixel from one frame to the next reaches a threshold. ``adaptive``: it also reaches a
multiple of its neighbours' mean, so that fast camera motion is no cut."""

_CHANGE = "content_val"  # PySceneDetect's name of a frame's mean change


class Shots(NamedTuple):
    """N >= 1 shots that tile the video: shot i is [``t_start[i]``, ``t_end[i]``) in seconds, float64 [N].

    ``score`` [N]: mean change of a pixel (0..255) at the cut that opens the shot; 0 for the first.
    """

    t_start: np.ndarray
    t_end: np.ndarray
    score: np.ndarray


class _Changes:
    """Keeps the last frames' change; stands where PySceneDetect's statistics of the whole video would."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._change: dict[int, float] = {}

    def set_metrics(self, timecode: Any, metrics: Mapping[str, float]) -> None:
        if _CHANGE in metrics:
            self._change[timecode.frame_num] = float(metrics[_CHANGE])
            self._change.pop(timecode.frame_num - self._keep, None)

    def __getitem__(self, frame: int) -> float:
        return self._change[frame]


def find_shots(
    frames: Iterable[Frame],
    *,
    detector: str = "adaptive",
    ratio: float = 2.5,
    min_change: float = 11.0,
    window: int = 2,
    luma_only: bool = True,
    min_shot_s: float = 0.3,
    duration_s: float = 0.0,
) -> Shots:
    """Split one video into shots, in one pass and constant memory.

    Args:
        frames: every frame in order. Small pictures (72 px) do as well as large ones and are faster.
        detector: one of ``DETECTORS``.
        ratio: adaptive only; least ratio of a cut's change to the mean change of its neighbours.
        min_change: least mean change of a pixel at a cut, 0..255.
        window: adaptive only; neighbours on each side, in frames. There is no cut within ``window`` frames of the ends.
        luma_only: change of brightness alone; otherwise the mean of hue, saturation and value.
        min_shot_s: shortest shot. Of cuts that are closer, to each other or to an end, the weaker ones are dropped.
        duration_s: end of the last shot, if that is behind the last frame; else it ends one frame after that.

    Raises:
        ValueError: no such detector, or no frame.
        VideoError: as the decoder that yields ``frames``.
    """
    if detector not in DETECTORS:
        raise ValueError(f"shot detector is {detector!r}; allowed are {', '.join(DETECTORS)}")
    feed, changes = _detector(detector, ratio, min_change, window, luma_only)
    times: list[float] = []
    cuts: dict[float, float] = {}
    for index, frame in enumerate(frames):
        times.append(frame.pts_s)
        for found in feed(index, np.ascontiguousarray(frame.picture[:, :, ::-1])):
            cuts[times[found]] = changes[found]
    if not times:
        raise ValueError("there is no frame to find shots in")
    last_frame_s = times[-1] - times[-2] if len(times) > 1 else 0.0
    end = duration_s if duration_s > times[-1] else times[-1] + last_frame_s
    starts = [0.0, *_apart(cuts, end, min_shot_s)]
    return Shots(
        np.array(starts),
        np.array([*starts[1:], end]),
        np.array([0.0, *(cuts[t] for t in starts[1:])]),
    )


def _detector(
    name: str, ratio: float, min_change: float, window: int, luma_only: bool
) -> tuple[Callable[[int, np.ndarray], list[int]], _Changes]:
    """A function (frame number, BGR picture) -> numbers of frames that are found to open a shot; and their changes."""
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector, ContentDetector

    options: dict[str, Any] = {"min_scene_len": 0, "luma_only": luma_only}
    detector: ContentDetector
    if name == "adaptive":
        detector = AdaptiveDetector(
            adaptive_threshold=ratio, min_content_val=min_change, window_width=window, **options
        )
    else:
        detector = ContentDetector(threshold=min_change, **options)
    changes = _Changes(keep=2 * window + 2)
    detector.stats_manager = changes  # all that a detector asks of it is set_metrics

    def feed(index: int, picture: np.ndarray) -> list[int]:
        # Frame numbers at a made-up rate: a detector only hands them back, the times are ours.
        return [found.frame_num for found in detector.process_frame(FrameTimecode(index, 25.0), picture)]

    return feed, changes


def _apart(cuts: Mapping[float, float], end: float, least: float) -> list[float]:
    """Times of cuts that are at least ``least`` from the ends and each other; a stronger cut wins."""
    kept: list[float] = []
    for t in sorted(cuts, key=lambda t: (-cuts[t], t)):
        if all(abs(t - other) >= least for other in (0.0, end, *kept)):
            kept.append(t)
    return sorted(kept)
