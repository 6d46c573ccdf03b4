"""What every detector of the table must hold, and the regions cut from feature maps."""

from typing import Any

import pytest
import torch
from torch import Tensor

from models.detectors import DETECTORS, Boxes, FeatureMap, build_detector
from models.detectors.regions import region_features
from models.norm import train_mode
from models.roi import roi_features

SMALL = {"short_side": 48, "base_width": 8, "first_level": 2, "last_level": 4, "channels": 32, "head_convs": 1}
OPTIONS: dict[str, dict[str, Any]] = {"fcos_resnet18_fpn": SMALL, "ssdlite320_mobilenet_v3_large": {}}
OURS = "fcos_resnet18_fpn"  # small enough to learn within a test
NEEDS_BUILD = {"detectron2"}  # tested in test_detectron.py


def made(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    small = OPTIONS.get(name, {"short_side": 48, "norm": "batch"})
    return build_detector(name, classes=2, **small, **options).eval()


HEAVY = {
    "fasterrcnn_resnext101_fpn"
}  # Faster R-CNN on a larger backbone; built without memory in test_torchvision_zoo.py


@pytest.fixture(params=sorted(set(DETECTORS) - NEEDS_BUILD - HEAVY))
def detector(request: pytest.FixtureRequest) -> Any:
    return made(request.param, min_score=0.0)


def drawn(count: int, height: int = 48, width: int = 64, seed: int = 0) -> tuple[list[Tensor], list[Boxes]]:
    """Pictures of one large red or one small green rectangle on grey noise, and where it is."""
    generator = torch.Generator().manual_seed(seed)
    pictures, truth = [], []
    for _ in range(count):
        picture = torch.randint(90, 130, (3, height, width), dtype=torch.uint8, generator=generator)
        label = int(torch.randint(2, (), generator=generator))
        h, w = ((28, 14), (9, 9))[label]
        y, x = (int(torch.randint(room, (), generator=generator)) for room in (height - h, width - w))
        picture[:, y : y + h, x : x + w] = torch.tensor([[220, 30, 30], [30, 220, 30]][label], dtype=torch.uint8)[
            :, None, None
        ]
        pictures.append(picture)
        truth.append(Boxes(torch.tensor([[x, y, x + w, y + h]], dtype=torch.float32), torch.tensor([label])))
    return pictures, truth


def test_learns_to_find_what_is_drawn() -> None:
    detector = made(OURS)
    train_mode(detector, "running")
    optimizer = torch.optim.AdamW(detector.parameters(), lr=5e-3)
    first = 0.0
    for step in range(60):
        losses = detector.loss(*drawn(8, seed=step))
        torch.testing.assert_close(losses["total"], sum(v for k, v in losses.items() if k != "total"))
        first = first or losses["total"].item()
        optimizer.zero_grad()
        losses["total"].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in detector.parameters())
        optimizer.step()
    assert losses["total"].item() < 0.75 * first
    detector.eval()
    pictures, truth = drawn(16, seed=1000)
    with torch.inference_mode():
        found = detector.detect(pictures)
    right = 0
    for one, true in zip(found, truth, strict=True):
        assert (one.scores.diff() <= 0).all()
        right += int(len(one.boxes) > 0 and int(one.labels[0]) == int(true.labels[0]))
        right += int(len(one.boxes) > 0 and float((one.boxes[0] - true.boxes[0]).abs().max()) < 4)
    assert right >= 26, "of 32: class and place of the best detection of each picture"


def test_boxes_are_in_the_pixels_that_were_given(detector: Any) -> None:
    picture = torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    twice = picture.repeat_interleave(2, 1).repeat_interleave(2, 2)
    with torch.inference_mode():
        small, large = detector.detect([picture])[0], detector.detect([twice])[0]
    assert small.boxes.shape[1] == 4
    assert large.boxes.max() > small.boxes.max()
    assert (large.boxes <= torch.tensor([128, 96, 128, 96])).all()
    assert (small.boxes <= torch.tensor([64, 48, 64, 48])).all()


