"""shots: split every video into shots at its hard cuts, or at its fades through black.

In: the videos that ``ingest`` lists. Out: one ``shots`` artifact per video: the shots as [t_start, t_end) in seconds, and
how strong the cut before each is. Where the data set knows its cuts, those of the test split are scored.
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


class Shots(Section):
    """Section ``shots`` of params.yaml."""

    detector: Literal["adaptive", "content", "threshold"] = Field(
        description="hard cuts (adaptive: past fast motion; content: any change), or threshold: fades through black"
    )
    ratio: float = Field(ge=1, description="adaptive: least change at a cut over the mean change around it")
    min_change: float = Field(gt=0, le=255, description="least mean change of a pixel at a cut")
    window: int = Field(2, ge=1, description="adaptive: frames on each side that count as around a cut")
    luma_only: bool = Field(True, description="change of brightness alone, not of hue and saturation")
    max_luma: int = Field(12, ge=1, le=255, description="threshold: a picture of a mean value below is dark")
    fade_bias: float = Field(
        0.0, ge=-1, le=1, description="threshold: the cut; -1 where the dark begins, 1 where it ends"
    )
    flash_s: float = Field(0.2, ge=0, description="hard cuts: no cut where the picture comes back within this; 0: off")
    unrest_ratio: float = Field(
        2.8, ge=0, description="content: least change across a cut over that among pictures beside it; 0: off"
    )
    min_shot_s: float = Field(ge=0, description="shortest shot")
    short_side: int = Field(ge=16, description="px of the pictures that are compared")
    tolerance_s: float = Field(ge=0, description="a cut is right when it is at most this far from a true one")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of the test videos")
    seed: int = Field(0, ge=0)


def units(context: Context) -> Sequence[Unit]:
    """One unit per ingested video."""
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    return [
        Unit(video.id, video.file_stem, (context.root / video.path,), {"duration_s": video.duration_s})
        for video in dataset
    ]


def split(unit: Unit, params: Shots, folder: Path) -> Mapping[str, Any]:
    """Find the shots of one video and write them to ``unit.h5``."""
    from pipeline.video.decode import decode
    from pipeline.video.shots import find_shots

    shots = find_shots(
        decode(unit.inputs[0], short_side=params.short_side),
        detector=params.detector,
        ratio=params.ratio,
        min_change=params.min_change,
        window=params.window,
        luma_only=params.luma_only,
        max_luma=params.max_luma,
        fade_bias=params.fade_bias,
        flash_s=params.flash_s,
        unrest_ratio=params.unrest_ratio,
        min_shot_s=params.min_shot_s,
        duration_s=unit.spec["duration_s"],
    )
    kinds.SHOTS.write(folder / "unit.h5", shots._asdict(), {"detector": params.detector})
    return {"shots": len(shots.t_start)}


def finish(context: Context, folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Count the shots; score the cuts of test videos whose truth is known (a video that failed has found none)."""
    from pipeline.evaluation.shot_boundaries import count_cuts, cuts_of, f1_interval, total

    params: Shots = context.params
    metrics = totals(records, "shots")
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    counts = []
    for video in dataset.subset("testing"):
        truth = _outputs.truth(context.root, video)
        starts = kinds.TRUTH.read(truth)["shot_start"] if truth.is_file() else ()
        if len(starts):
            true = cuts_of(starts)
            found = (
                cuts_of(kinds.SHOTS.read(folder / f"{video.file_stem}.h5")["t_start"]) if video.id in records else ()
            )
            counts.append(count_cuts(true, found, params.tolerance_s))
    summed = total(counts)
    if not summed.true:
        return metrics
    interval = f1_interval(counts, params.resamples, params.seed)
    return {
        **metrics,
        **interval.metrics("cut_F1"),
        # Nothing found is nothing right; a metric is a number.
        "cut_precision": summed.precision if summed.found else 0.0,
        "cut_recall": summed.recall,
        "true_cuts": float(summed.true),
        "test_videos": float(len(counts)),
    }


STAGE = VideoStage(
    name="shots",
    section=Shots,
    reads=(kinds.TRUTH,),
    writes=(kinds.SHOTS,),
    out=_outputs.SHOTS,
    units=units,
    process=split,
    finish=finish,
)

if __name__ == "__main__":
    main("shots")
