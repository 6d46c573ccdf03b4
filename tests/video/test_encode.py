from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.decode import decode, scan
from pipeline.video.encode import encode_h264
from tests.video.clips import HEIGHT, WIDTH, grey_picture, index_of, moving_picture


def test_frames_come_back_at_their_times(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.mp4"
    assert encode_h264(path, map(grey_picture, range(40)), 29.97, gop=10) == 40
    frames = list(decode(path))
    assert [index_of(frame.picture) for frame in frames] == list(range(40))
    assert [frame.pts_s for frame in frames] == pytest.approx([k / 29.97 for k in range(40)], abs=1e-4)
    assert scan(path).duration_s == pytest.approx(40 / 29.97, abs=1e-4)
    with av.open(str(path)) as container:
        keys = [n for n, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert keys == [0, 10, 20, 30]


@pytest.mark.parametrize("size", [(96, 64), (112, 84), (192, 144)])
def test_equal_pictures_give_equal_bytes(tmp_path: Path, size: tuple[int, int]) -> None:
    """Often enough to see x264's macroblock tree, which read what earlier runs left in memory."""
    pictures = [moving_picture(index, *size) for index in range(40)]
    path, seen = tmp_path / "a.mp4", set()
    for run in range(12):
        left_behind = [np.full(10_000 + 7_000 * run, 37 * run % 256, dtype=np.uint8) for _ in range(run + 1)]
        del left_behind
        encode_h264(path, pictures, 20, gop=15)
        seen.add(path.read_bytes())
    assert len(seen) == 1
    encode_h264(path, pictures[::-1], 20, gop=15)
    assert path.read_bytes() not in seen


def test_quality_follows_crf(tmp_path: Path) -> None:
    sizes = []
    for crf in (10, 40):
        encode_h264(tmp_path / "q.mp4", map(moving_picture, range(20)), 20, gop=20, crf=crf)
        sizes.append((tmp_path / "q.mp4").stat().st_size)
    assert sizes[0] > 1.5 * sizes[1]


def test_planes_are_taken_as_they_are(tmp_path: Path) -> None:
    planes = [np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8) for _ in range(8)]
    for index, one in enumerate(planes):
        one[:HEIGHT] = 40 + 20 * index
    assert encode_h264(tmp_path / "a.mp4", planes, 10, gop=4, crf=1, index_first=True) == 8
    with av.open(str(tmp_path / "a.mp4")) as container:
        luma = [np.asarray(frame.to_ndarray())[:HEIGHT].mean() for frame in container.decode(video=0)]
    assert luma == pytest.approx([40 + 20 * index for index in range(8)], abs=1)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("pictures", "cause"),
    [
        ([], "no picture"),
        ([np.zeros((33, 48, 3), np.uint8)], "height and width even"),
        ([np.zeros((32, 48), np.uint8)], "height, width, 3"),
        ([np.zeros((33, 47), np.uint8)], r"4:2:0 planes"),
        ([np.zeros((32, 48, 3), np.float32)], "float32"),
        ([np.zeros((32, 48, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)], "picture 1 is uint8"),
    ],
)
def test_wrong_pictures_are_named_and_leave_nothing(tmp_path: Path, pictures: list[np.ndarray], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        encode_h264(tmp_path / "a.mp4", pictures, 20, gop=10)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_source_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    encode_h264(path, map(moving_picture, range(5)), 20, gop=10)
    before = path.read_bytes()

    def broken() -> Iterator[np.ndarray]:
        yield np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        raise RuntimeError("the renderer broke")

    with pytest.raises(RuntimeError, match="renderer"):
        encode_h264(path, broken(), 20, gop=10)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
