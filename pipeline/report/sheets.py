"""Contact sheets: rows of small pictures of a video with boxes drawn over them as vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
