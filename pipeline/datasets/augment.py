"""CoViAR's pictures of motion and residuals, and its augmentation: crops, flips, colour jitter (numpy and OpenCV).

Pictures are uint8 [N, h, w, C], all of one clip, and are cut and flipped alike. Motion pictures hold x and y around
:data:`REST`; their values stay as they are when a picture is resized, as in the published code.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.video.crop import Pictures

REST = 128
"""Value of no motion, and of no residual."""
MOTION_PX = 20.0
"""Motion that is as large as a picture of it can show, px of a picture whose shorter side is the paper's 256 px."""
_PAPER_SIDE = 256
SCALES = {"i": (1.0, 0.875, 0.75, 0.66), "mv": (1.0, 0.875, 0.75), "residual": (1.0, 0.875, 0.75)}
"""Sides of random windows, relative to the picture's shorter side."""
TEST_SCALE = 256 / 224
"""Side of the picture that test windows are cut from, relative to theirs."""
JITTER = (36, 50, 50)
"""Largest change of hue (of 180), lightness and saturation (of 255)."""
_MOST_DISTORTED, _SNAP_PX = 1, 3


def motion_pictures(mv: np.ndarray, full_px: float = MOTION_PX) -> Pictures:
    """Motion in px, any shape, as uint8: ``full_px`` to either side is the full range, the rest is cut off."""
    scaled = np.trunc(np.asarray(mv, np.float32) * np.float32(127.5 / full_px)) + REST
    return np.asarray(np.clip(scaled, 0, 255).astype(np.uint8))


def full_motion(motion_px: float, height: int, width: int) -> float:
    """``motion_px`` of the paper's 340 x 256 px in px of another size, so that it is the same share of a picture."""
    return motion_px * min(height, width) / _PAPER_SIDE


def residual_pictures(residual: np.ndarray) -> Pictures:
    """Residuals in grey levels, any shape, as uint8, cut off beyond -128 and 127."""
    return np.clip(np.asarray(residual, np.int32) + REST, 0, 255).astype(np.uint8)


def flip(pictures: Pictures, motion: bool) -> Pictures:
    """Mirror left and right. Of motion, x changes its sign too (the published code lets 0 become 256; here it is 255)."""
    mirrored: Pictures = pictures[:, :, ::-1].copy()
    if motion:
        mirrored[..., 0::2] = np.minimum(2 * REST - mirrored[..., 0::2].astype(np.int32), 255)
    return mirrored


def multi_scale_crop(
    pictures: Pictures, size: int, rng: np.random.Generator, scales: Sequence[float] = SCALES["i"]
) -> Pictures:
    """A random window of every picture (TSN's multi-scale cropping), resized to [N, size, size, C].

    Height and width are each one of ``scales`` times the shorter side, next to each other in that list at most, and
    ``size`` itself within 3 px of it; the place is free.
    """
    h, w = pictures.shape[1:3]
    sides = [int(min(h, w) * scale) for scale in scales]
    sides = [size if abs(side - size) < _SNAP_PX and size <= min(h, w) else side for side in sides]
    pairs = [
        (sides[i], sides[j])
        for i in range(len(sides))
        for j in range(len(sides))
        if abs(i - j) <= _MOST_DISTORTED
    ]  # fmt: skip
    high, wide = pairs[int(rng.integers(len(pairs)))]
    top, left = int(rng.integers(h - high + 1)), int(rng.integers(w - wide + 1))
    return resized(pictures[:, top : top + high, left : left + wide], size, size)


def fixed_crops(pictures: Pictures, size: int, crops: int, motion: bool) -> Pictures:
    """Fixed windows of every picture, [N * crops, size, size, C], those of one picture one after the other.

    The whole picture is squashed to a square of 256 / 224 x ``size`` first. ``crops`` 1: the centre; 5: corners and centre;
    10: the same, and mirrored.

    Raises:
        ValueError: another number of crops.
    """
    if crops not in (1, 5, 10):
        raise ValueError(f"crops is {crops}; allowed: 1, 5, 10")
    side = round(size * TEST_SCALE)
    square = resized(pictures, side, side)
    step = (side - size) // 4
    corners = [(0, 0), (0, 4 * step), (4 * step, 0), (4 * step, 4 * step), (2 * step, 2 * step)]
    windows = [square[:, y : y + size, x : x + size] for y, x in (corners[-1:] if crops == 1 else corners)]
    if crops == 10:
        windows = [one for window in windows for one in (window, flip(window, motion))]
    return np.stack(windows, axis=1).reshape(-1, *windows[0].shape[1:])


def colour_jitter(picture: Pictures, rng: np.random.Generator) -> Pictures:
    """Shift hue, lightness and saturation of one RGB picture [h, w, 3] at random, cut off at their ends.

    The published code does so in testing as well, which makes scores random; here it is for training.
    """
    hls = cv2.cvtColor(picture, cv2.COLOR_RGB2HLS).astype(np.float32)
    hls += (rng.uniform(-1, 1, 3) * JITTER).astype(np.float32)
    hls = np.clip(hls, 0, np.array([180, 255, 255], np.float32))
    return np.asarray(cv2.cvtColor(hls.astype(np.uint8), cv2.COLOR_HLS2RGB), np.uint8)


def resized(pictures: NDArray[np.uint8], height: int, width: int) -> Pictures:
    """Pictures of any number of channels, bilinear, [N, height, width, C]."""
    if pictures.shape[1:3] == (height, width):
        return np.ascontiguousarray(pictures)
    result = np.empty((len(pictures), height, width, pictures.shape[3]), np.uint8)
    for target, picture in zip(result, pictures, strict=True):
        target[:] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR).reshape(target.shape)
    return result
