"""The three forms of stored pictures behind one reader, and the same pictures decoded on the fly."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.opened import Opened
from pipeline.datasets.snippets import FrameStore
from pipeline.datasets.stored import GROUP, KINDS, open_frames
from pipeline.datasets.video_store import VideoStore
from pipeline.run.artifacts import ArtifactError
from pipeline.run.stage import Unit, VideoStage, find_stage
from pipeline.video import jpeg
from pipeline.video.container import VideoError
from pipeline.video.decode import decode
from pipeline.video.segments import decode_group, encode_group
from tests.video.clips import encode_clip, grey_picture, index_of, moving_picture


def tinted_picture(index: int) -> np.ndarray:
    """A moving texture of brightness in one reddish tint, which 4:2:0 keeps."""
    texture = moving_picture(index)[..., :1].astype(int) // 2
    return (texture + np.array([90, 20, 50])).astype(np.uint8)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 frames of 96x64, 25 a second."""
    return encode_clip(tmp_path_factory.mktemp("stored") / "a.mp4", count=100, picture=tinted_picture)


def store(video: Path, folder: Path, storage: str, **params: Any) -> Path:
    stage = find_stage("frames")
    assert isinstance(stage, VideoStage)
    values = {"fps": "native", "short_side": 35, "jpeg_quality": 90, "storage": storage, "segment_crf": 12} | params
    stage.process(Unit("a", "a", (video,), {"duration_s": 4.0}), stage.section.model_validate(values), folder)
    return (folder / "unit.h5").rename(folder / f"{storage}.h5")


@pytest.mark.parametrize(("storage", "most"), [("jpeg", 8), ("raw", 0), ("segments", 8)])
def test_all_forms_give_the_pictures_back(video: Path, tmp_path: Path, storage: str, most: float) -> None:
    path = store(video, tmp_path, storage)
    frames = list(decode(video, short_side=35))
    with KINDS[storage].open(path):
        pass
    with open_frames(path) as stored:
        assert (len(stored), stored.size) == (100, (35, 52, 3))  # odd: 4:2:0 needs it filled up
        assert stored.pts().tolist() == [frame.pts_s for frame in frames]
        for rows in ([0], [99], [15, 16, 17], [3, 40, 41, 90], list(range(100))):
            pictures = stored.pictures(np.array(rows))
            errors = [
                np.abs(frames[row].picture.astype(int) - picture).mean()
                for row, picture in zip(rows, pictures, strict=True)
            ]
            assert max(errors) <= most, rows
        shown = jpeg.decode(stored.jpegs(np.array([50]))[0])
        assert np.abs(shown.astype(int) - frames[50].picture).mean() < 9
    through = FrameStore({"a": path})
    assert through.attributes("a")["fps"] == 25
    assert through.pictures("a", np.array([[7, 3], [3, 90]])).shape == (2, 2, 35, 52, 3)


@pytest.mark.parametrize("storage", KINDS)
def test_the_same_bytes_again(video: Path, tmp_path: Path, storage: str) -> None:
    assert len({store(video, tmp_path, storage).read_bytes() for _ in range(3)}) == 1


def test_segments_are_small_and_follow_crf(video: Path, tmp_path: Path) -> None:
    sizes = [store(video, tmp_path, "segments", segment_crf=crf).stat().st_size for crf in (10, 30)]
    assert sizes[0] > 1.5 * sizes[1]


def test_a_group_holds_what_was_put_in() -> None:
    packets = encode_group([grey_picture(index) for index in range(GROUP)], crf=10)
    assert len(packets) == GROUP
    pictures = decode_group(packets, [2, 9, 15], *grey_picture(0).shape[:2])
    assert [index_of(picture) for picture in pictures] == [2, 9, 15]
    with pytest.raises(ValueError, match="holds 5, number 9 is wanted"):
        decode_group(packets[:5], [2, 9], 64, 96)


def test_what_holds_no_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"no")
    for name, message in (("a.h5", "not a readable HDF5 file"), ("b.h5", "no such file")):
        with pytest.raises(ArtifactError, match=message), open_frames(tmp_path / name):
            pass


def test_on_the_fly_is_the_artifact_without_its_loss(video: Path, tmp_path: Path) -> None:
    rows = np.array([[0, 5, 19], [5, 5, 1]])
    for fps, short_side in ((8, 32), ("native", None)):
        raw = FrameStore({"a": store(video, tmp_path, "raw", fps=fps, short_side=short_side)})
        direct = VideoStore({"a": video}, None if fps == "native" else float(fps), short_side)
        assert np.array_equal(direct.pts("a"), raw.pts("a"))
        assert np.array_equal(direct.pictures("a", rows), raw.pictures("a", rows))
        again = pickle.loads(pickle.dumps(direct))
        assert np.array_equal(again.pictures("a", np.array(3)), raw.pictures("a", np.array(3)))
        direct.close()
        assert np.array_equal(direct.pictures("a", rows), raw.pictures("a", rows))


def test_few_files_are_open_and_errors_are_named(tmp_path: Path) -> None:
    paths = {name: encode_clip(tmp_path / f"{name}.mp4", count=6, picture=grey_picture) for name in "abc"}
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    files = VideoStore(paths | {"bad": tmp_path / "bad.mp4"}, open_files=2)
    assert [index_of(files.pictures(name, np.array([4]))[0]) for name in "abcab"] == [4] * 5
    assert list(files._opened._held) == ["a", "b"]
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        files.pts("bad")
    with pytest.raises(KeyError, match="no file of video 'd'"):
        files.pts("d")
    assert "a" in files
    assert "d" not in files


def test_opened_closes_the_oldest() -> None:
    from contextlib import contextmanager

    log: list[str] = []

    @contextmanager
    def open_(name: str) -> Any:
        log.append(f"+{name}")
        yield name
        log.append(f"-{name}")

    opened = Opened(open_, 2)
    for name in "abac":
        assert opened[name] == name
    assert log == ["+a", "+b", "-b", "+c"]
    opened.close()
    assert sorted(log[4:]) == ["-a", "-c"]


def test_a_row_that_is_no_picture_names_the_file(tmp_path: Path) -> None:
    attributes = {"width": 96, "height": 64, "fps": 1.0, "duration_s": 1.0}
    data = [jpeg.encode(moving_picture(0), 90), b"not a picture"]
    KINDS["jpeg"].write(tmp_path / "a.h5", {"pts": [0.0, 1.0], "jpeg": data}, attributes)
    with open_frames(tmp_path / "a.h5") as stored, pytest.raises(ValueError, match=r"a\.h5: these 13 bytes"):
        stored.pictures(np.array([0, 1]))


@pytest.mark.parametrize("storage", KINDS)
def test_a_file_that_was_written_anew_is_read_anew(video: Path, tmp_path: Path, storage: str) -> None:
    frames = FrameStore({"a": store(video, tmp_path, storage)}, capacity_bytes=0)
    first = frames.pictures("a", np.array([40]))
    frames.close()
    known = dict(frames._layouts)
    assert np.array_equal(frames.pictures("a", np.array([40])), first)
    assert frames._layouts["a"] is known["a"], "the same file was asked again"
    frames.close()
    store(video, tmp_path, storage, fps=5, short_side=20)
    assert frames.pictures("a", np.array([10])).shape == (1, 20, 30, 3)
    assert len(frames.pts("a")) == 20
    frames.close()
    (tmp_path / f"{storage}.h5").unlink()
    with pytest.raises(ArtifactError, match="no such file"):
        frames.pictures("a", np.array([10]))
