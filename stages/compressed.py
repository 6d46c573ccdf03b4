"""compressed: read what the coded stream itself tells, motion vectors and residuals.

In: the videos that ``ingest`` lists. Out: one ``compressed`` artifact per video, one row per source frame (or only I- and
P-frames): its time, type and size in the stream, and the arrays that ``arrays`` names (motion, accumulated motion,
residuals, validity, I-frames) at ``short_side`` px. A video whose codec has no motion vectors (HEVC, VP9, AV1, MJPEG) fails
and is listed with what to do.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage, totals
from stages import _outputs

Name = Literal["vectors", "mv", "mv_accumulated", "residual", "residual_accumulated", "valid", "i_frame"]


class Compressed(Section):
    """Section ``compressed`` of params.yaml."""

    short_side: int = Field(ge=8, description="px of the shorter side of all arrays; motion stays in coded px")
    arrays: tuple[Name, ...] = Field(min_length=1, description="what is kept; see pipeline.video.compressed.ARRAYS")
    b_frames: bool = Field(description="also B-frames; without them rows are I- and P-frames only, as CoViAR has them")


def units(context: Context) -> Sequence[Unit]:
    """One unit per ingested video."""
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    return [Unit(video.id, video.file_stem, (context.root / video.path,)) for video in dataset]


def read(unit: Unit, params: Compressed, folder: Path) -> Mapping[str, Any]:
    """Read the stream of one video into ``unit.h5``, in one pass."""
    from pipeline.video.compressed.store import write_compressed

    out = folder / "unit.h5"
    return write_compressed(unit.inputs[0], out, params.arrays, short_side=params.short_side, b_frames=params.b_frames)


def finish(_context: Context, _folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Frames, and the share of the predicted frames' pixels whose motion is known."""
    sums = totals(records, "frames", "predicted", "pixels", "valid")
    metrics = {"frames": sums["frames"], "predicted_frames": sums["predicted"]}
    return metrics | ({"valid_share": sums["valid"] / sums["pixels"]} if sums["pixels"] else {})


STAGE = VideoStage(
    name="compressed",
    section=Compressed,
    writes=(kinds.COMPRESSED,),
    out=_outputs.COMPRESSED,
    units=units,
    process=read,
    finish=finish,
)

if __name__ == "__main__":
    main("compressed")
