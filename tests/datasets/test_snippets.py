import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.opened import stored_files
from pipeline.datasets.schema import Segment, file_stem
from pipeline.datasets.snippets import (
    FrameStore,
    clip_indices,
    frame_indices,
    segment_clip_center,
    snippet_cells,
    snippet_indices,
)
from pipeline.run.artifacts import ArtifactError
from pipeline.run.kinds import FRAMES
from pipeline.video import jpeg

SIZE = (24, 32, 3)


def write_frames(path: Path, count: int, offset: int = 0) -> Path:
    data = [jpeg.encode(np.full(SIZE, (offset + 2 * index) % 200, dtype=np.uint8), 95) for index in range(count)]
    attributes = {"width": SIZE[1], "height": SIZE[0], "fps": 10.0, "duration_s": count / 10}
    FRAMES.write(path, {"pts": np.arange(count) / 10, "jpeg": data}, attributes)
    return path


# Sampling


def test_snippets_are_the_papers_at_its_rate() -> None:
    """LoFi section 3: 64 consecutive frames with stride 8 are 8 frames, centred in the snippet's cell."""
    pts = np.arange(3000) / 30
    rows = snippet_indices(pts, 100.0, 100, 8, 64 / 30)
    assert rows.shape == (100, 8)
    inside = slice(1, 99)  # the window of 2.1 s reaches over the ends in the first and last cell of 1 s
    assert (np.diff(rows[inside], axis=1) == 8).all()
    centers = pts[rows].mean(axis=1)
    assert np.allclose(centers[inside], np.arange(100)[inside] + 0.5, atol=0.5 / 30 + 1e-6)


def test_rows_do_not_depend_on_the_stored_rate() -> None:
    for fps in (5, 8, 10, 24.0, 29.97):
        pts = np.arange(round(20 * fps)) / fps
        rows = snippet_indices(pts, 20.0, 10, 8, 1.6)
        wanted = (np.arange(10)[:, None] + 0.5) * 2 + (np.arange(8) - 3.5) * 0.2
        assert np.abs(pts[rows] - wanted).max() <= 0.5 / fps + 1e-6


def test_times_outside_read_the_border_frames() -> None:
    pts = np.arange(10) / 10
    assert snippet_indices(pts, 1.0, 2, 4, 8.0).tolist() == [[0, 0, 9, 9], [0, 0, 9, 9]]
    rows = clip_indices(pts, np.array([-5.0, 0.5, 9.0]), 4, 0.4)
    assert rows[0].tolist() == [0, 0, 0, 0]
    assert rows[2].tolist() == [9, 9, 9, 9]
    assert snippet_indices(np.array([0.0]), 0.04, 3, 8, 1.6).tolist() == [[0] * 8] * 3


def test_a_gap_shows_the_frame_before_it() -> None:
    pts = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 5.2])
    times = np.array([0.14, 0.16, 1.0, 4.9, 4.96, 5.04, 5.06])
    assert frame_indices(pts, times).tolist() == [1, 2, 2, 2, 3, 3, 4]


def test_no_frames_is_an_error() -> None:
    with pytest.raises(ValueError, match="without frames"):
        snippet_indices(np.zeros(0), 1.0, 4, 8, 1.0)


def test_cells_cover_the_video() -> None:
    start, end = snippet_cells(12.5, 5)
    assert start[0] == 0 and end[-1] == pytest.approx(12.5)
    assert np.allclose(start[1:], end[:-1])
    assert np.allclose(end - start, 2.5)


def test_clip_centres_stay_inside_the_action() -> None:
    segment = Segment("run", 2.0, 6.0)
    rng = np.random.default_rng(0)
    centers = np.array([segment_clip_center(segment, 1.5, rng) for _ in range(500)])
    assert centers.min() >= 2.75 and centers.max() <= 5.25
    assert centers.min() < 3.0 and centers.max() > 5.0
    assert segment_clip_center(segment, 1.5, None) == 4.0
    short = Segment("run", 2.0, 2.5)
    assert segment_clip_center(short, 1.5, rng) == 2.25


# The store


def test_pictures_come_by_row_in_the_asked_shape(tmp_path: Path) -> None:
    store = FrameStore({"a": write_frames(tmp_path / "a.h5", 30)})
    rows = np.array([[0, 5, 29], [5, 5, 1]])
    pictures = store.pictures("a", rows)
    assert pictures.shape == (2, 3, *SIZE)
    assert pictures.dtype == np.uint8
    assert np.abs(pictures[..., 0].mean(axis=(2, 3)) - 2 * rows).max() <= 1
    assert np.array_equal(store.pts("a"), np.arange(30) / 10)


def test_each_row_is_decoded_once_while_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    real = jpeg.decode
    monkeypatch.setattr(jpeg, "decode", lambda data, into: decoded.append(1) or real(data, into))
    store = FrameStore({"a": write_frames(tmp_path / "a.h5", 30)})
    first = store.pictures("a", np.array([3, 3, 4, 5]))
    assert len(decoded) == 3
    store.pictures("a", np.array([4, 5, 6]))
    assert len(decoded) == 4
    first[:] = 0
    assert store.pictures("a", np.array([3])).max() > 0, "the caller got the store's own memory"


def test_memory_is_bounded_and_the_oldest_goes_first(tmp_path: Path) -> None:
    paths = {name: write_frames(tmp_path / f"{name}.h5", 20, offset) for offset, name in enumerate("abcd")}
    one = 20 * int(np.prod(SIZE))
    store = FrameStore(paths, capacity_bytes=2 * one)
    for name in "abacd":
        store.pictures(name, np.array([0]))
    assert list(store._loaded) == ["c", "d"]
    small = FrameStore(paths, capacity_bytes=one - 1)
    assert np.array_equal(small.pictures("b", np.array([7, 2])), store.pictures("b", np.array([7, 2])))
    assert not small._loaded


def test_pickling_carries_paths_only(tmp_path: Path) -> None:
    store = FrameStore({"a": write_frames(tmp_path / "a.h5", 200)})
    store.pictures("a", np.arange(200))
    data = pickle.dumps(store)
    assert len(data) < 2000
    assert np.array_equal(pickle.loads(data).pictures("a", np.array([9])), store.pictures("a", np.array([9])))


def test_a_folder_lists_the_videos_that_are_there(tmp_path: Path) -> None:
    write_frames(tmp_path / f"{file_stem('a/b')}.h5", 3)
    store = FrameStore(stored_files(tmp_path, ["a/b", "failed"]))
    assert "a/b" in store
    assert "failed" not in store
    assert len(store.pts("a/b")) == 3


def test_store_errors_are_clear(tmp_path: Path) -> None:
    store = FrameStore({"gone": tmp_path / "gone.h5"})
    with pytest.raises(ArtifactError, match="no such file"):
        store.pictures("gone", np.array([0]))
    with pytest.raises(KeyError, match="no frames of video 'b'"):
        store.pts("b")
