"""Public detectors through the stages: fine-tuned on the set's boxes, with COCO's classes as they are, and refusals.

The weights are of torchvision's own networks, fresh but for their statistics: nothing public is at hand.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import detection

from pipeline.run.params import ParameterError, check_params, read_params
from pipeline.run.stage import StageError, section_models
from stages import _detector, _outputs
from tests.stages.tiny_world import Project

TRAINING = {"steps": 2, "batch": 2, "optimizer": "sgd", "lr": 0.001, "momentum": 0.9, "threads": 1}
FRCNN, SSD = "fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"


def overrides(network: dict[str, Any], **detector: Any) -> dict[str, dict[str, Any]]:
    return {
        "run": {"executor": "inline", "tracking": False},
        "detector": {"network": network, "training": TRAINING, "validation_pictures": 2} | detector,
        "detect": {"fps": 1, "min_score": 0.02, "max_boxes": 20},
        "track": {"begin_score": 0.03, "continue_score": 0.02},
    }


def save_weights(path: Path, name: str) -> None:
    torch.manual_seed(1)
    network = getattr(detection, name)(weights=None, weights_backbone=None)
    torch.save(network.state_dict(), path)


def test_faster_rcnn_fine_tuned_on_the_sets_boxes(tmp_path: Path, root: Path, capfd: Any) -> None:
    network = {"name": FRCNN, "weights": "w.pth", "short_side": 96, "train_sides": [64, 80], "norm": "frozen"}
    project = Project(
        tmp_path,
        root,
        {"training": 1, "validation": 1, "testing": 1},
        overrides(network, training=TRAINING | {"schedule": "step", "milestones": [1]})
        | {"track": {"method": "linking", "begin_score": 0.03, "min_length": 1}},
    )
    project.run("frames")
    with pytest.raises(ValueError, match=r"detector\.network\.weights = 'w\.pth': there is no such file"):
        project.run("detector")
    save_weights(tmp_path / "w.pth", FRCNN)
    metrics = project.run("detector")
    assert metrics["own_boxes"] == 1 and metrics["boxes"] > 100
    assert "all is loaded but roi_heads.box_predictor.cls_score.weight" in "".join(capfd.readouterr())
    trained, spec = _detector.load(tmp_path / _outputs.DETECTOR)
    assert spec.classes[0] == "person" and trained.network.roi_heads.box_predictor.cls_score.out_features == 6
    published = torch.load(tmp_path / "w.pth", weights_only=True)
    now = trained.network.state_dict()
    assert torch.equal(now["backbone.body.0.0.weight"], published["backbone.body.0.0.weight"]) or (
        (now["backbone.body.0.0.weight"] - published["backbone.body.0.0.weight"]).abs().max() < 0.01
    ), "it began at the public weights"
    assert not torch.equal(now["roi_heads.box_head.fc6.weight"], published["roi_heads.box_head.fc6.weight"])

    values = project.sections["detect"].model_dump() | {"regions": {"layer": "own"}}
    project.sections["detect"] = type(project.sections["detect"]).model_validate(values)
    assert 0 <= project.run("detect")["AP50_person"] <= 1
    found = project.read("detections", _outputs.DETECTIONS)
    assert len(found["box"]) and found["embedding"].shape == (len(found["box"]), 1024), "of the box head"
    assert (found["box"] >= 0).all() and (found["box"] <= np.array([112, 84, 112, 84]) + 1e-3).all()
    assert project.run("track")["tracks"] > 0


def test_ssdlite_with_cocos_classes_as_it_is(tmp_path: Path, root: Path) -> None:
    network = {"name": SSD, "short_side": None, "weights": "w.pth", "classes": "coco"}
    # Of 91 fresh outputs none is likely.
    values = overrides(network) | {"detect": {"fps": 1, "min_score": 0.005, "max_boxes": 20}}
    project = Project(
        tmp_path, root, {"testing": 1}, values | {"track": {"begin_score": 0.01, "continue_score": 0.005}}
    )
    save_weights(tmp_path / "w.pth", SSD)
    project.run("frames")
    assert project.run("detector") == {"own_boxes": 0.0, "classes": 80.0}
    detector, spec = _detector.load(tmp_path / _outputs.DETECTOR)
    assert spec.classes[:2] == ("person", "bicycle") and len(spec.classes) == 80
    published = torch.load(tmp_path / "w.pth", weights_only=True)
    for key, value in detector.network.state_dict().items():
        assert torch.equal(value, published[key]), key
    metrics = project.run("detect")
    assert metrics["pictures"] > 10 and metrics["boxes"] > 0
    assert 0 <= metrics["AP50_person"] <= 1 and "AP50_objects" not in metrics, "person is the one class that both know"
    with_classes = project.read("detections", _outputs.DETECTIONS)["label"]
    assert with_classes.max() < 80
    assert "IDF1" in project.run("track")


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ({"name": "yolo"}, "allowed: one of 'fcos_resnet18_fpn', .*'detectron2'"),
        ({"weights": "w.pth"}, "weights belongs to the detectors of torchvision and detectron2, not to fcos_resnet18"),
        ({"name": FRCNN, "classes": "coco"}, "classes: coco are those of weights; name their file"),
        ({"name": SSD}, "scales every picture to 320 x 320; short_side"),
        ({"name": "detectron2"}, "detectron2 needs config: a name of its zoo"),
        ({"name": FRCNN, "config": "x.yaml"}, "config belongs to the detectors of detectron2"),
        ({"name": FRCNN, "short_side": None, "train_sides": [512]}, "train_sides stand beside short_side"),
    ],
)
def test_what_does_not_belong_together_is_named(root: Path, network: dict[str, Any], says: str) -> None:
    raw = read_params(root / "params.yaml")
    raw["detector"] = raw["detector"] | {"network": raw["detector"]["network"] | network}
    with pytest.raises(ParameterError, match=rf"params\.yaml: detector\.network.*{says}"):
        check_params(raw, section_models(), "params.yaml")


def test_milestones_belong_to_the_schedule_step(root: Path) -> None:
    raw = read_params(root / "params.yaml")
    raw["detector"]["training"] |= {"milestones": [10]}
    with pytest.raises(ParameterError, match=r"milestones belong to schedule: step, not one_cycle"):
        check_params(raw, section_models(), "params.yaml")
    raw["detector"]["training"] |= {"schedule": "step", "decay_every": 5}
    with pytest.raises(ParameterError, match=r"decay_every is 5 and milestones are \[10\]: one of them"):
        check_params(raw, section_models(), "params.yaml")


@pytest.mark.slow
def test_detectron2_through_the_stages_or_how_to_get_it(tmp_path: Path, root: Path) -> None:
    network = {"name": "detectron2", "config": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", "short_side": 64}
    project = Project(tmp_path, root, {"training": 1, "validation": 1, "testing": 1}, overrides(network))
    project.run("frames")
    if find_spec("detectron2"):
        assert project.run("detector")["own_boxes"] == 1
        values = project.sections["detect"].model_dump() | {"regions": {"layer": "own"}}
        project.sections["detect"] = type(project.sections["detect"]).model_validate(values)
        assert 0 <= project.run("detect")["AP50_person"] <= 1
        found = project.read("detections", _outputs.DETECTIONS)
        assert found["embedding"].shape == (len(found["box"]), 1024)
        return
    with pytest.raises(StageError, match="detectron2 is not installed; get it by: python -m pip install"):
        project.run("detector")
