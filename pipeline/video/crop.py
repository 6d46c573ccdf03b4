"""Cutting decoded pictures to the size an encoder is given."""

import cv2
import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]


def crop_resize(
    pictures: Pictures, height: int, width: int, rng: np.random.Generator | None = None, min_scale: float = 1.0
) -> Pictures:
    """Cut one window of the wanted aspect from all pictures of a snippet and scale it to ``height`` x ``width``.

    Args:
        pictures: ``[T, h, w, 3]``.
        height: of the result, px.
        width: of the result, px.
        rng: None takes the largest centred window (testing); a generator a random one (training), the same for all T.
        min_scale: smallest side of a random window relative to the largest possible one.

    Returns:
        ``[T, height, width, 3]``.
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
    result = np.empty((len(pictures), height, width, 3), np.uint8)
    for index, picture in enumerate(window):
        cv2.resize(picture, (width, height), dst=result[index], interpolation=cv2.INTER_AREA)
    return result
