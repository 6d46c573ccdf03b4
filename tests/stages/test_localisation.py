"""The stages `lofi`, `head` and `evaluate` on a few small videos, called as the runner calls them, with either localiser."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.datasets.snippets import snippet_cells
from pipeline.run import kinds
from pipeline.run.params import read_params
from pipeline.run.progress import StageProgress
from pipeline.run.stage import Context, DatasetStage, find_stage
from stages import _clips, _encoder, _localiser, _outputs, _snippets
from stages.frames import Frames

LENGTH, DURATION = 8, 8.0
SIZES = {
    "gtad": {"hidden": 16, "groups": 4, "inner_points": 4, "context_points": 2, "aligned": 8, "localisation": 8},
    "actionformer": {"hidden": 16, "heads": 2, "window": 3, "levels": 3, "drop_path": 0.0, "dropout": 0.0},
}
TRAINING = {"steps": 4, "batch": 2, "optimizer": "sgd", "lr": 0.01, "validate_every": 2, "threads": 1}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos whose picture is bright during an action, their frames, an encoder, and its features."""
    root = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    videos = []
    spec = _encoder.EncoderSpec(name="tsm_resnet18", base_width=8, frames=2, window_s=0.5, height=32, width=48)
    torch.manual_seed(0)
    encoder = _encoder.build(spec)
    for variant in ("acp", "lofi"):
        _encoder.save(root / _outputs.ENCODERS.format(variant=variant), encoder, spec)
    for number, subset in enumerate(("training", "training", "training", "validation", "testing", "testing")):
        start, end = sorted(rng.uniform(0, DURATION, 2).tolist())
        video = Video(f"v{number}", "", subset, DURATION, 4, 32, 64, 40, (Segment("act", start, max(end, start + 1)),))
        videos.append(video)
        pts = np.arange(32) / 4
        pictures = rng.integers(0, 80, (32, 40, 64, 3), dtype=np.uint8)
        pictures[(pts >= start) & (pts < end)] += 120
        jpeg = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
        sizes = {"width": 64, "height": 40, "fps": 4.0, "duration_s": DURATION}
        kinds.FRAMES.write(root / _outputs.FRAMES / f"v{number}.h5", {"pts": pts, "jpeg": jpeg}, sizes)
        t_start, t_end = snippet_cells(DURATION, LENGTH)
        feature = rng.normal(size=(LENGTH, 12)).astype(np.float32)
        feature[(t_start >= start) & (t_end <= end), :4] += 2
        kinds.FEATURES.write(
            root / _outputs.FEATURES.format(variant="lofi") / f"v{number}.h5",
            {"t_start": t_start, "t_end": t_end, "feature": feature},
            {"encoder": "e", "window_s": 0.5, "frames_per_snippet": 2, "duration_s": DURATION},
        )
    (root / _outputs.VIDEOS).mkdir(parents=True)
    Dataset("d", ("act",), tuple(videos)).save(root / _outputs.DATASET_FILE)
    return root


def run(
    name: str,
    root: Path,
    project: Path,
    folder: Path,
    changes: Mapping[str, Any],
    localiser: str = "gtad",
    variant: str = "",
) -> Mapping[str, float]:
    """Metrics of a dataset stage with the values of params.yaml but ``changes``; results lie in ``folder``."""
    stage = find_stage(name)
    assert isinstance(stage, DatasetStage)
    raw = read_params(root / "params.yaml")
    params = stage.section.model_validate(raw[name] | changes)
    shared = {
        "features.snippets": LENGTH,
        "frames": Frames.model_validate(raw["frames"]),
        "head.name": localiser,
        "compressed.short_side": 32,
        "compressed.b_frames": False,
        **{f"head.{key}": _localiser.SPECS[key].model_validate(sizes) for key, sizes in SIZES.items()},
    }
    (folder / "work").mkdir(parents=True)
    context = Context(
        project, params, variant, {key: shared[key] for key in stage.reads_params},
        StageProgress(name, folder / "status.json"), lambda step, values: None,
        fingerprint="f", work=folder / "work", result=folder,
    )  # fmt: skip
    assert all(path.exists() for path in stage.inputs(context))
    assert stage.code(params, project, variant)
    return stage.run(context)


def lofi(root: Path, project: Path, folder: Path, localiser: str = "gtad", **changes: Any) -> tuple[Any, Any]:
    """Metrics of LoFi, and its encoder's weights."""
    defaults = {"strategy": "t", "reduction": 2, "head": TRAINING, "end_to_end": TRAINING}
    metrics = run("lofi", root, project, folder, defaults | changes, localiser)
    return metrics, load_file(folder / "lofi" / _encoder.WEIGHTS_FILE)


