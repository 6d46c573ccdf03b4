"""Where detections get their classes, end to end at small size, and the head's learning-rate search."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.datasets.snippets import snippet_cells
from pipeline.evaluation.segments import load_ground_truth
from pipeline.run import kinds
from pipeline.run.params import Section, read_params
from pipeline.run.progress import StageProgress
from pipeline.run.stage import Context, DatasetStage, StageError, find_stage
from stages import _encoder, _outputs, _video_classes, _video_classifier
from stages.frames import Frames

LENGTH, DURATION, WIDTH = 16, 8.0, 8
CLASSES = ("hop", "run", "sit")
GTAD = {"hidden": 16, "groups": 4, "inner_points": 4, "context_points": 2, "aligned": 8, "localisation": 8}
SHORT = {"steps": 24, "batch": 4, "optimizer": "adam", "lr": 0.01, "validate_every": 12, "threads": 1}
LINEAR = SHORT | {"steps": 60, "batch": 8, "lr": 0.05, "validate_every": 20}
SUBSETS = ("training",) * 8 + ("validation",) * 4 + ("testing",) * 4
Run = Callable[..., Mapping[str, float]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of one or two classes whose features show the class while it lasts, and an encoder to go with the head."""
    root = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    videos = []
    spec = _encoder.EncoderSpec(name="tsm_resnet18", base_width=8, frames=2, window_s=0.5, height=32, width=48)
    _encoder.save(root / _outputs.ENCODERS.format(variant="acp"), _encoder.build(spec), spec)
    t_start, t_end = snippet_cells(DURATION, LENGTH)
    for number, subset in enumerate(SUBSETS):
        feature = rng.normal(0, 0.5, (LENGTH, WIDTH)).astype(np.float32)
        segments = []
        for label, begin in ((number % 3, 1.0), ((number + number // 3) % 3, 5.0)):
            end = begin + float(rng.uniform(1, 2.5))
            segments.append(Segment(CLASSES[label], begin, end))
            feature[(t_start >= begin) & (t_end <= end), label] += 4
        videos.append(Video(f"v{number}", "", subset, DURATION, 4, 32, 64, 40, tuple(segments)))
        kinds.FEATURES.write(
            root / _outputs.FEATURES.format(variant="acp") / f"v{number}.h5",
            {"t_start": t_start, "t_end": t_end, "feature": feature},
            {"encoder": "e", "window_s": 0.5, "frames_per_snippet": 2, "duration_s": DURATION},
        )
    (root / _outputs.VIDEOS).mkdir(parents=True)
    Dataset("d", CLASSES, tuple(videos)).save(root / _outputs.DATASET_FILE)
    return root


@pytest.fixture(scope="module")
def run(root: Path, project: Path) -> Run:
    """Runs ``head`` or ``evaluate`` as the runner does, into a folder that may be there from a run that was killed."""

    def run(name: str, folder: Path, log: Callable[..., None] = lambda step, values: None, **changes: Any) -> Any:
        stage = find_stage(name)
        assert isinstance(stage, DatasetStage)
        raw = read_params(root / "params.yaml")
        shared = {
            "features.snippets": LENGTH,
            "frames": Frames.model_validate(raw["frames"]),
            "compressed.short_side": 32,
            "compressed.b_frames": False,
        }
        (folder / "work").mkdir(parents=True, exist_ok=True)
        context = Context(
            project, stage.section.model_validate(raw[name] | changes), "acp",
            {key: shared[key] for key in stage.reads_params}, StageProgress(name, folder / "status.json"), log,
            fingerprint="f", work=folder / "work", result=folder,
        )  # fmt: skip
        assert all(path.exists() for path in stage.inputs(context))
        assert stage.code(context.params, project, "acp")
        return stage.run(context)

    return run


def head(run: Run, folder: Path, **changes: Any) -> Mapping[str, float]:
    return run("head", folder, **({"gtad": GTAD, "training": SHORT, "classifier": LINEAR} | changes))


@pytest.fixture(scope="module")
def trained(run: Run, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, float]:
    """Metrics of a head that is in its place."""
    folder = tmp_path_factory.mktemp("head")
    metrics = head(run, folder)
    target = project / _outputs.HEADS.format(variant="acp")
    target.parent.mkdir(parents=True)
    target.symlink_to(folder / "head")
    return metrics


def labels_by_video(folder: Path) -> dict[str, set[str]]:
    results = json.loads((folder / "predictions" / "predictions.json").read_text())["results"]
    return {id_: {row["label"] for row in rows} for id_, rows in results.items()}


def test_the_video_classifier_learns_what_occurs(trained: Mapping[str, float], project: Path) -> None:
    assert trained["video_mAP"] > 0.9
    classifier, classes = _video_classifier.load(project / _outputs.HEADS.format(variant="acp"))
    assert classes == CLASSES
    assert classifier.training is False


@pytest.mark.parametrize("source", ["proposals", "own", "external", "oracle"])
def test_one_parameter_chooses_the_source(
    run: Run, trained: Mapping[str, float], project: Path, tmp_path: Path, source: str
) -> None:
    truth = load_ground_truth(project / _outputs.DATASET_FILE, "testing")
    truly = {id_: {truth.labels[c] for c in truth.label[truth.video == v]} for v, id_ in enumerate(truth.videos)}
    classes: dict[str, Any] = {"source": source}
    if source == "external":
        # With ActivityNet's other form of ids, one class the data set lacks, and the true classes first.
        scores = {f"v_{id_}": [0.9 * (name in have) for name in CLASSES] + [0.1] for id_, have in truly.items()}
        (project / "scores.json").write_text(json.dumps({"class": [*CLASSES, "swim"], "results": scores}))
        classes["file"] = "scores.json"
    metrics = run("evaluate", tmp_path, resamples=100, classes=classes)
    assert metrics["average_mAP"] > 0
    assert metrics["predictions"] > 0
    found = labels_by_video(tmp_path)
    said = json.loads((tmp_path / "predictions" / "predictions.json").read_text())["external_data"]
    if source == "proposals":
        assert said == {} and "classes_missing" not in metrics
        return
    assert metrics["classes_missing"] == 0
    assert said == {"used": source == "external", "details": f"classes: {source}"}
    if source == "own":
        assert all(len(labels) == 2 for labels in found.values()), "the two best of each video"
        assert sum(found[id_] >= truly[id_] for id_ in truly) >= 3
    else:
        assert all(found[id_] >= truly[id_] for id_ in truly)
    if source == "oracle":
        assert found == truly


def test_a_score_file_that_lacks_videos_is_refused(
    run: Run, trained: Mapping[str, float], project: Path, tmp_path: Path
) -> None:
    (project / "few.csv").write_text("video,hop,run,sit\nv12,1,0,0\n")
    with pytest.raises(StageError, match=r"few\.csv: scores for 1 of 4 videos; without scores: v13, v14, v15 \(3\)"):
        run("evaluate", tmp_path, classes={"source": "external", "file": "few.csv"})


def test_a_head_without_the_classifier_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no video_classifier\.safetensors; run the stage `head` again"):
        _video_classifier.load(tmp_path)


@pytest.mark.parametrize("values", [{"source": "external"}, {"source": "own", "file": "s.json"}])
def test_a_file_and_its_source_go_together(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="file belongs to source external"):
        _video_classes.Classes(**values)


def test_the_rate_is_chosen_on_validation(run: Run, tmp_path: Path) -> None:
    rates = (1e-8, 0.01, 1e30)
    logged: set[str] = set()
    metrics = head(run, tmp_path / "search", lr_search=rates, log=lambda step, values: logged.update(values))
    figures = {rate: metrics[f"lr_search/{rate:g}"] for rate in rates}
    assert metrics["lr"] == 0.01 == max(figures, key=figures.__getitem__)
    assert metrics["proposal_mAP"] == figures[0.01] > figures[1e-8]
    assert figures[1e30] == 0, "a training that ran off has found nothing"
    assert {"localiser-lr0.01/proposal_mAP", "localiser-lr1e-08/proposal_mAP"} <= logged
    histories = tmp_path / "search" / "history"
    assert (histories / "localiser.json").read_bytes() == (histories / "localiser-lr0.01.json").read_bytes()
    # The chosen head is the one that this rate alone gives, to the last bit; and without a search nothing is added.
    alone = head(run, tmp_path / "alone", training=SHORT | {"lr": 0.01})
    assert "lr" not in alone
    for name in ("localiser", "classifier", "video_classifier"):
        files = [tmp_path / folder / "head" / f"{name}.safetensors" for folder in ("search", "alone")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_killed_search_goes_on_where_it_was(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages import _training

    quiet = head(run, tmp_path / "quiet", lr_search=(0.001, 0.01, 0.02))
    real, begun = _training.fit, list[str]()

    def killed(*args: Any, name: str, **options: Any) -> Any:
        begun.append(name)
        if name == "localiser-lr0.02":
            raise KeyboardInterrupt
        return real(*args, name=name, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_training, "fit", killed)
        head(run, tmp_path / "killed", lr_search=(0.001, 0.01, 0.02))
    assert begun == ["localiser-lr0.001", "localiser-lr0.01", "localiser-lr0.02"]
    steps: list[int] = []
    again = head(
        run, tmp_path / "killed", lr_search=(0.001, 0.01, 0.02),
        log=lambda step, values: steps.extend([step] * any(key == "localiser-lr0.01/total" for key in values)),
    )  # fmt: skip
    assert not steps, "the rates that were done are not trained again"
    assert dict(again) == dict(quiet)
    for name in ("localiser", "classifier", "video_classifier"):
        files = [tmp_path / folder / "head" / f"{name}.safetensors" for folder in ("quiet", "killed")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_no_rate_that_trains_is_an_error(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no learning rate of 1e\\+30 trains"):
        head(run, tmp_path, lr_search=(1e30,))


def test_a_rate_must_be_positive() -> None:
    section: type[Section] = find_stage("head").section
    with pytest.raises(ValueError, match="lr_search"):
        section.model_validate({"training": SHORT, "classifier": SHORT, "lr_search": [0.0]})
