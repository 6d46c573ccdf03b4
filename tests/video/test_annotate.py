"""Annotated copies: every frame at its time, boxes where they are, odd sizes, boxes beyond the picture."""

from pathlib import Path

import numpy as np

from pipeline.video.annotate import COLOURS, Lasting, Moving, annotate
from pipeline.video.decode import decode, scan
from pipeline.video.encode import encode_h264

SHOTS = np.array([[0.0, 1.0], [1.0, 2.0]])


def grey(path: Path, width: int = 160, height: int = 120, seconds: float = 2.0) -> Path:
    encode_h264(path, (np.full((height, width, 3), 120, np.uint8) for _ in range(round(seconds * 10))), 10.0, gop=10)
    return path


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where a picture has about that colour."""
    return np.abs(picture.astype(int) - colour).max(axis=2) < 60


def test_a_box_moves_with_its_tube_and_is_only_there_while_it_lasts(tmp_path: Path) -> None:
    tube = Moving("person 1", 1, np.array([0.5, 1.5]), np.array([[20.0, 40, 60, 100], [100, 40, 140, 100]]))
    frames = annotate(grey(tmp_path / "v.mp4"), tmp_path / "out.mp4", [tube], SHOTS, [], short_side=240)
    seen = list(decode(tmp_path / "out.mp4"))
    assert frames == len(seen) == 20
    assert np.allclose([frame.pts_s for frame in seen], np.arange(20) / 10, atol=1e-6)
    marked = [near(frame.picture, COLOURS[1]) for frame in seen]
    assert [bool(mark.sum() > 200) for mark in marked] == [5 <= k <= 15 for k in range(20)]
    left = [int(np.flatnonzero(marked[k][120:180].any(axis=0))[0]) for k in (5, 10, 15)]
    assert np.allclose(left, [40, 120, 200], atol=4), "between its boxes where it must have been, at twice the size"
    again = tmp_path / "again.mp4"
    annotate(tmp_path / "v.mp4", again, [tube], SHOTS, [], short_side=240)
    assert again.read_bytes() == (tmp_path / "out.mp4").read_bytes()


def test_shots_and_actions_are_written(tmp_path: Path) -> None:
    source = grey(tmp_path / "v.mp4")
    annotate(source, tmp_path / "out.mp4", [], SHOTS, [Lasting("walk 0.90", 1.0, 2.0)], short_side=240)
    pictures = [frame.picture.astype(int) for frame in decode(tmp_path / "out.mp4")]
    top, bottom = ([picture[part].std() for picture in pictures] for part in (slice(0, 24), slice(-24, None)))
    assert min(top) > 10, "the shot on every frame"
    assert max(bottom[:10]) < 5 < 10 < min(bottom[10:]), "the action while it lasts"


def test_odd_sizes_tubes_of_one_box_and_boxes_beyond_the_picture(tmp_path: Path) -> None:
    tubes = [
        Moving("person 2", 2, np.array([0.5]), np.array([[-50.0, -30, 400, 300]])),
        Moving("person 3", 3, np.array([0.5]), np.array([[500.0, 500, 600, 600]])),
    ]
    source = grey(tmp_path / "v.mp4", 130, 98)
    annotate(source, tmp_path / "out.mp4", tubes, SHOTS, [], hold_s=0.15, short_side=135)
    info = scan(tmp_path / "out.mp4")
    assert info.height == 134 and info.width % 2 == 0 and info.n_frames == 20
    marked = [near(frame.picture, COLOURS[2]).any() for frame in decode(tmp_path / "out.mp4")]
    assert [k for k, there in enumerate(marked) if there] == [4, 5, 6], "held around its one instant"
