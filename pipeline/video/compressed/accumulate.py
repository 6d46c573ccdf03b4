"""Accumulated motion, thesis eq. 4.1: a frame's pixels traced back to the I-frame of its group."""

import numpy as np

from pipeline.video.compressed.trace import Trace, fetch


def accumulate(before: np.ndarray, trace: Trace) -> np.ndarray:
    """Motion since the I-frame, D = i - J, int16 [height, padded, 2].

    Args:
        before: D of the reference frame; zero for the I-frame itself.
        trace: of the frame since its reference.

    J of a pixel is J of its source, so D is its own motion plus D there. A pixel without (valid) motion keeps the trace of
    its own place, as in the reference loader.
    """
    if trace.starts is None:
        return before
    there = fetch(before, trace)  # a new array
    there += trace.motion
    return there
