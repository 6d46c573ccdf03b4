"""The report on long-form models: the table of the stage ``long_form``, and where the context of boxes came from."""

from collections.abc import Mapping
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

LABELLED_BY = {
    "segments": "A box is labelled by the segments of its second, whoever acts",
    "boxes": "A box is labelled by the actions of the true person that it overlaps most, if by enough",
}


def section(root: Path, dataset: Dataset) -> Section:
    """Every label with every variant, intervals and what guessing gives; the mAP of boxes; what was left out."""
    path = root / _outputs.PREDICTIONS.format(variant="long_form") / "table.json"
    if not path.is_file():
        return Section("long-form", "Long form", "", [Text("The stage long_form was not run.", warning=True)])
    table = read_json(path)
    if not (table["tasks"] or table["boxes"]):
        return Section("long-form", "Long form", "", [Text(f"Nothing was trained: {table['left_out']}.")])
    blocks: list[Block] = []
    if table["tasks"]:
        blocks.append(_tasks(table["tasks"]))
    if table["boxes"]:
        blocks.append(_boxes(table["boxes"], LABELLED_BY[table["labelled_by"]]))
        blocks += _looked(path.with_name("attention.json"), dataset)
    if table["left_out"]:
        blocks.append(Text(f"Left out: {table['left_out']}."))
    text = "Labels of whole videos by Object Transformers and simpler models on the same boxes (thesis, chapter 8)."
    return Section("long-form", "Long form", text, blocks)


def _tasks(tasks: Mapping[str, Mapping[str, Any]]) -> Table:
    first = next(iter(tasks.values()))["names"][0]
    gains = {"gain": f"gain over {first}", "pretraining_gain": "gain of pre-training"}
    shown = [key for key in gains if any(key in one for task in tasks.values() for one in task["variants"].values())]
    rows = []
    for label, task in tasks.items():
        squared = task["metric"] == "mse"
        digits = 2 if squared else 1
        for name in task["names"]:
            found = {key: _interval(task["variants"][name], key) for key in ("value", *shown)}
            row = [f"{label}{' (squared error)' if squared else ''}, {name}", percent(found["value"].value, digits)]
            row += [bounds(found["value"], digits), *(_gain(found[key], digits) for key in shown)]
            rows.append([*row, percent(task["without_looking"] / 100, digits)])
    header = ["label, model", "accuracy, %", "95 % interval", *(gains[key] for key in shown), "by guessing"]
    counts = "; ".join(
        f"{name}: {task['videos']['train']} training, {task['videos']['test']} test"
        + (f", {len(task['missing'])} missing" if task["missing"] else "")
        for name, task in tasks.items()
    )
    text = "Over all spans of a video; intervals over resampled test videos and trainings, gains on the same resamples."
    return Table(header, rows, f"{text} Guessing: the training videos' most frequent label, or mean. Videos: {counts}.")


def _boxes(table: Mapping[str, Any], labelled: str) -> Table:
    names = {"short_term": "short-term model alone", "context": "context alone", "fused": "both, fused"}
    rows = []
    for name in table["names"]:
        values = table["variants"][name]
        value = _interval(values, "value")
        row = [names[name], percent(value.value), bounds(value), _gain(_interval(values, "gain"))]
        if "frame_mAP" in values:
            frame = _interval(values, "frame_mAP")
            row += [percent(frame.value), bounds(frame), _gain(_interval(values, "frame_mAP_gain"))]
        rows.append(row)
    header = ["actions of boxes", "mAP, %", "95 % interval", "gain"]
    if len(rows[0]) > len(header):
        header += ["frame mAP, %", "95 % interval", "gain"]
    if "unmatched" in table:
        labelled += (
            f"; {table['unmatched']} boxes match nobody and count as no action, and {table['missed']} true people at "
            "these seconds match no box: the frame mAP (AVA's rule) counts them as missed, the other leaves them out"
        )
    caption = (
        f"mAP of the actions of {table['boxes']} boxes of people, {table['videos']} test videos, {table['classes']} "
        f"classes; by guessing {table['chance']:.1f}. {labelled}. The context is the Object "
        "Transformer's, in which the person is hidden (late fusion, thesis, section 8.4.3)."
    )
    return Table(header, rows, caption)


def _looked(path: Path, dataset: Dataset) -> list[Block]:
    videos = {video.id: video for video in dataset}
    shown = []
    for one in read_json(path) if path.is_file() else []:
        if one["video"] not in videos:
            continue
        video = videos[one["video"]]
        own, others = (
            [(t, share) for t, instance, share in one["rows"] if (instance == one["instance"]) == same]
            for same in (True, False)
        )
        count = len({instance for _, instance, _ in one["rows"]} - {one["instance"]})
        shares = [share for _, share in (*own, *others)]
        peak = max(shares) * len(shares) / sum(shares)
        title = (
            f"{one['video']} at {one['t']:.1f} s, track {one['instance']}: {one['label']}, {percent(one['score'], 0)} %; "
            f"{percent(sum(share for _, share in own), 0)} % of the attention to itself, "
            f"{percent(sum(share for _, share in others), 0)} % to {count} other tracks, "
            f"at most {peak:.1f} times an even share to a box"
        )
        shown.append(Looked(title, one["t"], others, video.duration_s, video.segments, own))
    if not shown:
        return []
    caption = (
        "The last layer's attention of a person's box, its features hidden, to the boxes of each second of its span: of "
        "other people and objects, and on top of that, in the other colour, of the same person. Line: the box."
    )
    return [Plots([attention_over_time(shown, "Where the context of a box came from", caption)], wide=True)]


def _interval(values: Mapping[str, float], key: str) -> Interval:
    """As shares, which is what the formatting takes."""
    return Interval(*(values.get(f"{key}{end}", np.nan) / 100 for end in ("", "_low", "_high")))


def _gain(gain: Interval, digits: int = 1) -> str:
    value = f"{percent(gain.value, digits, signed=True)} ({bounds(gain, digits, signed=True)})"
    return "" if np.isnan(gain.value) else value
