"""A video's coded stream as an HDF5 artifact of the kind ``compressed``."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.run import kinds
from pipeline.video import jpeg
from pipeline.video.compressed.reader import ARRAYS, CompressedFrame, StreamInfo, check_arrays, read_compressed

I_FRAME_QUALITY = 95
"""Of the stored I-frames' JPEG."""

_ROWS = 8 * kinds.COMPRESSED_CHUNK
"""Rows appended at once: whole chunks, for one that is written in parts is unpacked and packed again for each."""

_DENSE = ("mv", "mv_accumulated", "residual", "residual_accumulated", "valid")


def write_compressed(
    video: Path,
    out: Path,
    arrays: Collection[str] = ARRAYS,
    *,
    short_side: int | None = None,
    b_frames: bool = True,
    normalised_from: str = "",
) -> Mapping[str, int]:
    """Read a video once and write what was asked for; arguments as of ``read_compressed``.

    ``normalised_from``: the codec before a transcode, kept as an attribute. Returns counts: ``frames``, ``predicted`` (with
    a reference), and of these, where ``valid`` was asked for, ``pixels`` and ``valid`` ones.

    Raises:
        VideoError, ValueError: as ``read_compressed``; nothing is written then.
    """
    wanted = check_arrays(arrays)
    frames = read_compressed(video, wanted, short_side=short_side, b_frames=b_frames)
    counts = dict.fromkeys(("frames", "predicted", "pixels", "valid"), 0)
    attributes = {**StreamInfo(0, 0, 0, 0, "")._asdict(), "normalised_from": normalised_from}
    with kinds.COMPRESSED.writer(out, attributes) as writer:
        while rows := list(islice(frames, _ROWS)):
            writer.append(**_arrays(rows, counts["frames"], wanted))
            writer.attributes |= rows[0].stream._asdict()
            valid = [row.valid for row in rows if row.reference_index >= 0 and row.valid is not None]
            counts["frames"] += len(rows)
            counts["predicted"] += sum(row.reference_index >= 0 for row in rows)
            counts["pixels"] += sum(one.size for one in valid)
            counts["valid"] += sum(int(np.count_nonzero(one)) for one in valid)
    return counts


def _arrays(rows: Sequence[CompressedFrame], start: int, wanted: frozenset[str]) -> dict[str, Any]:
    """Arrays of the kind for some rows, the first of which has the number ``start``."""
    result: dict[str, Any] = {
        "pts": [row.pts for row in rows],
        "frame_type": np.array([row.frame_type for row in rows], np.uint8),
        "packet_bytes": [row.packet_bytes for row in rows],
        "i_frame_index": [row.i_frame_index for row in rows],
        "reference_index": [row.reference_index for row in rows],
    }
    for name in _DENSE:
        if name in wanted:
            result[name] = np.stack([getattr(row, name) for row in rows])
    if "vectors" in wanted:
        each = [row.vectors for row in rows if row.vectors is not None]
        result["vector_frame"] = np.repeat(np.arange(start, start + len(rows)), [len(one.source) for one in each])
        for name in ("block", "motion", "source"):
            result[f"vector_{name}"] = np.concatenate([getattr(one, name) for one in each])
    if "i_frame" in wanted:
        intra = [(start + index, row.i_frame) for index, row in enumerate(rows) if row.i_frame is not None]
        result["i_frame"] = [jpeg.encode(picture, I_FRAME_QUALITY) for _, picture in intra]
        result["i_frame_row"] = np.array([number for number, _ in intra], np.int32)
    return result
