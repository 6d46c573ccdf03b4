"""pretrain and lofi in all their ways, a few steps each on a few tiny videos."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.run.files import read_json
from pipeline.run.params import PARAMS_FILE, ParameterError, check_params, read_params
from pipeline.run.stage import section_models
from stages import _encoder, _outputs
from tests.stages.tiny_world import Project

ENCODER = {"name": "tsm_resnet18", "base_width": 8, "frames": 4, "window_s": 1.0, "height": 48, "width": 64}
TRAINING = {"steps": 4, "batch": 8, "optimizer": "adamw", "lr": 0.002, "validate_every": 2, "threads": 1}
END_TO_END = {"steps": 6, "batch": 2, "optimizer": "adam", "lr": 0.001, "validate_every": 3, "threads": 1}
OVERRIDES: dict[str, dict[str, Any]] = {
    "run": {"executor": "inline", "tracking": False},
    "frames": {"short_side": 48},
    "pretrain": {"encoder": ENCODER, "training": TRAINING},
    "lofi": {"head": END_TO_END, "end_to_end": END_TO_END},
    "features": {"snippets": 16},
    "head": {
        "gtad": {"hidden": 16, "groups": 4, "inner_points": 4, "context_points": 2, "aligned": 16, "localisation": 16}
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Project:
    made = Project(
        tmp_path_factory.mktemp("training"), root, {"training": 4, "validation": 2, "auxiliary": 4}, OVERRIDES
    )
    made.run("frames")
    return made


def change(project: Project, root: Path, section: str, **values: Any) -> None:
    raw = read_params(root / PARAMS_FILE)
    for name, override in OVERRIDES.items():
        raw[name] = raw[name] | override
    raw[section] = raw[section] | values
    project.sections = check_params(raw, section_models(), PARAMS_FILE)


def encoder(project: Project, variant: str) -> tuple[Any, _encoder.EncoderSpec]:
    return _encoder.load(project.root / _outputs.ENCODERS.format(variant=variant))


def history(project: Project, name: str) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = read_json(project.root / "data" / "checkpoints" / "history" / f"{name}.json")
    return rows


@pytest.mark.parametrize("task", ["arrow_of_time", "playback_speed"])
def test_a_task_without_labels(project: Project, root: Path, task: str) -> None:
    change(project, root, "pretrain", tasks=[task])
    metrics = project.run("pretrain")
    assert metrics[f"{task}/chance"] == 0.5
    assert 0 <= metrics[f"{task}/accuracy_low"] <= metrics[f"{task}/accuracy"] <= metrics[f"{task}/accuracy_high"] <= 1
    assert history(project, f"pretrain/{task}")[-1]["step"] == 4


def test_features_of_two_tasks_stand_side_by_side(project: Project, root: Path) -> None:
    """LoFi, Table 8: ACP + Arrow. Each half is the encoder that its task alone would have trained."""
    change(project, root, "pretrain", tasks=["classification"])
    project.run("pretrain")
    alone, spec = encoder(project, "acp")
    change(project, root, "pretrain", tasks=["classification", "arrow_of_time"])
    metrics = project.run("pretrain")
    both, both_spec = encoder(project, "acp")
    assert (spec.copies, both_spec.copies) == (1, 2)
    assert both.feature_dim == 2 * alone.feature_dim
    clips = torch.rand(2, 3, 4, 48, 64)
    with torch.inference_mode():
        features = both(clips)
        assert torch.equal(features[:, : alone.feature_dim], alone(clips))
        assert not torch.allclose(features[:, alone.feature_dim :], alone(clips))
    assert {"accuracy", "arrow_of_time/accuracy"} <= set(metrics)


def test_acp_plus_goes_on_from_acp(project: Project, root: Path) -> None:
    change(project, root, "pretrain", tasks=["classification"])
    project.run("pretrain")
    acp, _ = encoder(project, "acp")
    change(project, root, "pretrain", plus=TRAINING | {"steps": 2, "lr": 0.0001})
    metrics = project.run("pretrain")
    plus, _ = encoder(project, "acp")
    assert metrics["acp_plus/clips"] != metrics["clips"]
    distance = sum(float((a - b).detach().norm()) for a, b in zip(acp.parameters(), plus.parameters(), strict=True))
    assert 0 < distance < 1, "two small steps from where ACP ended"


def test_weights_of_a_file_are_the_start(project: Project, root: Path) -> None:
    torch.manual_seed(5)
    given = _encoder.build(_encoder.EncoderSpec.model_validate(ENCODER))
    torch.save(
        given.state_dict() | {"fc.weight": torch.zeros(7, 64), "fc.bias": torch.zeros(7)}, project.root / "given.pth"
    )
    change(project, root, "pretrain", initial="given.pth")
    project.run("pretrain")
    start, _ = encoder(project, "untrained")
    for name, tensor in given.state_dict().items():
        assert torch.equal(tensor, start.state_dict()[name]), name


def test_an_encoder_of_another_set_is_taken_as_it_is(project: Project, root: Path) -> None:
    torch.manual_seed(6)
    given = _encoder.build(_encoder.EncoderSpec.model_validate(ENCODER))
    torch.save(given.state_dict(), project.root / "kinetics.pth")
    change(project, root, "pretrain", initial="kinetics.pth", training=None)
    assert project.run("pretrain") == {}
    for variant in ("acp", "untrained"):
        found, _ = encoder(project, variant)
        assert all(torch.equal(tensor, given.state_dict()[name]) for name, tensor in found.state_dict().items())
    with pytest.raises(ParameterError, match="training: null needs `initial`"):
        change(project, root, "pretrain", training=None)


@pytest.mark.parametrize("strategy", ["s", "t", "st", "cyclic_short", "cyclic_long", "full"])
def test_every_strategy_of_lofi(
    project: Project, root: Path, strategy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(project, root, "pretrain", tasks=["classification"])
    project.run("pretrain")
    change(project, root, "lofi", strategy=strategy, c_s=1, c_l=1)
    metrics = project.run("lofi")
    shapes = {"s": "16 x 24 x 32", "t": "4 x 48 x 64", "st": "8 x 34 x 45", "full": "16 x 48 x 64"}
    expected = shapes.get(strategy, " -> ".join(shapes[kind] for kind in ("s", "t", "st")))
    assert f"batch 2: {expected}\n" in capsys.readouterr().err
    assert metrics["snippets"] == int(expected.split()[0])
    before, after = (encoder(project, name)[0].state_dict() for name in ("acp", "lofi"))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert history(project, "lofi/end_to_end")[-1]["step"] == 6


def test_unknown_names_are_refused(project: Project, root: Path) -> None:
    with pytest.raises(ParameterError, match=r"pretrain\.tasks.*colour"):
        change(project, root, "pretrain", tasks=["colour"])
    with pytest.raises(ParameterError, match=r"lofi\.strategy.*cyclic_long"):
        change(project, root, "lofi", strategy="cyclic")
