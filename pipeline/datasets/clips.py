"""Clips of trimmed actions and sampled frames of whole videos, as the pictures that CoViAR's networks take."""

from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from pipeline.datasets.augment import (
    SCALES,
    colour_jitter,
    fixed_crops,
    flip,
    full_motion,
    motion_pictures,
    multi_scale_crop,
    residual_pictures,
)
from pipeline.datasets.compressed_store import CompressedStore
from pipeline.datasets.flow_store import FlowStore, Method
from pipeline.datasets.schema import Segment
from pipeline.datasets.segments import Compat, clip_rows, i_frames, predicted_frames, segment_frames
from pipeline.run.params import Section
from pipeline.video.crop import Pictures

Stream = Literal["i", "mv", "residual", "flow"]


class ClipSpec(Section):
    """How clips are cut from videos and shown to the networks (thesis, section 4.2; defaults are the paper's)."""

    size: int = Field(224, ge=32, description="side of the square that a network sees, px")
    segments: int = Field(3, ge=1, description="K in training")
    test_segments: int = Field(25, ge=1, description="K in testing")
    test_crops: Literal[1, 5, 10] = Field(10, description="centre; with corners; and mirrored")
    min_scale: float = Field(
        0.0,
        ge=0,
        le=0.875,
        description="smallest side of training windows, relative to the shorter side of the picture",
    )
    flip: bool = Field(
        True, description="mirror half of the training clips; not where left and right tell classes apart"
    )
    jitter: Literal["none", "training", "always"] = Field("training", description="of colours; always: as released")
    accumulated: bool = Field(True, description="motion and residuals back to the I-frame, not to the frame before")
    motion_px: float = Field(
        20.0, gt=0, description="motion beyond it is cut off, px of the coded picture (or of flow's)"
    )
    compat: Compat = Field("fixed", description="released: groups of 12 frames, whatever the stream says")
    flow: Method = Field("dis", description="optical flow by OpenCV, between stored frames")
    flow_stack: int = Field(5, ge=1, description="flow fields, one after the other, that are one input (TSN)")


class Sources(NamedTuple):
    """Where pictures come from; a source whose streams are not asked for may be None."""

    compressed: CompressedStore | None = None
    flow: FlowStore | None = None

    def has(self, id_: str, stream: Stream) -> bool:
        """Whether a video can be read for a stream."""
        source = self.flow if stream == "flow" else self.compressed
        return source is not None and id_ in source


class Sample(NamedTuple):
    """Pictures of one clip, uint8 [K, h, w, C], and the times in seconds of the frames that they stand for, float64 [K]."""

    pictures: Pictures
    times: np.ndarray


def sample(
    sources: Sources, id_: str, span: Segment, stream: Stream, spec: ClipSpec, rng: np.random.Generator | None
) -> Sample:
    """Stored pictures of one frame of each of K equal parts of a span of a video.

    Args:
        sources: of the pictures.
        id_: the video.
        span: times; the label is not looked at.
        stream: which pictures.
        spec: see :class:`ClipSpec`.
        rng: of training; None takes the middles of ``test_segments`` parts.

    Raises:
        ValueError: no source for the stream, or nothing to sample from.
        ArtifactError: the video's artifact is missing, or was written without the array that is needed.
    """
    count = spec.segments if rng is not None else spec.test_segments
    if stream == "flow":
        if sources.flow is None:
            raise ValueError("the stream flow needs decoded frames")
        pts = sources.flow.frames.pts(id_)
        first, length = clip_rows(pts, span.t_start, span.t_end)
        rows = first + segment_frames(length, count, rng, predicted=False)
        fields = sources.flow.fields(id_, rows[:, None] + np.arange(spec.flow_stack))
        # [K, stack, h, w, 2] to [K, h, w, stack * 2]: x and y of the first field, then of the second ...
        stacked = np.moveaxis(fields, 1, 3).reshape(*fields.shape[:1], *fields.shape[2:4], -1)
        return Sample(motion_pictures(stacked, full_motion(spec.motion_px, *stacked.shape[1:3])), pts[rows])
    if sources.compressed is None:
        raise ValueError(f"the stream {stream} needs compressed artifacts")
    known = sources.compressed.stream(id_)
    first, length = clip_rows(known.pts, span.t_start, span.t_end)
    rows = first + segment_frames(length, count, rng, predicted=stream != "i", compat=spec.compat)
    times = known.pts[rows]
    if stream == "i":
        frames = i_frames(rows, known.i_frame_index, spec.compat)
        return Sample(sources.compressed.i_frame_pictures(id_, frames), times)
    rows = predicted_frames(rows, known.is_predicted, spec.compat)
    stored = sources.compressed.rows(id_, f"{stream}_accumulated" if spec.accumulated else stream, rows)
    if stream == "residual":
        return Sample(residual_pictures(stored), times)
    return Sample(motion_pictures(stored, full_motion(spec.motion_px, known.height, known.width)), times)


def training_pictures(pictures: Pictures, stream: Stream, spec: ClipSpec, rng: np.random.Generator) -> Pictures:
    """Augmented: jitter of I-frames, a random window, perhaps mirrored; [K, size, size, C]."""
    if stream == "i" and spec.jitter != "none":
        pictures = np.stack([colour_jitter(picture, rng) for picture in pictures])
    scales = [scale for scale in SCALES.get(stream, SCALES["mv"]) if scale >= spec.min_scale]
    pictures = multi_scale_crop(pictures, spec.size, rng, scales)
    if spec.flip and rng.random() < 0.5:
        pictures = flip(pictures, stream in ("mv", "flow"))
    return pictures


def scored_pictures(pictures: Pictures, stream: Stream, spec: ClipSpec, rng: np.random.Generator) -> Pictures:
    """The fixed windows of every picture, [K * test_crops, size, size, C]; ``rng`` is for ``jitter: always`` alone."""
    if stream == "i" and spec.jitter == "always":
        pictures = np.stack([colour_jitter(picture, rng) for picture in pictures])
    return fixed_crops(pictures, spec.size, spec.test_crops, stream in ("mv", "flow"))


def labels_at(segments: tuple[Segment, ...], classes: dict[str, int], times: np.ndarray) -> np.ndarray:
    """Which classes are on at ``times`` [K]: float32 0/1 [K, classes], for networks that label frames (Charades)."""
    labels = np.zeros((len(times), len(classes)), np.float32)
    for segment in segments:
        labels[(times >= segment.t_start) & (times < segment.t_end), classes[segment.label]] = 1
    return labels
