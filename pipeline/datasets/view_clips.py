"""The pictures of all test views of a clip from one pass over its file; :mod:`pipeline.datasets.views` plans the views."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.views import View, ViewPlan
from pipeline.video.decode import decode


def view_clips(path: Path, plan: ViewPlan) -> Iterator[tuple[View, NDArray[np.uint8]]]:
    """Each view of a video with its pictures, uint8 ``[T, side, side, 3]`` RGB.

    The file is decoded once, up to the last frame that any view reads; only the frames that views read are scaled and
    held, each once. A file with fewer frames than the plan was made for repeats its last one.

    Args:
        path: of the video.
        plan: of its views.

    Raises:
        VideoError: as :func:`pipeline.video.decode.decode`.
    """
    wanted, held = plan.rows, dict[int, NDArray[np.uint8]]()
    picture: NDArray[np.uint8] | None = None
    for row, frame in enumerate(decode(path)):
        picture = frame.picture
        if row in wanted:
            held[row] = _scaled(picture, plan)
        if row == wanted[-1]:
            break
    assert picture is not None, "a file without frames is a VideoError"
    for row in wanted:
        if int(row) not in held:
            held[int(row)] = _scaled(picture, plan)
    for view in plan.views:
        rows, columns = slice(view.top, view.top + view.side), slice(view.left, view.left + view.side)
        yield view, np.stack([held[row][rows, columns] for row in view.frames])


def _scaled(picture: NDArray[np.uint8], plan: ViewPlan) -> NDArray[np.uint8]:
    """Bilinear, as the published test code scales."""
    size = (plan.width, plan.height)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)
