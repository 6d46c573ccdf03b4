"""`head.context`: planted videos whose classes only an event long before tells apart, through `head` and `evaluate`."""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.datasets.snippets import snippet_cells
from pipeline.run import kinds
from pipeline.run.params import PARAMS_FILE, Section, check_params, read_params
from pipeline.run.stage import StageError, section_models
from stages import _detections, _encoder, _head_context, _opened_head, _outputs, _served
from stages._head_context import ContextSpec, InBank
from tests.stages.one_stage import run_one

DURATION_S, LENGTH = 24.0, 24
CLASSES = ("reach_for_ball", "reach_for_box")
SUBSETS = {"training": 24, "validation": 4, "testing": 12}
TRAINING = {"steps": 40, "batch": 4, "optimizer": "adam", "lr": 0.005, "clip_norm": 1.0, "threads": 1}
CLASSIFIER = {"steps": 100, "batch": 24, "optimizer": "adam", "lr": 0.01, "threads": 1}
LOCALISERS: dict[str, dict[str, Any]] = {
    "gtad": {"hidden": 16, "groups": 4, "inner_points": 4, "context_points": 2, "aligned": 16, "localisation": 16},
    "actionformer": {"hidden": 16, "heads": 2, "window": 3, "levels": 3, "drop_path": 0.0, "dropout": 0.0},
}
CONTEXT = {"operator": "nl", "window_s": 48.0, "layers": 1, "hidden": 16, "dropout": 0.0}


def plant(root: Path, subset: str, number: int) -> Video:
    """Early on a thing is shown, which only the bank knows; much later somebody reaches, and the features say no more."""
    rng = np.random.default_rng([len(subset), number])
    ball = number % 2 == 0
    shown, reach = int(rng.integers(1, 6)), int(rng.integers(12, 18))
    feature = 0.3 * rng.standard_normal((LENGTH, 8)).astype(np.float32)
    feature[reach : reach + 5, 0] += 3
    t_start, t_end = snippet_cells(DURATION_S, LENGTH)
    id_ = f"{subset}-{number}"
    about = {"encoder": "e", "window_s": 1.0, "duration_s": DURATION_S}
    kinds.FEATURES.write(
        root / _outputs.FEATURES.format(variant="acp") / f"{id_}.h5",
        {"t_start": t_start, "t_end": t_end, "feature": feature},
        about | {"frames_per_snippet": 2},
    )
    seconds = np.arange(0.5, DURATION_S)
    rows = 0.3 * rng.standard_normal((len(seconds), 4)).astype(np.float32)
    rows[shown] += (4, 4 if ball else -4, 0, 0)
    kinds.BANK.write(
        root / _outputs.BANK / f"{id_}.h5",
        {
            "t": seconds,
            "track": np.zeros(len(seconds), np.int32),
            "label": np.zeros(len(seconds), np.int16),
            "box": np.tile(np.array([0, 0, 10, 10], np.float32), (len(seconds), 1)),
            "score": np.ones(len(seconds), np.float32),
            "feature": rows,
        },
        about | {"classes": "person,ball"},
    )
    segments = (Segment(CLASSES[0 if ball else 1], float(reach), reach + 5.0),)
    return Video(id_, "v.mp4", subset, DURATION_S, 20.0, 480, 100, 80, segments)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    for name in ("pipeline", "stages", "models"):
        (folder / name).symlink_to(root / name)
    videos = [plant(folder, subset, number) for subset, count in SUBSETS.items() for number in range(count)]
    Dataset("planted", CLASSES, tuple(videos)).save(folder / _outputs.DATASET_FILE)
    spec = _encoder.EncoderSpec(name="tsm_resnet18", base_width=8, frames=2, window_s=0.5, height=32, width=48)
    torch.manual_seed(0)
    _encoder.save(folder / _outputs.ENCODERS.format(variant="acp"), _encoder.build(spec), spec)
    return folder


@pytest.fixture
def project(planted: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(planted, tmp_path / "project", symlinks=True))


def sections(root: Path, context: Mapping[str, Any] | None, localiser: str = "gtad") -> dict[str, Section]:
    raw = read_params(root / PARAMS_FILE)
    head = {"name": localiser, localiser: LOCALISERS[localiser], "training": TRAINING, "classifier": CLASSIFIER}
    raw["head"] |= head | {"context": context, "beside": "bank" if context else "videos"}
    raw["run"] |= {"tracking": False}
    raw["evaluate"] |= {"resamples": 100, "threads": 1}
    return check_params(raw, section_models(), PARAMS_FILE)


def run(project: Path, name: str, found: dict[str, Section]) -> dict[str, float]:
    return run_one(project, found, name, "acp")


def test_only_the_context_tells_the_class(project: Path, root: Path) -> None:
    found = {}
    for name, context in (("plain", None), ("centred", CONTEXT), ("causal", CONTEXT | {"mode": "causal"})):
        chosen = sections(root, context)
        head, evaluated = run(project, "head", chosen), run(project, "evaluate", chosen)
        found[name] = (head["accuracy"], evaluated["average_mAP"])
        files = {path.name for path in (project / _outputs.HEADS.format(variant="acp")).iterdir()}
        assert ({_opened_head.WEIGHTS_FILE, _opened_head.SPEC_FILE} <= files) == (context is not None)
        assert ("without_bank" in head) == (context is not None)
    assert found["plain"][0] <= 0.75, "the class stands nowhere but in the bank"
    for name in ("centred", "causal"):
        assert found[name][0] == 1.0, name
        # Two equally likely classes cost the plain head about half of its precision.
        assert found[name][1] > 1.4 * found["plain"][1] > 0.1, found


