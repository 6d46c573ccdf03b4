"""Motion and residuals as pictures, as in figure 4.2 of the thesis."""

import cv2
import numpy as np


def draw_motion(mv: np.ndarray, fullest: float | None = None) -> np.ndarray:
    """Motion [height, width, 2] (x, y in px) in HSV space, as uint8 RGB: hue is the direction, saturation the amplitude.

    What stands still is white; motion to the right is red, down yellow-green, to the left cyan, up violet. ``fullest``: the
    amplitude in px of full saturation; default: the largest here.
    """
    x, y = mv[..., 0].astype(np.float32), mv[..., 1].astype(np.float32)
    amplitude = np.hypot(x, y)
    top = max(float(amplitude.max(initial=0.0)) if fullest is None else fullest, 1e-6)
    hue = np.degrees(np.arctan2(y, x)) % np.float32(360)
    hsv = np.stack([hue, np.clip(amplitude / np.float32(top), 0, 1), np.ones_like(hue)], -1)
    if not hsv.size:
        return np.zeros((*mv.shape[:2], 3), np.uint8)
    return np.asarray(np.round(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255), np.uint8)


def draw_residual(residual: np.ndarray) -> np.ndarray:
    """A residual int16 [height, width, 3] as its absolute value in RGB, uint8."""
    return np.asarray(np.clip(np.abs(residual), 0, 255), np.uint8)
