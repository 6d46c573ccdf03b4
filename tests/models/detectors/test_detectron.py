"""detectron2 behind the detector interface: its own predictor is the oracle; without it, an error that names the fix."""

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.detectors import Boxes, build_detector
from models.detectors.detectron import load_detectron2
from models.detectors.regions import OWN_POOLER, region_features
from models.weights import WeightsError

installed = importlib.util.find_spec("detectron2") is not None
needs_build = pytest.mark.skipif(not installed, reason="needs detectron2, which no package index carries")

FPN, C4, RETINA, FCOS = (
    f"COCO-Detection/{name}"
    for name in ("faster_rcnn_R_50_FPN_3x.yaml", "faster_rcnn_R_50_C4_1x.yaml", "retinanet_R_50_FPN_1x.yaml",
                 "fcos_R_50_FPN_1x.py")
)  # fmt: skip
SMALL: dict[str, Any] = {"short_side": 64, "long_side": 128, "min_score": 0.0}


@pytest.mark.skipif(installed, reason="detectron2 is there")
def test_its_absence_names_the_fix() -> None:
    with pytest.raises(ModuleNotFoundError, match="detectron2 is not installed; get it by: python -m pip install"):
        build_detector("detectron2", config=FPN)


def picture(height: int = 96, width: int = 120, seed: int = 5) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def made(config: str, **options: Any) -> Any:
    torch.manual_seed(0)
    detector = build_detector("detectron2", config=config, **SMALL | options).eval()
    for name, buffer in detector.network.named_buffers():
        if name.endswith("norm.weight"):
            buffer.fill_(0.4)  # frozen norms without statistics let the activations of fresh weights explode
    return detector


@needs_build
@pytest.mark.parametrize("config", [FPN, C4, RETINA, FCOS])
@torch.inference_mode()
def test_it_finds_what_detectron2s_predictor_finds(config: str) -> None:
    """The steps of detectron2's DefaultPredictor, on the same network."""
    from detectron2.data import transforms

    detector = made(config)
    image = picture()
    bgr = image.flip(0).permute(1, 2, 0).numpy()  # what the predictor is given: BGR
    scaled = transforms.ResizeShortestEdge([64, 64], 128).get_transform(bgr).apply_image(bgr)
    if detector.input_format == "RGB":
        scaled = scaled[:, :, ::-1]
    given = {"image": torch.as_tensor(scaled.astype("float32").transpose(2, 0, 1).copy()), "height": 96, "width": 120}
    expected = detector.network([given])[0]["instances"]
    found = detector.detect([image])[0]
    assert 0 < len(expected) <= 100
    order = expected.scores.argsort(descending=True, stable=True)
    torch.testing.assert_close(found.scores, expected.scores[order])
    torch.testing.assert_close(found.boxes, expected.pred_boxes.tensor[order])
    assert torch.equal(found.labels, expected.pred_classes[order])
    assert found.boxes[:, 2].max() <= 120 and found.boxes[:, 3].max() <= 96


