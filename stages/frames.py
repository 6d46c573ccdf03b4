"""frames: decode every video at a fixed rate, or every frame.

In: the videos that ``ingest`` lists. Out: one ``frames`` artifact per video: pictures of ``short_side`` px, upright, every
1 / ``fps`` s, each with the time of the source frame it shows, as JPEG, raw or as H.264 segments (``storage``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage, totals
from stages import _outputs


class Frames(Section):
    """Section ``frames`` of params.yaml."""

    fps: Annotated[float, Field(gt=0)] | Literal["native"] = Field(
        description="pictures per second of video, at most its own rate; native: every frame"
    )
    short_side: Annotated[int, Field(ge=16)] | None = Field(description="px of the shorter side; null: as stored")
    jpeg_quality: int = Field(ge=1, le=100)
    storage: Literal["jpeg", "raw", "segments"] = Field("jpeg", description="see pipeline.datasets.stored")
    segment_crf: int = Field(18, ge=0, le=51, description="x264's quality of segments")


def units(context: Context) -> Sequence[Unit]:
    """One unit per ingested video."""
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    return [
        Unit(video.id, video.file_stem, (context.root / video.path,), {"duration_s": video.duration_s})
        for video in dataset
    ]


def decode(unit: Unit, params: Frames, folder: Path) -> Mapping[str, Any]:
    """Decode one video into ``unit.h5``; memory does not grow with its length."""
    from pipeline.datasets.stored import write_frames
    from pipeline.video.decode import shown_at

    fps = None if params.fps == "native" else params.fps
    attributes = {"duration_s": unit.spec["duration_s"]} | ({} if fps is None else {"fps": fps})
    side, plain = params.short_side, params.storage != "jpeg"
    frames = (shown.convert(side) if plain else shown.planes(side) for shown in shown_at(unit.inputs[0], fps))
    quality, crf = params.jpeg_quality, params.segment_crf
    return {"frames": write_frames(folder / "unit.h5", params.storage, frames, attributes, quality=quality, crf=crf)}


def finish(_context: Context, _folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Count what was decoded."""
    return totals(records, "frames")


STAGE = VideoStage(
    name="frames",
    section=Frames,
    writes=(kinds.FRAMES, kinds.FRAMES_RAW, kinds.FRAMES_SEGMENTS),
    out=_outputs.FRAMES,
    units=units,
    process=decode,
    finish=finish,
)

if __name__ == "__main__":
    main("frames")
