"""Shots: times on our clock, odd inputs, the procedural world and real edited films."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.world.plan import world_plan
from pipeline.datasets.world.write import write_video
from pipeline.evaluation.shot_boundaries import count_cuts, cuts_of, total
from pipeline.run.kinds import TRUTH
from pipeline.video.decode import Frame, VideoError, decode
from pipeline.video.shots import DETECTORS, Shots, find_shots
from tests.video.clips import Encode


def picture(shot: int, shift: int = 0) -> np.ndarray:
    """A texture of its own for every shot, moved by some pixels."""
    texture = np.random.default_rng(shot).integers(0, 255, (9, 30, 3), dtype=np.uint8)
    return np.ascontiguousarray(texture.repeat(8, axis=0).repeat(8, axis=1)[:, shift : shift + 96])


def film(lengths: list[int], times: list[float] | None = None) -> Iterator[Frame]:
    """Shots of ``lengths`` frames at 25 fps, or at ``times``."""
    pictures = [picture(shot, index % 100) for shot, length in enumerate(lengths) for index in range(length)]
    for index, content in enumerate(pictures):
        yield Frame(times[index] if times else index / 25, content)


def check_tiles(shots: Shots, end: float) -> None:
    assert shots.t_start[0] == 0
    assert shots.t_end[-1] == pytest.approx(end)
    assert (shots.t_start[1:] == shots.t_end[:-1]).all()
    assert (shots.t_end > shots.t_start).all()
    assert shots.score[0] == 0
    assert len(shots.t_start) == len(shots.t_end) == len(shots.score)


HARD = ("adaptive", "content")


@pytest.mark.parametrize("detector", HARD)
def test_cuts_are_the_first_frames_of_new_shots(detector: str) -> None:
    shots = find_shots(film([40, 30, 50]), detector=detector)
    assert shots.t_start.tolist() == [0, 40 / 25, 70 / 25]
    assert (shots.score[1:] > 11).all()
    check_tiles(shots, 120 / 25)


def test_times_are_those_of_the_frames_at_a_variable_rate() -> None:
    times = np.cumsum(np.random.default_rng(0).choice([0.02, 0.04, 0.4], 60))
    times = (times - times[0]).tolist()
    shots = find_shots(film([25, 35], times), duration_s=times[-1] + 1)
    assert shots.t_start.tolist() == [0, times[25]]
    check_tiles(shots, times[-1] + 1)


def test_a_moving_camera_is_a_cut_to_the_fixed_threshold_only() -> None:
    fast = [Frame(index / 25, picture(0, 12 * (index % 12))) for index in range(12)]
    assert len(find_shots(fast, detector="content", min_shot_s=0, flash_s=0).t_start) > 1
    assert len(find_shots(fast, detector="adaptive", min_shot_s=0).t_start) == 1


def test_of_cuts_too_close_the_stronger_stays() -> None:
    flash = [Frame(index / 25, picture(0)) for index in range(40)]
    flash[20] = Frame(20 / 25, 255 - picture(0) // 4)
    flash[21:] = [Frame(frame.pts_s, picture(1)) for frame in flash[21:]]
    assert len(find_shots(flash, detector="content", min_shot_s=0, flash_s=0).t_start) == 3
    shots = find_shots(flash, detector="content", min_shot_s=0.3, flash_s=0)
    assert len(shots.t_start) == 2
    check_tiles(shots, 40 / 25)


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_very_short_videos_are_one_shot(detector: str, count: int) -> None:
    shots = find_shots(film([count]), detector=detector)
    check_tiles(shots, count / 25) if count > 1 else None
    assert shots.t_start.tolist() == [0]


def fades(levels: list[float]) -> list[Frame]:
    """A picture as bright as each of ``levels`` (0 to 1)."""
    return [Frame(index / 25, (picture(0) * level).astype(np.uint8)) for index, level in enumerate(levels)]


@pytest.mark.parametrize(("bias", "cut"), [(-1.0, 24), (0.0, 29), (1.0, 35)])
def test_a_fade_through_black_is_one_boundary(bias: float, cut: int) -> None:
    out, dark, back = np.linspace(1, 0, 26).tolist(), [0.0] * 9, np.linspace(0.3, 1, 20).tolist()
    film_ = fades(out + dark + back)
    shots = find_shots(film_, detector="threshold", fade_bias=bias, duration_s=55 / 25)
    assert shots.t_start.tolist() == pytest.approx([0, cut / 25], abs=1 / 25 + 1e-9)
    assert 0 <= shots.score[1] <= 12
    check_tiles(shots, 55 / 25)
    assert len(find_shots(fades(out + dark), detector="threshold").t_start) == 1, "never came back"
    assert len(find_shots(film([40, 30]), detector="threshold").t_start) == 1, "a hard cut is none"


@pytest.mark.parametrize("detector", HARD)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_flash_is_no_cut_and_hides_none(detector: str, length: int) -> None:
    plain = list(film([40, 40]))
    white = [Frame(f.pts_s, 255 - f.picture // 8) if 15 <= i < 15 + length else f for i, f in enumerate(plain)]
    assert find_shots(white, detector=detector).t_start.tolist() == [0, 1.6]
    if length == 1:
        assert len(find_shots(white, detector=detector, min_shot_s=0, flash_s=0).t_start) > 2, "it would be one"
    at_the_cut = [Frame(f.pts_s, 255 - f.picture // 8) if 40 <= i < 40 + length else f for i, f in enumerate(plain)]
    assert find_shots(at_the_cut, detector="content").t_start.tolist() == pytest.approx([0, 1.6], abs=length / 25)


def test_a_camera_that_jerks_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    jerks = [Frame(i / 25, picture(i >= 30, int(rng.integers(0, 24)))) for i in range(60)]
    assert find_shots(jerks, detector="content").t_start.tolist() == [0, 1.2]
    assert len(find_shots(jerks, detector="content", min_shot_s=0, flash_s=0).t_start) > 5


def test_in_a_restless_scene_no_two_pictures_are_alike() -> None:
    """Leaves in the wind: every picture is changed beyond ``min_change``, but a cut changes more."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 2, (60, 9, 12, 1), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    restless = [Frame(i / 25, picture(i >= 30) // 4 * 3 + 30 * noise[i]) for i in range(60)]
    asked = {"detector": "content", "min_change": 10.0, "min_shot_s": 0.0}
    assert len(find_shots(restless, **asked, unrest_ratio=0).t_start) > 20
    assert find_shots(restless, **asked, unrest_ratio=1.8).t_start.tolist() == [0, 1.2]
    assert len(find_shots(restless, **asked, unrest_ratio=100).t_start) == 1


