"""An annotated copy of a video: boxes with names and numbers, the shot, the actions, on every frame."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.video.decode import Frame, decode, probe
from pipeline.video.encode import encode_h264
from pipeline.video.tracks import box_at

COLOURS = (
    (255, 210, 63), (76, 201, 240), (255, 107, 107), (128, 237, 153), (244, 156, 255), (255, 159, 28), (184, 192, 255),
)  # fmt: skip
"""RGB by a tube's number, as on the pages."""
_FONT, _WHITE, _BLACK = cv2.FONT_HERSHEY_SIMPLEX, (255, 255, 255), (0, 0, 0)


class Moving(NamedTuple):
    """A tube to draw: its name, its colour's number, boxes [N, 4] in source pixels at rising times [N] in seconds."""

    name: str
    colour: int
    t: np.ndarray
    box: np.ndarray


class Lasting(NamedTuple):
    """A line of text from ``t_start`` to ``t_end``, seconds."""

    text: str
    t_start: float
    t_end: float


def annotate(
    path: Path, out: Path, tubes: Sequence[Moving], shots: np.ndarray, lines: Sequence[Lasting], *,
    hold_s: float = 0.0, short_side: int = 480, most_lines: int = 3,
) -> int:  # fmt: skip
    """Write an H.264 copy at a constant rate; return its number of frames.

    Args:
        path: the video.
        out: the file to write, ``.mp4``.
        tubes: what is drawn, each from its first box to its last, between them where it must have been.
        shots: start and end of each in seconds [S, 2].
        lines: what happens; the first ``most_lines`` that are on at a time are written below.
        hold_s: how long before its first and after its last box a tube is still shown.
        short_side: px of the copy's shorter side, whatever the video's: the text must be readable.
        most_lines: see ``lines``.

    Raises:
        VideoError: the file cannot be read.
    """
    info = probe(path)
    first = np.array([tube.t[0] for tube in tubes]) - hold_s
    last = np.array([tube.t[-1] for tube in tubes]) + hold_s

    def pictures() -> Iterator[np.ndarray]:
        for number, frame in _at_constant_rate(decode(path, short_side=short_side), info.fps):
            now, (height, width) = number / info.fps, frame.picture.shape[:2]
            drawn = np.ascontiguousarray(frame.picture[: height // 2 * 2, : width // 2 * 2])
            scale = np.array([width / info.width, height / info.height] * 2)
            for k in np.flatnonzero((first <= now) & (now <= last)).tolist():
                box = box_at(tubes[k].t, tubes[k].box, now) * scale
                _draw_box(drawn, box, tubes[k].name, COLOURS[tubes[k].colour % len(COLOURS)])
            shot = int(np.searchsorted(shots[:, 0], now, side="right"))
            _write(drawn, f"shot {shot} of {len(shots)}   {now:.1f} s", 0, top=True)
            on = [line.text for line in lines if line.t_start <= now < line.t_end][:most_lines]
            for row, text in enumerate(reversed(on)):
                _write(drawn, text, row, top=False)
            yield drawn

    return encode_h264(out, pictures(), info.fps, gop=max(1, round(2 * info.fps)), crf=21, index_first=True)


def _at_constant_rate(frames: Iterator[Frame], fps: float) -> Iterator[tuple[int, Frame]]:
    """(k, the frame on show at k / fps) for all k until the last frame."""
    number, shown = 0, None
    for frame in frames:
        while shown is not None and number / fps < frame.pts_s - 1e-6:
            yield number, shown
            number += 1
        shown = frame
    if shown is not None:
        yield number, shown


def _draw_box(picture: np.ndarray, box: np.ndarray, name: str, colour: tuple[int, int, int]) -> None:
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = np.clip(np.round(box), 0, [width - 1, height - 1] * 2).astype(int).tolist()
    thick = max(1, height // 240)
    cv2.rectangle(picture, (x1, y1), (x2, y2), colour, thick, cv2.LINE_AA)
    size = height / 900
    (w, h), _ = cv2.getTextSize(name, _FONT, size, thick)
    top = max(y1, h + 4)
    cv2.rectangle(picture, (x1, top - h - 4), (x1 + w + 4, top), colour, -1)
    cv2.putText(picture, name, (x1 + 2, top - 3), _FONT, size, _BLACK, thick, cv2.LINE_AA)


def _write(picture: np.ndarray, text: str, row: int, top: bool) -> None:
    """A line on a dark ground; ``row`` counts from the edge."""
    height = picture.shape[0]
    size, thick = height / 700, max(1, height // 360)
    (w, h), base = cv2.getTextSize(text, _FONT, size, thick)
    line = h + base + 4
    y = line * (row + 1) if top else height - line * row - 4
    ground = picture[max(y - line, 0) : y + 2, : w + 12]
    ground //= 3
    cv2.putText(picture, text, (6, y - base), _FONT, size, _WHITE, thick, cv2.LINE_AA)
