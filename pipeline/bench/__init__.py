"""Benchmarks: ``python -m pipeline bench [NAME...]`` writes ``reports/bench/<name>.json``. A door, like the cli.

CPU seconds of one thread; each figure is the median of several runs, and ratios are of runs that alternate. Those of
networks use a GPU where there is one and are then named by it (``<name>-cuda.json``); they need torch and numpy only.
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
}


def bench(root: Path, names: Sequence[str]) -> int:
    """Run the named benchmarks (all without names) and write one JSON each.

    Raises:
        ValueError: unknown name.
    """
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise ValueError(f"there is no benchmark {unknown[0]!r}; benchmarks: {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        module, _, function = BENCHMARKS[name].partition(":")
        found: dict[str, Any] = getattr(importlib.import_module(module), function)()
        figures = {"command": f"python -m pipeline bench {name}", **_where(root), **found}
        variant = figures.pop("variant", None)  # of the machine, where a benchmark is worth keeping for several
        write_json(root / "reports" / "bench" / f"{name}{f'-{variant}' if variant else ''}.json", figures)
        print(f"{name}: {json.dumps(figures)}")
    return 0


def _where(root: Path) -> dict[str, Any]:
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "commit": done.stdout.strip() or "unknown",
        "machine": f"{os.cpu_count()} x {platform.machine()}",
        "date": time.strftime("%Y-%m-%d"),
    }
