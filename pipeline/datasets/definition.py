"""Data set definitions, ``data/datasets/<name>.yaml``: which videos, from where, in which subsets.

Every file has ``kind:`` and the fields of that kind's class below; an unknown, missing or ill-typed field is an error.
The videos themselves lie in ``source`` (relative to the project's root, or absolute), or where ``data/raw/<name>`` links
to, if that exists.
"""

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from pipeline.datasets.schema import SUBSETS

FOLDER = Path("data/datasets")
RAW = Path("data/raw")
UNUSED = "unused"
"""Subset of annotated videos that are left out, such as test videos whose annotations are withheld."""


class DefinitionError(ValueError):
    """A definition file breaks the rules, or what it names does not exist. The text names file, field and value."""


@dataclass(frozen=True)
class WorldDefinition:
    """The procedural world.

    ``difficulty`` 0 to 1; ``extra`` training videos more than the size has; ``videos``: numbers of videos of subsets, in
    place of the size's.
    """

    name: str
    size: Literal["tiny", "small", "medium"]
    seed: int = 0
    difficulty: float = 0.5
    extra: int = 0
    videos: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(0 <= self.difficulty <= 1, "difficulty", self.difficulty, "a number from 0 to 1")
        _require(self.seed >= 0, "seed", self.seed, "a whole number from 0")
        _require(self.extra >= 0, "extra", self.extra, "a whole number from 0")
        for subset, number in self.videos.items():
            _require(subset in SUBSETS, "videos", subset, f"of {', '.join(SUBSETS)}")
            _require(number >= 0, f"videos.{subset}", number, "a whole number from 0")


@dataclass(frozen=True)
class StitchSubset:
    """One subset of a stitched set: whose clips, how many videos, and from how many to how many clips in each."""

    groups: tuple[str, ...]
    videos: int
    clips: tuple[int, int]

    def __post_init__(self) -> None:
        _require(self.videos >= 0, "videos", self.videos, "a whole number from 0")
        _require(1 <= self.clips[0] <= self.clips[1], "clips", self.clips, "[least, most], from 1")


@dataclass(frozen=True)
class StitchDefinition:
    """Untrimmed videos joined from trimmed one-label clips; see :mod:`pipeline.datasets.stitch`.

    ``pool`` is a CSV in ``source`` with columns file, label, group, n_frames, fps; ``where`` keeps the rows whose columns
    have these values. ``idle_s``: range of each idle gap; ``noise``: standard deviation of the sensor noise in grey
    levels; ``mirror``: flip about half of the clips left to right.
    """

    name: str
    source: str
    pool: str
    width: int
    height: int
    fps: float
    subsets: dict[str, StitchSubset]
    where: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    idle_s: tuple[float, float] = (1.0, 4.0)
    noise: float = 2.0
    mirror: bool = True
    gop: int = 25
    crf: int = 20

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            _require(
                getattr(self, name) >= 2 and getattr(self, name) % 2 == 0, name, getattr(self, name), "even, from 2"
            )
        _require(self.fps > 0, "fps", self.fps, "positive")
        _require(0 < self.idle_s[0] <= self.idle_s[1], "idle_s", self.idle_s, "[shortest, longest], positive")
        _require(self.seed >= 0, "seed", self.seed, "a whole number from 0")
        _require(self.noise >= 0, "noise", self.noise, "a number from 0")
        for name in self.subsets:
            _require(name in SUBSETS, "subsets", name, f"one of {', '.join(SUBSETS)}")
        self._keep_groups_apart()

    def _keep_groups_apart(self) -> None:
        owner: dict[str, str] = {}
        for name, subset in self.subsets.items():
            # The auxiliary set is trained on as well, so it may share its groups with training, and with nothing else.
            side = "training" if name == "auxiliary" else name
            for group in subset.groups:
                other = owner.setdefault(group, side)
                _require(other == side, f"subsets.{name}.groups", group, f"not in {other} too: groups are kept apart")


@dataclass(frozen=True)
class FolderDefinition:
    """A folder of videos; see :mod:`pipeline.datasets.folder`.

    ``annotations``: JSON (or .json.gz) in ActivityNet's layout; ``subsets`` renames its subsets to ours; videos without
    annotation are kept for testing.
    """

    name: str
    source: str
    annotations: str | None = None
    subsets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_subsets(self.subsets)


@dataclass(frozen=True)
class ActivityNetDefinition:
    """The videos that an annotation file in ActivityNet's layout names, from a folder (``<id>`` or ``v_<id>``)."""

    name: str
    source: str
    annotations: str
    subsets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_subsets(self.subsets)


@dataclass(frozen=True)
class AnnotatedDefinition:
    """Videos of a folder with annotations in a published format; see :mod:`pipeline.datasets.annotated`.

    ``annotations``: file or folder as the format wants it; ``split``: which of the official splits, where a set has
    several; ``subsets`` renames subsets to ours, beyond the usual words, or to ``unused``; ``class_map``: a file with the
    classes' names in index order, or with an id and a name a line. ``held_out``: share of the training videos, drawn by
    their ids, that are for validation instead: for sets that are scored on their own validation videos, by which no
    weights may be chosen. ``starts_s``: second of the annotations' clock at which the files begin (900 for AVA's 15-minute
    cuts); what is annotated before it is left out.
    """

    name: str
    source: str
    format: Literal[
        "own", "activitynet", "hacs", "thumos14", "charades", "multithumos", "ava_segments", "kinetics", "ssv2", "ucf101",
        "hmdb51", "ava", "epic100", "epic55", "lvu",
    ]  # fmt: skip
    annotations: str
    subsets: dict[str, str] = field(default_factory=dict)
    split: int = 1
    class_map: str | None = None
    held_out: float = 0.0
    starts_s: float = 0.0

    def __post_init__(self) -> None:
        _require_subsets(self.subsets, (*SUBSETS, UNUSED))
        _require(0 <= self.held_out < 1, "held_out", self.held_out, "at least 0 and below 1")
        _require(1 <= self.split <= 3, "split", self.split, "1, 2 or 3")
        _require(0 <= self.starts_s < float("inf"), "starts_s", self.starts_s, "a number from 0")


