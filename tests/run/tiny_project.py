"""A whole project in a temp folder: real stages on real files, so small that a run takes a fraction of a second.

``ingest`` maps over text files with one number each, ``train`` is a loop with a checkpoint, ``report`` ends a run. The
content of a file may also tell a unit to misbehave. What was computed is appended to ``computed.log``.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent

FILES = {
    "models/__init__.py": """
SCALES = {"double": "models.double:scale", "triple": "models.triple:scale"}
""",
    "models/double.py": """
def scale(value):
    return 2 * value
""",
    "models/triple.py": """
def scale(value):
    return 3 * value
""",
    "stages/__init__.py": "",
    "stages/_kinds.py": """
from pipeline.run.artifacts import Array, Kind

NUMBERS = Kind("numbers", 1, "", {"pts": Array("float64", ("row",), "s", "")}, {"source": str})
""",
    "stages/ingest.py": """
import os
import signal
import time
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np

from models import SCALES
from pipeline.run.files import write_json
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Unit, VideoStage
from stages._kinds import NUMBERS


class Ingest(Section):
    dataset: str = "tiny"
    scale: Literal["double", "triple"] = "double"
    rows: int = 3


def units(context):
    files = sorted((context.root / "data" / "raw").iterdir())
    return [Unit(path.stem, path.stem, (path,)) for path in files]


def process(unit, params, folder):
    text = unit.inputs[0].read_text().strip()
    with open("computed.log", "a") as log:
        log.write(f"ingest {unit.id}\\n")
    time.sleep(float(os.environ.get("TINY_PAUSE", 0)))
    if text == "exit":
        os._exit(7)
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    module, _, function = SCALES[params.scale].partition(":")
    value = getattr(import_module(module), function)(float(text))
    rows = 100_000 if text == "9" else params.rows
    NUMBERS.write(folder / "unit.h5", {"pts": np.full(rows, value)}, {"source": text})
    return {"value": value}


def finish(context, folder, records):
    write_json(folder / "index.json", {name: record["value"] for name, record in records.items()})
    return {"total": sum(record["value"] for record in records.values())}


STAGE = VideoStage(
    "ingest", Ingest, writes=(NUMBERS,), code=lambda params, root, variant: [SCALES[params.scale]],
    out="data/artifacts/numbers", units=units, process=process, finish=finish,
)

if __name__ == "__main__":
    main("ingest")
""",
    "stages/train.py": """
import os
import time

from pipeline.run.files import read_json, write_json
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import DatasetStage


class Train(Section):
    steps: int = 20


def run(context):
    state_file = context.work / "state.json"
    state = read_json(state_file) if state_file.is_file() else {"step": 0, "weight": 1.0}
    context.progress.start("steps", context.params.steps, state["step"])
    while state["step"] < context.params.steps:
        time.sleep(float(os.environ.get("TINY_PAUSE", 0)))
        with open("computed.log", "a") as log:
            log.write(f"train@{context.variant} {state['step']}\\n")
        state = {"step": state["step"] + 1, "weight": (state["weight"] * 7.7 + state["step"]) % 5}
        write_json(state_file, state)
        context.log(state["step"], {"weight": state["weight"]})
        context.progress.update(state["step"])
    weights = {"weight": state["weight"], "variant": context.variant, "rows": context.shared["ingest.rows"]}
    write_json(context.result / "model" / "weights.json", weights)
    return {"weight": state["weight"], "top1/I+M (any // class)": 0.5}


STAGE = DatasetStage(
    "train", Train, variants=("a", "b"), reads_params=("ingest.rows",),
    inputs=lambda context: [context.root / "data" / "artifacts" / "numbers"],
    run=run, outs={"model": "data/checkpoints/{variant}"},
)

if __name__ == "__main__":
    main("train")
""",
    "stages/report.py": """
from pipeline.run.files import read_json, write_json
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import DatasetStage


class Report(Section):
    pass


def run(context):
    weight = read_json(context.root / "data" / "checkpoints" / "a" / "weights.json")["weight"]
    write_json(context.result / "page" / "page.json", {"weight": weight})
    return {"final": weight}


STAGE = DatasetStage(
    "report", Report, inputs=lambda context: [context.root / "data" / "checkpoints"], run=run,
    outs={"page": "reports/page"}, always=True,
)

if __name__ == "__main__":
    main("report")
""",
}


class TinyProject:
    """The project and what one does with it."""

    def __init__(self, folder: Path, videos: dict[str, str], tracking: bool = False) -> None:
        self.folder = folder
        for name, text in FILES.items():
            self.write(name, text)
        for name, text in videos.items():
            self.add_video(name, text)
        self.params: dict[str, dict[str, Any]] = {
            "run": {"executor": "inline", "tracking": tracking, "max_failed": 0.5},
            "ingest": {},
            "train": {},
            "report": {},
        }

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def add_video(self, name: str, text: str) -> None:
        self.write(f"data/raw/{name}.txt", text)

    def start(self, stage: str, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a stage as DVC would."""
        self.write("params.yaml", yaml.safe_dump(self.params))
        return subprocess.Popen(
            [sys.executable, "-m", f"stages.{stage}", *words],
            cwd=self.folder,
            env=clean_environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, stage: str, *words: str, expect: int = 0, **environment: str) -> str:
        """Run a stage to its end; returns what it printed."""
        process = self.start(stage, *words, **environment)
        out, error = process.communicate(timeout=60)
        assert process.returncode == expect, f"exit status {process.returncode}, expected {expect}:\n{out}{error}"
        return out + error

    def computed(self) -> list[str]:
        """What was computed since the last call."""
        path = self.folder / "computed.log"
        lines = path.read_text().splitlines() if path.is_file() else []
        path.unlink(missing_ok=True)
        return lines

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def outputs(self) -> dict[str, bytes]:
        """Name and bytes of every artifact and checkpoint."""
        folders = [self.folder / "data" / "artifacts", self.folder / "data" / "checkpoints"]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}


def clean_environment() -> dict[str, str]:
    """This process's environment without what a pipeline run around the tests may have set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIPELINE_", "DVC_", "TINY_"))}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Poll until ``condition`` holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited {timeout_s} s in vain until {what}"
        time.sleep(0.01)
