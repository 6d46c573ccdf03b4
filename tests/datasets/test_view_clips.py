"""All views of a clip from one pass over its file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets import view_clips as module
from pipeline.datasets.view_clips import view_clips
from pipeline.datasets.views import plan_views
from pipeline.video.decode import decode
from tests.video.clips import encode_clip, grey_picture, index_of


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames that each pass over a file has decoded."""
    counts: list[int] = []

    def counting(path: Path, **options: Any) -> Iterator[Any]:
        counts.append(0)
        for frame in decode(path, **options):
            counts[-1] += 1
            yield frame

    monkeypatch.setattr(module, "decode", counting)
    return counts


def test_thirty_views_are_one_pass(tmp_path: Path, passes: list[int]) -> None:
    path = encode_clip(tmp_path / "grey.mp4", count=40, fps=30, picture=grey_picture)
    plan = plan_views(40, 30.0, (96, 64), frames=4, rate=2, clips=10, crops=3, side=32)
    found = list(view_clips(path, plan))
    assert len(found) == 30 and len(passes) == 1
    assert passes == [int(plan.rows[-1]) + 1], "nothing behind the last frame that is read"
    for view, pictures in found:
        assert pictures.shape == (4, 32, 32, 3) and pictures.dtype == np.uint8
        assert tuple(index_of(picture) for picture in pictures) == view.frames


def test_crops_are_cut_where_the_plan_says(tmp_path: Path) -> None:
    def halves(_index: int) -> np.ndarray:
        picture = np.full((64, 96, 3), 40, np.uint8)
        picture[:, 48:] = 200
        return picture

    path = encode_clip(tmp_path / "halves.mp4", count=8, fps=30, picture=halves)
    plan = plan_views(8, 30.0, (96, 64), frames=2, rate=1, clips=1, crops=3, side=64)
    left, centre, right = (float(pictures.mean()) for _, pictures in view_clips(path, plan))
    # 64 of 96 columns, the right half bright: a quarter, a half, three quarters.
    assert [left, centre, right] == pytest.approx([80, 120, 160], abs=4)


def test_a_file_shorter_than_it_says_repeats_its_last_frame(tmp_path: Path) -> None:
    path = encode_clip(tmp_path / "short.mp4", count=10, fps=30, picture=grey_picture)
    plan = plan_views(20, 30.0, (96, 64), frames=4, rate=5, clips=1, crops=1, side=64)
    ((view, pictures),) = view_clips(path, plan)
    assert tuple(index_of(picture) for picture in pictures) == tuple(min(row, 9) for row in view.frames)
    assert max(view.frames) > 9