@pytest.mark.parametrize("localiser", list(SIZES))
def test_replay_changes_lofi_in_rounding_only(root: Path, project: Path, tmp_path: Path, localiser: str) -> None:
    metrics, direct = lofi(root, project, tmp_path / "direct", localiser)
    again, replayed = lofi(root, project, tmp_path / "replay", localiser, replay_chunk=3)
    assert metrics["snippets"] == again["snippets"] == LENGTH / 2
    start = load_file(project / _outputs.ENCODERS.format(variant="acp") / _encoder.WEIGHTS_FILE)
    trained = [key for key, value in start.items() if value.is_floating_point() and "running" not in key]
    moved = torch.stack([(direct[key] - start[key]).norm() for key in trained]).norm()
    apart = torch.stack([(direct[key] - replayed[key]).norm() for key in trained]).norm()
    assert moved > 1e-3
    assert apart <= 1e-2 * moved


def test_full_fidelity_sees_all_snippets(root: Path, project: Path, tmp_path: Path) -> None:
    metrics, direct = lofi(root, project, tmp_path / "direct", strategy="full")
    again, replayed = lofi(root, project, tmp_path / "replay", strategy="full", replay_chunk=5)
    assert metrics["snippets"] == again["snippets"] == LENGTH
    history = [
        json.loads((tmp_path / name / "history" / "end_to_end.json").read_text()) for name in ("direct", "replay")
    ]
    assert [row["step"] for row in history[0]] == [2, 4]
    for ours, theirs in zip(*history, strict=True):
        assert ours["total"] == pytest.approx(theirs["total"], rel=1e-4)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
    assert direct.keys() == replayed.keys()


def test_snippets_one_by_one_are_those_of_the_batch(project: Path) -> None:
    """The same windows, whatever the parts they are asked for in."""
    dataset = Dataset.load(project / _outputs.DATASET_FILE)
    _, spec = _encoder.load(project / _outputs.ENCODERS.format(variant="acp"))
    source = _snippets.Snippets.of_root(project, spec, [v.id for v in dataset])
    snippets = _clips.ShapedSnippets(source, 5, (spec.height, spec.width), 0.6)
    videos = dataset.subset("training")
    whole = snippets.batch(videos, np.random.default_rng(3))
    lazy = snippets.lazy(videos, np.random.default_rng(3), torch.device("cpu"))
    assert whole.shape == (15, 3, 2, 32, 48)
    assert lazy.count == 15
    assert not torch.equal(whole[:5], snippets.of(videos[0], None))
    for start, stop in ((0, 15), (3, 4), (4, 11), (10, 15)):
        assert torch.equal(lazy.load(start, stop), whole[start:stop])


@pytest.mark.parametrize("localiser", list(SIZES))
def test_head_is_trained_saved_and_evaluated(root: Path, project: Path, tmp_path: Path, localiser: str) -> None:
    training = TRAINING | {"steps": 30, "optimizer": "adam", "validate_every": 10}
    changes = {"name": localiser, localiser: SIZES[localiser], "training": training, "classifier": TRAINING}
    metrics = run("head", root, project, tmp_path / "head", changes, localiser, "lofi")
    assert 0 <= metrics["proposal_mAP"] <= 1
    assert (tmp_path / "head" / "history" / "localiser.json").is_file()
    folder = tmp_path / "head" / "head"
    assert json.loads((folder / _localiser.HEAD_FILE).read_text())["name"] == localiser
    assert _localiser.saved_entries(folder)[0] == _localiser.entries(localiser)[0]

    target = project / _outputs.HEADS.format(variant="lofi")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(folder)
    found = run("evaluate", root, project, tmp_path / "evaluate", {"resamples": 100}, localiser, "lofi")
    assert found["test_videos"] == 2
    assert found["predictions"] > 0


def test_an_unknown_localiser_is_named(tmp_path: Path) -> None:
    (tmp_path / _localiser.HEAD_FILE).write_text('{"name": "bmn"}')
    with pytest.raises(ValueError, match=r"head\.json: name is 'bmn'; allowed: gtad, actionformer"):
        _localiser.load(tmp_path)


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="hidden is 30, no multiple of heads = 4"):
        _localiser.ActionFormerSpec(hidden=30)
    with pytest.raises(ValueError, match="window is 8; it must be odd"):
        _localiser.ActionFormerSpec(window=8)
