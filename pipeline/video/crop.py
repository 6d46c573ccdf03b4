"""Cutting decoded pictures to the size an encoder is given."""

import cv2
import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]

_MOST_CHANNELS = 4
"""That OpenCV scales by areas at once."""


def crop_resize(
    pictures: Pictures, height: int, width: int, rng: np.random.Generator | None = None, min_scale: float = 1.0
) -> Pictures:
    """Cut one window of the wanted aspect from all pictures of a snippet and scale it to ``height`` x ``width``.

    Args:
        pictures: ``[T, h, w, C]``.
        height: of the result, px.
        width: of the result, px.
        rng: None takes the largest centred window (testing); a generator a random one (training), the same for all T.
        min_scale: smallest side of a random window relative to the largest possible one.

    Returns:
        ``[T, height, width, C]``.
    """
    h, w = pictures.shape[1:3]
    scale = min(h / height, w / width)
    if rng is not None:
        scale *= rng.uniform(min_scale, 1.0)
    window_h, window_w = round(height * scale), round(width * scale)
    top, left = (h - window_h) // 2, (w - window_w) // 2
    if rng is not None:
        top, left = int(rng.integers(h - window_h + 1)), int(rng.integers(w - window_w + 1))
    window = pictures[:, top : top + window_h, left : left + window_w]
    if window.shape[1:3] == (height, width):
        return np.ascontiguousarray(window)
    result = np.empty((len(pictures), height, width, pictures.shape[3]), np.uint8)
    for index, picture in enumerate(window):
        if picture.shape[2] <= _MOST_CHANNELS:
            cv2.resize(picture, (width, height), dst=result[index], interpolation=cv2.INTER_AREA)
            continue
        for first in range(0, picture.shape[2], _MOST_CHANNELS):
            part = np.ascontiguousarray(picture[..., first : first + _MOST_CHANNELS])
            scaled = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
            result[index, ..., first : first + _MOST_CHANNELS] = scaled.reshape(height, width, -1)
    return result