def test_no_frame_and_no_such_detector_are_refused() -> None:
    with pytest.raises(ValueError, match="no frame"):
        find_shots([])
    with pytest.raises(ValueError, match="'magic'; allowed are adaptive, content, threshold"):
        find_shots(film([5]), detector="magic")


def test_a_damaged_file_is_named(encode: Encode, tmp_path: Path) -> None:
    whole = encode("whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match=r"cut\.mkv"):
        find_shots(decode(tmp_path / "cut.mkv", short_side=32))


def test_the_cuts_of_the_world_are_found(tmp_path: Path) -> None:
    counts = []
    for plan in [plan for plan in world_plan("tiny", seed=3) if plan.subset == "testing"]:
        write_video(plan, tmp_path / "v.mp4", tmp_path / "v.truth.h5")
        true = cuts_of(TRUTH.read(tmp_path / "v.truth.h5")["shot_start"])
        found = cuts_of(find_shots(decode(tmp_path / "v.mp4", short_side=72)).t_start)
        counts.append(count_cuts(true, found, tolerance_s=0.001))
    assert total(counts).true >= 4
    assert total(counts).f1 >= 0.95


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("bikes.mp4", [1.20, 3.04, 5.48, 7.48, 9.68]),
        ("chaplin.mp4", []),
        ("fades.mp4", []),
        ("goldeneye_vfr_drop3.mp4", [3.754, 8.759]),
        ("nasa_13013.mp4", [8.08]),  # of the first of two default streams; the manifest's 8.008 s is the other's
    ],
)
def test_the_cuts_of_real_films(shared: Path, name: str, cuts: list[float]) -> None:
    for options in ({}, {"detector": "content", "min_change": 24.0}, {"detector": "content", "min_change": 15.0}):
        shots = find_shots(decode(shared / "videos" / "cuts" / name, short_side=72), **options)
        assert cuts_of(shots.t_start).tolist() == pytest.approx(cuts, abs=0.001), options


def test_the_fades_of_a_film(shared: Path) -> None:
    """Scene starts at frames 0, 84, 167 of 25 a second: what the library's own test expects of this file."""
    shots = find_shots(decode(shared / "videos" / "cuts" / "fades.mp4", short_side=72), detector="threshold")
    assert shots.t_start.tolist() == pytest.approx([0, 84 / 25, 167 / 25])
