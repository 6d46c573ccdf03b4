"""The head that localises, as a file: shared by ``lofi``, ``head``, ``evaluate`` and ``predict``.

Which head it is stands in ``head.name`` of params.yaml and beside its weights; all else goes by the contract
:class:`models.heads.Localiser`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from pipeline.run.files import read_json, write_bytes, write_json
from pipeline.run.params import Section

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from models.heads.standardise import StandardisedLocaliser

LOCALISER_FILE, CLASSIFIER_FILE, HEAD_FILE = "localiser.safetensors", "classifier.safetensors", "head.json"
FILES = (LOCALISER_FILE, CLASSIFIER_FILE, HEAD_FILE)
READS_PARAMS = ("head.name", "head.gtad", "head.actionformer")
"""What :func:`chosen` needs of other sections."""


class GTADSpec(Section):
    """Sizes of G-TAD; the defaults are the published network."""

    hidden: int = Field(256, ge=4, multiple_of=4, description="channels of the GCNeXt blocks")
    groups: int = Field(32, ge=1)
    width_per_group: int = Field(4, ge=1)
    inner_points: int = Field(32, ge=1, description="SGAlign samples in an anchor")
    context_points: int = Field(4, ge=0, description="SGAlign samples of its semantic context")
    aligned: int = Field(512, ge=1, description="channels after SGAlign")
    localisation: int = Field(128, ge=1, description="channels of the localisation layers")
    compat: Literal["fixed", "released"] = "fixed"


class ActionFormerSpec(Section):
    """Sizes of ActionFormer; the defaults are the published network for ActivityNet."""

    hidden: int = Field(256, ge=2, multiple_of=2, description="channels, a multiple of heads")
    heads: int = Field(4, ge=1, description="of the attention")
    window: int = Field(25, ge=1, description="of the attention, snippets of the level; odd")
    levels: int = Field(6, ge=1, le=6, description="of the pyramid")
    dropout: float = Field(0.1, ge=0, lt=1)
    drop_path: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits(self) -> "ActionFormerSpec":
        if self.hidden % self.heads:
            raise ValueError(f"hidden is {self.hidden}, no multiple of heads = {self.heads}")
        if self.window % 2 == 0:
            raise ValueError(f"window is {self.window}; it must be odd")
        return self


SPECS: dict[str, type[Section]] = {"gtad": GTADSpec, "actionformer": ActionFormerSpec}


class LocaliserSpec(NamedTuple):
    """A localiser's name in :data:`models.heads.HEADS` and its sizes."""

    name: str
    sizes: Section


def chosen(values: Mapping[str, Any]) -> LocaliserSpec:
    """The localiser that ``head.name`` chooses, of the values of :data:`READS_PARAMS`."""
    return LocaliserSpec(values["head.name"], values[f"head.{values['head.name']}"])


def entries(name: str | None = None) -> list[str]:
    """Entries of the table of heads that a stage computes with: of ``name`` (None: whichever) and of the classifier."""
    from models.heads import HEADS

    return [HEADS[n] for n in (*((name,) if name else SPECS), "segment_classifier")]


def saved_entries(folder: Path) -> list[str]:
    """:func:`entries` of a saved head."""
    return entries(saved_name(folder))


def saved_name(folder: Path) -> str:
    """The name of a saved localiser.

    Raises:
        ValueError: the file names an unknown one.
    """
    name = read_json(folder / HEAD_FILE).get("name")
    if name not in SPECS:
        raise ValueError(f"{folder / HEAD_FILE}: name is {name!r}; allowed: {', '.join(SPECS)}")
    return str(name)


def build(spec: LocaliserSpec, feature_dim: int) -> "StandardisedLocaliser":
    """A fresh localiser behind a standardisation of its features; weights from torch's global generator."""
    from models.heads import build_head
    from models.heads.standardise import StandardisedLocaliser

    head = build_head(spec.name, feature_dim=feature_dim, **spec.sizes.model_dump())
    return StandardisedLocaliser(feature_dim, head)


def save(
    folder: Path,
    localiser: "StandardisedLocaliser",
    classifier: "nn.Module",
    spec: LocaliserSpec,
    classes: Sequence[str],
    snippets: int,
    frames: Section,
    compressed: Mapping[str, Any],
) -> None:
    """Write a head: the localiser, the segment classifier, and what a reader needs to build both and to feed them.

    Args:
        folder: to write into.
        localiser: the network.
        classifier: of segments.
        spec: of the network.
        classes: class names by index.
        snippets: L at full fidelity.
        frames: the section that the frames were decoded by.
        compressed: how streams were read, for encoders that see those: the values of that section but ``arrays``.
    """
    from models.weights import save_weights

    write_bytes(folder / LOCALISER_FILE, save_weights(localiser, {}))
    write_bytes(folder / CLASSIFIER_FILE, save_weights(classifier, {}))
    write_json(
        folder / HEAD_FILE,
        {
            "name": spec.name,
            "sizes": spec.sizes.model_dump(mode="json"),
            "feature_dim": localiser.feature_dim,
            "classes": list(classes),
            "snippets": snippets,
            "frames": frames.model_dump(mode="json"),
            "compressed": dict(compressed),
        },
    )


def load(folder: Path) -> tuple["StandardisedLocaliser", "nn.Module", tuple[str, ...]]:
    """Read a head: localiser and classifier in evaluation mode, and class names.

    Raises:
        ValueError: the file names an unknown localiser.
    """
    from models.heads import build_head
    from models.weights import load_weights

    name, raw = saved_name(folder), read_json(folder / HEAD_FILE)
    spec, classes = LocaliserSpec(name, SPECS[name].model_validate(raw["sizes"])), tuple(raw["classes"])
    localiser = build(spec, raw["feature_dim"])
    classifier = build_head("segment_classifier", feature_dim=raw["feature_dim"], classes=len(classes))
    load_weights(localiser, folder / LOCALISER_FILE)
    load_weights(classifier, folder / CLASSIFIER_FILE)
    return localiser.eval(), classifier.eval(), classes


def loss(
    localiser: "StandardisedLocaliser", features: "Tensor", segments: Sequence["Tensor"], generator: "torch.Generator"
) -> Mapping[str, "Tensor"]:
    """Loss terms by name of a batch of features ``[B, F, L]`` with its segments (:class:`models.heads.Localiser`)."""
    labels = localiser.labels(segments, features.shape[2])
    terms: Mapping[str, Tensor] = localiser.loss(localiser(features), labels, generator)._asdict()
    return terms
