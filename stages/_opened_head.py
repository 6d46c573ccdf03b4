"""A saved head, with its long-term context if it has one, as ``evaluate``, ``predict`` and MLflow open it.

The context lies beside the head as files of its own; without them a head is what :func:`stages._localiser.save` wrote.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.datasets.schema import Video
from pipeline.run.files import read_json, write_bytes, write_json
from stages import _localiser
from stages._head_context import Banks, ContextSpec, InBank, open_banks

if TYPE_CHECKING:
    from torch import Tensor

    from models.heads.bank_context import BankContext, BankLocaliser, BankWindows

WEIGHTS_FILE, SPEC_FILE = "context.safetensors", "context.json"
WITHOUT_BANKS = (
    "the head was trained with long-term context (head.context), and there is no feature bank here: "
    "it sees every snippet by itself"
)


class OpenedHead(NamedTuple):
    """A loaded head on its device.

    ``of`` a video gives localiser and classifier as :func:`stages._detections.localise` takes them. ``banks`` is None for a
    head without context.
    """

    classes: tuple[str, ...]
    of: Callable[[InBank], tuple[Any, Any]]
    banks: Banks | None


class _Seeing(NamedTuple):
    """A localiser with the windows of one video."""

    model: "BankLocaliser"
    windows: "Callable[[int], BankWindows]"

    def __call__(self, features: "Tensor") -> Any:
        return self.model(features, self.windows(features.shape[2]))

    def proposals(self, output: Any) -> Any:
        return self.model.localiser.proposals(output)


def save(folder: Path, banks: Banks, localiser: "BankContext", classifier: "BankContext") -> None:
    """Write the contexts of localiser and classifier beside their head."""
    from torch import nn

    from models.weights import save_weights

    both = nn.ModuleDict({"localiser": localiser, "classifier": classifier})
    write_bytes(folder / WEIGHTS_FILE, save_weights(both, {}))
    write_json(folder / SPEC_FILE, {"bank_dim": banks.dim, **banks.spec.model_dump(mode="json")})


def has_context(folder: Path) -> bool:
    """Whether a saved head sees feature banks."""
    return (folder / SPEC_FILE).is_file()


def load(folder: Path, root: Path | None = None, videos: Sequence[Video] = ()) -> OpenedHead:
    """Read a head, in evaluation mode.

    Args:
        folder: of the head.
        root: of the project with the banks; None: there are none, and no window has a row (see :data:`WITHOUT_BANKS`).
        videos: whose banks are read.

    Raises:
        ValueError: the file names an unknown localiser.
        StageError: the head has context, and none of the videos a bank that fits.
    """
    from torch import nn

    from models.heads.bank_context import BankLocaliser, BankSegmentClassifier, BankWindows
    from models.heads.segment_classifier import SegmentClassifier, pool_segments
    from models.weights import load_weights
    from pipeline.training.device import device, to_device

    localiser, classifier, classes = _localiser.load(folder)
    localiser.to(device()), classifier.to(device())
    if not has_context(folder):
        return OpenedHead(classes, lambda _video: (localiser, classifier), None)
    raw = read_json(folder / SPEC_FILE)
    dim = raw.pop("bank_dim")
    spec = ContextSpec.model_validate(raw)
    banks = Banks(spec, dim, None) if root is None else open_banks(root, videos, spec, dim)
    of_snippets, of_segments = (banks.context(localiser.feature_dim) for _ in range(2))
    both = nn.ModuleDict({"localiser": of_snippets, "classifier": of_segments})
    load_weights(both, folder / WEIGHTS_FILE)
    both.to(device()).eval()
    assert isinstance(classifier, SegmentClassifier)
    sees, names = BankLocaliser(localiser, of_snippets), BankSegmentClassifier(classifier, of_segments)

    def of(video: InBank) -> tuple[Any, Any]:
        def windows(length: int) -> BankWindows:
            found: BankWindows = to_device(banks.of_snippets([video], length), device())
            return found

        def classify(features: "Tensor", segments: "Sequence[Tensor]") -> "list[Tensor]":
            (one,), (some,) = features, segments
            around = to_device(banks.of_segments((video, ends) for ends in some), device())
            return [names.classify(pool_segments(one, some), around)]

        return _Seeing(sees, windows), classify

    return OpenedHead(classes, of, banks)
