"""Detectors as files: what ``detector`` writes and ``detect`` reads.

The folder ``data/checkpoints/detector`` holds ``detector.safetensors`` and ``detector.json``: the network's options, its
classes, and whether it was trained on boxes of the data set itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.run.files import read_json, write_bytes, write_json
from pipeline.run.params import Section
from pipeline.run.stage import StageError

WEIGHTS_FILE, SPEC_FILE = "detector.safetensors", "detector.json"


class Network(Section):
    """A detector of :data:`models.detectors.DETECTORS`; what is left out is the detector's own default.

    Of ``fcos_resnet18_fpn``, the project's own, sizes are free; FCOS's paper has base_width 64, levels 3 to 7, 256 channels
    and 4 convolutions. torchvision's and detectron2's have the sizes of their public weights.
    """

    name: Literal[
        "fcos_resnet18_fpn", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnext101_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn",
        "ssdlite320_mobilenet_v3_large", "detectron2",
    ]  # fmt: skip
    short_side: int | None = Field(None, ge=32, description="px of the shorter side that the network looks at")
    train_sides: tuple[int, ...] = Field((), description="torchvision: px, one of these or short_side in training")
    base_width: int = Field(64, ge=8, multiple_of=8, description="own FCOS: channels of the ResNet's first stage")
    first_level: int = Field(3, ge=2, le=5, description="own FCOS: finest level; its stride is 2 ** level px")
    last_level: int = Field(5, ge=2, le=5, description="own FCOS: coarsest level")
    channels: int = Field(256, ge=32, multiple_of=32, description="own FCOS: of pyramid and head")
    head_convs: int = Field(4, ge=1, description="own FCOS: convolutions of each branch of the head")
    weights: str = Field("", description="file of torchvision's or detectron2's weights, from the project's root")
    classes: Literal["set", "coco"] = Field(
        "set", description="set: the data set's, learned; coco: the 80 of the weights, used as they are"
    )
    long_side: int | None = Field(None, ge=32, description="torchvision, detectron2: px the longer side never exceeds")
    nms_iou: float | None = Field(None, gt=0, le=1, description="torchvision, detectron2: of suppression")
    norm: Literal["frozen", "batch"] | None = Field(None, description="torchvision: batch to learn from fresh weights")
    norm_eps: float | None = Field(None, ge=0, description="torchvision: of frozen norms; 0 for its COCO_V1 weights")
    config: str = Field("", description="detectron2: a name of its zoo, or a YAML file")

    @property
    def family(self) -> Literal["own", "torchvision", "detectron2"]:
        """Whose options it takes."""
        return _FAMILIES.get(self.name, "torchvision")

    @model_validator(mode="after")
    def _fits(self) -> "Network":
        ssd = self.name.startswith("ssdlite")
        for field, families in _BELONGS.items():
            if getattr(self, field) not in (None, "", ()) and self.family not in families:
                raise ValueError(f"{field} belongs to the detectors of {' and '.join(families)}, not to {self.name}")
        if ssd and any(getattr(self, field) not in (None, ()) for field in _NOT_OF_SSD):
            raise ValueError(
                f"{self.name} scales every picture to 320 x 320; {', '.join(_NOT_OF_SSD)} must be left out"
            )
        if self.train_sides and self.short_side is None:
            raise ValueError("train_sides stand beside short_side, the side at test")
        if self.classes == "coco" and not self.weights:
            raise ValueError("classes: coco are those of weights; name their file in weights")
        if self.family == "detectron2" and not self.config:
            raise ValueError("detectron2 needs config: a name of its zoo, or a YAML file")
        return self


_FAMILIES: dict[str, Literal["own", "torchvision", "detectron2"]] = {
    "fcos_resnet18_fpn": "own",
    "detectron2": "detectron2",
}
_BELONGS = {
    "weights": ("torchvision", "detectron2"),
    "config": ("detectron2",),
    "train_sides": ("torchvision",),
    "long_side": ("torchvision", "detectron2"),
    "nms_iou": ("torchvision", "detectron2"),
    "norm": ("torchvision",),
    "norm_eps": ("torchvision",),
}
_NOT_OF_SSD = ("short_side", "train_sides", "long_side", "norm", "norm_eps")
_SIZES = ("base_width", "first_level", "last_level", "channels", "head_convs")


class DetectorSpec(Section):
    """What a saved detector is."""

    network: Network
    classes: tuple[str, ...] = Field(min_length=1, description="names, person first")
    own_boxes: bool = Field(description="trained on boxes of the data set; otherwise the procedural world's, or public")


def build(spec: DetectorSpec, **options: Any) -> Any:
    """A fresh detector; weights from torch's global generator.

    Raises:
        StageError: its library is not installed; the message says how to get it.
    """
    from models.detectors import build_detector

    network, values = spec.network, {"classes": len(spec.classes), **options}
    names = ("long_side", "nms_iou", "norm", "norm_eps", "config")
    given = {name: getattr(network, name) for name in ("short_side", *names)}
    values |= {name: value for name, value in given.items() if value not in (None, "")}
    if network.train_sides:
        values["short_side"] = (*network.train_sides, network.short_side)
    if network.family == "own":
        values |= {name: getattr(network, name) for name in _SIZES}
    elif network.family == "torchvision" and network.classes == "coco":
        values["coco"] = True
    try:
        return build_detector(network.name, **values)
    except ModuleNotFoundError as error:
        raise StageError(str(error)) from error


def load_public(detector: Any, network: Network, root: Path) -> Sequence[str]:
    """Load ``network.weights`` into a fresh detector; names of what keeps fresh values, being of other classes.

    Raises:
        WeightsError: the file does not fit the network; the message lists what.
        ValueError: there is no such file.
    """
    path = root / network.weights
    if not path.is_file():
        raise ValueError(f"detector.network.weights = {network.weights!r}: there is no such file in {root}")
    if network.family == "detectron2":
        from models.detectors.detectron import load_detectron2

        return load_detectron2(detector, path, other_classes=network.classes == "set")
    from models.detectors.torchvision_zoo import load_torchvision

    return load_torchvision(detector, path)


def coco_classes() -> tuple[str, ...]:
    """COCO's 80 classes in the order of torchvision's and detectron2's weights, person first."""
    from models.detectors.torchvision_zoo import COCO_CLASSES

    return COCO_CLASSES


def table_entry(network: Network) -> str:
    """The detector's entry in the table, for the code part of a work store key."""
    from models.detectors import DETECTORS

    return DETECTORS[network.name]


def save(folder: Path, detector: Any, spec: DetectorSpec) -> None:
    """Write weights and spec into ``folder``."""
    from models.weights import save_weights

    write_bytes(folder / WEIGHTS_FILE, save_weights(detector, spec.model_dump(mode="json")))
    write_json(folder / SPEC_FILE, spec.model_dump(mode="json"))


def load_spec(folder: Path) -> DetectorSpec:
    """Read the spec of a saved detector."""
    return DetectorSpec.model_validate(read_json(folder / SPEC_FILE))


def load(folder: Path, **options: Any) -> tuple[Any, DetectorSpec]:
    """Read a saved detector, in evaluation mode; ``options`` that change no weight (``min_score``, ``max_boxes``)."""
    from models.weights import load_weights

    spec = load_spec(folder)
    detector = build(spec, **options)
    load_weights(detector, folder / WEIGHTS_FILE)
    return detector.eval(), spec
