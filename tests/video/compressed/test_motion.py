"""Known motion, the identity that the residual completes, types and references, turned and odd pictures."""

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from pipeline.video.compressed import CompressedFrame, read_compressed, warp
from pipeline.video.decode import decode
from tests.video.clips import Encode, cut_into

STEP = (4, -2)  # px per frame, right and up
INNER = (slice(16, -16), slice(16, -16))  # pixels that do not move in from outside

CODED: dict[str, tuple[str, dict[str, Any]]] = {
    "mpeg4": ("mpeg4.avi", {"codec": "mpeg4", "options": {"qmax": "3"}}),
    "mpeg2": ("mpeg2.mpg", {"codec": "mpeg2video", "options": {"qmax": "3"}}),
    "mpeg2-b": ("mpeg2b.mpg", {"codec": "mpeg2video", "options": {"qmax": "3", "bf": "2"}}),
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


def sliding_odd(index: int) -> np.ndarray:
    return sliding(index)[:90, :118].copy()


def growing(index: int) -> np.ndarray:
    """A texture, 160 x 128, that is enlarged about its middle by 1.5 % a frame."""
    texture = np.random.default_rng(8).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    large = cv2.resize(texture, (480, 320), interpolation=cv2.INTER_CUBIC)
    scale = 1.015**index
    back = np.array([[1 / scale, 0, 240 - 80 / scale], [0, 1 / scale, 160 - 64 / scale]])
    return cv2.warpAffine(large, back, (160, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def clip(encode: Encode, name: str) -> Path:
    file, options = CODED[name]
    return encode(f"sliding-{file}", count=40, picture=sliding, **options)


def without_vectors(name: str, row: CompressedFrame) -> bool:
    return name == "mpeg4-b" and row.frame_type == 3


@pytest.mark.parametrize("name", CODED)
def test_a_translation_gives_its_field_and_sign(encode: Encode, name: str) -> None:
    right = given = total = right_accumulated = traceable = 0
    y, x = np.mgrid[:96, :128][(slice(None), *INNER)]
    for number, row in enumerate(read_compressed(clip(encode, name))):
        if row.reference_index >= 0 and not without_vectors(name, row):
            valid = row.valid[INNER] == 1
            step = np.array(STEP) * (number - row.reference_index)
            right += int((np.abs(row.mv[INNER] - step)[valid].max(axis=1) <= 1).sum())
            # What came into the picture after the I-frame has no trace to it.
            far = np.array(STEP) * (number - row.i_frame_index)
            since = valid & (x - far[0] >= 16) & (y - far[1] < 80)
            right_accumulated += int((np.abs(row.mv_accumulated[INNER] - far)[since].max(axis=1) <= 2).sum())
            traceable += int(since.sum())
            given += int(valid.sum())
            total += valid.size
    assert given > (0.75 if name.endswith("-b") else 0.9) * total
    assert right > 0.95 * given
    assert traceable > 0.15 * given
    assert right_accumulated > 0.95 * traceable


def test_a_zoom_gives_its_field(encode: Encode) -> None:
    path = encode("zoom.avi", "mpeg4", 12, picture=growing, options={"qmax": "3"})
    away = np.stack(np.meshgrid(np.arange(160) - 79.5, np.arange(128) - 63.5), -1)[INNER]
    for number, row in enumerate(read_compressed(path)):
        for since, motion in ((number - 1, row.mv), (0, row.mv_accumulated)):
            if number:
                true = away * (1 - 1.015 ** (since - number))
                wrong = np.abs(motion[INNER] - true).max(-1)
                # By its definition every step may lose half a pixel: fractions are cut off toward zero.
                assert np.median(wrong) < 0.75 + 0.5 * (number - since)
                assert (wrong < 1.5 + 0.5 * (number - since)).mean() > 0.9
        block = row.vectors.block
        true = (block[:, :2] + (block[:, 2:] - 1) / 2 - [79.5, 63.5]) * (1 - 1 / 1.015)
        inside = (block[:, :2] >= 16).all(1) & (block[:, :2] + block[:, 2:] <= [144, 112]).all(1)
        assert inside.any() == (number > 0)
        if number:
            assert (np.abs(row.vectors.motion - true)[inside] <= 0.75).mean() > 0.9


@pytest.mark.parametrize("side", [None, 48, 200])
@pytest.mark.parametrize("name", CODED)
def test_the_moved_picture_and_the_residual_give_back_the_frame(encode: Encode, name: str, side: int | None) -> None:
    path = clip(encode, name)
    pictures = [frame.picture for frame in decode(path, short_side=side)]
    errors, plain = [], []
    for number, row in enumerate(read_compressed(path, short_side=side)):
        assert row.residual.dtype == row.residual_accumulated.dtype == np.int16
        if row.reference_index < 0:
            assert not row.residual.any()
            assert not row.residual_accumulated.any()
            assert (row.i_frame == pictures[number]).all()
            continue
        assert row.i_frame is None
        size = (row.stream.width, row.stream.height)
        for since, motion, residual in (
            (row.reference_index, row.mv, row.residual),
            (row.i_frame_index, row.mv_accumulated, row.residual_accumulated),
        ):
            assert (warp(pictures[since], motion, *size).astype(int) + residual == pictures[number]).all()
        inside = row.valid == 1
        errors.append(np.abs(row.residual[inside]).sum())
        plain.append(np.abs(pictures[number].astype(int) - pictures[row.reference_index])[inside].sum())
    assert sum(errors) < 0.3 * sum(plain)


@pytest.mark.parametrize("name", CODED)
def test_types_references_and_sizes(encode: Encode, name: str) -> None:
    path = clip(encode, name)
    rows = list(read_compressed(path))
    types = "".join("?IPB"[row.frame_type] for row in rows)
    assert types[0] == "I"
    assert ("B" in types) == name.endswith("-b")
    assert [row.pts for row in rows] == [frame.pts_s for frame in decode(path)]
    for number, row in enumerate(rows):
        assert row.i_frame_index == types.rindex("I", 0, number + 1)
        assert row.reference_index == (-1 if types[number] == "I" else max(types.rfind(k, 0, number) for k in "IP"))
        assert not row.mv[row.valid == 0].any()
        if types[number] == "I":
            assert not any(array.any() for array in (row.valid, row.mv, row.mv_accumulated))
            assert not len(row.vectors.source)
    with av.open(str(path)) as container:
        packets = [packet.size for packet in container.demux(video=0) if packet.size]
    assert sorted(row.packet_bytes for row in rows) == sorted(packets)


@pytest.mark.parametrize("name", ["mpeg2-b", "h264-b"])
def test_b_frames_use_both_directions(encode: Encode, name: str) -> None:
    """A block that came from a later frame only is traced through that frame; its motion is on the same terms."""
    from_behind = right = 0
    for number, row in enumerate(read_compressed(clip(encode, name))):
        if row.frame_type != 3:
            assert (row.vectors.source == -1).all()
            continue
        assert (row.vectors.source == 1).any()
        past = np.zeros(row.valid.shape, bool)
        for (x, y, w, h), source in zip(row.vectors.block.tolist(), row.vectors.source.tolist(), strict=True):
            past[max(y, 0) : y + h, max(x, 0) : x + w] |= source < 0
        only_future = ((row.valid == 1) & ~past)[INNER]
        from_behind += int(only_future.sum())
        wrong = np.abs(row.mv[INNER][only_future] - np.array(STEP) * (number - row.reference_index))
        right += int((wrong <= 2).all(axis=1).sum())
    assert from_behind > 200
    assert right > 0.95 * from_behind


def test_b_frames_of_mpeg4_have_no_vectors(encode: Encode) -> None:
    """FFmpeg exports zeros for them, which would read as "nothing moved"."""
    rows = [row for row in read_compressed(clip(encode, "mpeg4-b")) if row.frame_type == 3]
    assert len(rows) > 10
    assert not any(row.valid.any() or row.mv.any() or len(row.vectors.source) for row in rows)


@pytest.mark.parametrize("name", ["mpeg4", "h264-b"])
def test_vectors_are_the_same_in_every_run(encode: Encode, name: str) -> None:
    """With frame threads, B-frames get other vectors in each run; the reader must never use them."""
    first, *others = ([row.vectors for row in read_compressed(clip(encode, name), ["vectors"])] for _ in range(4))
    for other in others:
        for one, two in zip(first, other, strict=True):
            assert all((a == b).all() for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_turned_video_has_turned_motion(encode: Encode, angle: int) -> None:
    """Odd sizes too: blocks are counted from the stored picture's corner, wherever that is shown."""
    options = {"qmax": "3"}
    odd = encode(f"turned-{angle}.mp4", "mpeg4", 12, picture=sliding_odd, rotate=angle, options=options)
    plain = encode("unturned.mp4", "mpeg4", 12, picture=sliding_odd, options=options)
    turns = {90: 1, 180: 2, 270: 3}[angle]
    turned_step = {90: (STEP[1], -STEP[0]), 180: (-STEP[0], -STEP[1]), 270: (-STEP[1], STEP[0])}[angle]
    pictures = [frame.picture for frame in decode(odd)]
    for number, (row, straight) in enumerate(zip(read_compressed(odd), read_compressed(plain), strict=True)):
        assert (row.stream.height, row.stream.width) == pictures[0].shape[:2] == row.mv.shape[:2]
        assert (row.valid == np.rot90(straight.valid, turns)).all()
        assert (row.residual_accumulated == np.rot90(straight.residual_accumulated, turns)).all()
        if number:
            motion = row.mv[INNER][row.valid[INNER] == 1]
            assert (np.abs(motion - turned_step).max(axis=1) <= 1).mean() > 0.9
            moved = warp(pictures[0], row.mv_accumulated, row.stream.width, row.stream.height)
            assert (moved + row.residual_accumulated == pictures[number]).all()
            for (x, y, w, h), d in zip(row.vectors.block.tolist(), row.vectors.motion, strict=True):
                inside = row.valid[max(y, 0) : y + h, max(x, 0) : x + w] == 1
                assert (row.mv[max(y, 0) : y + h, max(x, 0) : x + w][inside] == np.trunc(d)).all()


def test_a_recording_that_begins_in_a_picture_group_has_no_reference_there(encode: Encode, tmp_path: Path) -> None:
    options = {"bf": "2", "x264-params": "open-gop=1:scenecut=0"}
    path = encode("open.ts", count=40, picture=sliding, options=options)
    rows = list(read_compressed(cut_into(path, tmp_path / "open.ts", skip=14)))
    first = next(number for number, row in enumerate(rows) if row.frame_type == 1)
    for row in rows[:first]:
        assert row.reference_index == row.i_frame_index == -1
        assert not any(array.any() for array in (row.valid, row.mv, row.residual, row.residual_accumulated))
    assert any(row.valid.any() for row in rows)


def test_arrays_that_were_not_asked_for_are_not_made(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    """With motion alone no P- or B-frame is converted to RGB, and I-frames only when asked for."""
    from pipeline.video.decode import Display

    converted = []
    original = Display.converted
    monkeypatch.setattr(Display, "converted", lambda self, frame: converted.append(1) or original(self, frame))
    path = clip(encode, "h264-b")
    motion = ["vectors", "mv", "mv_accumulated", "valid"]
    whole = list(read_compressed(path))
    assert len(converted) == len(whole)
    converted.clear()
    for row, full in zip(read_compressed(path, motion), whole, strict=True):
        assert row.residual is row.residual_accumulated is row.i_frame is None
        assert all((getattr(row, name) == getattr(full, name)).all() for name in motion[1:])
    assert not converted
    intra = [row for row in read_compressed(path, [*motion, "i_frame"]) if row.i_frame is not None]
    assert len(converted) == len(intra) == sum(row.frame_type == 1 for row in whole)
    with pytest.raises(ValueError, match=r"no compressed array 'flow'; arrays: vectors, mv, "):
        next(read_compressed(path, ["flow"]))


@pytest.mark.parametrize("name", ["h264-b", "mpeg2-b", "mpeg4-b"])
def test_without_b_frames_the_others_are_the_same(encode: Encode, name: str) -> None:
    path = clip(encode, name)
    anchors = [row for row in read_compressed(path) if row.frame_type != 3]
    rows = list(read_compressed(path, b_frames=False))
    assert [row.pts for row in rows] == [row.pts for row in anchors]
    for number, (row, whole) in enumerate(zip(rows, anchors, strict=True)):
        assert row.reference_index == (number - 1 if row.frame_type == 2 else -1)
        assert row.packet_bytes == whole.packet_bytes
        for array in ("mv", "mv_accumulated", "valid", "residual", "residual_accumulated"):
            assert (getattr(row, array) == getattr(whole, array)).all()
