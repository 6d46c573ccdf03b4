"""Figures and files of the stage ``memory``, the same for all of its tasks."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.bootstrap import Interval
from pipeline.run.files import write_bytes, write_json
from stages._memory_training import Data


def figures(key: str, name: str, value: Interval, gain: Interval | None) -> dict[str, float]:
    """``key/name``, ``key_low/name``, ``key_high/name``, and the same of ``key_gain`` where there is one."""
    return {
        f"{label}{end}/{name}": bound
        for label, one in ((key, value), (f"{key}_gain", gain))
        if one is not None
        for end, bound in (("", one.value), ("_low", one.low), ("_high", one.high))
    }


def write(
    folder: Path,
    parts: Mapping[str, Data],
    scores: Mapping[str, Mapping[str, np.ndarray]],
    metrics: Mapping[str, float],
    shown: Sequence[object],
) -> None:
    """``scores.npz``, ``table.json`` and ``attention.json``; names of arrays begin with that of the part, if it has one."""
    testing = next(iter(parts.values())).testing
    names = [f"{testing.ids[v]} {t:.3f}" for v, t in zip(testing.video, testing.t, strict=True)]
    arrays: dict[str, Any] = {"names": np.array(names)}
    for part, tables in scores.items():
        prefix = f"{part}_" if part else ""
        arrays[f"{prefix}labels"] = parts[part].testing.labels
        arrays |= {f"{prefix}scores_{name}": one for name, one in tables.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(folder / "scores.npz", buffer.getvalue())
    write_json(folder / "table.json", dict(metrics))
    write_json(folder / "attention.json", list(shown))
