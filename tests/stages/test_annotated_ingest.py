"""The ingest stage on a published format: entries, class order, a video that cannot be opened, one that is not there."""

import json
from pathlib import Path

import yaml

from pipeline.datasets.schema import Dataset, Segment
from pipeline.run.params import check_params, read_params
from pipeline.run.progress import StageProgress
from pipeline.run.runner import run_stage
from pipeline.run.stage import find_stage, section_models
from tests.video.clips import encode_clip


def test_multithumos_from_its_own_file(root: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("video_test_0000001.mp4", "video_validation_0000002.mp4"):
        encode_clip(tmp_path / "videos" / name, count=40, fps=10)
    (tmp_path / "videos" / "video_validation_0000003.mp4").write_text("no video")
    entry = {"duration": 4.0, "actions": [[12, 0.5, 2.0], [65, 1.0, 3.0]]}
    ids = {"video_test_0000001": "testing", "video_validation_0000002": "training"}
    ids |= {"video_validation_0000003": "training", "video_validation_0000004": "training"}
    (tmp_path / "multithumos.json").write_text(json.dumps({id_: {**entry, "subset": s} for id_, s in ids.items()}))
    (tmp_path / "data" / "datasets").mkdir(parents=True)
    (tmp_path / "data" / "datasets" / "dense.yaml").write_text(
        "kind: annotated\nsource: videos\nformat: multithumos\nannotations: multithumos.json\n"
    )
    raw = read_params(root / "params.yaml")
    raw["ingest"]["dataset"] = "dense"
    raw["run"] |= {"executor": "inline", "tracking": False, "max_failed": 0.5}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    with StageProgress("ingest", tmp_path / "status.json") as progress:
        run_stage(find_stage("ingest"), "", check_params(raw, section_models(), "params.yaml"), tmp_path, progress)

    metrics = json.loads((tmp_path / "reports" / "metrics" / "ingest.json").read_text())
    assert [row["video"] for row in metrics["failures"]] == ["video_validation_0000003"]
    dataset = Dataset.load(tmp_path / "data" / "artifacts" / "videos" / "dataset.json")
    assert [(v.id, v.subset) for v in dataset] == [
        ("video_test_0000001", "testing"),
        ("video_validation_0000002", "training"),
    ]
    assert dataset.videos[0].segments == (Segment("12", 0.5, 2.0), Segment("65", 1.0, 3.0))
    # In the order of the published numbers, those without an instance too: column c of a score array is class c.
    assert dataset.classes == tuple(str(number) for number in range(1, 66))
