"""Passing over pictures that nobody sees: fewer are decoded, what is shown stays the same to the bit."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.container import Clock
from pipeline.video.decode import Frame, VideoError, decode, decode_at, on_grid
from pipeline.video.unseen import pass_over_unseen
from tests.video.clips import Encode, moving_picture

X265 = {"x265-params": "log-level=none:bframes=3:keyint=25"}
X264 = {"bf": "3", "x264-params": "b-adapt=0"}
CLIPS = {
    "h264.mp4": ("libx264", X264),
    "open_gop.mkv": ("libx264", X264 | {"x264-params": "b-adapt=0:open-gop=1:keyint=20"}),
    "pyramid.mp4": ("libx264", X264 | {"x264-params": "b-adapt=0:b-pyramid=normal:bframes=7"}),
    "h264.ts": ("libx264", X264),
    "h264.avi": ("libx264", X264),
    "hevc.mp4": ("libx265", X265),
    "mpeg4.mp4": ("mpeg4", {"bf": "2"}),
    "mpeg2.ts": ("mpeg2video", {"bf": "2"}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}


def chosen(path: Path, fps: float) -> list[Frame]:
    """The rule of ``decode_at`` applied to all frames, every one of them decoded."""
    frames = list(decode(path))
    usual = frames[-1].pts_s - frames[-2].pts_s
    ends = [frame.pts_s for frame in frames[1:]] + [frames[-1].pts_s + usual]
    return [frame for frame, end in zip(frames, ends, strict=True) if on_grid(frame.pts_s, end, fps)]


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("fps", [1.5, 5, 11, 25])
def test_what_is_shown_stays_the_same(encode: Encode, name: str, fps: float) -> None:
    codec, options = CLIPS[name]
    path = encode(f"unseen-{name}", codec, count=90, options=options, gop=30)
    expected, got = chosen(path, fps), list(decode_at(path, fps))
    assert [frame.pts_s for frame in got] == [frame.pts_s for frame in expected]
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("name", ["h264.mp4", "open_gop.mkv", "hevc.mp4", "mpeg4.mp4"])
def test_fewer_are_decoded(encode: Encode, name: str) -> None:
    codec, options = CLIPS[name]
    path = encode(f"unseen-{name}", codec, count=90, options=options, gop=30)

    def count(wanted: Callable[[float, float], bool]) -> int:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = "NONE"
            clock, frames = Clock(container, stream), 0
            for packet in pass_over_unseen(container.demux(stream), stream, clock, wanted):
                for frame in packet.decode():
                    clock.time(frame)
                    frames += 1
        return frames

    assert count(lambda start, end: True) == 90
    assert 20 < count(lambda start, end: False) < 70


def check_real(path: Path) -> None:
    every = {frame.pts_s: frame.picture for frame in decode(path, short_side=16)}
    got = list(decode_at(path, 4, 16))
    assert got
    assert all(np.array_equal(every[frame.pts_s], frame.picture) for frame in got), path
    assert all(np.diff([frame.pts_s for frame in got]) > 0)


SMALL = ("derived/", "formats/vfr", "formats/rot90_3", "formats/delayed", "formats/mjpeg", "gestures/asl_no")


def test_real_files_show_the_same(shared: Path, manifest: dict[str, dict[str, str]]) -> None:
    for name in manifest:
        if name.startswith(SMALL):
            check_real(shared / "videos" / name)


@pytest.mark.slow
def test_every_real_file_shows_the_same(shared: Path, manifest: dict[str, dict[str, str]]) -> None:
    for name in manifest:
        check_real(shared / "videos" / name)


def test_damage_gives_no_picture_that_full_decoding_would_not_give(encode: Encode, tmp_path: Path) -> None:
    """FFmpeg takes some damaged pictures for good ones; leaving others out must not make more of them."""
    path = encode("unseen-damage.mp4", count=90, options=X264, gop=30, picture=moving_picture)
    whole = {frame.pts_s: frame.picture for frame in decode(path)}
    raised = 0
    for seed in range(20):
        data = bytearray(path.read_bytes())
        start = int(np.random.default_rng(seed).integers(len(data) // 4, len(data) * 3 // 4))
        data[start : start + 40] = bytes(40)
        damaged = tmp_path / "damaged.mp4"
        damaged.write_bytes(data)
        fully: dict[float, np.ndarray] = {}
        with suppress(VideoError):
            fully |= {frame.pts_s: frame.picture for frame in decode(damaged)}
        try:
            for frame in decode_at(damaged, 3):
                same = [np.array_equal(frame.picture, of[frame.pts_s]) for of in (whole, fully) if frame.pts_s in of]
                assert any(same), (seed, frame.pts_s)
        except VideoError:
            raised += 1
    assert raised > 5
