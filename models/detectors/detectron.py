"""detectron2's detectors behind the project's interface: any Detection configuration of its zoo, or one of your own.

detectron2 is optional and no package index carries it, so it is imported late, and its absence says how to get it. Weights
are the user's files: the zoo's ``.pkl`` pass a reader that admits arrays only, ``.pth`` are read without executing anything.
"""

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from models.detectors import Boxes, Detections, FeatureMap
from models.detectors.sizes import search_by_size
from models.weights import WeightsError, require_fit

BUILD = (
    "python -m pip install 'setuptools<81' && "
    "python -m pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git' "
    "(it compiles against this environment's torch, about 5 CPU minutes, and needs a C++ compiler)"
)
"""How to get detectron2."""

# Names that may stand in a file and not in the network, or the other way round; both come from the configuration.
_FROM_CONFIG = ("pixel_mean", "pixel_std")
_OLD_BUFFERS = "anchor_generator.cell_anchors"

_OF_CLASSES = ("roi_heads.box_predictor.", "head.cls_score.")
"""Where the layers are whose size depends on the number of classes."""


class Detectron2Detector(nn.Module):
    """Contract in ``models/detectors/__init__.py``.

    Args:
        network: of detectron2, with its thresholds.
        short_side: px to which the shorter side is scaled.
        long_side: px that the longer side never exceeds.
        input_format: order of colours that the network learned, "BGR" or "RGB".
    """

    def __init__(self, network: nn.Module, short_side: int, long_side: int, input_format: str) -> None:
        super().__init__()
        self.network: Any = network
        self.short_side, self.long_side, self.input_format = short_side, long_side, input_format

    def loss(self, pictures: Sequence[Tensor], truth: Sequence[Boxes]) -> dict[str, Tensor]:
        """The network's own terms, and their ``total``. Sampling of regions draws from torch's global generator."""
        structures, events = _detectron2("structures"), _detectron2("utils.events")
        inputs = self._inputs(pictures)
        for one, true in zip(inputs, truth, strict=True):
            height, width = one["image"].shape[1:]
            scale = torch.tensor([width / one["width"], height / one["height"]] * 2, device=true.boxes.device)
            boxes = structures.Boxes(true.boxes.float() * scale)
            one["instances"] = structures.Instances((height, width), gt_boxes=boxes, gt_classes=true.labels)
        with events.EventStorage():  # its modules log there, or fail
            terms: dict[str, Tensor] = self.network(inputs)
        return {**terms, "total": torch.stack(list(terms.values())).sum()}

    def detect(self, pictures: Sequence[Tensor]) -> list[Detections]:
        """Detections after the network's own non-maximum suppression."""
        return search_by_size(pictures, self._search)

    def _search(self, pictures: list[Tensor]) -> list[Detections]:
        found = []
        for one in self.network(self._inputs(pictures)):
            instances = one["instances"]
            order = instances.scores.argsort(descending=True, stable=True)
            boxes, labels = instances.pred_boxes.tensor[order], instances.pred_classes[order]
            found.append(Detections(boxes, labels, instances.scores[order]))
        return found

    def feature_maps(self, pictures: Tensor) -> Mapping[str, FeatureMap]:
        """The backbone's outputs, by detectron2's names (``p2`` to ``p6``, ``res4``, ...)."""
        inputs, features = self._features(pictures)
        height, width = (
            size / whole for size, whole in zip(inputs[0]["image"].shape[1:], pictures.shape[2:], strict=True)
        )
        shapes = self.network.backbone.output_shape()
        return {
            name: FeatureMap(values, (height / shapes[name].stride, width / shapes[name].stride))
            for name, values in features.items()
        }

    def box_features(self, pictures: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Features of regions by the network's own pooler and box head: ``[sum of N_b, C]``, picture after picture.

        Args:
            pictures: ``[B, 3, H, W]`` uint8.
            boxes: for each its boxes ``[N_b, 4]``, px.

        Raises:
            ValueError: a network of one stage, which has none.
        """
        heads = getattr(self.network, "roi_heads", None)
        if heads is None:
            raise ValueError(f"{type(self.network).__name__} has no pooler of its own; cut regions from feature_maps")
        inputs, features = self._features(pictures)
        height, width = (
            size / whole for size, whole in zip(inputs[0]["image"].shape[1:], pictures.shape[2:], strict=True)
        )
        scale = torch.tensor([width, height, width, height], device=pictures.device)
        scaled = [_detectron2("structures").Boxes(one.float() * scale) for one in boxes]
        used = [features[name] for name in heads.in_features]
        if hasattr(heads, "box_pooler"):
            head = heads.box_head
            # A cascade has a head per stage; the last one classifies.
            regions: Tensor = (head[-1] if isinstance(head, nn.ModuleList) else head)(heads.box_pooler(used, scaled))
        else:
            regions = heads._shared_roi_transform(used, scaled).mean(dim=(2, 3))
        return regions

    def _inputs(self, pictures: Sequence[Tensor] | Tensor) -> list[dict[str, Any]]:
        """Scaled as detectron2's predictor scales, in the order of colours that the network learned."""
        resize = _detectron2("data.transforms").ResizeShortestEdge([self.short_side] * 2, self.long_side)
        inputs = []
        for picture in pictures:
            image = picture.permute(1, 2, 0).cpu().numpy()
            image = resize.get_transform(image).apply_image(image)
            if self.input_format == "BGR":
                image = image[:, :, ::-1]
            scaled = torch.from_numpy(image.copy()).permute(2, 0, 1).float()
            inputs.append({"image": scaled, "height": picture.shape[1], "width": picture.shape[2]})
        return inputs

    def _features(self, pictures: Tensor) -> tuple[list[dict[str, Any]], Mapping[str, Tensor]]:
        inputs = self._inputs(pictures)
        features: Mapping[str, Tensor] = self.network.backbone(self.network.preprocess_image(inputs).tensor)
        return inputs, features


def detectron2_model(
    config: str,
    classes: int = 80,
    weights: str | None = None,
    short_side: int | None = None,
    long_side: int | None = None,
    min_score: float = 0.05,
    max_boxes: int = 100,
    nms_iou: float | None = None,
) -> Detectron2Detector:
    """A detector from a configuration.

    Args:
        config: a name in the zoo, such as ``COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml``, or a YAML file.
        classes: number of classes; 80 for the zoo's weights of COCO.
        weights: a file of the zoo or of a training (``.pkl``, ``.pth``); None for fresh ones.
        short_side: px to which the shorter side is scaled; None: the configuration's.
        long_side: px that the longer side never exceeds; None: the configuration's.
        min_score: detections below are dropped.
        max_boxes: most detections in a picture.
        nms_iou: of two boxes of a class that overlap more, the weaker is dropped; None: the configuration's.

    Raises:
        ModuleNotFoundError: detectron2 is not there; the message says how to get it.
        ValueError: no such configuration, or one that is no detector by itself.
        WeightsError: the weights do not fit; the message lists what.
    """
    zoo = _detectron2("model_zoo")
    path = Path(config)
    if path.suffix == ".yaml" and path.is_file():
        made = _detectron2("config").get_cfg()
        try:
            made.merge_from_file(str(path), allow_unsafe=False)  # by default a YAML file may call Python
        except Exception as error:  # of whichever library reads it
            raise ValueError(f"config {config!r} cannot be read: {error}") from error
    else:
        try:
            made = zoo.get_config(config)
        except RuntimeError as error:
            raise ValueError(f"config {config!r} is neither a YAML file nor in detectron2's zoo: {error}") from error
    network, sides, colours = _build(made, classes, config)
    for module in network.modules():
        for names, value in (
            (("test_score_thresh",), min_score),
            (("test_topk_per_image", "max_detections_per_image"), max_boxes),
            (("test_nms_thresh",), nms_iou),
        ):
            for name in names:
                if value is not None and hasattr(module, name):
                    setattr(module, name, value)
    detector = Detectron2Detector(network, short_side or sides[0], long_side or sides[1], colours)
    if weights is not None:
        load_detectron2(detector, Path(weights))
    return detector


def _build(made: Any, classes: int, config: str) -> tuple[nn.Module, tuple[int, int], str]:
    """The network with that many classes, the sides of its test pictures, and its order of colours."""
    if hasattr(made, "MODEL"):
        made.MODEL.DEVICE, made.MODEL.WEIGHTS = "cpu", ""
        made.MODEL.ROI_HEADS.NUM_CLASSES = made.MODEL.RETINANET.NUM_CLASSES = classes
        network = _detectron2("modeling").build_model(made)
        sides, colours = (made.INPUT.MIN_SIZE_TEST, made.INPUT.MAX_SIZE_TEST), made.INPUT.FORMAT
    else:  # a configuration that is Python, which only the zoo's own may be
        owner = made.model.roi_heads if "roi_heads" in made.model else made.model
        owner.num_classes = classes
        network = _detectron2("config").instantiate(made.model)
        sides, colours = (800, 1333), getattr(network, "input_format", None) or "BGR"
    two_stage = getattr(network, "roi_heads", None) is not None and network.proposal_generator is not None
    if not two_stage and not hasattr(network, "max_detections_per_image"):
        raise ValueError(f"config {config!r} builds a {type(network).__name__} that finds no boxes by itself")
    return network, sides, colours


def load_detectron2(detector: Detectron2Detector, path: Path, other_classes: bool = False) -> tuple[str, ...]:
    """Load a file of detectron2's zoo or of a training; every tensor of the network must be in it, with its shape.

    Args:
        detector: a fresh one.
        path: the file.
        other_classes: layers whose size is that of another number of classes keep their fresh weights, for fine-tuning.

    Returns:
        The names in the file that were not loaded, for that reason.

    Raises:
        WeightsError: unreadable, of Caffe2's or another project's names, or keys missing, unexpected or of another shape.
    """
    from models.checkpoints.restricted import read_pickle

    data = Path(path).read_bytes()
    try:
        if path.suffix == ".pkl":
            content = read_pickle(data)
        else:
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read without executing what is in it: {error}") from error
    state = content.get("model", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no mapping of names to tensors, under 'model' or by itself")
    expected = detector.network.state_dict()
    found = {key: value for key, value in state.items() if _OLD_BUFFERS not in key}
    for key in _FROM_CONFIG:
        if key in found and key in expected:
            found[key] = found[key].reshape(expected[key].shape)
        found.setdefault(key, expected.get(key))
    found = {key: value for key, value in found.items() if key in expected or key not in _FROM_CONFIG}
    fresh = tuple(
        key
        for key, value in found.items()
        if other_classes and key in expected and key.startswith(_OF_CLASSES) and value.shape != expected[key].shape
    )
    found |= {key: expected[key] for key in fresh}
    require_fit(detector.network, found, str(path))
    detector.network.load_state_dict(found)
    return fresh


def _detectron2(module: str) -> ModuleType:
    """A module of detectron2, or an error that says how to get it."""
    from importlib import import_module

    try:
        import detectron2  # noqa: F401 - so that its absence is told apart from a broken build
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"detectron2 is not installed; get it by: {BUILD}") from error
    return import_module(f"detectron2.{module}")
