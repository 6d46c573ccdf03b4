"""View plans of the published clip protocols."""

import math

import numpy as np
import pytest

from pipeline.datasets.views import clip_rows, crop_places, plan_views, scaled_size


def test_thirty_views_of_a_kinetics_clip_need_one_decode() -> None:
    plan = plan_views(300, 30.0, (340, 256), frames=8, rate=8, clips=10, crops=3, side=256)
    assert len(plan.views) == 30
    assert (plan.width, plan.height) == (340, 256)
    assert len(plan.rows) == len(set(plan.rows.tolist())) <= 80
    assert set(plan.rows.tolist()) == {row for view in plan.views for row in view.frames}
    assert [(v.clip, v.crop, v.left, v.top) for v in plan.views[:3]] == [(0, 0, 0, 0), (0, 1, 42, 0), (0, 2, 84, 0)]
    # delta = 300 - 64; clip i starts at delta * i / 10, rows are truncated steps from start to start + 63
    starts = [236 * i / 10 for i in range(10)]
    expected = [[int(s + 9 * k) for k in range(8)] for s in starts]
    assert [list(v.frames) for v in plan.views[::3]] == expected


@pytest.mark.parametrize("n_frames", [1, 10, 63, 64, 65, 299, 1000])
@pytest.mark.parametrize("fps", [15.0, 29.97, 60.0])
def test_rows_stay_inside_and_rise(n_frames: int, fps: float) -> None:
    for starts in ("inner", "full"):
        for rows in clip_rows(n_frames, fps, 16, 4, 10, starts):  # type: ignore[arg-type]
            assert len(rows) == 16
            assert 0 <= min(rows) <= max(rows) < n_frames
            assert list(rows) == sorted(rows)


def test_full_starts_reach_the_end_and_inner_ones_do_not() -> None:
    inner, full = (clip_rows(300, 30.0, 8, 8, 10, starts) for starts in ("inner", "full"))  # type: ignore[arg-type]
    assert inner[-1][-1] == int(236 * 0.9 + 63)
    assert full[-1][-1] == 9 * math.floor(236 / 9) + 63
    assert clip_rows(300, 30.0, 8, 8, 1, "full")[0][0] == 118


@pytest.mark.parametrize("frames", [1, 2, 3, 8, 16, 32])
def test_rows_are_those_of_torchs_linspace(frames: int) -> None:
    """The published code truncates torch.linspace's float32 values; float64 differs in a row here and there."""
    torch = pytest.importorskip("torch")
    for n_frames in (65, 200, 299, 977):
        for fps in (24.0, 29.97, 60.0):
            for i, rows in enumerate(clip_rows(n_frames, fps, frames, 5, 10)):
                span = 5 * frames / 30 * fps
                start = max(n_frames - span, 0) * i / 10
                steps = torch.linspace(start, start + span - 1, frames)
                assert list(rows) == torch.clamp(steps, 0, n_frames - 1).long().tolist()


def test_crops() -> None:
    assert crop_places(256, 340, 256, 3) == [(0, 0), (0, 42), (0, 84)]
    assert crop_places(301, 256, 256, 1) == [(23, 0)]  # 22.5 rounded up
    assert crop_places(224, 224, 224, 3) == [(0, 0)] * 3
    assert scaled_size(320, 240, 256) == (341, 256)
    assert scaled_size(240, 320, 256) == (256, 341)
    with pytest.raises(ValueError, match="does not fit"):
        crop_places(300, 200, 224, 1)
    with pytest.raises(ValueError, match="it must be 1 or 3"):
        crop_places(300, 300, 224, 5)
    with pytest.raises(ValueError, match="all positive"):
        clip_rows(0, 30.0, 8, 8, 1)


def test_a_video_of_one_frame() -> None:
    plan = plan_views(1, 25.0, (320, 240), frames=4, rate=2, clips=2, crops=1, side=112, short_side=128)
    assert plan.rows.tolist() == [0]
    assert all(view.frames == (0, 0, 0, 0) for view in plan.views)
    assert np.array([view.left for view in plan.views]).tolist() == [29, 29]
