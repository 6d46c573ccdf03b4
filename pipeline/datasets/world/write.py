"""Writing a planned video: real H.264 in MP4, and its dense ground truth. The same plan gives the same bytes."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.datasets.schema import Video
from pipeline.datasets.world.plan import PlannedVideo
from pipeline.datasets.world.render import render_video
from pipeline.video.encode import encode_h264

GOP_S = 2.0
"""Longest distance of key frames in seconds."""

X264 = "mbtree=0"
"""No macroblock tree, as in all of the project; B-frames where x264 sees fit, so that readers meet them."""


def write_video(plan: PlannedVideo, video_path: Path, truth_path: Path, threads: int = 1) -> Video:
    """Render, encode and write a video and its truth, each atomically; returns the video's entry of the data set.

    ``threads``: of the encoder; the bytes are the same for the same number.
    """
    frames, truth = render_video(plan)
    encode(frames, video_path, plan.fps, threads)
    truth.write(truth_path)
    return Video(
        id=plan.id, path=str(video_path), subset=plan.subset, duration_s=plan.duration_s, fps=float(plan.fps),
        n_frames=plan.n_frames, width=plan.width, height=plan.height, segments=truth.segments,
        labels=truth.video_labels,
    )  # fmt: skip


def encode(frames: Iterator[np.ndarray], path: Path, fps: int, threads: int = 1) -> None:
    """Encode uint8 [H, W, 3] RGB frames with x264 into an MP4 file, with OpenCV's colour conversion."""
    planes = (np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8) for picture in frames)
    encode_h264(path, planes, fps, gop=round(GOP_S * fps), threads=threads, x264=X264, index_first=True)
