"""JPEG bytes to and from uint8 RGB arrays (OpenCV)."""

from collections.abc import Sequence

import cv2
import numpy as np


def encode(picture: np.ndarray, quality: int, *, bgr: bool = False) -> bytes:
    """Encode uint8 RGB [height, width, 3], or BGR on request; ``quality`` is libjpeg's, 1 to 100.

    Raises:
        ValueError: not uint8 RGB, or the quality is out of range.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"got {picture.dtype} {picture.shape}, a picture is uint8 [height, width, 3]")
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality is {quality}, it must be 1 to 100")
    turned = picture if bgr else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {picture.shape}")
    return data.tobytes()


def decode(data: bytes | np.ndarray) -> np.ndarray:
    """Decode JPEG bytes (or a uint8 array of them) to uint8 RGB [height, width, 3].

    Raises:
        ValueError: the bytes are no picture.
    """
    buffer = np.frombuffer(data, dtype=np.uint8)
    picture: np.ndarray | None = cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB) if buffer.size else None
    if picture is None:
        raise ValueError(f"these {buffer.size} bytes are not a picture that can be decoded")
    return picture


def decode_into(target: np.ndarray, data: Sequence[bytes | np.ndarray]) -> None:
    """Decode pictures of one size into ``target``, uint8 [len(data), height, width, 3].

    Raises:
        ValueError: a picture cannot be decoded or has another size.
    """
    for row, one in zip(target, data, strict=True):
        picture = decode(one)
        if picture.shape != row.shape:
            raise ValueError(f"a picture is {picture.shape}, expected {row.shape}")
        row[:] = picture
