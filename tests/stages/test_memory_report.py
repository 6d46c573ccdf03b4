"""The report's section on memory: its table says what the metrics say, and attention is drawn."""

from pathlib import Path
from typing import Any

from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.report.blocks import Plots, Table, Text
from pipeline.run.files import write_json
from stages import _memory_report, _outputs

METRICS = {
    "test_clips": 800.0, "test_videos": 20.0, "positives": 40.0,
    "mAP/short_term": 0.25, "mAP_low/short_term": 0.125, "mAP_high/short_term": 0.375, "all_mAP/short_term": 0.5,
    "mAP/bank": 0.75, "mAP_low/bank": 0.625, "mAP_high/bank": 0.875, "all_mAP/bank": 0.625,
    "mAP_gain/bank": 0.5, "mAP_gain_low/bank": 0.375, "mAP_gain_high/bank": 0.625,
    "video_mAP/bank": 0.875, "told_apart/bank": 0.75, "told_apart_low/bank": 0.625, "told_apart_high/bank": 0.875,
    "covered/short_term": 0.0, "covered/bank": 0.9,
}  # fmt: skip
PARAMS: dict[str, dict[str, Any]] = {
    "memory": {"variants": {"short_term": {}, "bank": {}}, "classes": ["reach_for_ball"], "seeds": 3}
}
DATASET = Dataset("d", ("a",), (Video("v", "v.mp4", "testing", 20.0, 5.0, 100, 8, 8, (Segment("a", 2.0, 6.0),)),))


def test_table_and_attention(tmp_path: Path) -> None:
    clip = {"variant": "bank", "video": "v", "t": 15.5, "label": "a", "score": 0.75, "rows": [[2.5, 0.75], [3.5, 0.25]]}
    write_json(tmp_path / _outputs.MEMORY / "attention.json", [clip, {**clip, "video": "gone"}, {**clip, "rows": []}])
    section = _memory_report.section(tmp_path, DATASET, [{"stage": "memory", "metrics": METRICS}], PARAMS)
    table, plots = section.blocks
    assert isinstance(table, Table) and isinstance(plots, Plots)
    assert table.rows[0] == ["short_term", "25.0", "12.5 … 37.5", "", "50.0", "–", "", "0"]
    assert table.rows[1] == [
        "bank",
        "75.0",
        "62.5 … 87.5",
        "+50.0 (+37.5 … +62.5)",
        "62.5",
        "87.5",
        "75.0 (62.5 … 87.5)",
        "90",
    ]
    assert "reach_for_ball" in table.caption and "trainings of each model: 3" in table.caption
    assert plots.plots[0].light.startswith(b"\x89PNG") and plots.plots[0].light != plots.plots[0].dark


def test_without_examples_or_without_a_run(tmp_path: Path) -> None:
    section = _memory_report.section(tmp_path, DATASET, [{"stage": "memory", "metrics": METRICS}], PARAMS)
    assert len(section.blocks) == 1
    (text,) = _memory_report.section(tmp_path, DATASET, [], PARAMS).blocks
    assert isinstance(text, Text) and text.warning


def test_each_task_has_its_own_columns(tmp_path: Path) -> None:
    counts = {"test_clips": 90.0, "test_videos": 3.0, "positives": 40.0}
    boxes = counts | {
        "true_boxes": 80.0, "key_frames": 30.0, "covered/bank": 0.5,
        "frame_mAP/short_term": 0.25, "frame_mAP_low/short_term": 0.125, "frame_mAP_high/short_term": 0.375,
        "frame_mAP/bank": 0.5, "frame_mAP_low/bank": 0.375, "frame_mAP_high/bank": 0.625,
        "frame_mAP_gain/bank": 0.25, "frame_mAP_gain_low/bank": -0.125, "frame_mAP_gain_high/bank": 0.5,
    }  # fmt: skip
    params = {"memory": PARAMS["memory"] | {"task": "boxes"}}
    (table,) = _memory_report.section(tmp_path, DATASET, [{"stage": "memory", "metrics": boxes}], params).blocks
    assert isinstance(table, Table)
    assert table.header == ["model", "frame mAP", "95 % interval", "gain over short_term", "has a window, %"]
    assert table.rows[1] == ["bank", "50.0", "37.5 … 62.5", "+25.0 (−12.5 … +50.0)", "50"]
    assert "80 true actions at 30 key frames" in table.caption

    segments = counts | {f"guessed/{part}": 0.125 for part in ("verb", "noun", "action")}
    for place, key in enumerate(("action_top1", "action_top5", "prior_gain", "verb_top1", "noun_top1")):
        segments[f"{key}/short_term"] = place / 8
    params = {"memory": PARAMS["memory"] | {"task": "segments", "classes": []}}
    (table,) = _memory_report.section(tmp_path, DATASET, [{"stage": "memory", "metrics": segments}], params).blocks
    assert isinstance(table, Table)
    assert dict(zip(table.header, table.rows[0], strict=True)) | {"95 % interval": "", "gain over short_term": ""} == {
        "model": "short_term", "action, top-1": "0.0", "95 % interval": "", "gain over short_term": "",
        "action, top-5": "12.5", "gain of the prior": "+25.0 (– … –)", "verb, top-1": "37.5", "noun, top-1": "50.0",
        "has a window of verbs, %": "–", "of nouns, %": "–",
    }  # fmt: skip
    assert "verb 12.5, noun 12.5, action 12.5" in table.caption
