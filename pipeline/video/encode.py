"""Writing H.264 files whose bytes depend on the pictures and the arguments alone."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline.run.files import atomic_path

REPRODUCIBLE = "mbtree=0:b-adapt=0"
"""x264's macroblock tree gives other bytes from run to run on processors with AVX-512, even with one thread (measured: up
to 5 different files of 60 equal runs at 96x64, 2 of 25 at 192x144; none without it, nor when AVX-512 is switched off)."""


def encode_h264(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    gop: int,
    crf: int = 23,
    preset: str = "veryfast",
    threads: int = 1,
    x264: str = REPRODUCIBLE,
    index_first: bool = False,
) -> int:
    """Write pictures as H.264 (8 bit, 4:2:0) in MP4, atomically; return their number.

    Pictures are uint8, RGB [height, width, 3] or the planes Y, U, V below each other [height * 3/2, width] (OpenCV's
    I420), and are consumed one by one. Frame k is shown at k / fps. ``gop``: largest distance of key frames in frames;
    ``crf``: x264's quality, 0 to 51, lower is better; ``preset``: x264's speed; ``x264``: its further parameters;
    ``index_first``: the container's index before the pictures, for playing over a network. Equal pictures and arguments
    give equal bytes; x264 gives other bytes for another number of threads.

    Raises:
        ValueError: no pictures, odd width or height (4:2:0 has one colour sample for 2x2 pixels), or pictures that differ
            in shape or are not uint8.
        DiskFull: the disk has no space left; nothing is left behind.
    """
    import av  # late: the renderer of the procedural world imports this module where there is no PyAV

    rate = Fraction(fps).limit_denominator(100_000)
    options = {"crf": str(crf), "preset": preset, "x264-params": x264}
    count, shape, form = 0, None, ""
    # bitexact: no version string of the muxer in the file
    muxing = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if index_first else {})
    with atomic_path(Path(path)) as temp, av.open(str(temp), "w", format="mp4", options=muxing) as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        for picture in frames:
            if shape is None:
                shape = picture.shape
                form, stream.height, stream.width = _layout(picture, path)
                stream.pix_fmt = "yuv420p"
                stream.gop_size = gop
                stream.codec_context.thread_count = threads
            if picture.shape != shape or picture.dtype != np.uint8:
                raise ValueError(f"{path}: picture {count} is {picture.dtype} {picture.shape}, not uint8 {shape}")
            frame = av.VideoFrame.from_ndarray(picture, format=form)
            frame.pts, frame.time_base = count, 1 / rate
            container.mux(stream.encode(frame))
            count += 1
        if shape is None:
            raise ValueError(f"{path}: there is no picture to encode")
        container.mux(stream.encode(None))
    return count


def _layout(picture: np.ndarray, path: Path) -> tuple[str, int, int]:
    """FFmpeg's pixel format of a picture, its height and width."""
    if picture.ndim == 3 and picture.shape[2] == 3 and not picture.shape[0] % 2 and not picture.shape[1] % 2:
        return "rgb24", picture.shape[0], picture.shape[1]
    if picture.ndim == 2 and not picture.shape[0] % 3 and not picture.shape[1] % 2:
        return "yuv420p", picture.shape[0] // 3 * 2, picture.shape[1]
    raise ValueError(
        f"{path}: pictures are {picture.shape}, they must be [height, width, 3], height and width even, "
        "or 4:2:0 planes [height * 3/2, width]"
    )
