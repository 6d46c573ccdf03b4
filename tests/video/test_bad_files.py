"""Real files of every format, whole, damaged and misnamed: frames with right times or a named error; no zeros, no hang."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.run.executors import run_units
from pipeline.video.decode import decode, decode_at
from tests.run.tiny_project import clean_environment
from tests.video.clips import Encode, grey_picture

SMALL = ("delayed_start.mp4", "vfr_awesome_movie.mov", "mjpeg_gesture.avi", "rot90_3frames.mov", "frame_counter.mp4")

READ_DAMAGED = """
import sys
from pathlib import Path
import numpy as np
from pipeline.video.decode import VideoError, decode_at
source, work = Path(sys.argv[1]), Path(sys.argv[2])
data = source.read_bytes()
whole = {f.pts_s: f.picture.mean() for f in decode_at(source, 8, 16)}
span = max(whole) + 1
rng = np.random.default_rng(0)
variants = {f"cut at {share}": data[: int(len(data) * share)] for share in (0.01, 0.2, 0.5, 0.9)} | {"cut by 1": data[:-1]}
for seed in range(5):
    flipped = bytearray(data)
    for place in rng.integers(len(data) // 20, len(data), 3 * 4**seed):
        flipped[place] ^= 1 << int(rng.integers(8))
    variants[f"flipped {seed}"] = bytes(flipped)
for name, content in variants.items():
    damaged = work / f"damaged{source.suffix}"
    damaged.write_bytes(content)
    seen, last = 0, -1.0
    try:
        for frame in decode_at(damaged, 8, 16):
            assert last < frame.pts_s < span + 60, (name, last, frame.pts_s)
            assert frame.picture.any() or whole.get(frame.pts_s, 0) < 8, (name, frame.pts_s, "zeros")
            seen, last = seen + 1, frame.pts_s
        assert seen, (name, "neither frames nor an error")
        print(name, "frames")
    except VideoError as error:
        assert error.cause and str(damaged) in str(error)
        print(name, "named")
"""


def read_damaged(path: Path, work: Path) -> None:
    """In a process of its own, with a limit on its time: a crash or a hang is seen and costs this test only."""
    command = [sys.executable, "-c", READ_DAMAGED, str(path), str(work)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (path.name, done.returncode, done.stderr[-2000:])
    outcomes = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert len(outcomes) == 10
    assert outcomes["cut at 0.2"] == outcomes["cut at 0.5"] == "named"


@pytest.mark.parametrize("name", SMALL)
def test_damaged_real_files(shared: Path, tmp_path: Path, name: str) -> None:
    read_damaged(shared / "videos" / "formats" / name, tmp_path)


@pytest.mark.slow
def test_every_damaged_format(shared: Path, tmp_path: Path) -> None:
    for path in sorted((shared / "videos" / "formats").iterdir()):
        read_damaged(path, tmp_path)


@pytest.mark.parametrize("suffix", [".avi", ".txt", ".h5", ".jpg", ""])
def test_a_wrong_extension_does_not_matter(encode: Encode, tmp_path: Path, suffix: str) -> None:
    source = encode("extension.mp4", count=20, picture=grey_picture)
    renamed = tmp_path / f"renamed{suffix}"
    renamed.write_bytes(source.read_bytes())
    for a, b in zip(decode(source), decode(renamed), strict=True):
        assert a.pts_s == b.pts_s
        assert np.array_equal(a.picture, b.picture)


def decode_or_abort(item: tuple[Path, bool]) -> int:
    """Decode a video; with True the process aborts in the middle, as it does when native code fails an assertion."""
    path, abort = item
    count = 0
    for count, _ in enumerate(decode_at(path, 10), 1):
        if abort and count == 3:
            os.abort()
    return count


def test_a_crash_of_the_decoder_costs_one_video(encode: Encode) -> None:
    path = encode("crash.mp4", count=50)
    items = [(path, number == 2) for number in range(6)]
    outcomes = {outcome.index: outcome for outcome in run_units(decode_or_abort, items, "process", 2)}
    assert [outcomes[index].value for index in range(6)] == [20, 20, None, 20, 20, 20]
    assert "its process died" in str(outcomes[2].cause)
