"""A strip of small pictures that shows a video at a glance."""

from pathlib import Path

from pipeline.video import jpeg
from pipeline.video.decode import decode_shown_at, probe

JPEG_QUALITY = 80


def thumbnails(path: Path, count: int, height: int, *, duration_s: float | None = None) -> list[tuple[float, bytes]]:
    """``count`` pictures at the middles of equal parts of a video: (time of the middle in seconds, JPEG bytes).

    One forward pass; only the chosen frames are scaled and converted. ``duration_s``: the length where it is known
    (default: what the container says). Where the video is shorter than that, its last frame stands in.

    Raises:
        VideoError: the file cannot be read.
    """
    duration = probe(path).duration_s if duration_s is None else duration_s
    times = [(index + 0.5) / count * duration for index in range(count)]
    shown = decode_shown_at(path, times, height=height)
    return [(t, jpeg.encode(frame.picture, JPEG_QUALITY)) for t, frame in zip(times, shown, strict=True)]
