"""Detectors as files: what ``detector`` writes and ``detect`` reads.

The folder ``data/checkpoints/detector`` holds ``detector.safetensors`` and ``detector.json``: the network's options, its
classes, and whether it was trained on boxes of the data set itself.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipeline.run.files import read_json, write_bytes, write_json
from pipeline.run.params import Section

WEIGHTS_FILE, SPEC_FILE = "detector.safetensors", "detector.json"


class Network(Section):
    """A detector; FCOS's paper has base_width 64, levels 3 to 7, 256 channels and 4 convolutions."""

    name: Literal["fcos_resnet18_fpn"]
    short_side: int = Field(800, ge=32, description="px of the shorter side that the network looks at")
    base_width: int = Field(64, ge=8, multiple_of=8, description="channels of the ResNet's first stage")
    first_level: int = Field(3, ge=2, le=5, description="finest level of the pyramid; its stride is 2 ** level px")
    last_level: int = Field(5, ge=2, le=5, description="coarsest level")
    channels: int = Field(256, ge=32, multiple_of=32, description="of pyramid and head")
    head_convs: int = Field(4, ge=1, description="convolutions of each branch of the head")


class DetectorSpec(Section):
    """What a saved detector is."""

    network: Network
    classes: tuple[str, ...] = Field(min_length=1, description="names, person first")
    own_boxes: bool = Field(description="trained on boxes of the data set; otherwise on the procedural world's")


def build(spec: DetectorSpec, **options: Any) -> Any:
    """A fresh detector; weights from torch's global generator."""
    from models.detectors import build_detector

    network = spec.network.model_dump()
    return build_detector(network.pop("name"), classes=len(spec.classes), **network, **options)


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
