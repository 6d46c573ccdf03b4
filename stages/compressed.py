"""compressed: read what the coded stream itself tells, motion vectors and residuals.

In: the videos that ``ingest`` lists. Out: one ``compressed`` artifact per video, one row per source frame: its time, type
and size in the stream, block motion since its reference frame, and the residual at ``short_side`` px. A video whose codec
has no motion vectors (HEVC, VP9, AV1, MJPEG) fails and is listed with what to do.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage
from stages import _outputs


class Compressed(Section):
    """Section ``compressed`` of params.yaml."""

    short_side: int = Field(ge=8, description="px of the shorter side of the residuals; motion is kept per 8 px block")


def units(context: Context) -> Sequence[Unit]:
    """One unit per ingested video."""
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    return [Unit(video.id, video.file_stem, (context.root / video.path,)) for video in dataset]


def read(unit: Unit, params: Compressed, folder: Path) -> Mapping[str, Any]:
    """Read the stream of one video into ``unit.h5``, in one pass."""
    from pipeline.video.compressed import BLOCK, read_coded

    attributes = {"width": 0, "height": 0, "block": BLOCK}
    counts = dict.fromkeys(("frames", "predicted", "blocks", "valid"), 0)
    frames = read_coded(unit.inputs[0], short_side=params.short_side)
    with kinds.COMPRESSED.writer(folder / "unit.h5", attributes) as writer:
        # Whole chunks: a compressed chunk that is written in parts is unpacked and packed again for each.
        while rows := list(islice(frames, kinds.COMPRESSED_CHUNK)):
            writer.append(
                pts=[row.pts_s for row in rows],
                frame_type=np.array([row.frame_type for row in rows], np.uint8),
                packet_bytes=[row.packet_bytes for row in rows],
                i_frame_index=[row.i_frame for row in rows],
                reference_index=[row.reference for row in rows],
                mv=np.stack([row.mv for row in rows]),
                valid=np.stack([row.valid for row in rows]),
                residual=np.stack([row.residual for row in rows]),
            )
            writer.attributes |= {"width": rows[0].width, "height": rows[0].height}
            predicted = [row for row in rows if row.reference >= 0]
            counts["frames"] += len(rows)
            counts["predicted"] += len(predicted)
            counts["blocks"] += sum(row.valid.size for row in predicted)
            counts["valid"] += sum(int(row.valid.sum()) for row in predicted)
    return counts


def finish(_context: Context, _folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Frames, and the share of blocks with a vector in those that are predicted."""
    sums = {
        name: sum(record[name] for record in records.values()) for name in ("frames", "predicted", "blocks", "valid")
    }
    return {
        "frames": float(sums["frames"]),
        "predicted_frames": float(sums["predicted"]),
        "valid_share": sums["valid"] / sums["blocks"] if sums["blocks"] else 0.0,
    }


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
