"""What the evaluate command is asked, as plain values, and how arrays and figures come in and go out."""

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.text import read_object


@dataclass(frozen=True)
class Request:
    """The command's options; None where not given. A protocol reads those that its table entry names."""

    truth: Path
    predictions: Path
    subset: str | None = None
    variant: str | None = None
    classes: Path | None = None
    exclude: Path | None = None
    class_scores: str | None = None
    top_k: int | None = None
    training: Path | None = None
    task: str | None = None
    format: str | None = None
    split: int | None = None

    def given(self) -> tuple[str, ...]:
        """Names of the options that are set, beside the two files."""
        names = [field.name for field in fields(self)]
        return tuple(n for n in names if n not in ("truth", "predictions") and getattr(self, n) is not None)

    def choose(self, variants: tuple[str, ...]) -> str:
        """The variant, by default the first of ``variants``.

        Raises:
            ValueError: it is none of them.
        """
        if self.variant is not None and self.variant not in variants:
            raise ValueError(f"--variant is {self.variant!r}; it must be one of {', '.join(variants)}")
        return self.variant or variants[0]


def load_arrays(path: Path) -> dict[str, NDArray[np.floating]]:
    """Arrays by name: an ``.npz`` with one array per video, or JSON ``{video: nested lists}``.

    Raises:
        ValueError: neither, or an array that is not of numbers; file and video are named.
    """
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (zipfile.BadZipFile, ValueError) as error:
            raise ValueError(f"{path} is no readable .npz of plain arrays: {error}") from error
    else:
        arrays = {}
        for name, value in read_object(path).items():
            try:
                arrays[name] = np.asarray(value, np.float64)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: video {name!r}: not a table of numbers: {error}") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{path}: video {name!r}: an array of {array.dtype}, expected numbers")
    return {name: array.astype(np.float64) if array.dtype.kind != "f" else array for name, array in arrays.items()}


def plain(value: Any) -> Any:
    """The value as JSON takes it: numpy numbers as Python's, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def listed(names: tuple[str, ...] | list[str], words: str, most: int = 5) -> list[str]:
    """A warning about some names, or none."""
    if not names:
        return []
    return [f"{len(names)} {words}: {', '.join(names[:most])}{', ...' if len(names) > most else ''}"]


def read_names(path: Path) -> frozenset[str]:
    """Video ids from a JSON list or a text file with one a line.

    Raises:
        ValueError: JSON that is no list of names; a missing file is a FileNotFoundError.
    """
    text = path.read_text()
    if path.suffix == ".json":
        names = json.loads(text)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: expected a JSON list of video ids")
        return frozenset(names)
    return frozenset(line.strip() for line in text.splitlines() if line.strip())
