"""SGS, Grid Pool and fixed pools inside the encoder of the graph: by one parameter, through pretrain, lofi and features."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from models.costs import conv_macs
from models.encoders.snippets import snippet_features
from models.temporal import TEMPORAL
from models.weights import WeightsError
from pipeline.run.params import PARAMS_FILE, check_params, read_params
from pipeline.run.stage import section_models
from stages import _encoder, _outputs
from tests.stages.test_encoder_training import ENCODER, OVERRIDES, TRAINING
from tests.stages.tiny_world import Project

SGS = {"name": "sgs", "after": "res3", "form": "released"}
GRID_POOL = {"name": "grid_pool", "after": "res3", "alpha": 0.5}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Project:
    made = Project(
        tmp_path_factory.mktemp("temporal"), root, {"training": 4, "validation": 2, "auxiliary": 4}, OVERRIDES
    )
    made.run("frames")
    return made


def change(project: Project, root: Path, pretrain: dict[str, Any], **lofi: Any) -> None:
    raw = read_params(root / PARAMS_FILE)
    for name, override in OVERRIDES.items():
        raw[name] = raw[name] | override
    raw["pretrain"] |= {"training": TRAINING | {"steps": 3}} | pretrain
    raw["lofi"] |= lofi
    project.sections = check_params(raw, section_models(), PARAMS_FILE)


def spec(**values: Any) -> _encoder.EncoderSpec:
    return _encoder.EncoderSpec.model_validate(ENCODER | values)


@pytest.mark.parametrize("temporal", [SGS, GRID_POOL], ids=["sgs", "grid_pool"])
def test_through_the_graph_to_features(project: Project, root: Path, temporal: dict[str, Any]) -> None:
    change(project, root, {"encoder": ENCODER | {"temporal": temporal}}, strategy="st")
    project.run("pretrain")
    before, found = _encoder.load(project.root / _outputs.ENCODERS.format(variant="acp"))
    assert found.temporal is not None and found.temporal.name == temporal["name"]
    for lofi in ({"strategy": "st"}, {"strategy": "full", "replay_chunk": 5}):
        change(project, root, {"encoder": ENCODER | {"temporal": temporal}}, **lofi)
        project.run("lofi")
        after, _ = _encoder.load(project.root / _outputs.ENCODERS.format(variant="lofi"))
        moved = [name for name, value in after.named_parameters() if not torch.equal(value, before.get_parameter(name))]
        assert any(name.startswith("after.res3") for name in moved), "the module learns from the localisation loss"
        assert any(name.startswith("tsm.conv1") for name in moved)
    with torch.inference_mode():
        clips = torch.randint(0, 256, (3, 3, 4, 48, 64), dtype=torch.uint8)
        together = snippet_features(after, clips)
        alone = torch.cat([snippet_features(after, clip) for clip in clips.split(1)])
        assert torch.allclose(together, alone, atol=1e-5)


def test_public_weights_start_the_encoder_and_the_module_is_fresh(project: Project, root: Path) -> None:
    plain = _encoder.build(spec())
    torch.save(plain.state_dict(), project.root / "plain.pth")
    change(project, root, {"encoder": ENCODER | {"temporal": SGS}, "initial": "plain.pth"})
    project.run("pretrain")
    start, _ = _encoder.load(project.root / _outputs.ENCODERS.format(variant="untrained"))
    for name, value in plain.state_dict().items():
        assert torch.equal(value, start.state_dict()[f"tsm.{name}"]), name


def test_weights_of_a_plain_encoder_are_no_weights_of_an_adaptive_one(tmp_path: Path) -> None:
    _encoder.save(tmp_path, _encoder.build(spec()), spec())
    (tmp_path / _encoder.SPEC_FILE).write_text(spec(temporal=SGS).model_dump_json())
    with pytest.raises(WeightsError, match=r"after\.res3"):
        _encoder.load(tmp_path)


@pytest.mark.parametrize("name", TEMPORAL)
def test_every_module_of_the_table_can_be_chosen(name: str) -> None:
    pathways = name == "slowfast_sgs"
    one = spec(name="slowfast_8x8_r18" if pathways else "x3d_s", temporal={"name": name, "after": "res2"}, frames=8)
    features = snippet_features(_encoder.build(one).eval(), torch.zeros(1, 3, 8, 48, 64, dtype=torch.uint8))
    assert features.shape[0] == 1 and bool(features.isfinite().all())
    assert _encoder.table_entries(one)[1] == TEMPORAL[name]


def test_only_what_stands_behind_the_module_costs_less() -> None:
    clip = torch.randn(1, 3, 8, 48, 64)

    def macs(alpha: float | None) -> int:
        temporal = None if alpha is None else {"name": "stride", "alpha": alpha}
        return conv_macs(_encoder.build(spec(frames=8, temporal=temporal)), clip)

    # res4 and res5 see a half and a quarter of the frames, everything before them all.
    assert macs(None) - macs(0.25) == 1.5 * (macs(None) - macs(0.5)) > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temporal": {"name": "sgs", "alpha": 0.5}}, "alpha is no option of sgs; its options: block, bins"),
        ({"temporal": {"name": "slowfast_sgs"}}, "tsm_resnet18 takes a module of one pathway"),
        ({"name": "slowfast_4x16_r50", "temporal": {"name": "sgs"}}, "takes slowfast_sgs"),
        ({"name": "coviar_resnet18", "temporal": {"name": "sgs"}}, "no stages"),
        ({"temporal": {"name": "sgs", "after": "layer2"}}, "res3"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**values)
