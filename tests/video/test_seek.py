"""Reading frames by seeking gives what decoding from the start gives, in every container and codec."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipeline.video.decode import VideoError, decode, decode_at
from pipeline.video.seek import SeekableVideo
from tests.video.clips import Encode, cut_into, grey_picture, index_of
from tests.video.test_unseen import CLIPS, SMALL

SEQUENTIAL = ("h264.avi",)
"""B-frames in AVI: the packets do not tell the frames' times."""


@pytest.mark.parametrize("name", CLIPS)
def test_any_rows_in_any_order(encode: Encode, name: str) -> None:
    codec, options = CLIPS[name]
    path = encode(f"unseen-{name}", codec, count=90, options=options, gop=30)
    frames = list(decode(path, short_side=48))
    with SeekableVideo(path, short_side=48) as video:
        assert (video.index.stamps is None) == (name in SEQUENTIAL)
        assert video.index.pts_s.tolist() == [frame.pts_s for frame in frames]
        assert video.size == (48, 72)
        rng = np.random.default_rng(0)
        for rows in (
            [89],
            [0],
            [0, 1, 2],
            [3, 88],
            [29, 30, 31],
            *(np.unique(rng.integers(0, 90, 5)) for _ in range(12)),
        ):
            pictures = video.pictures(np.array(rows))
            assert all(np.array_equal(frames[r].picture, p) for r, p in zip(rows, pictures, strict=True)), rows


@pytest.mark.parametrize("fps", [3, 10, 100])
@pytest.mark.parametrize("name", ["h264.mp4", "h264.avi", "mpeg2.ts"])
def test_rows_are_those_of_the_decode_stage(encode: Encode, name: str, fps: float) -> None:
    codec, options = CLIPS[name]
    path = encode(f"unseen-{name}", codec, count=90, options=options, gop=30)
    expected = list(decode_at(path, fps))
    with SeekableVideo(path, fps) as video:
        assert video.index.pts_s.tolist() == [frame.pts_s for frame in expected]
        row = len(expected) // 2
        assert np.array_equal(video.pictures(np.array([row]))[0], expected[row].picture)


def test_variable_rate_and_a_start_between_key_frames(encode: Encode, tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 1.0, 1.04, 3.0]
    with SeekableVideo(encode("vfr.mp4", count=6, picture=grey_picture, times=times)) as video:
        assert video.index.pts_s == pytest.approx(times)
        assert [index_of(p) for p in video.pictures(np.array([2, 3, 5]))] == [2, 3, 5]
    whole = encode("open.mkv", count=40, picture=grey_picture, gop=12, options={"bf": "0"})
    with SeekableVideo(cut_into(whole, tmp_path / "cut.mkv", skip=5)) as video:
        assert len(video.index.pts_s) == 28
        assert [index_of(p) for p in video.pictures(np.array([0, 20]))] == [12, 32]


def test_a_known_index_is_not_read_again(encode: Encode) -> None:
    path = encode("known.mp4", count=40, picture=grey_picture)
    with SeekableVideo(path, 5, 32) as first, SeekableVideo(path, 5, 32, known=first.known) as second:
        assert second.index is first.index
        assert np.array_equal(first.pictures(np.array([3, 7])), second.pictures(np.array([3, 7])))


def test_damage_is_named_or_elsewhere(encode: Encode, tmp_path: Path) -> None:
    path = encode("seek-damage.mp4", count=90, gop=15)
    whole = [frame.picture for frame in decode(path)]
    named = 0
    for seed in range(8):
        data = bytearray(path.read_bytes())
        start = int(np.random.default_rng(seed).integers(len(data) // 4, len(data) * 3 // 4))
        data[start : start + 600] = bytes(600)
        damaged = tmp_path / f"{seed}.mp4"
        damaged.write_bytes(data)
        fully: list[np.ndarray] = []  # FFmpeg takes some damaged pictures for good ones
        with suppress(VideoError):
            fully.extend(frame.picture for frame in decode(damaged))
        try:
            with SeekableVideo(damaged) as video:
                for row in range(0, 90, 3):
                    try:
                        picture = video.pictures(np.array([row]))[0]
                    except VideoError:
                        named += 1
                    else:
                        assert any(np.array_equal(picture, of[row]) for of in (whole, fully) if row < len(of)), (
                            seed,
                            row,
                        )
        except VideoError:
            named += 1
    assert named > 8


def test_real_files_give_the_same(shared: Path, manifest: dict[str, dict[str, str]]) -> None:
    for name in manifest:
        if name.startswith(SMALL):
            path = shared / "videos" / name
            frames = list(decode(path, short_side=16))
            with SeekableVideo(path, short_side=16) as video:
                assert video.index.pts_s.tolist() == [frame.pts_s for frame in frames], name
                rows = np.unique(np.random.default_rng(1).integers(0, len(frames), 3))
                for row, picture in zip(rows, video.pictures(rows), strict=True):
                    assert np.array_equal(frames[row].picture, picture), (name, row)
