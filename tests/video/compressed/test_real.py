"""Real clips: how much is valid and how well it fits, three codecs that agree, every file of the formats folder."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.compressed import CODECS, VideoError, read_compressed
from pipeline.video.compressed.normalise import normalised
from pipeline.video.compressed.stream import decode_with_vectors
from pipeline.video.decode import decode
from tests.video.clips import Encode

DERIVED = ("mpeg4_bframes_pets_120.mp4", "h264_nob_ref1_pets_120.mp4")


def real_pictures(shared: Path, name: str, width: int = 320, height: int = 240) -> Callable[[int], np.ndarray]:
    with av.open(str(shared / "videos" / name)) as container:
        frames = []
        for frame in container.decode(video=0):
            frames.append(frame.reformat(width, height, "rgb24").to_ndarray())
            if len(frames) == 45:
                break
    return lambda index: frames[index]


def explained_best(path: Path, number: int, row, pictures: list[np.ndarray], decoded: list[int]) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Each pixel's error when its block is taken from the best of the six frames on its vector's side that were decoded
    before it (any other cannot have been its reference): [height, width], infinite without a vector.
    """
    height, width = row.valid.shape
    best = np.full((height, width), np.inf)
    for (x, y, w, h), d, side in zip(
        row.vectors.block.tolist(), np.trunc(row.vectors.motion).astype(int), row.vectors.source.tolist(), strict=True
    ):
        top, bottom, left, right = max(y, 0), min(y + h, height), max(x, 0), min(x + w, width)
        ys = np.clip(np.arange(top, bottom) - d[1], 0, height - 1)[:, None]
        xs = np.clip(np.arange(left, right) - d[0], 0, width - 1)
        for distance in range(1, 7):
            other = number + side * distance
            if 0 <= other < len(pictures) and decoded[other] < decoded[number]:
                error = np.abs(pictures[number][top:bottom, left:right] - pictures[other][ys, xs]).mean(-1)
                if error.mean() < best[top:bottom, left:right].mean():
                    best[top:bottom, left:right] = error
    return best


@pytest.mark.parametrize(
    "name", ["people/vtest_pets09_s2l1.avi", "actions/basketball.mp4", "formats/structuralize_gym.mp4"]
)
def test_x264_with_its_defaults_is_mostly_valid_and_fits(shared: Path, encode: Encode, name: str) -> None:
    path = encode(f"x264-{Path(name).stem}.mp4", count=45, gop=250, picture=real_pictures(shared, name))
    pictures = [frame.picture.astype(np.int16) for frame in decode(path)]
    decoded = [coded.decoded for coded in decode_with_vectors(path)]
    valid, types, ours, best = [], [], [], []
    for number, row in enumerate(read_compressed(path)):
        if row.reference_index >= 0:
            types.append(row.frame_type)
            valid.append(row.valid.mean())
            explained = explained_best(path, number, row, pictures, decoded)
            inside = (row.valid == 1) & np.isfinite(explained)
            ours.append(np.abs(row.residual).mean(-1)[inside].sum())
            best.append(explained[inside].sum())
    assert types.count(3) > types.count(2) > 5
    assert np.mean(valid) >= 0.55
    assert sum(ours) <= 1.3 * sum(best)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("derived/h264_nob_ref1_pets_120.mp4", 0.9),
        ("actions/archery_example.avi", 0.9),
        ("weizmann/run/daria_run.avi", 0.9),
    ],
)
def test_what_is_not_intra_is_valid(shared: Path, name: str, least: float) -> None:
    """MPEG-4 Part 2, and H.264 of one reference: nearly every pixel with a vector."""
    valid = given = 0
    for row in read_compressed(shared / "videos" / name, ["valid", "vectors"]):
        if row.reference_index >= 0:
            covered = np.zeros(row.valid.shape, bool)
            for x, y, w, h in row.vectors.block.tolist():
                covered[max(y, 0) : y + h, max(x, 0) : x + w] = True
            assert not row.valid[~covered].any()
            given += int(covered.sum())
            valid += int(row.valid.sum())
    assert valid >= least * given


