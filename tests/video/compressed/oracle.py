"""The reference loader's definition of motion and residual, literally: vector by vector, pixel by pixel.

Written from its description (and independent of our code): MPEG-4 Part 2 without B-frames; motion is destination less
source in whole pixels; a pixel is written only where both it and its source are in the picture; what is not written keeps
its own previous trace; the residual is the decoded picture less the moved one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np


class Expected(NamedTuple):
    """One frame by the definition. ``written``: pixels that some vector was written to or that it left where they are."""

    kind: int
    mv: np.ndarray
    mv_accumulated: np.ndarray
    residual: np.ndarray
    residual_accumulated: np.ndarray
    written: np.ndarray


def reference_loader(path: Path, rgb: str = "rgb24") -> Iterator[Expected]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.options = {"flags2": "+export_mvs"}
        trace: dict[tuple[int, int], tuple[int, int]] = {}
        first = before = np.zeros(0)
        for frame in container.decode(stream):
            picture = frame.to_ndarray(format=rgb).astype(np.int32)
            height, width = picture.shape[:2]
            mv, accumulated = np.zeros((height, width, 2), np.int32), np.zeros((height, width, 2), np.int32)
            residual, residual_accumulated = np.zeros_like(picture), np.zeros_like(picture)
            written = np.zeros((height, width), bool)
            if frame.pict_type == 1:
                trace = {(x, y): (x, y) for y in range(height) for x in range(width)}
                first = picture
            else:
                new = dict(trace)
                data: Any = frame.side_data.get("MOTION_VECTORS")
                for vector in [] if data is None else data.to_ndarray():
                    assert vector["source"] == -1
                    dx = int(vector["dst_x"]) - int(vector["src_x"])
                    dy = int(vector["dst_y"]) - int(vector["src_y"])
                    w, h = int(vector["w"]), int(vector["h"])
                    for y in range(int(vector["dst_y"]) - h // 2, int(vector["dst_y"]) + h // 2):
                        for x in range(int(vector["dst_x"]) - w // 2, int(vector["dst_x"]) + w // 2):
                            source = (x - dx, y - dy)
                            if (x, y) in trace and source in trace:
                                new[x, y] = trace[source]
                                mv[y, x] = dx, dy
                                written[y, x] = True
                trace = new
                for (x, y), (from_x, from_y) in trace.items():
                    accumulated[y, x] = x - from_x, y - from_y
                    residual_accumulated[y, x] = picture[y, x] - first[from_y, from_x]
                    residual[y, x] = picture[y, x] - before[y - mv[y, x, 1], x - mv[y, x, 0]]
            yield Expected(int(frame.pict_type), mv, accumulated, residual, residual_accumulated, written)
            before = picture
