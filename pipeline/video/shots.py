"""Shot boundaries by PySceneDetect's detectors, on our own clock.

The detectors are fed with the frames that :mod:`pipeline.video.decode` yields, so a boundary is the time of the first
frame of the new shot in seconds from the first shown frame, also in files of variable rate. What counts as too short a
shot is judged here, in seconds; PySceneDetect's own filter counts from the last boundary that it happened to emit.

Two detectors find hard cuts, one fades through black; dissolves are found by none.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.video.decode import Frame
from pipeline.video.flashes import RecentPictures

DETECTORS = ("adaptive", "content", "threshold")
"""``content``: the mean change of a pixel from one frame to the next reaches a threshold. ``adaptive``: it also reaches a
multiple of its neighbours' mean, so that fast camera motion is no cut. ``threshold``: the picture was darker than a
threshold and no longer is; the cut is in the middle of the dark, or with ``fade_bias`` nearer to one of its ends."""

_CHANGE, _BRIGHTNESS = "content_val", "average_rgb"  # PySceneDetect's names of a frame's mean change and mean value


class Shots(NamedTuple):
    """N >= 1 shots that tile the video: shot i is [``t_start[i]``, ``t_end[i]``) in seconds, float64 [N].

    ``score`` [N]: mean change of a pixel (0..255) at the cut that opens the shot, of ``threshold`` how far its mean value is
    below the threshold; 0 for the first.
    """

    t_start: np.ndarray
    t_end: np.ndarray
    score: np.ndarray


class _Statistics:
    """Keeps one figure of the last frames; stands where PySceneDetect's statistics of the whole video would."""

    def __init__(self, name: str, keep: int | None) -> None:
        self._name, self._keep = name, keep
        self._value: dict[int, float] = {}

    def set_metrics(self, timecode: Any, metrics: Mapping[str, float]) -> None:
        if self._name in metrics:
            self._value[timecode.frame_num] = float(metrics[self._name])
            if self._keep is not None:
                self._value.pop(timecode.frame_num - self._keep, None)

    def metrics_exist(self, _timecode: Any, _names: Any) -> bool:
        return False

    def __getitem__(self, frame: int) -> float:
        return self._value[frame]


def find_shots(
    frames: Iterable[Frame],
    *,
    detector: str = "adaptive",
    ratio: float = 2.5,
    min_change: float = 11.0,
    window: int = 2,
    luma_only: bool = True,
    max_luma: int = 12,
    fade_bias: float = 0.0,
    flash_s: float = 0.2,
    unrest_ratio: float = 2.8,
    min_shot_s: float = 0.3,
    duration_s: float = 0.0,
) -> Shots:
    """Split one video into shots, in one pass; of each frame no more than its time and mean value is kept.

    Args:
        frames: every frame in order. Small pictures (72 px) do as well as large ones and are faster.
        detector: one of ``DETECTORS``.
        ratio: adaptive only; least ratio of a cut's change to the mean change of its neighbours.
        min_change: of the others than threshold; least mean change of a pixel at a cut, 0..255.
        window: adaptive only; neighbours on each side, in frames. There is no cut within ``window`` frames of the ends.
        luma_only: change of brightness alone; otherwise the mean of hue, saturation and value.
        max_luma: threshold only; a picture of a mean value below is dark, 1..255.
        fade_bias: threshold only; -1 puts the cut where the dark begins, 0 in its middle, 1 where it ends.
        flash_s: hard cuts only; where the picture comes back within this time there was a flash, no cut; 0: not looked for.
        unrest_ratio: content only, where flashes are looked for; least ratio of the change across a cut to that among the
            pictures on one side of it, the camera's motion taken out of both; 0: not asked.
        min_shot_s: shortest shot. Of cuts that are closer, to each other or to an end, the weaker ones are dropped.
        duration_s: end of the last shot, if that is behind the last frame; else it ends one frame after that.

    Raises:
        ValueError: no such detector, or no frame.
        VideoError: as the decoder that yields ``frames``.
    """
    if detector not in DETECTORS:
        raise ValueError(f"shot detector is {detector!r}; allowed are {', '.join(DETECTORS)}")
    feed, strength = _detector(detector, ratio, min_change, window, luma_only, max_luma, fade_bias)
    least_ratio = unrest_ratio if detector == "content" else 0.0  # adaptive has its own neighbours
    times: list[float] = []
    cuts: dict[float, float] = {}
    recent = RecentPictures(0.0 if detector == "threshold" else flash_s)
    waiting: deque[tuple[float, float]] = deque()  # cuts that may still turn out to be flashes, with their strength

    def settle(until_s: float) -> None:
        while waiting and waiting[0][0] + recent.flash_s < until_s:
            t, change = waiting.popleft()
            if not (recent.flash_s and recent.come_back(t, min_change, least_ratio)):
                cuts[t] = change

    for index, frame in enumerate(frames):
        settle(frame.pts_s)
        times.append(frame.pts_s)
        if recent.flash_s:
            oldest = times[max(index - window - 1, 0)]  # the adaptive detector speaks of the frame ``window`` ago
            recent.add(frame.pts_s, frame.picture, min(oldest, waiting[0][0]) if waiting else oldest)
        for found in feed(index, np.ascontiguousarray(frame.picture[:, :, ::-1])):
            waiting.append((times[found], strength(found)))
    settle(float("inf"))
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
    name: str, ratio: float, min_change: float, window: int, luma_only: bool, max_luma: int, fade_bias: float
) -> tuple[Callable[[int, np.ndarray], list[int]], Callable[[int], float]]:
    """Functions (frame number, BGR picture) -> numbers of frames that are found to open a shot, and number -> score."""
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector, ContentDetector, ThresholdDetector

    options: dict[str, Any] = {"min_scene_len": 0, "luma_only": luma_only}
    detector: ContentDetector | ThresholdDetector
    statistics = _Statistics(_CHANGE, keep=2 * window + 2)
    if name == "threshold":
        detector = ThresholdDetector(threshold=max_luma, min_scene_len=0, fade_bias=fade_bias)
        statistics = _Statistics(_BRIGHTNESS, keep=None)
    elif name == "adaptive":
        detector = AdaptiveDetector(
            adaptive_threshold=ratio, min_content_val=min_change, window_width=window, **options
        )
    else:
        detector = ContentDetector(threshold=min_change, **options)
    detector.stats_manager = statistics  # of which a detector asks no more than it has

    def feed(index: int, picture: np.ndarray) -> list[int]:
        # Frame numbers at a made-up rate: a detector only hands them back, the times are ours.
        return [found.frame_num for found in detector.process_frame(FrameTimecode(index, 25.0), picture)]

    def strength(frame: int) -> float:
        return max(max_luma - statistics[frame], 0.0) if name == "threshold" else statistics[frame]

    return feed, strength


def _apart(cuts: Mapping[float, float], end: float, least: float) -> list[float]:
    """Times of cuts that are at least ``least`` from the ends and each other; a stronger cut wins."""
    kept: list[float] = []
    for t in sorted(cuts, key=lambda t: (-cuts[t], t)):
        if all(abs(t - other) >= least for other in (0.0, end, *kept)):
            kept.append(t)
    return sorted(kept)
