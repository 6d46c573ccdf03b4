"""Moving a picture by motion, and what is left to the decoded one: the residual.

The residual is the decoded frame less the moved reference picture, as CoViAR's reference loader has it, not the stream's
coefficients: rounding, sub-pixel motion and deblocking are inside it.
"""

from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame

from pipeline.video.compressed.vectors import padded


def warp(picture: np.ndarray, mv: np.ndarray, width: int, height: int) -> np.ndarray:
    """Move a picture uint8 [h, w, 3] by motion int16 [h, w, 2] in px of a coded picture of ``width`` x ``height``.

    Every pixel takes what lies ``mv`` back: that pixel where h x w is the coded size, else interpolated; beyond the edge,
    the edge's colour. With ``mv`` of a frame and the picture of its reference, or ``mv_accumulated`` and the I-frame, adding
    the residual gives back the frame to the last digit.
    """
    rows, columns = picture.shape[:2]
    if not mv.any():
        return picture
    if (rows, columns) == (height, width):
        y = np.arange(rows)[:, None] - mv[..., 1]
        x = np.arange(columns) - mv[..., 0]
        return np.asarray(picture[y.clip(0, rows - 1), x.clip(0, columns - 1)])
    x = np.arange(columns, dtype=np.float32) - mv[..., 0] * np.float32(columns / width)
    y = np.arange(rows, dtype=np.float32)[:, None] - mv[..., 1] * np.float32(rows / height)
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE))


def difference(picture: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """``picture`` less ``moved``, both uint8: int16, exact."""
    return np.asarray(np.subtract(picture, moved, dtype=np.int16))


def pixels(frame: VideoFrame) -> np.ndarray:
    """A frame in rgb24 as uint8 [height, width, 3], not copied: rows are apart as FFmpeg has them."""
    plane: Any = frame.planes[0]
    shape, strides = (frame.height, frame.width, 3), (plane.line_size, 3, 1)
    return np.ndarray(shape, np.uint8, plane, strides=strides)


def colour_plane(frame: VideoFrame) -> np.ndarray:
    """A frame in rgb24 as a plane uint8 [height, padded, 3]; what is beyond the edge is never looked at."""
    plane = np.empty((frame.height, padded(frame.width), 3), np.uint8)
    plane[:, : frame.width] = pixels(frame)
    return plane
