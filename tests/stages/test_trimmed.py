"""Recognition of trimmed clips through the graph: a tiny UCF101 in its own lists, by multigrid, scored in ten views."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.schema import Dataset
from pipeline.datasets.snippets import FrameStore
from pipeline.evaluation.command import add_arguments, run
from pipeline.run.params import ParameterError, check_params, read_params
from pipeline.run.stage import StageError, section_models
from stages import _encoder, _outputs, _snippets, _views
from tests.stages.one_stage import run_one
from tests.video.clips import encode_clip

CLASSES = ("BlueLight", "RedLight")
ENCODER = {"name": "x3d_s", "base_width": 8, "frames": 4, "window_s": 1.0, "height": 32, "width": 32}
MULTIGRID = {"stages": [1, 1, 1], "epoch_factor": 1.0, "long_shapes": [[0.5, 0.5], [1, 1]], "short_sides": [0.5]}
TRAINING = {
    "steps": 160, "batch": 2, "optimizer": "adamw", "lr": 0.003, "schedule": "cosine", "threads": 1, "multigrid": MULTIGRID,
}  # fmt: skip
VIEWS = {"subset": "testing", "clips": 10, "crops": 3}


def picture(name: str, number: int, index: int) -> np.ndarray:
    """Flat red or blue with a dark left edge; each clip is a little different."""
    flat = np.full((48, 64, 3), 30 + 10 * number, np.uint8)
    flat[..., CLASSES.index(name) * 2] = 160 + 4 * index
    flat[:, : 8 + number] //= 2
    return flat


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ingested and decoded."""
    folder = tmp_path_factory.mktemp("trimmed")
    for name in ("pipeline", "stages", "models"):
        (folder / name).symlink_to(root / name)
    annotations = folder / "ucf" / "annotations"
    annotations.mkdir(parents=True)
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label in CLASSES:
        (folder / "ucf" / label).mkdir()
        for number in range(6):
            part = "train" if number < 4 else "test"
            name = f"{label}/v_{label}_g{number:02d}_c01.avi"
            encode_clip(
                folder / "ucf" / name,
                "mpeg4",
                20,
                10,
                lambda i, one=label, n=number: picture(one, n, i),  # type: ignore[misc]
            )
            lists[part].append(name + (f" {CLASSES.index(label) + 1}" if part == "train" else ""))
    for part, lines in lists.items():
        (annotations / f"{part}list01.txt").write_text("\n".join(lines) + "\n")
    (annotations / "classInd.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(CLASSES, 1)))
    (folder / "data" / "datasets").mkdir(parents=True)
    (folder / "data" / "datasets" / "mine.yaml").write_text(
        "kind: annotated\nsource: ucf\nformat: ucf101\nannotations: ucf/annotations\n"
    )
    stage(folder, root, "ingest")
    stage(folder, root, "frames")
    return folder


def stage(folder: Path, root: Path, name: str, **pretrain: Any) -> Mapping[str, float]:
    raw = read_params(root / "params.yaml")
    raw["ingest"]["dataset"] = "mine"
    raw["run"] |= {"executor": "inline", "tracking": False}
    raw["frames"] |= {"fps": 10, "short_side": 48}
    raw["pretrain"] |= {"encoder": ENCODER, "subset": "training", "training": TRAINING, "views": VIEWS} | pretrain
    return run_one(folder, check_params(raw, section_models(), "params.yaml"), name)


def test_a_recogniser_from_the_lists_to_the_published_protocol(
    project: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = stage(project, root, "pretrain")
    table = capsys.readouterr().err
    assert "shapes (B x T x H x W)" in table and "16x2x16x16" in table and "2x4x32x32" in table
    assert metrics["views/videos"] == 4 and metrics["views/per_video"] == 30
    assert metrics["steps"] < TRAINING["steps"], "bigger batches, fewer steps at the baseline's epochs"
    assert metrics["best_step"] == metrics["steps"], "the test videos choose no weights"
    scores = project / "data" / "checkpoints" / "history" / "pretrain" / "recognition.npz"
    arguments = argparse.ArgumentParser()
    add_arguments(arguments)
    truth, asked = str(project / "ucf" / "annotations"), ["--protocol", "ucf101", "--predictions", str(scores)]
    official = run(arguments.parse_args([*asked, "--ground-truth", truth]))
    assert official["videos"] == 4
    assert official["top1"] == pytest.approx(metrics["views/top1"]) and metrics["views/top1"] == 100
    head = project / _outputs.ENCODERS.format(variant="acp") / "head.safetensors"
    assert head.stat().st_size > 0


def test_a_video_is_decoded_once_for_all_its_views(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.load(project / _outputs.DATASET_FILE)
    spec = _encoder.EncoderSpec.model_validate(ENCODER)
    source = _snippets.Snippets.of_root(project, spec, [v.id for v in dataset])
    views = _views.Views.model_validate(VIEWS)
    video = _views.trimmed(dataset.subset("testing"), source)[0]
    plan = _views.plan(views, spec, source, video)
    asked: list[np.ndarray] = []
    pictures = FrameStore.pictures

    def counted(self: FrameStore, id_: str, indices: np.ndarray) -> np.ndarray:
        asked.append(indices)
        return pictures(self, id_, indices)

    monkeypatch.setattr(FrameStore, "pictures", counted)
    clips = _views.cut(plan, source, video)
    assert len(asked) == 1 and sorted(set(asked[0].tolist())) == asked[0].tolist()
    assert clips.shape == (30, 4, 32, 32, 3)
    # 1 s of a 2 s video at 10 fps: a clip's rows are 10 / 4 apart, the last clip ends a tenth of the room before the end.
    assert plan.views[0].frames == (0, 3, 6, 9) and plan.views[-1].frames == (9, 12, 15, 18)
    stored = pictures(source.frames, video.id, np.array([0]))[0]
    assert abs(int(clips[1, 0].max()) - int(stored.max())) <= 2
    assert clips[0, 0, :, 0].mean() < clips[2, 0, :, 0].mean(), "the left edge, darker, is in the first crop only"


def test_untrimmed_videos_have_no_clip_protocol(project: Path) -> None:
    from dataclasses import replace

    dataset = Dataset.load(project / _outputs.DATASET_FILE)
    source = _snippets.Snippets.of_root(project, _encoder.EncoderSpec.model_validate(ENCODER), [v.id for v in dataset])
    video = dataset.subset("testing")[0]
    two = replace(video, segments=(*video.segments, replace(video.segments[0], label="other")))
    with pytest.raises(StageError, match="several actions"):
        _views.trimmed([two], source)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"training": TRAINING | {"schedule": "one_cycle"}}, "multigrid needs step"),
        ({"training": TRAINING | {"schedule": "step", "milestones": [2]}}, "step decays where its stages end"),
        ({"training": TRAINING | {"multigrid": {"long": False, "short": False}}}, "that is the baseline"),
        ({"encoder": ENCODER | {"temporal": {"name": "sgs"}}}, "unequal length"),
    ],
)
def test_what_does_not_go_together_is_refused(project: Path, root: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        stage(project, root, "pretrain", **values)


def test_a_stage_too_short_for_its_shapes_is_refused(project: Path, root: Path) -> None:
    with pytest.raises(StageError, match="multigrid"):
        stage(project, root, "pretrain", training=TRAINING | {"steps": 2})


@pytest.mark.parametrize("order", ["thesis", "released"])
@pytest.mark.parametrize("cycles", [{"long": False}, {"short": False}])
def test_each_cycle_alone_in_both_orders(project: Path, root: Path, cycles: dict[str, bool], order: str) -> None:
    own = {"long_shapes"} if "long" in cycles else {"short_sides"}
    section = {key: value for key, value in MULTIGRID.items() if key not in own} | cycles | {"order": order}
    training = TRAINING | {"steps": 24, "schedule": "step", "gamma": 0.1, "multigrid": section}
    metrics = stage(project, root, "pretrain", training=training, views=None)
    assert metrics["epochs"] == pytest.approx(24 * 2 / 8, rel=0.3)
