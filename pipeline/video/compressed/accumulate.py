"""Accumulated motion, thesis eq. 4.1: a frame's pixels traced back to the I-frame of its group.

J is kept, the place in the I-frame that each pixel is traced back to: one step back in time is J of the pixel's source, and
nothing has to be added up. The accumulated motion is D = i - J.
"""

import numpy as np

from pipeline.video.compressed.trace import Trace, fetch
from pipeline.video.compressed.vectors import padded


def untraced(width: int, height: int) -> np.ndarray:
    """J of the I-frame itself, i: every pixel's own place (x, y), int16 [height, padded, 2]."""
    return np.stack(np.meshgrid(np.arange(padded(width)), np.arange(height)), -1).astype(np.int16)


def accumulate(traced: np.ndarray, trace: Trace) -> np.ndarray:
    """J of a frame, from J of its reference and its trace since then.

    A pixel without (valid) motion keeps the trace of its own place, as in the reference loader.
    """
    return fetch(traced, trace)
