"""The artifact, the command that writes it, and the transcode before."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.run import kinds
from pipeline.run.artifacts import ArtifactError
from pipeline.video import jpeg
from pipeline.video.compressed import ARRAYS, VideoError, read_compressed
from pipeline.video.compressed.normalise import normalised
from pipeline.video.compressed.store import write_compressed
from pipeline.video.decode import decode
from tests.video.clips import Encode, encode_clip


def extract(root: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "pipeline", "extract", "compressed", *map(str, arguments)]
    return subprocess.run(line, cwd=root, capture_output=True, text=True)


def test_the_file_holds_what_the_iterator_gives(encode: Encode, tmp_path: Path) -> None:
    path = encode("stored.mp4", count=40, options={"bf": "2"})
    counts = write_compressed(path, tmp_path / "a.h5")
    rows = list(read_compressed(path))
    stored = kinds.COMPRESSED.read(tmp_path / "a.h5")
    assert set(stored) == set(kinds.COMPRESSED.arrays)
    assert counts == {
        "frames": 40, "predicted": sum(row.reference_index >= 0 for row in rows),
        "pixels": sum(row.valid.size for row in rows if row.reference_index >= 0),
        "valid": sum(int(row.valid.sum()) for row in rows),
    }  # fmt: skip
    for name in ("pts", "frame_type", "packet_bytes", "i_frame_index", "reference_index"):
        assert stored[name].tolist() == [getattr(row, name) for row in rows]
    for name in ("mv", "mv_accumulated", "residual", "residual_accumulated", "valid"):
        np.testing.assert_array_equal(stored[name], np.stack([getattr(row, name) for row in rows]))
    for number, row in enumerate(rows):
        mine = stored["vector_frame"] == number
        for name in ("block", "motion", "source"):
            np.testing.assert_array_equal(stored[f"vector_{name}"][mine], getattr(row.vectors, name))
    assert stored["i_frame_row"].tolist() == [n for n, row in enumerate(rows) if row.frame_type == 1]
    for number, data in zip(stored["i_frame_row"], stored["i_frame"], strict=True):
        assert data.tobytes() == jpeg.encode(rows[number].i_frame, 95)
    with kinds.COMPRESSED.open(tmp_path / "a.h5") as reader:
        assert reader.attributes == {
            "width": 96, "height": 64, "rows": 64, "columns": 96, "codec": "h264", "normalised_from": ""
        }  # fmt: skip


def test_arrays_that_were_not_asked_for_are_absent(encode: Encode, tmp_path: Path) -> None:
    path = encode("stored.mp4", count=40, options={"bf": "2"})
    write_compressed(path, tmp_path / "a.h5", ["mv_accumulated"], short_side=32)
    with kinds.COMPRESSED.open(tmp_path / "a.h5") as reader:
        assert "mv_accumulated" in reader
        assert "residual" not in reader
        assert reader["mv_accumulated"].shape == (40, 32, 48, 2)
        with pytest.raises(ArtifactError, match="written without 'residual'"):
            reader.rows("residual", slice(0, 1))
    with pytest.raises(ValueError, match="no compressed array 'flow'"):
        write_compressed(path, tmp_path / "b.h5", ["flow"])
    assert not (tmp_path / "b.h5").exists()


def test_the_same_bytes_every_time(encode: Encode, tmp_path: Path) -> None:
    path = encode("stored.mp4", count=40, options={"bf": "2"})
    for name in ("a.h5", "b.h5"):
        write_compressed(path, tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_motion_at_another_size_is_sampled_in_coded_pixels(encode: Encode) -> None:
    path = encode("stored.mp4", count=40, options={"bf": "2"})
    for full, small in zip(read_compressed(path), read_compressed(path, short_side=32), strict=True):
        for name in ("mv", "mv_accumulated", "valid"):
            np.testing.assert_array_equal(getattr(small, name), getattr(full, name)[1::2, 1::2])


def test_the_command(root: Path, encode: Encode, tmp_path: Path) -> None:
    path = encode("stored.mp4", count=40, options={"bf": "2"})
    done = extract(root, path, "--out", tmp_path / "a.h5", "--short-side", 32, "--arrays", "mv", "valid")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 40
    assert kinds.COMPRESSED.read(tmp_path / "a.h5")["mv"].shape == (40, 32, 48, 2)


def test_the_command_names_what_is_wrong(root: Path, encode: Encode, tmp_path: Path) -> None:
    vp9 = encode("none.webm", "libvpx-vp9", count=4)
    for arguments, word in (((vp9,), "vp9 gives no motion"), ((vp9, "--arrays", "flow"), "no compressed array 'flow'")):
        done = extract(root, *arguments, "--out", tmp_path / "a.h5")
        assert done.returncode == 1
        assert word in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "a.h5").exists()
    done = extract(root, vp9, "--out", tmp_path / "a.h5", "--normalise")
    assert done.returncode == 0, done.stderr
    with kinds.COMPRESSED.open(tmp_path / "a.h5") as reader:
        assert (reader.attributes["codec"], reader.attributes["normalised_from"]) == ("mpeg4", "vp9")
        assert set(ARRAYS) - {"vectors"} <= {name for name in kinds.COMPRESSED.arrays if name in reader}


@pytest.mark.parametrize(
    "name",
    ["vp9_odd_341x255.webm", "h264_vfr_gaps.mp4", "av1_truman_cut.mkv", "mpeg2_interlaced_tff.ts"],
)
def test_a_normalised_stream_has_the_frames_of_its_source(shared: Path, name: str) -> None:
    source = shared / "videos" / "derived" / name
    before = list(decode(source))  # in full: FFmpeg scales the fields of interlaced pictures apart
    with normalised(source) as (path, codec):
        assert codec.removeprefix("lib").removesuffix("video")[:3] in name or codec == "libdav1d"
        after = list(decode(path))
        rows = list(read_compressed(path, ["valid", "vectors"]))
    assert np.abs(np.subtract([f.pts_s for f in before], [f.pts_s for f in after])).max() < 0.0011
    assert np.mean([np.abs(a.picture.astype(int) - b.picture).mean() for a, b in zip(before, after, strict=True)]) < 4
    assert {row.frame_type for row in rows} == {1, 2}
    assert all(row.i_frame_index > number - 12 for number, row in enumerate(rows))
    assert all(number - row.reference_index == 1 for number, row in enumerate(rows) if row.frame_type == 2)
    assert not path.exists()


def test_a_turned_video_is_normalised_upright(tmp_path: Path) -> None:
    def picture(index: int) -> np.ndarray:
        canvas = np.zeros((64, 96, 3), np.uint8)
        cv2.circle(canvas, (20 + index, 16), 8, (255, 255, 255), -1)
        return canvas

    source = encode_clip(tmp_path / "turned.mp4", "libx264", 20, picture=picture, rotate=90)
    with normalised(source) as (path, _):
        pairs = list(zip(decode(source), decode(path), strict=True))
    assert pairs[0][0].picture.shape == (96, 64, 3)
    assert max(np.abs(a.picture.astype(int) - b.picture).mean() for a, b in pairs) < 5


def test_a_damaged_source_is_refused_before_the_transcode(encode: Encode, tmp_path: Path) -> None:
    whole = encode("stored.mp4", count=40, options={"bf": "2"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(VideoError, match=r"cut\.mp4"), normalised(tmp_path / "cut.mp4"):
        pass