def test_interlaced_blocks_that_lie_elsewhere_are_left_out(shared: Path) -> None:
    """Field-coded blocks do not lie where their vectors say; what is left fits."""
    path = shared / "videos" / "derived" / "mpeg2_interlaced_tff.ts"
    pictures = [frame.picture.astype(np.int16) for frame in decode(path)]
    valid, ours, still = [], 0, 0
    for number, row in enumerate(read_compressed(path, ["mv", "residual", "valid"])):
        if row.reference_index >= 0:
            moving = (row.valid == 1) & row.mv.any(-1)
            valid.append(row.valid.mean())
            ours += np.abs(row.residual[moving]).sum()
            still += np.abs(pictures[number] - pictures[row.reference_index])[moving].sum()
    assert np.mean(valid) > 0.6
    assert ours < 0.5 * still


def test_three_codecs_agree_on_the_same_pictures(shared: Path) -> None:
    """HEVC has no vectors and MPEG-4's B-frames neither, so these two are normalised; H.264 is read as it is."""
    derived = shared / "videos" / "derived"
    read = {"h264": list(read_compressed(derived / DERIVED[1], ["mv", "valid"]))}
    for name in (DERIVED[0], "hevc_main_pets_120.mp4"):
        with normalised(derived / name) as (path, codec):
            read[codec] = list(read_compressed(path, ["mv", "valid"]))
    assert sorted(read) == ["h264", "hevc", "mpeg4"]
    for one, two in (("h264", "mpeg4"), ("h264", "hevc"), ("hevc", "mpeg4")):
        dot = ones = twos = 0.0
        for a, b in zip(read[one], read[two], strict=True):
            moving = (a.valid == 1) & (b.valid == 1) & a.mv.any(-1) & b.mv.any(-1)
            va, vb = a.mv[moving].astype(float), b.mv[moving].astype(float)
            dot, ones, twos = dot + (va * vb).sum(), ones + (va**2).sum(), twos + (vb**2).sum()
        assert dot / np.sqrt(ones * twos) >= 0.8, (one, two)


@pytest.mark.slow
def test_every_real_file_is_read_or_refused_by_name(shared: Path, manifest: dict[str, dict[str, str]]) -> None:
    """Frames at the decoder's times with something in them, or the codec's name."""
    for name, row in manifest.items():
        if name.startswith(("formats/", "derived/")):
            check_file(shared / "videos" / name, row)


@pytest.mark.parametrize(
    "name",
    [
        "delayed_start.mp4",
        "rot90_3frames.mov",
        "rot90_ios9.mov",
        "rot90_sideways.mov",
        "mjpeg_gesture.avi",
        "vp9_portrait.mp4",
    ],
)
def test_small_files_of_the_formats_folder(shared: Path, manifest: dict[str, dict[str, str]], name: str) -> None:
    check_file(shared / "videos" / "formats" / name, manifest[f"formats/{name}"])


def check_file(path: Path, row: dict[str, str]) -> None:
    codec = row["codec"].split()[0]
    if codec not in CODECS:
        with pytest.raises(VideoError, match=f"its codec {codec} gives no motion vectors; transcode it"):
            next(read_compressed(path))
        return
    times = [frame.pts_s for frame in decode(path, short_side=16)]
    found = moving = residual = predicted = 0
    for number, frame in enumerate(read_compressed(path, short_side=48)):
        assert frame.pts == times[number]
        assert min(frame.mv.shape[:2]) == 48
        found += 1
        predicted += frame.frame_type > 1
        moving += bool(frame.valid.any())
        residual += bool(frame.residual_accumulated.any())
    assert found == len(times)
    assert residual >= 0.9 * predicted or predicted == 1
    if predicted > 1 and (codec != "mpeg4" or row["has_b_frames"] == "no"):
        assert moving >= 0.9 * predicted
