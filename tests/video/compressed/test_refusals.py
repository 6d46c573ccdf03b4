"""What cannot be read is refused by name: codecs, sizes that change, damage of any kind; never zeros, never a hang."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.video.compressed import VideoError, read_compressed
from pipeline.video.decode import decode
from tests.video.clips import Encode, moving_picture


def refusal(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        list(read_compressed(path))
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "codec", "pix_fmt", "named"),
    [
        ("a.mp4", "libx265", "yuv420p", "hevc"),
        ("a.webm", "libvpx-vp9", "yuv420p", "vp9"),
        ("a.avi", "mjpeg", "yuvj420p", "mjpeg"),
        ("a.mkv", "ffv1", "yuv420p", "ffv1"),
    ],
)
def test_codecs_without_vectors(encode: Encode, file: str, codec: str, pix_fmt: str, named: str) -> None:
    options = {"libx265": {"x265-params": "log-level=none"}}.get(codec, {})
    message = refusal(encode(f"none-{codec}-{file}", codec, count=4, pix_fmt=pix_fmt, options=options))
    assert f"codec {named} gives no motion vectors" in message
    assert "--normalise" in message
    assert "ffmpeg -i" in message


def test_av1(shared: Path) -> None:
    assert "av1 gives no motion vectors" in refusal(shared / "videos" / "derived" / "av1_truman_cut.mkv")


def test_a_change_of_size(encode: Encode, tmp_path: Path) -> None:
    small = encode("small.m2v", "mpeg2video", count=12)
    large = encode("large.m2v", "mpeg2video", count=12, picture=lambda index: moving_picture(index, 128, 96))
    (tmp_path / "joined.m2v").write_bytes(small.read_bytes() + large.read_bytes())
    assert "picture size changes from 96 x 64 to 128 x 96" in refusal(tmp_path / "joined.m2v")


@pytest.mark.parametrize(("file", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.ts", "mpeg2video")])
def test_damaged_files(encode: Encode, tmp_path: Path, file: str, codec: str) -> None:
    """Cut off anywhere, or bytes flipped anywhere: an error, or every frame with its time."""
    path = encode(f"damage-{codec}-{file}", codec, count=40)
    whole, times = path.read_bytes(), [frame.pts_s for frame in decode(path)]
    rng = np.random.default_rng(11)
    refused = 0
    for trial in range(24):
        data = bytearray(whole)
        if trial < 8:
            data = data[: int(len(data) * (trial + 0.5) / 8)]
        else:
            for place in rng.integers(0, len(data), 1 + 20 * (trial % 3)):
                data[place] ^= 1 << int(rng.integers(8))
        damaged = tmp_path / f"{trial}-{file}"
        damaged.write_bytes(data)
        try:
            rows = list(read_compressed(damaged))
        except VideoError as error:
            assert damaged.name in str(error)
            refused += 1
        else:
            assert len(rows) == len(times), trial
            assert np.all(np.diff([row.pts for row in rows]) > 0)
            assert all(row.residual.any() for row in rows if row.frame_type > 1)
    assert refused >= 12


def test_wrong_extensions_and_things_that_are_no_video(encode: Encode, tmp_path: Path) -> None:
    video = encode("right.mp4", "mpeg4", count=12)
    wrong = tmp_path / "wrong.txt"
    wrong.write_bytes(video.read_bytes())
    assert len(list(read_compressed(wrong))) == 12
    for name, data in (("text.mp4", b"not a video\n" * 50), ("empty.avi", b""), ("noise.mp4", bytes(range(256)) * 40)):
        (tmp_path / name).write_bytes(data)
        refusal(tmp_path / name)
    refusal(tmp_path / "absent.mp4")
