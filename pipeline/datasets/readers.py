"""Data set readers: one module per kind of definition, chosen from a table.

A reader module has two functions. ``plan(definition, root) -> list[Planned]`` lists the videos by name, without opening
one. ``make(id, inputs, spec, folder) -> Video`` opens, renders or stitches one of them; a video that is made is written
to ``folder/unit.mp4``, what is true of its frames (where that is known) to ``folder/unit.truth.h5``. One that reads a
published format also has ``classes(definition, root) -> tuple[str, ...]``: the class names in the set's own order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.datasets.definition import (
    ActivityNetDefinition,
    AnnotatedDefinition,
    Definition,
    FolderDefinition,
    StitchDefinition,
    WorldDefinition,
)

READERS: dict[str, str] = {
    "world": "pipeline.datasets.world.reader:make",
    "stitch": "pipeline.datasets.stitch:make",
    "folder": "pipeline.datasets.folder:make",
    "activitynet": "pipeline.datasets.folder:make",
    "annotated": "pipeline.datasets.annotated:make",
}
_KIND = {
    WorldDefinition: "world",
    StitchDefinition: "stitch",
    FolderDefinition: "folder",
    ActivityNetDefinition: "activitynet",
    AnnotatedDefinition: "annotated",
}


@dataclass(frozen=True)
class Planned:
    """A video to come: id, the files it is made from, and plain values that decide the rest."""

    id: str
    inputs: tuple[Path, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)


def reader_entry(definition: Definition) -> str:
    """The table entry of a definition's reader."""
    return READERS[_KIND[type(definition)]]


def class_names(definition: Definition, root: Path, used: Iterable[str]) -> tuple[str, ...]:
    """Class names in index order: the reader's own list, where it has one, then those of ``used`` that it lacks, sorted."""
    listed = getattr(reader_module(reader_entry(definition)), "classes", None)
    known: tuple[str, ...] = listed(definition, root) if listed else ()
    return (*known, *sorted(set(used) - set(known)))


def reader_module(entry: str) -> ModuleType:
    """Import a reader."""
    return import_module(entry.partition(":")[0])
