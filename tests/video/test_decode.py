from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.video.decode import VideoError, decode, decode_at, decode_shown_at, probe, scan
from tests.video.clips import HEIGHT, WIDTH, Encode, cut_into, grey_picture, index_of

TRAPS = [
    "actions/baseball.mp4",  # edit list
    "actions/basketball.mp4",
    "actions/hmdb_cartwheel_Turnk.avi",  # packed B frames
    "actions/hmdb_wave_TrumanShow.avi",
    "actions/ucf_ApplyEyeMakeup_g01_c01.avi",
    "people/vtest_pets09_s2l1.avi",  # H.264 B frames in AVI
    "gestures/asl_brother.mkv",  # variable rate
    "gestures/asl_no.mkv",
]


# Order and times


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "libx264"), ("a.avi", "mpeg4"), ("a.ts", "mpeg2video"),
     ("a.mpg", "mpeg2video"), ("a.webm", "libvpx-vp9"), ("a.mov", "libx265"), ("a.flv", "libx264")],
)  # fmt: skip
def test_frames_come_in_order_at_their_times(encode: Encode, name: str, codec: str) -> None:
    options = {"libx265": {"x265-params": "log-level=none"}, "mpeg4": {"qmax": "2"}}.get(codec, {})
    path = encode(f"{codec}-{name}", codec, count=40, picture=grey_picture, options=options)
    frames = list(decode(path))
    assert [index_of(frame.picture) for frame in frames] == list(range(40))
    assert np.allclose([frame.pts_s for frame in frames], np.arange(40) / 25, atol=1.01e-3)
    assert frames[0].picture.shape == (HEIGHT, WIDTH, 3)
    assert frames[0].picture.dtype == np.uint8
    assert frames[0].pts_s == 0


def test_scan_counts_and_measures(encode: Encode) -> None:
    info = scan(encode("scan.mp4", count=40))
    assert (info.n_frames, info.width, info.height, info.codec, info.rotation) == (40, WIDTH, HEIGHT, "h264", 0)
    assert info.duration_s == pytest.approx(40 / 25)
    assert info.fps == pytest.approx(25)
    assert probe(encode("scan.mp4", count=40)) == info


def test_decoding_twice_gives_the_same(encode: Encode) -> None:
    path = encode("twice.mp4")
    for a, b in zip(decode(path, short_side=40), decode(path, short_side=40, threads=2), strict=True):
        assert a.pts_s == b.pts_s
        assert np.array_equal(a.picture, b.picture)


def test_variable_rate_keeps_every_frames_own_time(encode: Encode) -> None:
    times = [0.0, 0.04, 0.08, 1.0, 1.04, 3.0]
    path = encode("vfr.mp4", count=6, picture=grey_picture, times=times)
    assert [frame.pts_s for frame in decode(path)] == pytest.approx(times)


def test_joined_recordings_continue_one_timeline(encode: Encode, tmp_path: Path) -> None:
    once = encode("once.ts", "mpeg2video", count=40, picture=grey_picture)
    twice = tmp_path / "twice.ts"
    twice.write_bytes(once.read_bytes() * 2)
    times = [frame.pts_s for frame in decode(twice)]
    assert len(times) == 80
    assert all(a < b for a, b in pairwise(times))
    assert times[-1] == pytest.approx(79 / 25, abs=0.1)


@pytest.mark.parametrize("suffix", ["mkv", "avi"])
def test_a_recording_may_begin_between_key_frames(encode: Encode, tmp_path: Path, suffix: str) -> None:
    whole = encode(f"open.{suffix}", count=40, picture=grey_picture, gop=12, options={"bf": "0"})
    cut = cut_into(whole, tmp_path / f"cut.{suffix}", skip=5)
    frames = list(decode(cut))
    assert [index_of(frame.picture) for frame in frames] == list(range(12, 40))
    assert frames[0].pts_s == 0


