"""Motion and residuals of the coded stream: known fields, the warp's identity, a naive reading as oracle, refusals."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from pipeline.video.compressed import BLOCK, read_coded, warp
from pipeline.video.container import VideoError
from pipeline.video.decode import decode
from tests.video.clips import Encode, cut_into, moving_picture

STEP = (4, -2)  # px per frame, right and up
INNER = (slice(2, -2), slice(2, -2))  # blocks that do not move in from outside

CODED: dict[str, tuple[str, dict[str, Any]]] = {
    "mpeg4": ("mpeg4.avi", {"codec": "mpeg4", "options": {"qmax": "3"}}),
    "mpeg2": ("mpeg2.mpg", {"codec": "mpeg2video", "options": {"qmax": "3"}}),
    "h264": ("h264.mp4", {"options": {"bf": "0", "refs": "1", "crf": "15"}}),
    "h264-b": ("h264b.mp4", {"gop": 40, "options": {"bf": "3", "b-pyramid": "normal", "refs": "3", "crf": "15"}}),
    "mpeg4-b": ("mpeg4b.mkv", {"codec": "mpeg4", "options": {"qmax": "3", "bf": "2"}}),
}


def sliding(index: int) -> np.ndarray:
    """A smooth texture, 128 x 96, that moves by STEP each frame."""
    texture = np.random.default_rng(7).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    large = cv2.resize(texture, (480, 320), interpolation=cv2.INTER_CUBIC)
    left, top = 300 - STEP[0] * index, 20 - STEP[1] * index
    return np.ascontiguousarray(large[top : top + 96, left : left + 128])


def clip(encode: Encode, name: str) -> Path:
    file, options = CODED[name]
    return encode(f"sliding-{file}", count=40, picture=sliding, **options)


def expand(blocks: np.ndarray, height: int, width: int) -> np.ndarray:
    """A value for every pixel."""
    return blocks.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)[:height, :width]


@pytest.mark.parametrize("name", CODED)
def test_a_translation_gives_its_field_and_sign(encode: Encode, name: str) -> None:
    right = given = total = 0
    for number, row in enumerate(read_coded(clip(encode, name))):
        if row.reference >= 0 and not (name == "mpeg4-b" and row.frame_type == 3):
            valid = row.valid[INNER] == 1
            speed = row.mv[INNER][valid].astype(float) / (number - row.reference)
            right += int((np.abs(speed - STEP) <= 0.5).all(axis=1).sum())
            given += len(speed)
            total += valid.size
    assert given > (0.5 if name.endswith("-b") else 0.9) * total
    assert right > 0.95 * given


def test_b_frames_of_mpeg4_have_no_vectors(encode: Encode) -> None:
    """FFmpeg exports zeros for them, which would read as "nothing moved"."""
    rows = [row for row in read_coded(clip(encode, "mpeg4-b")) if row.frame_type == 3]
    assert len(rows) > 10
    assert not any(row.valid.any() or row.mv.any() for row in rows)


@pytest.mark.parametrize("name", CODED)
def test_the_warped_reference_and_the_residual_give_back_the_frame(encode: Encode, name: str) -> None:
    rows = list(read_coded(clip(encode, name), short_side=48))
    warped_errors, plain_errors = [], []
    for row in rows:
        if row.reference < 0:
            assert not row.residual.any()
            continue
        reference = rows[row.reference].picture
        warped = warp(reference, row.mv, row.width, row.height)
        exact = np.abs(row.residual.astype(int)) < 127
        assert ((warped.astype(int) + row.residual)[exact] == row.picture[exact]).all()
        # The rest is clipped: content that the reference does not have, or there is no vector to it.
        assert exact.mean() > (0.7 if row.frame_type == 3 else 0.8)
        inside = expand(row.valid, row.height, row.width)[::2, ::2] == 1
        inside[:, :8] = inside[:, -8:] = inside[:8] = inside[-8:] = False
        warped_errors.append(np.abs(row.residual.astype(int))[inside].sum())
        plain_errors.append(np.abs(row.picture.astype(int) - reference)[inside].sum())
    assert sum(warped_errors) < 0.3 * sum(plain_errors)


@pytest.mark.parametrize("name", CODED)
def test_types_references_and_sizes(encode: Encode, name: str) -> None:
    path = clip(encode, name)
    rows = list(read_coded(path, short_side=48))
    types = "".join("?IPB"[row.frame_type] for row in rows)
    assert types[0] == "I"
    assert ("B" in types) == name.endswith("-b")
    for number, row in enumerate(rows):
        assert row.i_frame == types.rindex("I", 0, number + 1)
        assert row.valid.shape == row.mv.shape[:2] == (12, 16)
        assert row.mv.dtype == np.float16
        assert not row.mv[row.valid == 0].any()
        if types[number] == "I":
            assert row.reference == -1
            assert not row.valid.any()
        else:
            assert row.reference == max(types.rfind(kind, 0, number) for kind in "IP") or types[number] == "B"
            assert types[row.reference] in "IPB"
    with av.open(str(path)) as container:
        packets = [packet.size for packet in container.demux(video=0) if packet.size]
    assert sorted(row.packet_bytes for row in rows) == sorted(packets)


@pytest.mark.parametrize("name", CODED)
def test_pictures_and_times_are_those_of_the_decoder(encode: Encode, name: str) -> None:
    path = clip(encode, name)
    for row, frame in zip(read_coded(path, short_side=48), decode(path, short_side=48), strict=True):
        assert row.pts_s == frame.pts_s
        assert (row.picture == frame.picture).all()


def naive_motion(path: Path) -> Iterator[np.ndarray]:
    """Forward motion of every pixel [H, W, 2], NaN where there is none, block by block from a plain decode."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.options = {"flags2": "+export_mvs"}
        for frame in container.decode(stream):
            field = np.full((frame.height, frame.width, 2), np.nan)
            data: Any = frame.side_data.get("MOTION_VECTORS")
            for vector in [] if data is None else data.to_ndarray():
                if vector["source"] < 0:
                    w, h = int(vector["w"]), int(vector["h"])
                    x, y = int(vector["dst_x"]) - w // 2, int(vector["dst_y"]) - h // 2
                    motion = -vector["motion_x"] / vector["motion_scale"], -vector["motion_y"] / vector["motion_scale"]
                    field[y : y + h, x : x + w] = motion
            yield field


