"""Benchmarks: ``python -m pipeline bench [NAME...]`` writes ``reports/bench/<name>.json``. A door, like the cli.

CPU seconds of one thread; each figure is the median of several runs, and ratios are of runs that alternate. Those of
networks use a GPU where there is one and are then named by it (``<name>-cuda.json``); they need torch and numpy only.
Those of :data:`GPU_BENCHMARKS` are for a GPU alone and run when they are named, whole or by ``--part``.
"""

import importlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.run.files import write_json

BENCHMARKS = {
    "world": "pipeline.bench.world:world",
    "evaluation": "pipeline.bench.evaluation:evaluation",
    "protocols": "pipeline.bench.evaluation:protocols",
    "compressed-extraction": "pipeline.bench.compressed:extraction",
    "decode-stage": "pipeline.bench.decode:decode_stage",
    "decode-memory": "pipeline.bench.decode:decode_memory",
    "decode-storage": "pipeline.bench.storage:storage",
    "loader-clips": "pipeline.bench.decode:loader",
    "coviar": "pipeline.bench.coviar:recognition",
    "coviar-localisation": "pipeline.bench.coviar:localisation",
    "bank-ava": "pipeline.bench.bank:bank_ava",
    "sgalign": "pipeline.bench.sgalign:sgalign",
    "replay": "pipeline.bench.training:replay",
    "plan": "pipeline.bench.training:plan",
    "sgs": "pipeline.bench.sgs:sgs",
    "multigrid": "pipeline.bench.multigrid:multigrid_figures",
    "fusion": "pipeline.bench.fusion:fusion",
    "adaptive": "pipeline.bench.adaptive:adaptive",
    "shots": "pipeline.bench.shots:shots",
}


TABLES = {
    "lofi-table-7": "pipeline.bench.lofi_tables:table_7",
    "lofi-table-8": "pipeline.bench.lofi_tables:table_8",
    "coarse-fine-world": "pipeline.bench.framewise_table:coarse_fine_world",
    "bank-localisation": "pipeline.bench.bank_localisation:bank_localisation",
    "memory-world": "pipeline.bench.memory_table:memory_world",
    "box-actions-world": "pipeline.bench.long_term:box_actions_world",
    "verb-noun-world": "pipeline.bench.long_term:verb_noun_world",
    "long-form-world": "pipeline.bench.long_term:long_form_world",
}
"""The papers' tables on the small world: whole trainings, minutes to an hour of CPU, so they run when they are named."""

GPU_BENCHMARKS = {
    "gpu-backbones": "pipeline.bench.gpu_backbones:gpu_backbones",
    "gpu-lofi": "pipeline.bench.gpu_lofi:gpu_lofi",
    "gpu-temporal": "pipeline.bench.gpu_temporal:gpu_temporal",
}
"""Functions ``(part, toy) -> figures``: ``part`` None is all of them, see :mod:`pipeline.bench.gpu`."""


def bench(
    root: Path, names: Sequence[str], *, part: str | None = None, toy: bool = False, out: Path | None = None
) -> int:
    """Run the named benchmarks (all but those of a GPU without names) and write one JSON each.

    Args:
        root: the checkout.
        names: of benchmarks.
        part: of a GPU benchmark; its JSON is then ``<name>-<part>.json``.
        toy: run a GPU benchmark at toy size on the CPU; its figures are printed, and written only to an ``out``.
        out: folder of the JSON files; None: reports/bench.

    Raises:
        ValueError: unknown name, or an option that it does not have.
    """
    known = BENCHMARKS | TABLES | GPU_BENCHMARKS
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no benchmark {unknown[0]!r}; benchmarks: {', '.join(known)}")
    if (part or toy) and (not names or not set(names) <= set(GPU_BENCHMARKS)):
        raise ValueError(f"--part and --toy belong to {', '.join(GPU_BENCHMARKS)}; named: {', '.join(names) or 'none'}")
    for name in names or BENCHMARKS:
        module, _, function = known[name].partition(":")
        options = {"part": part, "toy": toy} if name in GPU_BENCHMARKS else {}
        found: dict[str, Any] = getattr(importlib.import_module(module), function)(**options)
        asked = f"{f' --part {part}' if part else ''}{' --toy' if toy else ''}"
        figures = {"command": f"python -m pipeline bench {name}{asked}", **where(root), **found}
        variant = figures.pop("variant", part)  # of the machine, where a benchmark is worth keeping for several
        if out is not None or not toy:
            folder = out if out is not None else root / "reports" / "bench"
            write_json(folder / f"{name}{f'-{variant}' if variant else ''}.json", figures)
        print(f"{name}: {json.dumps(figures)}")
    return 0


def where(root: Path) -> dict[str, Any]:
    """What every figure carries: commit, machine, date."""
    return {
        "commit": _commit(root),
        "machine": f"{os.cpu_count()} x {platform.machine()}",
        "date": time.strftime("%Y-%m-%d"),
    }


def _commit(root: Path) -> str:
    """Of the checkout; a copy of it on another machine, which has no git, is told by the variable PIPELINE_COMMIT."""
    try:
        done = subprocess.run(["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    except OSError:
        return os.environ.get("PIPELINE_COMMIT", "unknown")
    return done.stdout.strip() or os.environ.get("PIPELINE_COMMIT", "unknown")