# Size and orientation


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_rotation_is_applied(encode: Encode, rotate: int) -> None:
    def corner(_index: int) -> np.ndarray:
        picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        picture[: HEIGHT // 2, : WIDTH // 2] = (255, 0, 0)
        return picture

    path = encode(f"rotate{rotate}.mp4", count=3, picture=corner, rotate=rotate)
    (first, *_), info = list(decode(path)), probe(path)
    # FFmpeg counts counterclockwise, as numpy does.
    expected = np.rot90(corner(0), rotate // 90)
    assert first.picture.shape == expected.shape == (info.height, info.width, 3)
    assert np.abs(first.picture.astype(int) - expected).mean() < 8
    assert info.rotation == (360 - rotate) % 360
    assert first.picture.flags.c_contiguous


def test_short_side_is_exact_and_keeps_the_aspect(encode: Encode) -> None:
    path = encode("side.mp4", count=2)
    assert next(decode(path, short_side=40)).picture.shape == (40, 60, 3)
    assert next(decode(path, short_side=100)).picture.shape == (100, 150, 3)
    upright = encode("side90.mp4", count=2, rotate=90)
    assert next(decode(upright, short_side=40)).picture.shape == (60, 40, 3)


def test_a_change_of_size_keeps_the_first_size(encode: Encode, tmp_path: Path) -> None:
    def large(index: int) -> np.ndarray:
        return np.full((120, 160, 3), 20 + 5 * index, dtype=np.uint8)

    both = tmp_path / "both.ts"
    small = encode("small.ts", count=20, picture=grey_picture)
    both.write_bytes(small.read_bytes() + encode("large.ts", count=20, picture=large).read_bytes())
    frames = list(decode(both))
    assert len(frames) == 40
    assert {frame.picture.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    assert [index_of(frame.picture) for frame in frames] == 2 * list(range(20))


def test_odd_sizes(encode: Encode) -> None:
    def odd(index: int) -> np.ndarray:
        return np.full((35, 51, 3), 20 + 5 * index, dtype=np.uint8)

    path = encode("odd.webm", "libvpx-vp9", count=5, picture=odd)
    assert [frame.picture.shape for frame in decode(path)] == [(35, 51, 3)] * 5
    assert [index_of(frame.picture) for frame in decode(path)] == list(range(5))


# A fixed rate


def test_decode_at_takes_the_frame_on_show(encode: Encode) -> None:
    path = encode("rate.mp4", count=40, fps=20, picture=grey_picture)
    frames = list(decode_at(path, 8))
    expected = [int(k / 8 * 20 + 1e-9) for k in range(16)]
    assert [index_of(frame.picture) for frame in frames] == expected
    assert [frame.pts_s for frame in frames] == pytest.approx([index / 20 for index in expected])


def test_decode_at_invents_no_rows_above_the_own_rate(encode: Encode) -> None:
    path = encode("slow.mp4", count=10, fps=5, picture=grey_picture)
    assert [index_of(frame.picture) for frame in decode_at(path, 30)] == list(range(10))


def test_decode_at_shows_a_gaps_frame_once(encode: Encode) -> None:
    path = encode("gap.mp4", count=5, fps=10, picture=grey_picture, times=[0.0, 0.1, 0.2, 2.0, 2.1])
    frames = list(decode_at(path, 5))
    assert [index_of(frame.picture) for frame in frames] == [0, 2, 3]
    assert [frame.pts_s for frame in frames] == pytest.approx([0.0, 0.2, 2.0])


def test_decode_at_allows_for_times_rounded_to_milliseconds(encode: Encode) -> None:
    path = encode("round.mkv", count=40, fps=30, picture=grey_picture)
    assert [index_of(frame.picture) for frame in decode_at(path, 15)] == list(range(0, 40, 2))


def test_decode_at_refuses_a_senseless_rate(encode: Encode) -> None:
    with pytest.raises(ValueError, match="fps is 0"):
        list(decode_at(encode("two.mp4", count=2), 0))


def test_frames_shown_at_given_times(encode: Encode) -> None:
    path = encode("shown.mp4", count=20, fps=10, picture=grey_picture)
    frames = decode_shown_at(path, [0.0, 0.05, 0.31, 1.9, 50.0], height=32)
    assert [index_of(frame.picture) for frame in frames] == [0, 0, 3, 19, 19]
    assert frames[0].picture.shape == (32, 48, 3)


# Real files


def check_against_manifest(shared: Path, row: dict[str, str]) -> None:
    times, shape = [], (0, 0)
    for frame in decode(shared / "videos" / row["file"], short_side=16):
        times.append(frame.pts_s)
        shape = frame.picture.shape[:2]
    assert len(times) == int(row["n_frames"])
    assert times[0] == 0
    assert all(a < b for a, b in pairwise(times))
    duration = float(row["duration_s"] or 0)
    assert times[-1] <= duration + 0.1
    rotated = "rotation" in row["notes"]
    assert (shape[0] > shape[1]) == ((int(row["height"]) > int(row["width"])) != rotated)


def test_real_files_of_every_format(shared: Path, manifest: dict[str, dict[str, str]]) -> None:
    chosen = [
        row for name, row in manifest.items() if name.startswith(("formats/", "derived/", "cuts/")) or name in TRAPS
    ]
    assert len(chosen) > 30
    for row in chosen:
        check_against_manifest(shared, row)


@pytest.mark.slow
def test_every_real_file(shared: Path, manifest: dict[str, dict[str, str]]) -> None:
    for row in manifest.values():
        check_against_manifest(shared, row)


@pytest.mark.parametrize(
    ("name", "cuts"),
    [("cuts/bikes.mp4", [1.20, 3.04, 5.48, 7.48, 9.68]), ("cuts/goldeneye_vfr_drop3.mp4", [3.754, 8.759]),
     ("derived/av1_truman_cut.mkv", [19 / 30])],
)  # fmt: skip
def test_real_cuts_lie_where_they_were_seen(shared: Path, name: str, cuts: list[float]) -> None:
    frames = list(decode(shared / "videos" / name, short_side=48))
    jumps = [np.abs(b.picture.astype(int) - a.picture).mean() for a, b in pairwise(frames)]
    largest = sorted(np.argsort(jumps)[-len(cuts) :])
    assert [frames[i + 1].pts_s for i in largest] == pytest.approx(cuts, abs=2e-3)


def test_phone_films_stand_upright(shared: Path) -> None:
    for name, size in (("rot90_3frames", (320, 568)), ("rot90_ios9", (720, 1280)), ("rot90_sideways", (480, 640))):
        info = probe(shared / "videos" / "formats" / f"{name}.mov")
        assert (info.width, info.height) == size
        assert info.rotation == 90


def test_sample_aspect_ratio_is_applied_unless_it_is_rounding(shared: Path) -> None:
    wide = probe(shared / "videos" / "actions" / "k400_arm_wrestling.mp4")  # 340x256, 64:51
    assert (wide.width, wide.height) == (427, 256)
    rounded = probe(shared / "videos" / "actions" / "playing_guitar.mp4")  # 470x320, 704:705
    assert (rounded.width, rounded.height) == (470, 320)


def test_a_delayed_start_is_time_zero(shared: Path) -> None:
    assert next(decode(shared / "videos" / "formats" / "delayed_start.mp4", short_side=16)).pts_s == 0


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"none\.mp4: there is no such file"):
        next(decode(tmp_path / "none.mp4"))
