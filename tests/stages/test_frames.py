"""The stage `frames`: rates and sizes as asked, the same bytes, memory that does not grow."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.run import kinds
from pipeline.run.stage import Unit, VideoStage, find_stage
from pipeline.video import jpeg
from pipeline.video.decode import decode, decode_at
from tests.run.tiny_project import clean_environment
from tests.video.clips import encode_clip, moving_picture


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 frames of 96x64, 25 a second: more than two batches."""
    return encode_clip(tmp_path_factory.mktemp("frames") / "a.mp4", count=150)


def run(video: Path, folder: Path, **params: Any) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
    stage = find_stage("frames")
    assert isinstance(stage, VideoStage)
    section = stage.section.model_validate({"fps": 10, "short_side": 32, "jpeg_quality": 90} | params)
    record = stage.process(Unit("a", "a", (video,), {"duration_s": 6.0}), section, folder)
    with kinds.FRAMES.open(folder / "unit.h5") as reader:
        return dict(record), {name: reader[name] for name in kinds.FRAMES.arrays}, reader.attributes


def test_rate_and_size_as_asked(video: Path, tmp_path: Path) -> None:
    record, rows, attributes = run(video, tmp_path)
    expected = list(decode_at(video, 10, 32))
    assert record == {"frames": len(expected)}
    assert rows["pts"].tolist() == [frame.pts_s for frame in expected]
    assert attributes == {"width": 48, "height": 32, "fps": 10.0, "duration_s": 6.0}
    for data, frame in zip(rows["jpeg"], expected, strict=True):
        picture, other = jpeg.decode(data), jpeg.decode(jpeg.encode(frame.picture, 90))
        errors = [np.abs(one.astype(int) - frame.picture).mean() for one in (picture, other)]
        assert errors[0] < 1.3 * errors[1], "farther from the frame than a JPEG of it"


def test_native_rate_and_size(video: Path, tmp_path: Path) -> None:
    _, rows, attributes = run(video, tmp_path, fps="native", short_side=None)
    assert rows["pts"].tolist() == [frame.pts_s for frame in decode(video)]
    assert attributes == {"width": 96, "height": 64, "fps": 25.0, "duration_s": 6.0}
    assert jpeg.decode(rows["jpeg"][149]).shape == (64, 96, 3)


def test_a_quality_of_ones_own(video: Path, tmp_path: Path) -> None:
    sizes = [sum(len(data) for data in run(video, tmp_path, jpeg_quality=q)[1]["jpeg"]) for q in (95, 50)]
    assert sizes[0] > 1.5 * sizes[1]


def test_the_same_bytes_again(video: Path, tmp_path: Path) -> None:
    seen = set()
    for _ in range(2):
        run(video, tmp_path, fps="native")
        seen.add((tmp_path / "unit.h5").read_bytes())
    assert len(seen) == 1


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"fps": "all"}, {"short_side": 8}, {"jpeg_quality": 101}])
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        find_stage("frames").section.model_validate({"fps": 10, "short_side": 32, "jpeg_quality": 90} | wrong)


PEAK = """
import sys
from pathlib import Path
from pipeline.run.stage import Unit, find_stage
stage = find_stage("frames")
params = stage.section.model_validate({"fps": "native", "short_side": None, "jpeg_quality": 95})
stage.process(Unit("v", "v", (Path(sys.argv[1]),), {"duration_s": 1.0}), params, Path(sys.argv[2]))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1])  # KiB; getrusage would count what the parent had at the fork
"""


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    pictures = [moving_picture(index, 320, 240) for index in range(40)]
    peaks = []
    for times in (1, 8):
        path = tmp_path / f"{times}.mp4"
        encode_clip(
            path, count=150 * times, picture=lambda index: pictures[index % 40], options={"preset": "ultrafast"}
        )
        command = [sys.executable, "-c", PEAK, str(path), str(tmp_path)]
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    size = (tmp_path / "unit.h5").stat().st_size / 2**20
    assert size > 60, "too little to see growth in"
    assert peaks[1] < peaks[0] + size / 4, f"{peaks} MiB; the artifact is {size:.0f} MiB"
