"""frames: decode every video at a fixed rate.

In: the videos that ``ingest`` lists. Out: one ``frames`` artifact per video: JPEG pictures of ``short_side`` px, upright,
every 1 / ``fps`` s, each with the time of the source frame it shows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage
from stages import _outputs


class Frames(Section):
    """Section ``frames`` of params.yaml."""

    fps: float = Field(gt=0, description="pictures per second of video; at most the video's own rate")
    short_side: int = Field(ge=16, description="px of the shorter side after scaling")
    jpeg_quality: int = Field(ge=1, le=100)


def units(context: Context) -> Sequence[Unit]:
    """One unit per ingested video."""
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    return [
        Unit(video.id, video.file_stem, (context.root / video.path,), {"duration_s": video.duration_s})
        for video in dataset
    ]


def decode(unit: Unit, params: Frames, folder: Path) -> Mapping[str, Any]:
    """Decode one video into ``unit.h5``; memory does not grow with its length."""
    from pipeline.video import jpeg
    from pipeline.video.decode import decode_at

    attributes = {"fps": params.fps, "width": 0, "height": 0, "duration_s": unit.spec["duration_s"]}
    count = 0
    with kinds.FRAMES.writer(folder / "unit.h5", attributes) as writer:
        for frame in decode_at(unit.inputs[0], params.fps, params.short_side):
            height, width = frame.picture.shape[:2]
            writer.append(pts=[frame.pts_s], jpeg=[jpeg.encode(frame.picture, params.jpeg_quality)])
            writer.attributes |= {"width": width, "height": height}
            count += 1
    return {"frames": count}


def finish(_context: Context, _folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Count what was decoded."""
    return {"frames": float(sum(record["frames"] for record in records.values()))}


STAGE = VideoStage(
    name="frames",
    section=Frames,
    writes=(kinds.FRAMES,),
    out=_outputs.FRAMES,
    units=units,
    process=decode,
    finish=finish,
)

if __name__ == "__main__":
    main("frames")
