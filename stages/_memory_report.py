"""The report on the long-term feature bank's use: the table of the stage ``memory``, and where its attention went."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.schema import Dataset
from pipeline.evaluation.bootstrap import Interval
from pipeline.report.blocks import Block, Plots, Section, Table, Text
from pipeline.report.html import percent
from pipeline.report.memory_plots import Looked, attention_over_time
from pipeline.report.tables import bounds
from pipeline.run.files import read_json
from stages import _outputs

Found = Mapping[str, float]
Column = tuple[str, Callable[[Found, str], str]]

TEXTS = {
    "seconds": "Short-term features of each second alone, and with the long-term feature bank (thesis, table 7.1).",
    "boxes": "Actions of each person's box by its short-term features alone, and with the long-term feature bank (thesis, "
    "section 7.2; AVA's official frame mAP).",
    "segments": "Verb, noun and action of each segment by short-term features alone, and with the long-term feature bank "
    "(thesis, section 7.2.2); actions by both networks and the prior of the training segments.",
}
"""What is compared, by task."""


def section(
    root: Path, dataset: Dataset, metrics: Sequence[Mapping[str, Any]], params: Mapping[str, Mapping[str, Any]]
) -> Section:
    """The task's figures of every variant with intervals, gains over the first, and examples of attention over time."""
    found: Found = next((one["metrics"] for one in metrics if one["stage"] == "memory"), {})
    if not found:
        return Section("memory", "Memory", "", [Text("The stage memory was not run.", warning=True)])
    options = params["memory"]
    task = options.get("task", "seconds")
    columns = _columns(task, next(iter(options["variants"])))
    names = [name for name in options["variants"] if any(key.endswith(f"/{name}") for key in found)]
    rows = [[name, *(cell(found, name) for _, cell in columns)] for name in names]
    blocks: list[Block] = [Table(["model", *(title for title, _ in columns)], rows, _caption(task, found, options))]
    looked = _looked(root, dataset)
    if looked:
        blocks.append(
            Plots(
                [
                    attention_over_time(
                        looked,
                        "Where the longest window was looked at",
                        "Bars: the last layer's attention to the rows of each second; line: the clip that is classified.",
                    )
                ],
                wide=True,
            )
        )
    return Section("memory", "Memory", TEXTS[task], blocks)


def _columns(task: str, baseline: str) -> list[Column]:
    """Titles of the task's columns, and what fills them."""

    def value(key: str) -> Callable[[Found, str], str]:
        return lambda found, name: percent(found.get(f"{key}/{name}", np.nan))

    def main(title: str, key: str) -> list[Column]:
        return [
            (title, value(key)),
            ("95 % interval", lambda found, name: bounds(_interval(found, key, name))),
            (f"gain over {baseline}", lambda found, name: _gain(_interval(found, f"{key}_gain", name))),
        ]

    def covered(title: str, part: str) -> Column:
        return (title, lambda found, name: percent(found.get(f"covered/{part}{name}", np.nan), 0))

    if task == "boxes":
        return [*main("frame mAP", "frame_mAP"), covered("has a window, %", "")]
    if task == "segments":
        return [
            *main("action, top-1", "action_top1"),
            ("action, top-5", value("action_top5")),
            ("gain of the prior", lambda found, name: _gain(_interval(found, "prior_gain", name))),
            ("verb, top-1", value("verb_top1")),
            ("noun, top-1", value("noun_top1")),
            covered("has a window of verbs, %", "verb_"),
            covered("of nouns, %", "noun_"),
        ]
    return [
        *main("mAP", "mAP"),
        ("mAP, all classes", value("all_mAP")),
        ("mAP of videos", value("video_mAP")),
        ("told apart, %", _told),
        covered("has a window, %", ""),
    ]


def _interval(found: Found, key: str, name: str) -> Interval:
    return Interval(*(found.get(f"{key}{end}/{name}", np.nan) for end in ("", "_low", "_high")))


def _gain(gain: Interval) -> str:
    return "" if np.isnan(gain.value) else f"{percent(gain.value, signed=True)} ({bounds(gain, signed=True)})"


def _told(found: Found, name: str) -> str:
    value = _interval(found, "told_apart", name)
    return "" if np.isnan(value.value) else f"{percent(value.value)} ({bounds(value)})"


def _caption(task: str, found: Found, params: Mapping[str, Any]) -> str:
    counted = ", ".join(params.get("classes", ())) or "all"
    trainings = (
        f"trainings of each model: {params.get('seeds', 3)}. Intervals over resampled videos and trainings, gains on the "
        "same resamples."
    )
    if task == "boxes":
        return (
            f"Classes that count: {counted}. {found['test_clips']:.0f} tracked people's boxes and {found['true_boxes']:.0f} "
            f"true actions at {found['key_frames']:.0f} key frames of {found['test_videos']:.0f} videos; {trainings}"
        )
    if task == "segments":
        guessed = ", ".join(f"{part} {percent(found[f'guessed/{part}'])}" for part in ("verb", "noun", "action"))
        return (
            f"{found['test_clips']:.0f} segments of {found['test_videos']:.0f} test videos. Always saying the training "
            f"segments' most frequent one gives: {guessed}; {trainings}"
        )
    return (
        f"Per-second mAP of the classes that count ({counted}): {found['test_clips']:.0f} test seconds of "
        f"{found['test_videos']:.0f} videos, {found['positives']:.0f} positive; {trainings} Told apart: the right one of "
        "the classes that count is above the others where one is on; a window also tells how late it is, which raises the "
        "mAP alone. Of videos: by the highest score of a video's seconds (Charades' classification)."
    )


def _looked(root: Path, dataset: Dataset) -> list[Looked]:
    path = root / _outputs.MEMORY / "attention.json"
    videos = {video.id: video for video in dataset}
    clips = read_json(path) if path.is_file() else []
    return [
        Looked(
            f"{clip['video']} at {clip['t']:.1f} s: {clip['label']}, {percent(clip['score'], 0)} %",
            clip["t"], [(t, share) for t, share in clip["rows"]],
            videos[clip["video"]].duration_s, videos[clip["video"]].segments,
        )
        for clip in clips
        if clip["video"] in videos
    ]  # fmt: skip
