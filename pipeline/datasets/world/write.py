"""Writing a planned video: real H.264 in MP4, and its dense ground truth. The same plan gives the same bytes."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.datasets.schema import Video
from pipeline.datasets.world.plan import PlannedVideo
from pipeline.datasets.world.render import render_video
from pipeline.run.files import atomic_path

GOP_S = 2.0
"""Longest distance of key frames in seconds."""


def write_video(plan: PlannedVideo, video_path: Path, truth_path: Path, threads: int = 1) -> Video:
    """Render, encode and write a video and its truth, each atomically; returns the video's entry of the data set.

    ``threads``: of the encoder; the bytes are the same for the same number.
    """
    frames, truth = render_video(plan)
    encode(frames, video_path, plan.width, plan.height, plan.fps, threads)
    truth.write(truth_path)
    return Video(
        id=plan.id, path=str(video_path), subset=plan.subset, duration_s=plan.duration_s, fps=float(plan.fps),
        n_frames=plan.n_frames, width=plan.width, height=plan.height, segments=truth.segments,
        labels=truth.video_labels,
    )  # fmt: skip


def encode(frames: Iterator[np.ndarray], path: Path, width: int, height: int, fps: int, threads: int) -> None:
    """Encode uint8 [H, W, 3] RGB frames with x264 (8 bit, 4:2:0) into an MP4 file without any time of writing in it."""
    import av  # only here: everything else of the world works without PyAV

    with atomic_path(Path(path)) as temp:
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(temp), "w", format="mp4", options=options) as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.thread_count = threads
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
            stream.options = {
                "preset": "veryfast", "crf": "23", "g": str(round(GOP_S * fps)), "threads": str(threads),
                # x264's macroblock tree gives other bytes from one run to the next, even with one thread.
                "mbtree": "0",
            }  # fmt: skip
            for n, picture in enumerate(frames):
                planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)
                frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                frame.pts = n
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
