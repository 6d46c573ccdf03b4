"""ingest: list the data set's videos; render or stitch those that are not there.

In: the definition ``data/datasets/<dataset>.yaml`` and what ``data/raw/<dataset>`` links to. Out: ``dataset.json`` (the one
schema: videos, segments, video labels, classes); of made videos the H.264 file; of these, and of videos whose people are
boxed at key frames, what is true of their frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.datasets.definition import load_definition
from pipeline.datasets.readers import class_names, reader_entry, reader_module
from pipeline.datasets.schema import Dataset, Segment, Video, file_stem
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage
from stages import _outputs


class Ingest(Section):
    """Section ``ingest`` of params.yaml."""

    dataset: str = Field(min_length=1, description="name of a file in data/datasets")


def units(context: Context) -> Sequence[Unit]:
    """One unit per video that the data set's definition plans."""
    definition = load_definition(context.root, context.params.dataset)
    entry = reader_entry(definition)
    planned = reader_module(entry).plan(definition, context.root)
    return [Unit(p.id, file_stem(p.id), p.inputs, {"reader": entry, "plan": p.spec}) for p in planned]


def make(unit: Unit, _params: Ingest, folder: Path) -> Mapping[str, Any]:
    """Make or open one video; the record is its entry of the data set."""
    video = reader_module(unit.spec["reader"]).make(unit.id, unit.inputs, unit.spec["plan"], folder)
    return {"video": asdict(video), "made": (folder / "unit.mp4").is_file()}


def finish(context: Context, folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Write dataset.json."""
    videos = []
    for record in records.values():
        raw = dict(record["video"])
        raw["segments"] = tuple(Segment(**segment) for segment in raw["segments"])
        video = Video(**raw)
        if record["made"]:
            video = replace(video, path=f"{_outputs.VIDEOS}/{video.file_stem}.mp4")
        videos.append(video)
    definition = load_definition(context.root, context.params.dataset)
    used = {segment.label for video in videos for segment in video.segments}
    classes = class_names(definition, context.root, used)
    dataset = Dataset(context.params.dataset, classes, tuple(videos))
    dataset.save(folder / "dataset.json")
    return {
        "seconds": sum(video.duration_s for video in videos),
        "instances": float(sum(len(video.segments) for video in videos)),
        "classes": float(len(classes)),
    }


STAGE = VideoStage(
    name="ingest",
    section=Ingest,
    writes=(kinds.TRUTH,),
    code=lambda params, root, _variant: [reader_entry(load_definition(root, params.dataset))],
    out=_outputs.VIDEOS,
    units=units,
    process=make,
    finish=finish,
)

if __name__ == "__main__":
    main("ingest")
