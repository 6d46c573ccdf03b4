"""The report on the long-term feature bank's use: the table of the stage ``memory``, and where its attention went."""

from collections.abc import Mapping, Sequence
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


def section(
    root: Path, dataset: Dataset, metrics: Sequence[Mapping[str, Any]], params: Mapping[str, Mapping[str, Any]]
) -> Section:
    """MAP of every variant with intervals, gains over the first, and examples of attention over time."""
    found: Mapping[str, float] = next((one["metrics"] for one in metrics if one["stage"] == "memory"), {})
    if not found:
        return Section("memory", "Memory", "", [Text("The stage memory was not run.", warning=True)])
    names = [name for name in params["memory"]["variants"] if f"mAP/{name}" in found]
    rows = [
        [
            name,
            *_cells(found, "mAP", name),
            *_cells(found, "all_mAP", name)[:1],
            _told(found, name),
            _covered(found, name),
        ]
        for name in names
    ]
    header = [
        "model",
        "mAP",
        "95 % interval",
        f"gain over {names[0]}",
        "mAP, all classes",
        "told apart, %",
        "has a window, %",
    ]
    blocks: list[Block] = [Table(header, rows, _caption(found, params["memory"]))]
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
    text = "Short-term features of each second alone, and with the long-term feature bank (thesis, table 7.1)."
    return Section("memory", "Memory", text, blocks)


def _cells(found: Mapping[str, float], key: str, name: str) -> list[str]:
    value, gain = (
        Interval(*(found.get(f"{label}{end}/{name}", np.nan) for end in ("", "_low", "_high")))
        for label in (key, f"{key}_gain")
    )
    difference = "" if np.isnan(gain.value) else f"{percent(gain.value, 1, signed=True)} ({bounds(gain, signed=True)})"
    return [percent(value.value, 1), bounds(value), difference]


def _told(found: Mapping[str, float], name: str) -> str:
    value = Interval(*(found.get(f"told_apart{end}/{name}", np.nan) for end in ("", "_low", "_high")))
    return "" if np.isnan(value.value) else f"{percent(value.value, 1)} ({bounds(value)})"


def _covered(found: Mapping[str, float], name: str) -> str:
    return percent(found.get(f"covered/{name}", np.nan), 0)


def _caption(found: Mapping[str, float], params: Mapping[str, Any]) -> str:
    counted = ", ".join(params.get("classes", ())) or "all"
    return (
        f"Per-second mAP of the classes that count ({counted}): {found['test_clips']:.0f} test seconds of "
        f"{found['test_videos']:.0f} videos, {found['positives']:.0f} positive; trainings of each model: "
        f"{params.get('seeds', 3)}. Intervals over resampled videos and trainings. Told apart: the right one of the classes "
        "that count is above the others where one is on; a window also tells how late it is, which raises the mAP alone."
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
