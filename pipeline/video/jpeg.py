"""JPEG bytes to and from uint8 RGB arrays, and from planes; 4:2:0.

OpenCV makes them from RGB, with the exact transform; simplejpeg, which takes planes and fills arrays, from these, and reads.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from simplejpeg import decode_jpeg, decode_jpeg_header, encode_jpeg_yuv_planes


def encode(picture: np.ndarray, quality: int) -> bytes:
    """Encode uint8 RGB [height, width, 3]; ``quality`` is libjpeg's, 1 to 100.

    Raises:
        ValueError: not uint8 RGB, or the quality is out of range.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"got {picture.dtype} {picture.shape}, a picture is uint8 [height, width, 3]")
    _check(quality)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {picture.shape}")
    return data.tobytes()


def encode_planes(y: np.ndarray, u: np.ndarray, v: np.ndarray, quality: int) -> bytes:
    """Encode the planes of a :class:`pipeline.video.planes.Planes`.

    Raises:
        ValueError: the sizes of the planes do not fit each other, or the quality is out of range.
    """
    halved = tuple(-(-side // 2) for side in y.shape)
    if not u.shape == v.shape == halved:
        raise ValueError(f"planes of colour are {u.shape} and {v.shape}, luma is {y.shape}: they must be {halved}")
    if any(side % 2 for side in y.shape) and (y.base is None or y.base.shape != tuple(2 * side for side in halved)):
        # The encoder reads whole pairs of rows and columns.
        raise ValueError(f"luma of {y.shape} must be part of an array with an even number of rows and columns")
    _check(quality)
    data: bytes = encode_jpeg_yuv_planes(y, u, v, quality, fastdct=False)
    return data


def _check(quality: int) -> None:
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality is {quality}, it must be 1 to 100")


def decode(data: bytes | np.ndarray, into: np.ndarray | None = None) -> np.ndarray:
    """Decode JPEG bytes (or a uint8 array of them) to uint8 RGB [height, width, 3].

    ``into``: a contiguous array that takes the picture where it is large enough: what is returned is a view of it.

    Raises:
        ValueError: the bytes are no picture, or end too early, or ``into`` is too small.
    """
    try:
        picture: np.ndarray = decode_jpeg(data, "RGB", buffer=into)
    except ValueError as error:
        raise ValueError(f"these {len(data)} bytes are not a picture that can be decoded ({error})") from error
    return picture


def decode_into(target: np.ndarray, data: Sequence[bytes | np.ndarray]) -> None:
    """Decode pictures of one size into ``target``, uint8 [len(data), height, width, 3].

    Raises:
        ValueError: a picture cannot be decoded or has another size.
    """
    for row, one in zip(target, data, strict=True):
        if (found := size(one)) != row.shape[:2]:
            raise ValueError(f"a picture is {(*found, 3)}, expected {row.shape}")
        decode(one, row)


def size(data: bytes | np.ndarray) -> tuple[int, int]:
    """Height and width of a JPEG picture. Raises as :func:`decode`."""
    try:
        height, width, *_ = decode_jpeg_header(data)
    except ValueError as error:
        raise ValueError(f"these {len(data)} bytes are not a picture that can be decoded ({error})") from error
    return height, width
