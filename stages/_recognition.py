"""The report on recognition from the compressed stream: table 4.1 of the thesis for this data set, and its figure 4.2."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.schema import Video
from pipeline.evaluation.bootstrap import Interval
from pipeline.report.blocks import Block, Sheets, Table, Text
from pipeline.report.blocks import Section as ReportSection
from pipeline.report.html import percent
from pipeline.report.sheets import Picture, Row, Sheet
from pipeline.report.tables import bounds
from pipeline.run import kinds
from pipeline.video import jpeg
from pipeline.video.compressed.draw import draw_motion, draw_residual
from stages import _outputs
from stages._sheets import decoded_pictures

LEGEND = "I: I-frames, M: motion vectors, R: residuals, flow: optical flow; + adds the scores up."
_STREAMS = {"I": "i", "M": "mv", "R": "residual", "flow": "flow"}
_WITHIN_GROUP = (1, 4, 7, 10)
"""Frames after the I-frame that figure 4.2 shows."""
_LEAST_PX = 4.0
"""Motion that is drawn fullest, unless there is faster motion."""


def rows(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each stream and sum of streams, as plain values; empty where the stage was not run."""
    found: Mapping[str, float] = next((one["metrics"] for one in metrics if one["stage"] == "recognise"), {})
    names = [key.partition("/")[2] for key in found if key.startswith(("top1/", "mAP/"))]
    order = list(_STREAMS)
    table = []
    for name in sorted(names, key=lambda name: (name.count("+"), [order.index(part) for part in name.split("+")])):
        row: dict[str, Any] = {"streams": name}
        for key in ("top1", "top1_low", "top1_high", "above_chance", "gain", "gain_low", "gain_high", "mAP", "wAP"):
            if f"{key}/{name}" in found:
                row[key] = found[f"{key}/{name}"]
        for key in ("gmacs_per_picture", "test_cpu_ms_per_picture"):
            if name in _STREAMS and f"{key}/{_STREAMS[name]}" in found:
                row[key] = found[f"{key}/{_STREAMS[name]}"]
        table.append(row)
    chances = {key: found[key] for key in ("chance_uniform", "chance_majority") if key in found}
    return [*table, *({"streams": key.replace("_", ", "), "top1": value} for key, value in chances.items())]


def section(root: Path, metrics: Sequence[Mapping[str, Any]], shown: Sequence[Video]) -> ReportSection:
    """Accuracy by stream beside chance, and what the streams look like."""
    table = rows(metrics)
    blocks: list[Block] = [_table(table)] if table else [Text("No recognition was run.", warning=True)]
    sheets = [sheet for video in shown[:1] if (sheet := figure(root, video, blocks)) is not None]
    return ReportSection(
        "recognition",
        "Actions from the compressed stream",
        f"Top-1 accuracy on trimmed test clips (CoViAR). {LEGEND}" if table else "",
        [*blocks, *([Sheets(sheets)] if sheets else [])],
    )


def _table(table: Sequence[Mapping[str, Any]]) -> Table:
    if any("mAP" in row for row in table):
        shown = [[row["streams"], percent(row["mAP"], 1), percent(row["wAP"], 1)] for row in table]
        return Table(["streams", "mAP", "wAP"], shown, "Labels of frames, averaged over each test video.")
    lines = []
    for row in table:
        interval = Interval(row["top1"], row.get("top1_low", np.nan), row.get("top1_high", np.nan))
        gain = Interval(row.get("gain", np.nan), row.get("gain_low", np.nan), row.get("gain_high", np.nan))
        gmacs, cpu = row.get("gmacs_per_picture"), row.get("test_cpu_ms_per_picture")
        lines.append(
            [
                row["streams"],
                percent(interval.value, 1),
                bounds(interval) if "top1_low" in row else "",
                {1.0: "yes", 0.0: "no"}.get(row.get("above_chance", -1.0), ""),
                f"{percent(gain.value, 1, signed=True)} ({bounds(gain, signed=True)})" if "gain" in row else "",
                "" if gmacs is None else f"{gmacs:.3g}",
                "" if cpu is None else f"{cpu:.2f}",
            ]
        )
    header = ["streams", "top-1", "95 % interval", "above chance", "gain over I", "GMACs", "CPU ms"]
    return Table(header, lines, "GMACs and CPU milliseconds are per picture; the latter with reading and cropping.")


def figure(root: Path, video: Video, blocks: list[Block]) -> Sheet | None:
    """Frames after one I-frame, their motion and residuals, each against the frame before and the I-frame (figure 4.2)."""
    path = _outputs.artifact(root, _outputs.COMPRESSED, video)
    if not path.is_file():
        return None
    with kinds.COMPRESSED.open(path) as reader:
        index, pts = reader["i_frame_index"], reader["pts"]
        predicted = reader["reference_index"] >= 0
        # The group in the middle of the video, as far as it goes.
        head = int(index[len(index) // 2])
        chosen = [head + step for step in _WITHIN_GROUP if head + step < len(index) and index[head + step] == head]
        chosen = [row for row in chosen if predicted[row]]
        if head < 0 or not chosen:
            return None
        names = [name for name in ("mv", "mv_accumulated", "residual", "residual_accumulated") if name in reader]
        arrays = {name: [reader.rows(name, slice(row, row + 1))[0] for row in chosen] for name in names}
    size = (video.width, video.height)
    drawn = [Row("shown", [Picture(one, *size) for one in decoded_pictures(root, video, pts[chosen], blocks)])]
    for name, stored in arrays.items():
        if name.startswith("mv"):
            fullest = max(_LEAST_PX, *(float(np.hypot(one[..., 0], one[..., 1]).max()) for one in stored))
            images = [draw_motion(one, fullest) for one in stored]
        else:
            images = [draw_residual(one) for one in stored]
        captions = [f"+{row - head}" for row in chosen]
        pictures = [
            Picture(jpeg.encode(image, 90), *size, caption) for image, caption in zip(images, captions, strict=True)
        ]
        drawn.append(Row(name.replace("mv", "motion").replace("_", ", "), pictures))
    text = (
        "Frames after an I-frame. Motion: the hue is its direction, the saturation its amplitude; residuals: absolute."
    )
    return Sheet(f"What the streams see: {video.id}", drawn, text)