@needs_build
@pytest.mark.parametrize("config", [FPN, RETINA])
def test_thresholds_classes_and_loss(config: str) -> None:
    detector = made(config, classes=3, max_boxes=7)
    with torch.inference_mode():
        found = detector.detect([picture(), picture(80, 80)])
        assert all(len(one.boxes) <= 7 and (one.labels < 3).all() for one in found)
        assert not len(made(config, classes=3, min_score=0.999).detect([picture()])[0].boxes)
        alone = detector.detect([picture(80, 80)])[0]
    torch.testing.assert_close(found[1].scores, alone.scores)
    detector.train()
    nothing = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    losses = detector.loss([picture()] * 2, [Boxes(torch.tensor([[10.0, 10, 60, 70]]), torch.tensor([2])), nothing])
    torch.testing.assert_close(losses["total"], sum(v for k, v in losses.items() if k != "total"))
    losses["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in detector.parameters())


@needs_build
@torch.inference_mode()
def test_regions_of_a_layer_and_of_its_own_pooler() -> None:
    detector = made(FPN)
    pictures = torch.stack([picture(128, 128), picture(128, 128, seed=6)])
    maps = detector.feature_maps(pictures)
    assert list(maps) == ["p2", "p3", "p4", "p5", "p6"]
    assert maps["p3"].scale == pytest.approx((0.5 / 8, 0.5 / 8)) and maps["p3"].values.shape == (2, 256, 8, 8)
    seen: dict[str, Any] = {}
    heads = detector.network.roi_heads
    heads.box_pooler.register_forward_pre_hook(lambda _m, inputs: seen.update(boxes=seen.get("boxes", inputs[1])))
    heads.box_head.register_forward_hook(lambda _m, _i, out: seen.update(features=seen.get("features", out)))
    detector.detect(list(pictures))
    boxes = [one.tensor * 2 for one in seen["boxes"]]
    found = region_features(detector, pictures, boxes, OWN_POOLER)
    torch.testing.assert_close(found, seen["features"], rtol=1e-4, atol=1e-4)
    assert region_features(detector, pictures, [torch.tensor([[0.0, 0, 64, 64]])] * 2, "p3").shape == (2, 256)
    assert region_features(made(C4), pictures, [torch.tensor([[0.0, 0, 64, 64]])] * 2, OWN_POOLER).shape == (2, 2048)
    with pytest.raises(ValueError, match="RetinaNet has no pooler of its own"):
        region_features(made(RETINA), pictures, boxes, OWN_POOLER)


@needs_build
def test_weights_of_the_zoos_form(tmp_path: Path) -> None:
    source = made(FPN)
    state = {name: value.numpy() for name, value in source.network.state_dict().items()}
    content = {"model": state, "__author__": "detectron2 Model Zoo"}
    (tmp_path / "model_final.pkl").write_bytes(pickle.dumps(content, protocol=2))
    torch.save({"model": source.network.state_dict(), "iteration": 3}, tmp_path / "model_final.pth")
    for name in ("model_final.pkl", "model_final.pth"):
        torch.manual_seed(9)
        loaded = build_detector("detectron2", config=FPN, weights=str(tmp_path / name), **SMALL)
        for key, value in loaded.network.state_dict().items():
            assert torch.equal(value, source.network.state_dict()[key]), key
    with pytest.raises(WeightsError, match=r"does not fit GeneralizedRCNN(?s:.*)shape: roi_heads.box_predictor"):
        build_detector("detectron2", config=FPN, classes=2, weights=str(tmp_path / "model_final.pkl"))
    tuned = made(FPN, classes=2)
    before = {key: value.clone() for key, value in tuned.network.state_dict().items()}
    fresh = load_detectron2(tuned, tmp_path / "model_final.pkl", other_classes=True)
    assert {key.rpartition(".")[0] for key in fresh} == {
        f"roi_heads.box_predictor.{n}" for n in ("cls_score", "bbox_pred")
    }
    for key, value in tuned.network.state_dict().items():
        assert torch.equal(value, before[key] if key in fresh else source.network.state_dict()[key]), key
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(WeightsError, match=r"it wants os\.system"):
        build_detector("detectron2", config=FPN, weights=str(tmp_path / "evil.pkl"))


@needs_build
def test_a_file_of_ones_own_is_a_configuration_and_cannot_execute(tmp_path: Path) -> None:
    from detectron2 import model_zoo

    whole = model_zoo.get_config(FPN)
    whole.INPUT.MIN_SIZE_TEST = 72
    (tmp_path / "own.yaml").write_text(whole.dump())
    detector = build_detector("detectron2", config=str(tmp_path / "own.yaml"), classes=2)
    assert (detector.short_side, detector.long_side, detector.input_format) == (72, 1333, "BGR")
    (tmp_path / "evil.yaml").write_text("MODEL: {META_ARCHITECTURE: !!python/object/apply:os.getcwd []}")
    with pytest.raises(ValueError, match=r"evil.yaml' cannot be read: could not determine a constructor"):
        build_detector("detectron2", config=str(tmp_path / "evil.yaml"))


@needs_build
def test_what_is_no_detector_is_named() -> None:
    with pytest.raises(ValueError, match="neither a YAML file nor in detectron2's zoo"):
        made("COCO-Detection/yolo.yaml")
    with pytest.raises(ValueError, match="builds a ProposalNetwork that finds no boxes by itself"):
        made("COCO-Detection/rpn_R_50_FPN_1x.yaml")
    with pytest.raises(ValueError, match="builds a GeneralizedRCNN that finds no boxes by itself"):
        made("COCO-Detection/fast_rcnn_R_50_FPN_1x.yaml")
