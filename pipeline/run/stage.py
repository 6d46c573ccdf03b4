"""What a stage declares: its section, artifact kinds, inputs, outputs and one function.

A *video stage* maps a function over videos; a *dataset stage* (training, evaluation) sees the whole set.
``pipeline.run.runner`` runs them.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.run.artifacts import Kind
from pipeline.run.params import RunSection, Section
from pipeline.run.progress import StageProgress

FAILURES_FILE = "failures.json"


class StageError(RuntimeError):
    """A stage cannot do its work: an input is missing, or too many videos failed."""


@dataclass(frozen=True)
class Unit:
    """One unit of a video stage's work: a video's id, its file stem, input files, and plain values that matter."""

    id: str
    stem: str
    inputs: tuple[Path, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)


class Array(NamedTuple):
    """An array that a checkpoint takes or gives; -1 in ``shape``: any length."""

    dtype: str
    shape: tuple[int, ...]


class Signature(NamedTuple):
    """What a checkpoint takes, and gives: an array, or a table of columns with their types (``double``, ``string``)."""

    inputs: Array
    outputs: Array | Mapping[str, str]


@dataclass(frozen=True)
class Context:
    """What a stage's functions are given.

    ``shared`` holds the values of other sections that the stage declared in ``reads_params``. ``work`` survives a kill
    (checkpoints go there) and ``result`` becomes the outputs; both are set for dataset stages only.
    """

    root: Path
    params: Any
    variant: str
    shared: Mapping[str, Any]
    progress: StageProgress
    log: Callable[[int, Mapping[str, float]], None]
    fingerprint: str = ""
    work: Path = Path()
    result: Path = Path()


def _no_code(_params: Any, _root: Path, _variant: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Stage:
    """What every stage declares."""

    name: str
    section: type[Section]
    variants: tuple[str, ...] = ()
    reads: tuple[Kind, ...] = ()
    writes: tuple[Kind, ...] = ()
    reads_params: tuple[str, ...] = ()
    needs: str = "cpu"
    code: Callable[[Any, Path, str], Sequence[str]] = _no_code
    """(params, root, variant) -> entries of tables ("module:function") that this run computes with."""


@dataclass(frozen=True)
class VideoStage(Stage):
    """Maps ``process(unit, params, folder) -> record`` over ``units(context)``.

    ``process`` writes files named ``unit.<suffix>`` into ``folder``; they end as ``<out>/<stem>.<suffix>``. The record
    (plain values) is kept with them. ``finish(context, folder, records)`` may write files of the whole set and returns
    metrics.
    """

    out: str = ""
    units: Callable[[Context], Sequence[Unit]] = field(default=lambda context: ())
    process: Callable[[Unit, Any, Path], Mapping[str, Any]] = field(default=lambda unit, params, folder: {})
    finish: Callable[[Context, Path, Mapping[str, Mapping[str, Any]]], Mapping[str, float]] | None = None


@dataclass(frozen=True)
class DatasetStage(Stage):
    """Calls ``run(context) -> metrics`` once for the whole set.

    ``inputs(context)`` lists the files and folders it reads. ``outs`` maps a sub-folder of ``context.result`` to where it
    is linked; ``{variant}`` is filled in.
    """

    inputs: Callable[[Context], Sequence[Path]] = field(default=lambda context: ())
    run: Callable[[Context], Mapping[str, float]] = field(default=lambda context: {})
    outs: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    """Sub-folder of ``context.result`` -> module that serves it: ``signature(folder)`` and ``_load_pyfunc(folder)``, which
    gives an object with ``predict``. Tracking logs them as models."""
    always: bool = False
    """Never taken from the work store (the report, which is exempt from "same input, same bytes")."""


def totals(records: Mapping[str, Mapping[str, Any]], *names: str) -> dict[str, float]:
    """Sums over the records of all units, for ``finish``."""
    return {name: float(sum(record[name] for record in records.values())) for name in names}


def find_stage(name: str) -> VideoStage | DatasetStage:
    """Import ``stages.<name>`` and return its ``STAGE``.

    Raises:
        StageError: there is no such stage; the names are listed.
    """
    if name not in stage_names():
        raise StageError(f"there is no stage {name!r}; stages: {', '.join(stage_names())}")
    stage: VideoStage | DatasetStage = importlib.import_module(f"stages.{name}").STAGE
    return stage


def stage_names() -> list[str]:
    """Names of all stages, from the folder ``stages``."""
    package = importlib.import_module("stages")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def section_models() -> dict[str, type[Section]]:
    """The model of every section of params.yaml."""
    return {"run": RunSection, **{name: find_stage(name).section for name in stage_names()}}
