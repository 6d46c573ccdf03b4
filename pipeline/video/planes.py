"""Decoded frames as the planes that a JPEG file holds, without the way over RGB and back.

A decoded frame is luma and two half-sized planes of colour already, as a JPEG file of 4:2:0 is. They differ in range (video
16..235, JPEG 0..255) and, for HD material, in the matrix (BT.709, JPEG's is BT.601): a linear map of the planes.
"""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from av.video.frame import VideoFrame

FORMATS = ("yuv420p", "yuvj420p")

FULL_RANGE = 2
"""Of AVColorRange: 0 to 255; the others are video's."""

WEIGHTS = {
    1: (0.2126, 0.0722), 2: (0.299, 0.114), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}  # fmt: skip
"""Share of red and of blue in luma by AVColorSpace (ITU-T H.273, table 4); 2, not known, is taken for BT.601."""

_JFIF = WEIGHTS[6]


class Planes(NamedTuple):
    """A picture as JPEG's luma and colour (JFIF: BT.601, 0 to 255): uint8, ``y`` [height, width], ``u``, ``v`` half of it.

    Half is rounded up. In memory ``y`` goes on to an even number of rows and columns, its edge repeated.
    """

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the RGB picture."""
        return *self.y.shape, 3


def jfif(frame: VideoFrame) -> Planes | None:
    """The planes of a frame; None where it is not 8 bit 4:2:0, or has a matrix that is none of :data:`WEIGHTS`."""
    if frame.format.name not in FORMATS or int(frame.colorspace) not in WEIGHTS:
        return None
    y, u, v = (_samples(frame, number) for number in range(3))
    full = frame.format.name == "yuvj420p" or int(frame.color_range) == FULL_RANGE
    luma, colour, black = (1.0, 1.0, 0.0) if full else (255 / 219, 255 / 224, 16.0)
    (y_u, y_v), (u_u, u_v), (v_u, v_v) = _to_jfif(*WEIGHTS[int(frame.colorspace)])
    grey = _even(frame.height, frame.width)
    if y_u == y_v == 0:
        cv2.addWeighted(y, luma, y, 0, -luma * black, dst=grey)
    else:
        # The share of colour in luma, around 128; it is as coarse as colour is.
        share = _mixed(u, v, colour * y_u, colour * y_v)
        share = cv2.resize(share, (frame.width, frame.height), interpolation=cv2.INTER_LINEAR)
        cv2.addWeighted(y, luma, share, 1, -luma * black - 128, dst=grey)
    return Planes(_filled(grey), _mixed(u, v, colour * u_u, colour * u_v), _mixed(u, v, colour * v_u, colour * v_v))


def _samples(frame: VideoFrame, number: int) -> np.ndarray:
    """One plane as it lies in the decoder's memory."""
    plane = frame.planes[number]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]  # type: ignore[call-overload, no-any-return]


def _mixed(u: np.ndarray, v: np.ndarray, of_u: float, of_v: float) -> np.ndarray:
    return np.asarray(cv2.addWeighted(u, of_u, v, of_v, 128 * (1 - of_u - of_v)))


def _even(height: int, width: int) -> np.ndarray:
    """An array [height, width] that is part of one with an even number of rows and columns."""
    return np.empty((height + height % 2, width + width % 2), np.uint8)[:height, :width]


def _filled(plane: np.ndarray) -> np.ndarray:
    """Repeat the edge into the rest of what :func:`_even` made."""
    height, width = plane.shape
    whole = plane.base
    assert isinstance(whole, np.ndarray)
    whole[:height, width:] = whole[:height, width - 1 : width]
    whole[height:] = whole[height - 1 : height]
    return plane


@cache
def _to_jfif(red: float, blue: float) -> tuple[tuple[float, float], ...]:
    """Shares of both colours in luma and colours of JPEG, of a picture with these weights; luma adds to luma alone."""
    matrix = _of_rgb(*_JFIF) @ np.linalg.inv(_of_rgb(red, blue))
    return tuple((float(of_u), float(of_v)) for of_u, of_v in matrix.round(12)[:, 1:])


def _of_rgb(red: float, blue: float) -> np.ndarray:
    """Luma 0 to 1, colours -1/2 to 1/2, from R, G, B: [3, 3]."""
    luma = np.array([red, 1 - red - blue, blue])
    return np.stack([luma, (np.eye(3)[2] - luma) / (2 - 2 * blue), (np.eye(3)[0] - luma) / (2 - 2 * red)])
