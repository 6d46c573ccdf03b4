"""Clips of videos and the labels of their frames, as the frame-wise networks are trained and asked.

A video is T equal cells, as many as ``fps`` asks for; a network sees the frame in the middle of each. Labels are finer:
``labels_per_frame`` a cell (the papers: one for each of the 10 frames between two that are seen).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import Field

from pipeline.datasets.frame_labels import frame_labels
from pipeline.datasets.schema import Video
from pipeline.datasets.snippets import FrameStore, frame_indices
from pipeline.run.params import Section
from pipeline.video.crop import crop_resize

if TYPE_CHECKING:
    from torch import Tensor


class ClipSpec(Section):
    """What networks see of a video."""

    fps: float = Field(2.4, gt=0, description="frames a second; every tenth frame of Charades' 24 a second is 2.4")
    height: int = Field(224, ge=32, description="px")
    width: int = Field(224, ge=32, description="px")
    context: int = Field(128, ge=1, description="most frames around a clip that a Fine stream sees in training")
    test_frames: int = Field(0, ge=0, description="longest part of a video that is labelled at once; 0: all of it")
    labels_per_frame: int = Field(10, ge=1, description="instants a frame at which training has labels")
    min_scale: float = Field(0.7, gt=0, le=1, description="smallest random window, relative to the largest")
    flip: bool = Field(True, description="mirror half of the clips")


class Batch(NamedTuple):
    """Clips within their videos, on one device.

    Attributes:
        video: uint8 ``[N, 3, T', H, W]``; behind a video's end its last frame.
        lengths: int64 ``[N]``, real frames of ``video``.
        start: int64 ``[N]``, where the clip begins.
        clip_lengths: int64 ``[N]``, real frames of the clip.
        labels: float32 ``[N, K, frames * labels_per_frame]``, 0 or 1.
        valid: bool ``[N, frames * labels_per_frame]``, before the video's end.
    """

    video: "Tensor"
    lengths: "Tensor"
    start: "Tensor"
    clip_lengths: "Tensor"
    labels: "Tensor"
    valid: "Tensor"


@dataclass(frozen=True)
class Reader:
    """Reads clips of videos whose frames are stored."""

    frames: FrameStore
    spec: ClipSpec
    index: dict[str, int]

    def cells(self, video: Video) -> int:
        """T, frames that networks see of a whole video."""
        return max(1, round(video.duration_s * self.spec.fps))

    def pictures(self, video: Video, start: int, count: int, rng: np.random.Generator | None) -> np.ndarray:
        """Frames of some cells, uint8 ``[count, H, W, 3]``: the largest centred window, or a random one for all."""
        cell_s = video.duration_s / self.cells(video)
        rows = frame_indices(self.frames.pts(video.id), (start + np.arange(count) + 0.5) * cell_s)
        distinct, which = np.unique(rows, return_inverse=True)
        spec = self.spec
        cut = crop_resize(self.frames.pictures(video.id, distinct), spec.height, spec.width, rng, spec.min_scale)
        if rng is not None and spec.flip and rng.random() < 0.5:
            cut = cut[:, :, ::-1]
        return cut[which]

    def labels(self, video: Video, start: int, count: int) -> np.ndarray:
        """Which classes are on in some cells, bool ``[K, count * labels_per_frame]``, from the index lists."""
        cell_s, per = video.duration_s / self.cells(video), self.spec.labels_per_frame
        times = (start + (np.arange(count * per) + 0.5) / per) * cell_s
        return frame_labels(video.segments, self.index, times, ends="open").dense().T

    def sample(self, video: Video, frames: int, context: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """One clip of ``frames`` within at most ``context`` frames of its video; fields as :class:`Batch`, numpy."""
        cells = self.cells(video)
        seen = min(cells, max(context, frames))
        first = int(rng.integers(cells - seen + 1))
        start = int(rng.integers(max(seen - frames, 0) + 1))
        length = min(frames, seen)
        per = self.spec.labels_per_frame
        labels = np.zeros((len(self.index), frames * per), np.float32)
        labels[:, : length * per] = self.labels(video, first + start, length)
        return {
            "video": self.pictures(video, first, seen, rng),
            "lengths": np.array(seen),
            "start": np.array(start),
            "clip_lengths": np.array(length),
            "labels": labels,
            "valid": np.arange(frames * per) < length * per,
        }

    def batch(self, videos: Sequence[Video], frames: int, context: int, rng: np.random.Generator) -> Batch:
        """A clip of each video."""
        drawn = [self.sample(video, frames, context, rng) for video in videos]
        longest = max(frames, *(len(one["video"]) for one in drawn))
        for one in drawn:
            missing = longest - len(one["video"])
            one["video"] = np.concatenate([one["video"], np.repeat(one["video"][-1:], missing, axis=0)])
        return as_batch(drawn)


def as_batch(drawn: Sequence[dict[str, np.ndarray]]) -> Batch:
    """Samples of equal length, stacked."""
    import torch

    stacked = {name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in Batch._fields}
    stacked["video"] = stacked["video"].permute(0, 4, 1, 2, 3).contiguous()
    return Batch(**stacked)


def whole(pictures: np.ndarray) -> Batch:
    """A video, or a part of one, as a batch of one clip that is all of it; without labels. uint8 ``[T, H, W, 3]``."""
    length = np.array(len(pictures))
    return as_batch(
        [
            {
                "video": pictures,
                "lengths": length,
                "start": np.array(0),
                "clip_lengths": length,
                "labels": np.zeros((0, 0), np.float32),
                "valid": np.zeros(0, bool),
            }
        ]
    )