@pytest.mark.parametrize("name", ["mpeg4", "h264-b"])
def test_blocks_equal_a_naive_reading_on_one_thread(encode: Encode, name: str) -> None:
    """With frame threads, B-frames get other vectors in each run; the reader must never use them."""
    path = clip(encode, name)
    for _ in range(3):
        for row, field in zip(read_coded(path), naive_motion(path), strict=True):
            valid = expand(row.valid, *field.shape[:2]) == 1
            assert (expand(row.mv, *field.shape[:2])[valid] == field[valid]).all()
            # What is not valid has no vector, or its source is partly outside the picture.
            at_corners = field[::BLOCK, ::BLOCK]
            for r, c in np.argwhere((row.valid == 0) & np.isfinite(at_corners[..., 0])):
                left, top = np.array([c, r]) * BLOCK - at_corners[r, c]
                assert left < 0 or top < 0 or left + BLOCK > row.width or top + BLOCK > row.height


def test_turned_video_has_turned_motion(encode: Encode) -> None:
    options = {"bf": "0", "refs": "1", "crf": "15"}
    for angle in (90, 180, 270):
        path = encode(f"turned-{angle}.mp4", count=12, picture=sliding, rotate=angle, options=options)
        rows = list(read_coded(path))
        pictures = [frame.picture for frame in decode(path)]
        assert (rows[5].picture == pictures[5]).all()
        assert rows[5].mv.shape[:2] == (pictures[5].shape[0] // BLOCK, pictures[5].shape[1] // BLOCK)
        assert (rows[5].height, rows[5].width) == pictures[5].shape[:2]
        inside = expand(rows[5].valid, *pictures[5].shape[:2]) == 1
        assert inside.mean() > 0.5
        assert np.abs(rows[5].residual[inside].astype(int)).mean() < 5


def test_odd_sizes_have_narrow_last_blocks(encode: Encode) -> None:
    def odd(index: int) -> np.ndarray:
        return np.ascontiguousarray(sliding(index)[:90, :118])

    path = encode("odd.mp4", count=10, picture=odd, options={"bf": "0", "refs": "1", "crf": "15"})
    row = list(read_coded(path))[-1]
    assert row.mv.shape == (12, 15, 2)
    assert np.abs(row.residual[expand(row.valid, 90, 118) == 1].astype(int)).mean() < 5


def refusal(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        list(read_coded(path))
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
def test_codecs_without_vectors_are_refused(encode: Encode, file: str, codec: str, pix_fmt: str, named: str) -> None:
    options = {"libx265": {"x265-params": "log-level=none"}}.get(codec, {})
    message = refusal(encode(f"none-{codec}-{file}", codec, count=4, pix_fmt=pix_fmt, options=options))
    assert file in message
    assert f"codec {named} gives no motion vectors" in message
    assert "ffmpeg -i" in message


def test_av1_is_refused(shared: Path) -> None:
    assert "av1 gives no motion vectors" in refusal(shared / "videos" / "derived" / "av1_truman_cut.mkv")


def test_turned_pictures_that_end_within_a_block_are_refused(encode: Encode) -> None:
    path = encode("turned-odd.mp4", count=4, picture=lambda index: sliding(index)[:90, :118], rotate=180)
    assert "stored turned or mirrored in 118 x 90 px" in refusal(path)


def test_a_change_of_size_is_refused(encode: Encode, tmp_path: Path) -> None:
    small = encode("small.m2v", "mpeg2video", count=12)
    large = encode("large.m2v", "mpeg2video", count=12, picture=lambda index: moving_picture(index, 128, 96))
    (tmp_path / "joined.m2v").write_bytes(small.read_bytes() + large.read_bytes())
    assert "picture size changes from 96 x 64 to 128 x 96" in refusal(tmp_path / "joined.m2v")


def test_a_damaged_file_is_an_error_not_an_end(encode: Encode, tmp_path: Path) -> None:
    whole = clip(encode, "h264-b").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    assert "cut.mp4" in refusal(tmp_path / "cut.mp4")


def test_a_recording_that_begins_in_a_picture_group_has_no_reference_there(encode: Encode, tmp_path: Path) -> None:
    options = {"bf": "2", "x264-params": "open-gop=1:scenecut=0"}
    path = encode("open.ts", count=40, picture=sliding, options=options)
    rows = list(read_coded(cut_into(path, tmp_path / "open.ts", skip=14)))
    first = next(number for number, row in enumerate(rows) if row.frame_type == 1)
    for row in rows[:first]:
        assert row.reference == row.i_frame == -1
        assert not row.valid.any()
        assert not row.residual.any()
    assert any(row.valid.any() for row in rows)


@pytest.mark.parametrize(
    "name", ["derived/mpeg4_bframes_pets_120.mp4", "derived/h264_nob_ref1_pets_120.mp4", "actions/archery_example.avi"]
)
def test_real_files_are_predicted_well(shared: Path, name: str) -> None:
    before: dict[int, np.ndarray] = {}
    errors, plain, valid = [], [], []
    for number, row in enumerate(read_coded(shared / "videos" / name)):
        if row.frame_type == 2:
            inside = expand(row.valid, *row.picture.shape[:2]) == 1
            errors.append(np.abs(row.residual[inside].astype(int)).mean())
            plain.append(np.abs(row.picture.astype(int) - before[row.reference])[inside].mean())
            valid.append(inside.mean())
        if row.frame_type != 3:
            before = {number: row.picture}
    assert np.mean(valid) > 0.9
    assert np.mean(errors) < 0.75 * np.mean(plain)
