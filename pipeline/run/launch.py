"""The door: everything that happens around ``dvc repro`` when a run is started by us, from the command line or Prefect.

First all is checked, then the workspace is made (this checkout, or a git worktree of its own), then dvc runs there, and at
the end the MLflow run is closed. A wrong request is refused before anything is made or started.
"""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import yaml

from pipeline.run.announced import PARENT_VARIABLE, STORE_VARIABLE, store_folder
from pipeline.run.dvc import Node, forget_dead_locks, needed_for, read_graph, signal_tree, start_dvc, targets
from pipeline.run.files import read_json, write_text
from pipeline.run.params import PARAMS_FILE, ParameterError, apply_overrides, check_params, read_params
from pipeline.run.process import folder_lock
from pipeline.run.stage import section_models
from pipeline.run.store import WORK_VARIABLE, make_key, work_root
from pipeline.run.tracking import PipelineRun
from pipeline.run.worktree import git, prepare_worktree, uncommitted, warn, worktree_folder

INTERRUPT_GRACE_S = 3.0

Workspace = Literal["auto", "own", "here"]


@dataclass(frozen=True)
class Request:
    """What is asked for.

    ``dataset`` names a file in data/datasets (None: that of params.yaml), ``recipe`` an overlay in recipes/, ``overrides``
    are ``section.key=value``, ``target`` is the stage to stop at. ``workspace``: ``own`` is a git worktree, ``here`` this
    checkout with its params.yaml changed, ``auto`` a worktree where the parameters are not those that stand.
    """

    dataset: str | None = None
    recipe: str | None = None
    overrides: tuple[str, ...] = ()
    target: str | None = None
    workspace: Workspace = "auto"


@dataclass(frozen=True)
class Plan:
    """A checked request: the parameters, the data set's name, the stages in order, and where it will work."""

    root: Path
    request: Request
    params: dict[str, Any]
    dataset: str
    nodes: tuple[Node, ...]
    workspace: Path


@dataclass
class Session:
    """A workspace that is ours, and the environment dvc runs in; ``status`` is what the MLflow run will end with."""

    plan: Plan
    workspace: Path
    environment: dict[str, str]
    run: PipelineRun
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    tags: dict[str, str] = field(default_factory=dict)


def check(root: Path, request: Request) -> Plan:
    """Check all of a request; nothing is written or started.

    Raises:
        ParameterError: a wrong parameter, data set, recipe or target, named with what is allowed.
    """
    standing = read_params(root / PARAMS_FILE)
    wanted = (
        merge(standing, read_params(_check_name(root / "recipes", request.recipe, "recipe")))
        if request.recipe
        else standing
    )
    wanted = apply_overrides(wanted, list(request.overrides))
    if request.dataset is not None:
        wanted["ingest"] = dict(wanted.get("ingest", {})) | {"dataset": request.dataset}
    check_params(wanted, section_models(), PARAMS_FILE)
    name = str(wanted["ingest"]["dataset"])
    _check_source(root, name)
    graph = read_graph(root, wanted)
    if request.target is not None and request.target not in targets(graph):
        raise ParameterError(f"target {request.target!r} is not a stage; stages: {', '.join(targets(graph))}")
    own = request.workspace == "own" or (request.workspace == "auto" and wanted != standing)
    workspace = worktree_folder(root, wanted, name) if own else root
    return Plan(root, request, wanted, name, tuple(needed_for(graph, request.target)), workspace)


@contextmanager
def open_session(
    plan: Plan, tags: Mapping[str, str] | None = None, say: Callable[[str], None] = warn
) -> Iterator[Session]:
    """Make the workspace and hold it; at the end close the MLflow run, if any stage opened it.

    A second run with the same parameters waits for the first, and then finds its work done.
    """
    root, workspace = plan.root, plan.workspace
    lock = work_root(root) / "runs" / f".in-use-{make_key(str(workspace.resolve()))[:10]}"
    with folder_lock(lock):
        link_source(root, plan.dataset)
        if workspace != root:
            prepare_worktree(root, workspace, plan.params, plan.dataset, say)
        elif plan.request.workspace == "here" and read_params(root / PARAMS_FILE) != plan.params:
            write_text(root / PARAMS_FILE, yaml.safe_dump(plan.params, sort_keys=False))
        for command in forget_dead_locks(workspace):
            say(f"a lock that a killed dvc left was dropped ({command})")
        run = PipelineRun.announce(
            workspace, store_folder(root), plan.dataset, _run_name(plan), _run_params(plan), _run_tags(plan, tags)
        )
        session = Session(plan, workspace, _environment(root, run), run)
        begin = time.monotonic()
        try:
            yield session
        except KeyboardInterrupt:
            session.status = "KILLED"
            raise
        finally:
            made = {node.name: _metrics(workspace, node.name) for node in plan.nodes}
            run.close(session.status, made, time.monotonic() - begin, session.tags)


