"""Clip protocols: a trimmed video's score is that of several views of it, its frames decoded once for all of them.

Kinetics: 10 clips x 3 crops, or 10 x 1; Something-Something: 1 x 3; :mod:`pipeline.datasets.views` plans them.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field

from pipeline.datasets.schema import Video
from pipeline.datasets.views import Starts, ViewPlan, plan_views
from pipeline.evaluation.recognition import Combine
from pipeline.run.params import Section
from pipeline.run.stage import StageError
from stages._encoder import EncoderSpec
from stages._snippets import Snippets

if TYPE_CHECKING:
    from torch import Tensor


class Views(Section):
    """A clip protocol; the clips have the encoder's frames and window."""

    subset: Literal["validation", "testing"] = Field("validation", description="whose videos are scored")
    clips: int = Field(10, ge=1, description="in time")
    crops: Literal[1, 3] = Field(3, description="of each clip: the centre, or three along the longer side")
    side: int | None = Field(None, ge=32, description="of the square crop, px; null: the encoder's")
    short_side: int | None = Field(None, ge=32, description="that pictures are scaled to, px; null: the crop's")
    starts: Starts = Field("inner", description="full: the last clip ends with the video")
    combine: Combine = "softmax_mean"


class Scores(NamedTuple):
    """Raw scores [N, V, C] of N videos in V views, their classes [N] and ids."""

    scores: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]


def trimmed(videos: Sequence[Video], source: Snippets) -> list[Video]:
    """Those of ``videos`` that were decoded and have a label.

    Raises:
        StageError: one has several actions, or there is none; or the encoder reads no frames.
    """
    if source.spec.compressed:
        raise StageError("pretrain.views: clip protocols are of decoded frames; recognise scores the coded stream")
    found = [video for video in videos if video.id in source and video.segments]
    if not found:
        raise StageError("pretrain.views: the subset has no video with a label")
    for video in found:
        if len({segment.label for segment in video.segments}) > 1:
            raise StageError(
                f"pretrain.views: video {video.id!r} has several actions; clip protocols are of trimmed videos"
            )
    return found


def plan(views: Views, spec: EncoderSpec, source: Snippets, video: Video) -> ViewPlan:
    """The views of a video, in rows of its frames artifact."""
    pts, stored = source.frames.pts(video.id), source.frames.attributes(video.id)
    side = views.side or min(spec.height, spec.width)
    fps = (len(pts) - 1) / float(pts[-1] - pts[0]) if len(pts) > 1 else float(stored["fps"])
    size = source.frames.pictures(video.id, np.zeros(1, np.int64)).shape[1:3]
    return plan_views(
        len(pts), fps, size[::-1], spec.frames, 1, views.clips, views.crops, side, views.short_side,
        views.starts, target_fps=spec.frames / spec.window_s,
    )  # fmt: skip


def cut(plan: ViewPlan, source: Snippets, video: Video) -> np.ndarray:
    """All views of a video: uint8 [V, T, side, side, 3]; every row is decoded and scaled once."""
    import cv2

    rows = plan.rows
    pictures = np.stack(
        [
            cv2.resize(picture, (plan.width, plan.height), interpolation=cv2.INTER_AREA)
            for picture in source.frames.pictures(video.id, rows)
        ]
    )
    return np.stack(
        [
            pictures[
                np.searchsorted(rows, view.frames), view.top : view.top + view.side, view.left : view.left + view.side
            ]
            for view in plan.views
        ]
    )


def score(
    logits: "Callable[[Tensor], Tensor]", views: Views, videos: Sequence[Video], classes: Sequence[str],
    source: Snippets, batch: int, on_video: Callable[[int], None],
) -> Scores:  # fmt: skip
    """Score every video.

    Args:
        logits: uint8 ``[n, 3, T, side, side]`` to ``[n, C]``.
        views: the protocol.
        videos: from :func:`trimmed`.
        classes: in the order of the scores.
        source: of frames.
        batch: views at once.
        on_video: is told how many are done.
    """
    import torch

    found = []
    for done, video in enumerate(videos, 1):
        pixels = torch.from_numpy(cut(plan(views, source.spec, source, video), source, video)).permute(0, 4, 1, 2, 3)
        with torch.inference_mode():
            found.append(torch.cat([logits(part).float().cpu() for part in torch.split(pixels, batch)]).numpy())
        on_video(done)
    labels = np.array([classes.index(video.segments[0].label) for video in videos])
    return Scores(np.stack(found), labels, tuple(video.id for video in videos))
