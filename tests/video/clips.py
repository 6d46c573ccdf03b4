"""Small clips in many codecs and containers, encoded on the spot."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 96, 64

Encode = Callable[..., Path]


def moving_picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A textured picture that moves: hard enough to encode that damage to the file is damage to a picture."""
    texture = np.random.default_rng(5).integers(0, 255, (height // 4 + 1, width // 4 + 41, 3), dtype=np.uint8)
    large = texture.repeat(4, axis=0).repeat(4, axis=1)
    return np.ascontiguousarray(large[:height, 2 * (index % 80) : 2 * (index % 80) + width])


def grey_picture(index: int) -> np.ndarray:
    """A flat picture whose grey level tells its index, up to 46."""
    return np.full((HEIGHT, WIDTH, 3), 20 + 5 * index, dtype=np.uint8)


def index_of(picture: np.ndarray) -> int:
    """The index of a :func:`grey_picture`."""
    return round((float(picture.mean()) - 20) / 5)


def encode_clip(
    path: Path,
    codec: str = "libx264",
    count: int = 50,
    fps: int = 25,
    picture: Callable[[int], np.ndarray] = moving_picture,
    times: list[float] | None = None,
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    options: dict[str, str] | None = None,
    rotate: int = 0,
    movflags: str = "",
) -> Path:
    """Encode ``count`` pictures with any codec into the container that the suffix of ``path`` tells."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        # Without x264's macroblock tree the same pictures give the same bytes: damage then hits the same place each time.
        same = {"mbtree": "0"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=fps, options=same | (options or {}))
        first = picture(0)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pix_fmt
        stream.gop_size = gop
        stream.codec_context.thread_count = 1
        if rotate:
            stream.set_display_rotation(rotate)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            if times is not None:
                frame.pts = round(times[index] * fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut_into(source: Path, target: Path, skip: int) -> Path:
    """Copy a file's video packets from number ``skip`` on, as a recording that begins between key frames."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        stream = read.streams.video[0]
        copy = write.add_stream_from_template(stream)
        packets = [packet for packet in read.demux(stream) if packet.dts is not None]
        for packet in packets[skip:]:
            packet.stream = copy
            write.mux(packet)
    return target