def test_a_picture_does_not_depend_on_its_batch(detector: Any) -> None:
    pictures, _ = drawn(3)
    with torch.inference_mode():
        together, alone = detector.detect(pictures), [detector.detect([picture])[0] for picture in pictures]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a.scores, b.scores, rtol=1e-4, atol=1e-5)


def test_pictures_without_boxes_and_of_different_sizes_are_learned(detector: Any) -> None:
    train_mode(detector, "running")
    pictures = [drawn(1)[0][0], drawn(1, 60, 50)[0][0]]
    nothing = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    losses = detector.loss(pictures, [drawn(1)[1][0], nothing])
    assert losses["total"].isfinite()
    losses = detector.loss(pictures, [nothing, nothing])
    losses["total"].backward()
    assert losses["total"].isfinite()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large"]
)
def test_training_lowers_the_loss(name: str) -> None:
    detector = made(name)
    train_mode(detector, "running")
    optimizer = torch.optim.AdamW(detector.parameters(), lr=5e-4)
    pictures, truth = drawn(2)
    totals = []
    for _ in range(8):
        losses = detector.loss(pictures, truth)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        totals.append(losses["total"].item())
    assert sum(totals[-2:]) / 2 < 0.8 * totals[0]


@pytest.mark.parametrize(
    "name", ["fcos_resnet50_fpn", "fasterrcnn_resnet50_fpn", OURS, "ssdlite320_mobilenet_v3_large"]
)
def test_feature_maps_can_cut_regions(name: str) -> None:
    """A cell of the finest map is where its scale says: a region follows what changes in the picture."""
    detector = made(name)
    grey = torch.full((1, 3, 96, 128), 110, dtype=torch.uint8)
    spot = grey.clone()
    spot[..., 32:64, 64:96] = 250
    boxes = [torch.tensor([[64.0, 32, 96, 64], [0, 72, 16, 96]])]
    with torch.inference_mode():
        name = next(iter(detector.feature_maps(grey)))
        moved = region_features(detector, spot, boxes, name) - region_features(detector, grey, boxes, name)
    assert moved[0].norm() > 1.5 * moved[1].norm()
    with pytest.raises(ValueError, match=f"there is no layer 'c9'; allowed: {name}"):
        region_features(detector, grey, boxes, "c9")


def test_feature_maps_have_their_scale() -> None:
    detector = made(OURS)
    with torch.inference_mode():
        maps = detector.feature_maps(torch.zeros(2, 3, 96, 128, dtype=torch.uint8))
    assert list(maps) == ["p2", "p3", "p4"]
    for level, one in zip((2, 3, 4), maps.values(), strict=True):
        assert one.values.shape == (2, 32, 48 // 2**level, 64 // 2**level)
        assert one.scale == pytest.approx((0.5 / 2**level,) * 2), "shown at half its size"


def test_regions_are_cut_where_the_boxes_are() -> None:
    values = torch.zeros(2, 3, 6, 8)
    values[0, 0, 1, 2], values[1, 2, 4, 6] = 5.0, 7.0
    feature_map = FeatureMap(values, (0.1, 0.2))  # pictures of 60 x 40 px
    boxes = [torch.tensor([[10.0, 10, 15, 20], [30, 40, 40, 60]]), torch.tensor([[30.0, 40, 35, 50]])]
    features = roi_features(feature_map, boxes, size=3)
    assert features.shape == (3, 3)
    assert features[0].tolist() == pytest.approx([5, 0, 0], abs=1.5)
    assert features[1].abs().max() == 0
    assert features[2, 2] > 4
    assert roi_features(feature_map, [torch.zeros(0, 4)] * 2).shape == (0, 3)
    with pytest.raises(ValueError, match="1 lists of boxes for 2 pictures"):
        roi_features(feature_map, boxes[:1])


def test_wrong_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown detector 'yolo'; allowed: .*fcos_resnet18_fpn"):
        build_detector("yolo")
    with pytest.raises(ValueError, match="levels are 4 to 3"):
        build_detector("fcos_resnet18_fpn", classes=2, **SMALL | {"first_level": 4, "last_level": 3})
    with pytest.raises(ValueError, match="channels is 48"):
        build_detector("fcos_resnet18_fpn", classes=2, **SMALL | {"channels": 48})