SourceDefinition: TypeAlias = StitchDefinition | FolderDefinition | ActivityNetDefinition | AnnotatedDefinition
"""What has its videos in a folder."""

Definition: TypeAlias = WorldDefinition | SourceDefinition

KINDS: Mapping[str, type[Definition]] = {
    "world": WorldDefinition,
    "stitch": StitchDefinition,
    "folder": FolderDefinition,
    "activitynet": ActivityNetDefinition,
    "annotated": AnnotatedDefinition,
}


def definition_names(root: Path) -> list[str]:
    """Names of the definition files below the project's root."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml"))


def load_definition(root: Path, name: str) -> Definition:
    """Read ``data/datasets/<name>.yaml``.

    Raises:
        DefinitionError: no such file, not YAML, unknown kind, or a wrong field.
    """
    path = root / FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise DefinitionError(
            f"{path}: there is no such data set; there are {', '.join(definition_names(root)) or 'none'}"
        )
    try:
        raw = yaml.safe_load(path.read_text())
        return _parse(raw, name)
    except yaml.YAMLError as error:
        raise DefinitionError(f"{path}: not valid YAML: {error}") from error
    except ValueError as error:
        raise DefinitionError(f"{path}: {error}") from error


def _parse(raw: Any, name: str) -> Definition:
    if not isinstance(raw, dict):
        raise ValueError(f"it holds {raw!r}, expected fields and values, `kind:` first")
    kind = raw.get("kind")
    _require(isinstance(kind, str) and kind in KINDS, "kind", kind, f"one of {', '.join(KINDS)}")
    values = {"name": name} | {key: value for key, value in raw.items() if key != "kind"}
    definition: Definition = _build(KINDS[str(kind)], values, "")
    return definition


def resolve_source(definition: SourceDefinition, root: Path) -> Path:
    """The folder with the videos, below ``root`` or absolute: ``data/raw/<name>`` where that exists, else ``source``.

    Raises:
        DefinitionError: neither exists.
    """
    link = root / RAW / definition.name
    source = root / definition.source
    for folder in (link, source):
        if folder.is_dir():
            return folder
    raise DefinitionError(
        f"{root / FOLDER / definition.name}.yaml: source is {definition.source!r}, but there is no folder {source}; "
        f"put the videos there, set source to where they lie, or link {link} to that folder"
    )


def _require_subsets(renamed: Mapping[str, str], allowed: Sequence[str] = SUBSETS) -> None:
    for theirs, ours in renamed.items():
        _require(ours in allowed, f"subsets.{theirs}", ours, f"one of {', '.join(allowed)}")


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}")


def _build(cls: Any, values: Any, at: str) -> Any:
    """Make a dataclass from a mapping, checking names and types all the way down."""
    if not isinstance(values, dict):
        raise ValueError(f"{at.rstrip('.')} is {values!r}; it must be a mapping with {', '.join(_names(cls))}")
    unknown = [name for name in values if name not in _names(cls)]
    if unknown:
        raise ValueError(f"{at}{unknown[0]} is not a field; there are {', '.join(_names(cls))}")
    missing = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING and f.name not in values]
    if missing:
        raise ValueError(f"{at}{missing[0]} is missing")
    hints = typing.get_type_hints(cls)
    converted = {name: _convert(hints[name], value, f"{at}{name}") for name, value in values.items()}
    try:
        return cls(**converted)
    except ValueError as error:
        raise ValueError(f"{at}{error}") from None


def _names(cls: Any) -> list[str]:
    return [f.name for f in fields(cls)]


def _convert(hint: Any, value: Any, at: str) -> Any:
    """Check ``value`` against a type hint of the classes above and give it that type."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        return _build(hint, value, f"{at}.")
    if origin is Literal:
        _require(value in parts, at, value, f"one of {', '.join(map(repr, parts))}")
        return value
    if origin is types.UnionType:
        return None if value is None else _convert(parts[0], value, at)
    if origin is dict:
        _require(isinstance(value, dict), at, value, "a mapping")
        return {str(key): _convert(parts[1], item, f"{at}.{key}") for key, item in value.items()}
    if origin is tuple:
        endless = parts[-1] is Ellipsis
        fits = isinstance(value, list) and (endless or len(value) == len(parts))
        _require(fits, at, value, "a list" if endless else f"a list of {len(parts)} values")
        return tuple(_convert(parts[0], item, f"{at}[{i}]") for i, item in enumerate(value))
    allowed = (int, float) if hint is float else (hint,)
    fits = isinstance(value, allowed) and (hint is bool or not isinstance(value, bool))
    _require(fits, at, value, {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[hint])
    return hint(value)
