"""Transcoding any video to a stream of exact vectors: MPEG-4 Part 2, groups of at most 12, no B-frames, one reference.

That is what CoViAR was trained on. ffmpeg-python builds the command; the binary is the one of the imageio-ffmpeg wheel, else
the system's ``ffmpeg``.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.video.container import VideoError, open_video
from pipeline.video.decode import SQUARE_PIXELS_WITHIN, VideoInfo, scan

GROUP = 12
"""Most frames from one I-frame to the next; a cut begins a new group."""

QUALITY = 1
"""MPEG-4 quantiser of all frames, 1 (best, what CoViAR used) to 31."""

TICK = 1000
"""Ticks of the clock in a second: Matroska's, and MPEG-4 Part 2 allows at most 65535."""


@contextmanager
def normalised(video: Path) -> Iterator[tuple[Path, str]]:
    """Transcode to a file that lives as long as the context; yields it and the codec of the source.

    Frames keep their times (to 1 ms), their number and, upright and in square pixels, their size.

    Raises:
        VideoError: the source is damaged or no video (it is checked before), or the transcode failed.
        FileNotFoundError: neither the wheel nor the system has an ffmpeg.
    """
    source = Path(video)
    info = scan(source)
    with tempfile.TemporaryDirectory(prefix="normalised-") as folder:
        target = Path(folder) / f"{source.stem}.mkv"
        done = subprocess.run(command(source, target, info), capture_output=True, text=True)
        if done.returncode:
            raise VideoError(source, f"the transcode failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        yield target, info.codec


def command(source: Path, target: Path, info: VideoInfo) -> list[str]:
    """The transcode's command line; ``info``: of the source. FFmpeg turns pictures upright by itself."""
    import ffmpeg

    with open_video(source, threads=1) as (_, stream):
        shown = ffmpeg.input(f"file:{source}")[str(stream.index)]
        square = abs(float(stream.sample_aspect_ratio or 1) - 1) <= SQUARE_PIXELS_WITHIN
    if not square:
        shown = shown.filter("scale", info.width, info.height, flags="area").filter("setsar", 1)
    output = ffmpeg.output(
        shown, f"file:{target}",
        vcodec="mpeg4", **{"q:v": QUALITY, "g": GROUP, "bf": 0, "enc_time_base": f"1:{TICK}"},
        pix_fmt="yuv420p", fps_mode="passthrough", threads=1, f="matroska",
    ).global_args("-hide_banner", "-loglevel", "error", "-nostdin")  # fmt: skip
    line: list[str] = ffmpeg.compile(output, cmd=binary(), overwrite_output=True)
    return line


def binary() -> str:
    """An ffmpeg to run.

    Raises:
        FileNotFoundError: there is none.
    """
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        system = shutil.which("ffmpeg")
    if system is None:
        raise FileNotFoundError("no ffmpeg: install the package imageio-ffmpeg, or ffmpeg of the system")
    return system
