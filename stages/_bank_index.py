"""Banks of a data set as stages read them: where they lie, and an index of the wanted kinds of rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.datasets.bank_windows import BankIndex, index_banks
from pipeline.datasets.schema import Video
from pipeline.run import kinds
from stages import _outputs
from stages._bank_rows import UNTRACKED, RowKind

_NO_OBJECTS = ("person", *UNTRACKED)


def bank_paths(root: Path, videos: Sequence[Video]) -> dict[str, Path]:
    """The banks that there are, by video."""
    return {video.id: path for video, path in _outputs.existing(root, _outputs.BANK, videos).items()}


def index_kinds(paths: Mapping[str, Path], wanted: Sequence[RowKind], min_score: float = 0.0) -> BankIndex:
    """Index banks for rows of these kinds that were detected with ``min_score``; raises as :func:`index_banks`."""
    with kinds.BANK.open(next(iter(paths.values()))) as reader:
        classes = reader.attributes["classes"].split(",")
    return index_banks(paths, min_score=min_score, classes=names_of(classes, wanted))


def names_of(classes: Sequence[str], wanted: Sequence[RowKind]) -> list[str]:
    """The classes of a bank's rows that are of these kinds; what is tracked and no person is an object."""
    return [name for name in classes if (name if name in _NO_OBJECTS else "object") in wanted]
