"""Contact sheets: rows of small pictures of a video with boxes drawn over them as vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.colors import hsv_to_rgb

BOX_COLOURS = 8
"""Colours of boxes, by number; style.css has as many. Further numbers begin anew."""


@dataclass(frozen=True)
class Box:
    """A box in pixels of its picture's frame; ``tag`` is written at it, ``title`` shown on pointing."""

    x1: float
    y1: float
    x2: float
    y2: float
    tag: str = ""
    title: str = ""
    colour: int = 0


@dataclass(frozen=True)
class Picture:
    """A picture (JPEG or PNG bytes) of a frame of ``width`` x ``height`` px, to which its boxes refer.

    ``verdict`` colours the caption.
    """

    image: bytes
    width: int
    height: int
    caption: str = ""
    boxes: tuple[Box, ...] = ()
    verdict: Literal["", "good", "bad"] = ""


@dataclass(frozen=True)
class Row:
    """Pictures in a line under one name, such as "found" or "truth"."""

    name: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Sheet:
    """Rows that belong together, mostly of one video.

    Rows of a sheet keep their columns, so that what is found stands over what is true; with ``wrap`` a row goes on in the
    next line instead.
    """

    title: str
    rows: Sequence[Row]
    text: str = ""
    wrap: bool = False

    @property
    def columns(self) -> int:
        """Pictures in the longest row."""
        return max((len(row.pictures) for row in self.rows), default=0)


def motion_colours(vectors: np.ndarray, fullest: float | None = None) -> np.ndarray:
    """Motion vectors [height, width, 2] (x, y in px) as uint8 RGB: hue is the direction, brightness the speed's root.

    ``fullest``: the speed in px that is as bright as can be; default: the fastest here. Rest is black.
    """
    x, y = (vectors[..., axis].astype(np.float64) for axis in (0, 1))
    speed = np.hypot(x, y)
    top = max(float(speed.max(initial=0.0)) if fullest is None else fullest, 1e-6)
    hue = np.arctan2(y, x) / (2 * np.pi) % 1.0
    colours = hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.8), np.sqrt(np.clip(speed / top, 0, 1))], axis=-1))
    return np.round(255 * colours).astype(np.uint8)
