"""The report on labels of every frame: the networks' figures beside their cost, and one video with all that is on in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.schema import Dataset, Video
from pipeline.evaluation.bootstrap import Interval
from pipeline.report.blocks import Block, Plots, Section, Table, Text
from pipeline.report.frame_plots import frame_scores
from pipeline.report.html import percent
from pipeline.report.plots import Plot
from pipeline.report.tables import bounds
from stages import _outputs

LOCALIZE, FRAMES = "charades_v1_localize_mAP", ("frames_mAP", "multithumos_mAP")
_KEYS = (LOCALIZE, "charades_v1_localize_wAP", *FRAMES, "gain")
_COSTS = ("conv_gmacs", "params_m", "train_cpu_s", "peak_mib")


def rows(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each network, best first, as plain values; empty where the stage was not run."""
    found: Mapping[str, float] = next((one["metrics"] for one in metrics if one["stage"] == "framewise"), {})
    names = [key.partition("/")[2] for key in found if key.startswith(f"{LOCALIZE}/")]
    wanted = [f"{key}{end}" for key in _KEYS for end in ("", "_low", "_high")] + list(_COSTS)
    table: list[dict[str, Any]] = [
        {"network": name} | {key: found[f"{key}/{name}"] for key in wanted if f"{key}/{name}" in found}
        for name in names
    ]
    chance = [{"network": "chance", LOCALIZE: found["chance_mAP"]}] if "chance_mAP" in found else []
    return [*sorted(table, key=lambda row: -row[LOCALIZE]), *chance]


def section(root: Path, dataset: Dataset, metrics: Sequence[Mapping[str, Any]], shown: Sequence[Video]) -> Section:
    """Figures by network beside chance and cost, and what the best one says of a video."""
    table = rows(metrics)
    blocks: list[Block] = [_table(table)] if table else [Text("No network was trained on frames.", warning=True)]
    if table and shown and (plot := picture(root, dataset, table[0]["network"], shown[0])) is not None:
        blocks.append(Plots([plot], wide=True))
    return Section(
        "framewise",
        "Actions at every frame",
        "Several actions may be on at once; a network decides at every frame (Coarse-Fine Networks)." if table else "",
        blocks,
    )


def _table(table: Sequence[Mapping[str, Any]]) -> Table:
    lines = []
    for row in table:
        frames = next((key for key in FRAMES if key in row), "")
        lines.append(
            [
                row["network"],
                *_cells(row, LOCALIZE),
                percent(row["charades_v1_localize_wAP"], 1) if "charades_v1_localize_wAP" in row else "",
                *(_cells(row, frames) if frames else ("", "")),
                " ".join(_cells(row, "gain", signed=True)).strip(),
                *(f"{row[key]:.3g}" if key in row else "" for key in _COSTS),
            ]
        )
    header = [
        "network", "mAP", "95 % interval", "wAP", "mAP, all frames", "95 % interval", "gain", "GMACs", "10⁶ parameters",
        "training CPU s", "MiB of a step",
    ]  # fmt: skip
    caption = (
        "mAP and wAP: charades_v1_localize, 25 instants a video; all frames: those of the file. Gain: over the first "
        "network of the parameters, in mAP, paired. GMACs: of the convolutions, for framewise.clips.context frames."
    )
    return Table(header, lines, caption)


def _cells(row: Mapping[str, Any], key: str, signed: bool = False) -> tuple[str, str]:
    if key not in row:
        return "", ""
    interval = Interval(row[key], row.get(f"{key}_low", np.nan), row.get(f"{key}_high", np.nan))
    return percent(interval.value, 1, signed=signed), bounds(interval, signed=signed) if f"{key}_low" in row else ""


def picture(root: Path, dataset: Dataset, network: str, video: Video) -> Plot | None:
    """What is on in a video, what the network says at every frame, and the frames that its Grid Pool took."""
    folder = root / _outputs.FRAME_SCORES / network
    if not (folder / "frames.npz").is_file():
        return None
    with np.load(folder / "frames.npz") as frames:
        if video.id not in frames:
            return None
        scores = frames[video.id]
    looked: Sequence[float] = ()
    if (folder / "grid.npz").is_file():
        with np.load(folder / "grid.npz") as grid:
            looked = grid[video.id].tolist()
    classes = [name for name in dataset.classes if any(s.label == name for s in video.segments)]
    columns = [dataset.classes.index(name) for name in classes]
    marks = " Marks above: the frames that Grid Pool took." if looked else ""
    return frame_scores(
        f"What {network} says of every frame of {video.id}",
        video.duration_s,
        classes,
        video.segments,
        scores[:, columns],
        looked,
        f"Shade: the score, of each class its largest the fullest; bars below: the truth.{marks}",
    )
