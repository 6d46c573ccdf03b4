"""The classifier of whole videos, as a file beside the head with whose features it was trained."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.run.files import read_json, write_bytes
from pipeline.run.stage import StageError
from stages import _localiser

if TYPE_CHECKING:
    from torch import nn

FILE = "video_classifier.safetensors"
NAME = "video_classifier"


def entry() -> str:
    """Its entry in the table of heads."""
    from models.heads import HEADS

    return HEADS[NAME]


def save(folder: Path, classifier: "nn.Module") -> None:
    """Write the classifier beside its head."""
    from models.weights import save_weights

    write_bytes(folder / FILE, save_weights(classifier, {}))


def load(folder: Path) -> tuple["nn.Module", tuple[str, ...]]:
    """Read that of a head's folder, in evaluation mode, and the class names.

    Raises:
        StageError: the head has none.
    """
    from models.heads import build_head
    from models.weights import load_weights

    if not (folder / FILE).is_file():
        raise StageError(f"{folder}: no {FILE}; run the stage `head` again")
    raw = read_json(folder / _localiser.HEAD_FILE)
    classifier = build_head(NAME, feature_dim=raw["feature_dim"], classes=len(raw["classes"]))
    load_weights(classifier, folder / FILE)
    return classifier.eval(), tuple(raw["classes"])
