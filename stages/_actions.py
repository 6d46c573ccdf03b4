"""Sections of the report on localised actions: mAP, precision and recall, error kinds, timelines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.schema import Video
from pipeline.evaluation.activitynet import TIOUS, evaluate
from pipeline.evaluation.curves import precision_recall
from pipeline.evaluation.error_kinds import FALSE_NEGATIVE, KINDS, Diagnosis, diagnose
from pipeline.evaluation.segments import GroundTruth, Predictions
from pipeline.report import curve_plots, error_plots, plots
from pipeline.report.blocks import Block, Boards, Heat, Plots, Section, Table
from pipeline.report.html import percent
from pipeline.report.tables import Score
from pipeline.report.timeline import build_board
from stages._sheets import decoded_pictures

_THUMBNAILS, _THUMBNAIL_HEIGHT = 10, 72
_DRAWN_PER_INSTANCE = 2
"""Predictions drawn for each true instance, best first; a video has hundreds."""


def sections(
    root: Path,
    truth: GroundTruth,
    predictions: Mapping[str, Predictions],
    scores: Sequence[Score],
    shown: Sequence[Video],
) -> list[Section]:
    """All of them; ``shown`` are the videos whose timelines are drawn, with the encoder of the highest average mAP."""
    best = max(scores, key=lambda score: score.average.value).name
    diagnoses = {name: diagnose(truth, one) for name, one in predictions.items()}
    return [
        _results(truth, predictions, scores, best),
        _curves(truth, predictions),
        _errors(diagnoses, best),
        _timelines(root, truth, predictions[best], diagnoses[best], best, shown),
    ]


def _results(truth: GroundTruth, predictions: Mapping[str, Predictions], scores: Sequence[Score], best: str) -> Section:
    aps = {name: np.asarray(evaluate(truth, one).ap) for name, one in predictions.items()}
    classes = sorted(enumerate(truth.labels), key=lambda pair: pair[1])
    averages = {label: [float(ap[:, c].mean()) for ap in aps.values()] for c, label in classes}
    averages["mean"] = [float(ap.mean()) for ap in aps.values()]
    heats = [Heat("AP by encoder, average over tIoU", list(aps), averages)]
    for name, ap in sorted(aps.items(), key=lambda pair: pair[0] != best):
        columns = [f"{tiou:.2f}" for tiou in TIOUS]
        rows = {
            f"{label} ({int((truth.label == c).sum())})": [float(ap[:, c].mean()), *ap[:, c].tolist()]
            for c, label in classes
        }
        rows["mean"] = [float(ap.mean()), *ap.mean(axis=1).tolist()]
        heats.append(Heat(f"AP of {name} by tIoU", ["average", *columns], rows, folded=name != best))
    drawn = [plots.average_map_bars(scores), plots.map_against_tiou(scores)]
    return Section(
        "actions",
        "mAP by class and tIoU",
        "AP in percent per class (with its number of true instances) and tIoU threshold; the average is over 0.50 to 0.95.",
        [Plots(drawn), *heats],
    )


def _curves(truth: GroundTruth, predictions: Mapping[str, Predictions]) -> Section:
    tious = TIOUS[[0, 5]]
    curves = {name: precision_recall(truth, one, tious) for name, one in predictions.items()}
    both = [curve_plots.mean_curves(curves, t) for t in range(len(tious))]
    return Section(
        "precision-recall",
        "Precision and recall",
        "Interpolated as the protocol does: the best precision at a recall or any higher one.",
        [Plots(both), Plots([curve_plots.class_curves(curves, 0)], wide=True)],
    )


def _errors(diagnoses: Mapping[str, Diagnosis], best: str) -> Section:
    first = diagnoses[best]
    header = ["kind", *(text for name in diagnoses for text in (f"{name}: number", "gain"))]
    rows = []
    for kind in (*KINDS, FALSE_NEGATIVE):
        row = [kind]
        for one in diagnoses.values():
            number = int(one.missed[0]) if kind == FALSE_NEGATIVE else one.counts(0, groups=1)[kind]
            row += [str(number), percent(one.gain.get(kind), signed=True)]
        rows.append(row)
    caption = (
        f"Numbers at tIoU 0.50: predictions by kind among the best G of each class, where G is its number of true instances "
        f"({first.instances} in all), and instances that no prediction at all took. Gains are in average mAP, percentage "
        "points, with the kind fixed at every threshold."
    )
    return Section(
        "errors",
        "Kinds of errors",
        "After DETAD (Alwassel et al., ECCV 2018). A false prediction is put down to the true instance it overlaps most: "
        "with enough overlap it is a double detection, or a wrong label where that instance has another class; from "
        "tIoU 0.1 on a localisation error, or a confusion where the class differs; else background.",
        [
            Plots([error_plots.error_gains(diagnoses), error_plots.error_profile(first, f"Predictions of {best}")]),
            Table(header, rows, caption),
        ],
    )


def _timelines(
    root: Path, truth: GroundTruth, predictions: Predictions, diagnosis: Diagnosis, name: str, shown: Sequence[Video]
) -> Section:
    kinds = np.empty(len(predictions), np.int64)
    kinds[diagnosis.order] = diagnosis.kind[0]
    boards, blocks = [], list[Block]()
    for video in shown:
        true: list[dict[str, Any]] = [
            {"label": segment.label, "segment": [segment.t_start, segment.t_end]} for segment in video.segments
        ]
        mine = [row for row in range(len(predictions)) if predictions.videos[predictions.video[row]] == video.id]
        mine.sort(key=lambda row: -predictions.score[row])
        found = [
            {
                "label": predictions.labels[predictions.label[row]],
                "segment": [float(predictions.t_start[row]), float(predictions.t_end[row])],
                "score": float(predictions.score[row]),
                "verdict": KINDS[kinds[row]],
            }
            for row in mine[: _DRAWN_PER_INSTANCE * len(true)]
        ]
        times = (np.arange(_THUMBNAILS) + 0.5) / _THUMBNAILS * video.duration_s
        pictures = decoded_pictures(root, video, times, blocks, _THUMBNAIL_HEIGHT)
        strip = list(zip(times.tolist(), pictures, strict=bool(pictures)))
        boards.append(build_board(video.id, video.duration_s, strip, found, true))
    return Section(
        "timelines",
        "Timelines",
        f"Predictions of {name} against the truth in {len(boards)} test videos, evenly spaced in the list, not chosen by "
        f"result. Drawn are the best predictions, {_DRAWN_PER_INSTANCE} for each true instance; point at one for its kind.",
        [*blocks, Boards(boards, wrong="not a true positive at tIoU 0.50")],
    )