def test_actionformer_has_context_too(project: Path, root: Path) -> None:
    chosen = sections(root, CONTEXT | {"operator": "max"}, "actionformer")
    assert run(project, "head", chosen)["accuracy"] == 1.0
    assert run(project, "evaluate", chosen)["average_mAP"] > 0.3


def test_a_short_window_does_not_reach_the_event(project: Path, root: Path) -> None:
    short = run(project, "head", sections(root, CONTEXT | {"window_s": 4.0}))
    assert short["accuracy"] <= 0.75


def test_a_video_without_a_bank_is_seen_alone_and_counted(project: Path, root: Path) -> None:
    (project / _outputs.BANK / "testing-3.h5").unlink()
    (project / _outputs.BANK / "training-1.h5").unlink()
    chosen = sections(root, CONTEXT)
    assert run(project, "head", chosen)["without_bank"] == 1
    assert run(project, "evaluate", chosen)["without_bank"] == 1
    folder = project / _outputs.HEADS.format(variant="acp")
    videos = Dataset.load(project / _outputs.DATASET_FILE).subset("testing")
    opened, alone = _opened_head.load(folder, project, videos), _opened_head.load(folder)
    path = project / _outputs.FEATURES.format(variant="acp")

    def detections(head: _opened_head.OpenedHead, id_: str) -> Any:
        post, features = _detections.Postprocess(), _detections.read_features(path / f"{id_}.h5")
        made = head.of(InBank(id_, DURATION_S))
        return _detections.localise(*made, head.classes, post, features, DURATION_S)

    assert detections(opened, "testing-3") == detections(alone, "testing-3")
    assert detections(opened, "testing-2") != detections(alone, "testing-2")


def test_missing_and_unfit_banks_are_named(project: Path, root: Path) -> None:
    chosen = sections(root, CONTEXT | {"kinds": ["grid"]})
    with pytest.raises(
        StageError, match=r"head\.context\.kinds = grid, min_score = 0: no row of the banks of 28 videos"
    ):
        run(project, "head", chosen)
    run(project, "head", sections(root, CONTEXT))
    folder = project / _outputs.HEADS.format(variant="acp")
    videos = Dataset.load(project / _outputs.DATASET_FILE).subset("testing")
    spec = json.loads((folder / _opened_head.SPEC_FILE).read_text())
    assert spec.pop("bank_dim") == 4 and ContextSpec.model_validate(spec).window_s == 48.0
    with pytest.raises(StageError, match="was trained with banks of 5 features; those in data/artifacts/bank have 4"):
        _head_context.open_banks(project, videos, ContextSpec(), 5)
    for path in (project / _outputs.BANK).iterdir():
        path.unlink()
    message = "needs feature banks, and none of 12 videos has one in data/artifacts/bank; run the stage `bank`"
    with pytest.raises(StageError, match=message):
        run(project, "evaluate", sections(root, CONTEXT))
    with pytest.raises(StageError, match="none of 28 videos has one"):
        run(project, "head", sections(root, CONTEXT | {"window_s": 6.0}))
    with pytest.warns(UserWarning, match="trained with long-term context"):
        served = _served._load_pyfunc(str(folder))
    assert set(served.predict(np.zeros((LENGTH, 8), np.float32))["label"]) <= set(CLASSES)


def test_the_bank_is_no_input_of_a_head_without_context(project: Path, root: Path) -> None:
    plain = sections(root, None)
    run(project, "head", plain), run(project, "evaluate", plain)
    for path in (project / _outputs.BANK).iterdir():
        path.unlink()
    work = {path.name for path in (project / "data" / "work" / "head@acp").iterdir()}
    run(project, "head", plain), run(project, "evaluate", plain)
    assert {path.name for path in (project / "data" / "work" / "head@acp").iterdir()} == work, "the same key"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _served._load_pyfunc(str(project / _outputs.HEADS.format(variant="acp")))


def test_windows_hold_what_the_rule_says(project: Path) -> None:
    videos = Dataset.load(project / _outputs.DATASET_FILE).subset("testing")[:2]
    seen = [InBank(video.id, video.duration_s) for video in videos]
    with kinds.BANK.open(project / _outputs.BANK / f"{videos[1].id}.h5") as reader:
        t, feature = reader["t"], reader["feature"]
    for mode in ("centred", "causal"):
        banks = _head_context.open_banks(project, videos, ContextSpec(window_s=6, mode=mode, settle_s=1))
        rows, valid, of = banks.of_snippets(seen, 48)
        assert of.shape == (96,) and len(rows) < 60, "snippets of half a second share the windows of seconds"
        for k in range(48):
            now = 0.25 + k / 2
            inside = (t >= now - 3) & (t < now + 3) if mode == "centred" else (t > now - 7) & (t <= now - 1)
            ours = rows[of[48 + k]][valid[of[48 + k]]].numpy()
            np.testing.assert_array_equal(ours, feature[inside])
