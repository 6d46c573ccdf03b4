"""torchvision's networks: its weights give its results, for COCO's classes and others; regions by its own pooler."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection

from models.detectors import build_detector
from models.detectors.regions import OWN_POOLER, region_features
from models.detectors.torchvision_zoo import COCO_CLASSES, load_torchvision
from models.weights import WeightsError

NAMES = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": {"min_size": 64, "box_score_thresh": 0.0, "box_detections_per_img": 100},
    "fasterrcnn_resnet50_fpn": {"min_size": 64, "box_score_thresh": 0.0, "box_detections_per_img": 100},
    "retinanet_resnet50_fpn": {"min_size": 64, "score_thresh": 0.0, "detections_per_img": 100},
    "fcos_resnet50_fpn": {"min_size": 64, "score_thresh": 0.0, "detections_per_img": 100},
    "ssdlite320_mobilenet_v3_large": {"score_thresh": 0.0, "detections_per_img": 100},
}
FAST = "fasterrcnn_mobilenet_v3_large_320_fpn"


def theirs(name: str, **options: Any) -> Any:
    """torchvision's own network with weights and statistics that are not the fresh ones."""
    torch.manual_seed(3)
    network = getattr(detection, name)(weights=None, weights_backbone=None, **options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


def saved(network: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getvalue()


def picture(height: int = 64, width: int = 80) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def small(name: str, **options: Any) -> Any:
    sides = {} if "ssd" in name else {"short_side": 64}
    return build_detector(name, min_score=0.0, **sides, **options).eval()


def test_classes_are_cocos() -> None:
    assert len(COCO_CLASSES) == 80 and COCO_CLASSES[0] == "person" and COCO_CLASSES[-1] == "toothbrush"


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_published_weights_give_the_published_results(name: str, tmp_path: Path) -> None:
    network = theirs(name, **NAMES[name])
    (tmp_path / "w.pth").write_bytes(saved(network))
    norm = {} if "ssd" in name else {"norm": "batch"}
    detector = small(name, classes=80, coco=True, **norm)
    assert load_torchvision(detector, tmp_path / "w.pth") == ()
    expected = network([picture().float() / 255])[0]
    found = detector.detect([picture()])[0]
    categories = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    names = [categories[label] for label in expected["labels"].tolist()]
    kept = torch.tensor([name not in ("N/A", "__background__") for name in names])
    assert kept.sum() > 10
    assert [COCO_CLASSES[label] for label in found.labels.tolist()] == [
        n for n, k in zip(names, kept, strict=True) if k
    ]
    torch.testing.assert_close(found.scores, expected["scores"][kept])
    torch.testing.assert_close(found.boxes, expected["boxes"][kept], rtol=1e-4, atol=1e-3)


@torch.inference_mode()
def test_frozen_norms_compute_the_same() -> None:
    network = theirs("fasterrcnn_resnet50_fpn", min_size=64)
    for name in ("frozen", "batch"):
        detector = small("fasterrcnn_resnet50_fpn", classes=80, coco=True, norm=name)
        load_torchvision(detector, saved(network))
        values = detector.feature_maps(picture()[None])["p4"].values
        expected = network.backbone(network.transform([picture().float() / 255])[0].tensors)["2"]
        torch.testing.assert_close(values, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_other_classes_keep_a_fresh_last_layer() -> None:
    for name, last in (
        (FAST, "roi_heads.box_predictor."),
        ("ssdlite320_mobilenet_v3_large", "head.classification_head."),
    ):
        network = theirs(name)
        detector = small(name, classes=3)
        before = {key: value.clone() for key, value in detector.network.state_dict().items()}
        left = load_torchvision(detector, saved(network))
        assert left and all(key.startswith(last) for key in left)
        for key, value in detector.network.state_dict().items():
            if key.endswith("num_batches_tracked"):
                continue
            torch.testing.assert_close(value, before[key] if key in left else network.state_dict()[key])


def test_what_does_not_fit_is_listed_and_nothing_changes() -> None:
    detector = small(FAST, classes=3)
    before = {key: value.clone() for key, value in detector.network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"does not fit FasterRCNN:\n  missing: (?s:.*)unexpected: head\."):
        load_torchvision(detector, saved(theirs("ssdlite320_mobilenet_v3_large")))
    with pytest.raises(WeightsError, match="not a state dict of plain tensors"):
        load_torchvision(detector, b"no weights")
    buffer = io.BytesIO()
    torch.save([1, 2], buffer)
    with pytest.raises(WeightsError, match="holds a list"):
        load_torchvision(detector, buffer.getvalue())
    for key, value in detector.network.state_dict().items():
        assert torch.equal(value, before[key])


@torch.inference_mode()
def test_the_own_pooler_sees_what_the_network_saw() -> None:
    detector = small(FAST, classes=3)
    seen: dict[str, Any] = {}
    heads = detector.network.roi_heads
    heads.box_roi_pool.register_forward_pre_hook(lambda _m, inputs: seen.update(boxes=seen.get("boxes", inputs[1])))
    heads.box_head.register_forward_hook(lambda _m, _i, output: seen.update(features=seen.get("features", output)))
    pictures = torch.stack([picture(128, 160), picture(128, 160).flip(2)])
    detector.detect(list(pictures))
    boxes = [scaled * 2 for scaled in seen["boxes"]]  # shown at half the size
    features = region_features(detector, pictures, boxes, OWN_POOLER)
    torch.testing.assert_close(features, seen["features"], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="SSD has no pooler of its own"):
        region_features(small("ssdlite320_mobilenet_v3_large", classes=3), pictures, boxes, OWN_POOLER)


@torch.inference_mode()
def test_pictures_of_other_sizes_in_the_batch_change_nothing() -> None:
    detector = small(FAST, classes=3)
    pictures = [picture(), picture(96, 64), picture().flip(1)]
    together = detector.detect(pictures)
    for one, alone in zip(together, pictures, strict=True):
        torch.testing.assert_close(one.scores, detector.detect([alone])[0].scores, rtol=1e-4, atol=1e-5)


def test_the_person_detector_of_the_thesis_is_built() -> None:
    with torch.device("meta"):
        detector = build_detector("fasterrcnn_resnext101_fpn", classes=1, short_side=range(512, 801, 32))
    widths = [block.conv2.weight.shape for block in detector.network.backbone.body.layer1]
    assert widths == [(256, 8, 3, 3)] * 3, "32 groups of 8 channels"
    assert [len(detector.network.backbone.body[f"layer{i}"]) for i in range(1, 5)] == [3, 4, 23, 3]
    assert sum(parameter.numel() for parameter in detector.parameters()) > 100e6


def test_frozen_norms_and_several_sides() -> None:
    from torchvision.ops import FrozenBatchNorm2d

    detector = small("fasterrcnn_resnet50_fpn", classes=3, norm_eps=0.0)
    frozen = [module for module in detector.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert len(frozen) == 53 and {module.eps for module in frozen} == {0.0}
    jittered = build_detector(FAST, classes=2, short_side=(64, 96, 128))
    sizes = set()
    torch.manual_seed(0)
    for _ in range(20):
        sizes.add(jittered.network.transform.train()([picture().float()])[0].image_sizes[0][0])
    assert sizes == {64, 96, 128}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "classes is 0"),
        ({"classes": 2, "coco": True}, "classes is 2; needed: at least 1, and with coco 80"),
        ({"classes": 2, "norm": "group"}, "norm is 'group'; allowed: batch, frozen"),
        ({"classes": 2, "depth": 3}, "its options: classes, short_side"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_detector(FAST, **options)