def launch(root: Path, request: Request) -> int:
    """Check everything, then run ``dvc repro``; returns the exit status: 0 done, 1 failed, 128 + signal when stopped.

    Raises:
        ParameterError: a wrong parameter, data set, recipe or target; nothing was started.
    """
    plan = check(root, request)
    stopped: list[int] = []

    def stop_waiting(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop_waiting)
    try:
        with open_session(plan) as session:
            status = _repro(session, stopped)
            session.status = "KILLED" if stopped else "FAILED" if status else "FINISHED"
    except KeyboardInterrupt:
        return 128 + (stopped[0] if stopped else signal.SIGINT)
    if stopped:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 128 + stopped[0]
    return int(bool(status))


def _repro(session: Session, stopped: list[int]) -> int:
    target = session.plan.request.target
    arguments = ["repro", *([target] if target else [])]
    if session.workspace != session.plan.root:
        print(f"{session.workspace}$ {shlex.join(['dvc', *arguments])}", flush=True)
    report, table = (
        session.workspace / "reports" / "index.html",
        session.workspace / "reports" / "tables" / "results.md",
    )
    before = table.stat().st_mtime_ns if table.is_file() else None
    process = start_dvc(arguments, session.workspace, session.environment)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)
        if len(stopped) > 2:  # asked again and again
            signal_tree(process.pid, signal.SIGKILL)
        elif number == signal.SIGTERM:
            signal_tree(process.pid, signal.SIGTERM)
        else:
            # On a terminal Ctrl-C reaches dvc and its stage by itself; whoever sent it to us alone means them too.
            timer = threading.Timer(INTERRUPT_GRACE_S, signal_tree, (process.pid, signal.SIGTERM))
            timer.daemon = True
            timer.start()

    signal.signal(signal.SIGINT, pass_on)
    signal.signal(signal.SIGTERM, pass_on)
    status = process.wait()
    if status == 0 and not stopped and table.is_file() and target in (None, "report"):
        if table.stat().st_mtime_ns == before:  # nothing ran, so nothing printed it
            print(f"\n{table.read_text()}")
        print(f"report: {report}")
    return status


def _environment(root: Path, run: PipelineRun) -> dict[str, str]:
    interpreter = Path(sys.executable).parent
    return os.environ | {
        # dvc runs each stage through `python`: it must be this one.
        "PATH": f"{interpreter}{os.pathsep}{os.environ.get('PATH', '')}",
        WORK_VARIABLE: str(work_root(root).resolve()),
        STORE_VARIABLE: str(store_folder(root).resolve()),
        PARENT_VARIABLE: str(run.path),
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
    }


def _run_name(plan: Plan) -> str:
    words = [plan.dataset, plan.request.recipe if plan.request.recipe != plan.dataset else None, plan.request.target]
    changed = [override.rpartition(".")[2] for override in plan.request.overrides[:3]]
    return " ".join([*(word for word in words if word), *changed])


def _run_params(plan: Plan) -> dict[str, str]:
    request = plan.request
    return {
        "dataset": plan.dataset,
        "recipe": request.recipe or "",
        "overrides": " ".join(request.overrides),
        "target": request.target or "",
        "params_digest": make_key(plan.params),
    }


def _run_tags(plan: Plan, more: Mapping[str, str] | None) -> dict[str, str]:
    tags = {"workspace": str(plan.workspace)}
    try:
        tags |= {
            "git.commit": git(plan.root, "rev-parse", "HEAD"),
            "git.dirty": str(bool(uncommitted(plan.root))).lower(),
        }
    except OSError:
        tags["git.commit"] = "none"
    if plan.workspace != plan.root:
        tags["git.dirty"] = "false"  # a worktree holds the commit and nothing else
    return tags | dict(more or {})


def _metrics(workspace: Path, name: str) -> dict[str, Any]:
    path = workspace / "reports" / "metrics" / f"{name}.json"
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _check_source(root: Path, name: str) -> Path | None:
    """The folder that ``data/raw/<name>`` has to link to; None where it is there or the set has none."""
    path = _check_name(root / "data" / "datasets", name, "data set")
    link = root / "data" / "raw" / name
    source = yaml.safe_load(path.read_text()).get("source")
    if link.exists() or source is None:
        return None
    folder: Path = (root / str(source)).resolve()
    if not folder.is_dir():
        raise ParameterError(
            f"{path}: source = {source!r}: there is no folder {folder}; put the videos there, or link them: "
            f"ln -s FOLDER {link.relative_to(root)}"
        )
    return folder


def link_source(root: Path, name: str) -> None:
    """Make ``data/raw/<name>`` a link to the definition's ``source``, unless it is there already."""
    link = root / "data" / "raw" / name
    folder = _check_source(root, name)
    if link.exists():
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    if folder is None:
        link.mkdir()
        (link / ".gitkeep").touch()  # DVC warns about an empty folder
        return
    link.unlink(missing_ok=True)  # a link to nowhere
    link.symlink_to(folder, target_is_directory=True)


def merge(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``overlay``, nested mappings merged."""
    merged = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _check_name(folder: Path, name: str, what: str) -> Path:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none yet"
        raise ParameterError(f"{what} {name!r}: there is no {path}; known: {known}")
    return path
