"""Multi-label protocols from files: charades_v1_localize, charades_v1_classify, charades_frames, multithumos, frames.

Truth: the data set's own annotation files. Predictions: Charades' submission text (``id frame s0 ... s156`` or ``id s0 ...
s156``), or an ``.npz`` with an array per video.
"""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.formats.common import AnnotatedVideo, Annotations
from pipeline.datasets.formats.dense import CHARADES_CLASSES
from pipeline.datasets.formats.table import read_annotations
from pipeline.datasets.formats.text import read_lines
from pipeline.evaluation import charades
from pipeline.evaluation.charades import Scores
from pipeline.evaluation.frames import score_frames
from pipeline.evaluation.from_files.request import Request, listed, load_arrays
from pipeline.evaluation.multilabel import MultiLabel
from pipeline.evaluation.segments import FloatArray

WIDTH = len(CHARADES_CLASSES)


def run_localize(request: Request) -> dict[str, Any]:
    """Charades_v1_localize; an ``.npz`` holds [25, 157] per video, or [T, 157] of T equal cells, interpolated."""
    annotations, videos = _truth(request, "charades")
    notes: list[str] = []
    if request.predictions.suffix == ".npz":
        arrays = load_arrays(request.predictions)
        lengths = {v.id: v.duration_s for v in videos}
        scores: dict[str, Scores] = {}
        for id_, array in arrays.items():
            if array.ndim != 2 or array.shape[1] != WIDTH or not len(array):
                raise ValueError(f"{request.predictions}: video {id_!r}: {array.shape}, expected [T, {WIDTH}]")
            if id_ in lengths:
                length = lengths[id_] or 0.0
                scores[id_] = array if len(array) == charades.INSTANTS else charades.at_instants(array, length)
    else:
        scores, notes = read_localize_submission(request.predictions)
    result = charades.localize(videos, scores)
    missing = [v.id for v in videos if v.id not in scores]
    rows = sum(int(np.isneginf(scores[v.id]).all(axis=1).sum()) for v in videos if v.id in scores)
    notes += [f"{rows} rows of videos with scores are missing; they rank last"] if rows else []
    return _summary(request, annotations, videos, result, missing, notes, "rows")


def run_classify(request: Request) -> dict[str, Any]:
    """Charades_v1_classify."""
    annotations, videos = _truth(request, "charades")
    if request.predictions.suffix == ".npz":
        scores = load_arrays(request.predictions)
        wrong = next((id_ for id_, array in scores.items() if array.shape != (WIDTH,)), None)
        if wrong is not None:
            raise ValueError(f"{request.predictions}: video {wrong!r}: {scores[wrong].shape}, expected [{WIDTH}]")
    else:
        scores = {row[0]: values for _, row, values in _submission(request.predictions, 1)}
    result = charades.classify(videos, scores)
    missing = [v.id for v in videos if v.id not in scores]
    return _summary(request, annotations, videos, result, missing, [], "rows")


def run_charades_frames(request: Request) -> dict[str, Any]:
    """Per-frame mAP on Charades, at the rows of the arrays."""
    return _frames(request, "charades")


def run_multithumos(request: Request) -> dict[str, Any]:
    """Per-frame mAP on MultiTHUMOS, at the rows of the arrays."""
    return _frames(request, "multithumos")


def run_frames(request: Request) -> dict[str, Any]:
    """Per-frame mAP on any set with segments; ``--format`` says how the truth is written (default: one's own)."""
    return _frames(request, request.format or "own")


def read_localize_submission(path: Path) -> tuple[dict[str, Scores], list[str]]:
    """Scores [25, 157] by video, -inf where a row is missing, from ``id frame s0 ... s156``; and what was noticed.

    As the official script: frames are 1 to 25, all one more if a 0 occurs anywhere; a 158th number is dropped; rows of
    other frames are ignored.

    Raises:
        ValueError: a row of another width, or a frame number that is not whole; file and line are named.
    """
    rows: list[tuple[str, int, FloatArray]] = []
    for line, (id_, number), values in _submission(path, 2):
        if not number.isdigit():
            raise ValueError(f"{path}:{line}: frame number is {number!r}; it must be a whole number from 1 to 25")
        rows.append((id_, int(number), values))
    shift = 1 if any(frame == 0 for _, frame, _ in rows) else 0
    scores: dict[str, Scores] = {}
    ignored = 0
    for id_, frame, values in rows:
        table = scores.setdefault(id_, np.full((charades.INSTANTS, WIDTH), -np.inf))
        if 1 <= frame + shift <= charades.INSTANTS:
            table[frame + shift - 1] = values
        else:
            ignored += 1
    notes = ["a frame number is 0, so 1 was added to all"] if shift else []
    return scores, [*notes, *([f"{ignored} rows of frames outside 1 to 25 were ignored"] if ignored else [])]


def _submission(path: Path, keys: int) -> list[tuple[int, list[str], FloatArray]]:
    found = []
    for line, text in read_lines(path):
        fields = text.split(maxsplit=keys)
        try:
            values = np.array(fields[keys].split(), np.float64) if len(fields) > keys else np.empty(0)
        except ValueError as error:
            raise ValueError(f"{path}:{line}: {error}") from error
        if len(values) not in (WIDTH, WIDTH + 1):
            names = "id frame" if keys == 2 else "id"
            raise ValueError(
                f"{path}:{line}: {len(values)} scores; a row is '{names} s0 ... s156', separated by blanks"
            )
        if np.isnan(values).any():
            raise ValueError(f"{path}:{line}: a score is NaN")
        found.append((line, fields[:keys], values[:WIDTH]))
    return found


def _frames(request: Request, format_: str) -> dict[str, Any]:
    annotations, videos = _truth(request, format_)
    scored = score_frames(videos, annotations.classes, load_arrays(request.predictions))
    result = scored.result
    given = [video for video in videos if video.id not in scored.missing]
    summary = _summary(request, annotations, given, result, [], [], "frames")
    # The published number: APMeter's mean, in which a class without positives counts 0.
    summary["mAP"] = result.mAP_empty_zero
    summary["step_s"] = scored.step_s
    summary["warnings"] += listed(scored.missing, "videos of the subset have no scores and count nowhere")
    return summary


def _truth(request: Request, format_: str) -> tuple[Annotations, tuple[AnnotatedVideo, ...]]:
    annotations = read_annotations(format_, request.truth).require()
    subset = request.subset or "testing"
    videos = annotations.subset(subset)
    if not videos:
        there = ", ".join(sorted({video.subset for video in annotations.videos})) or "none"
        raise ValueError(f"{request.truth}: no video has subset {subset!r}; there are {there}")
    return annotations, videos


def _summary(
    request: Request,
    annotations: Annotations,
    videos: tuple[AnnotatedVideo, ...] | list[AnnotatedVideo],
    result: MultiLabel,
    missing: list[str],
    notes: list[str],
    rows: str,
) -> dict[str, Any]:
    empty = [name for name, count in zip(annotations.classes, result.positives, strict=True) if not count]
    return {
        "subset": request.subset or "testing",
        "mAP": result.mAP,
        "wAP": result.wAP,
        "mAP_present": result.mAP_present,
        "videos": len(videos),
        "classes": len(annotations.classes),
        "instances": sum(len(video.segments) for video in videos),
        rows: result.rows,
        "positives": int(result.positives.sum()),
        "warnings": [
            *notes,
            *listed(missing, "videos have no scores at all; their rows rank last"),
            *listed(empty, "classes have no positive (mAP is undefined by the MATLAB scripts, 0 by APMeter)"),
        ],
    }
