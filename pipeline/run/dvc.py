"""dvc as a child process: started so that it never outlives us, stopped with all that it started; and its graph.

dvc ignores SIGINT while a stage runs and does not pass SIGTERM on, so whoever stops it must tell the whole tree.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipeline.run.files import write_json
from pipeline.run.params import PARAMS_FILE, ParameterError, read_params

GRAPH_FILE = "dvc.yaml"

# The kernel kills the child when its parent dies of anything, SIGKILL included (Linux; elsewhere only the stages notice).
_TETHER = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (OSError, AttributeError):
    pass
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


def tethered(command: Sequence[str]) -> list[str]:
    """``command`` so that it dies with the thread that starts it."""
    return [sys.executable, "-c", _TETHER, str(os.getpid()), *command]


def dvc_program() -> str:
    """The dvc of this interpreter."""
    return str(Path(sys.executable).parent / "dvc")


def start_dvc(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    own_group: bool = False,
    output: int | None = None,
) -> "subprocess.Popen[str]":
    """Start dvc; it waits for dvc's own lock, and dies when we do.

    Args:
        arguments: of dvc, such as ``["repro", "-s", "frames"]``.
        folder: the checkout to work in.
        environment: of dvc and its stage.
        own_group: make it the leader of a process group; not on a terminal, whose Ctrl-C must reach the stage.
        output: where its output goes: ``subprocess.PIPE`` (stderr joined), or None for ours.
    """
    return subprocess.Popen(
        tethered([dvc_program(), "--wait-for-lock", *arguments]),
        cwd=folder,
        env=dict(environment),
        start_new_session=own_group,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        text=True,
        errors="replace",
    )


# `dvc push` leaves out what is not in dvc's cache by declaration (metrics), though its run cache needs and has it.
_PUSH = """
import sys
from dvc.repo import Repo
with Repo(_wait_for_lock=True) as repo:
    repo.push(targets=sys.argv[1:], run_cache=True)
    outs = [out for name in sys.argv[1:] for stage in repo.stage.collect(name) for out in stage.outs]
    repo.cloud.push({out.hash_info for out in outs if not out.use_cache and out.hash_info})
"""


def start_push(name: str, folder: Path, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Start pushing a stage's results, so that another machine's ``dvc repro --pull`` finds them as an earlier run's."""
    return subprocess.Popen(
        tethered([sys.executable, "-c", _PUSH, name]),
        cwd=folder,
        env=dict(environment),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def signal_tree(pid: int, number: int) -> None:
    """Send a signal to a process and all below it, the lowest first."""
    try:
        process = psutil.Process(pid)
        family = [*reversed(process.children(recursive=True)), process]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(number)


def stop_tree(process: "subprocess.Popen[Any]", grace_s: float) -> None:
    """End a process and all below it: SIGTERM, and SIGKILL for what is left after ``grace_s`` seconds."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    signal_tree(process.pid, signal.SIGTERM)
    end = time.monotonic() + grace_s
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    _, alive = psutil.wait_procs(family, max(0.0, end - time.monotonic()))
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def forget_dead_locks(folder: Path) -> list[str]:
    """Drop entries of dvc's path locks whose process is gone or is no dvc; returns their commands.

    dvc itself looks only at whether the PID exists, and a PID may have been given to another process since.
    """
    path = folder / ".dvc" / "tmp" / "rwlock"
    try:
        locks = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    except (ValueError, OSError):
        path.unlink(missing_ok=True)
        return [f"{path} was damaged"]
    dropped = []
    kept: dict[str, dict[str, Any]] = {"read": {}, "write": {}}
    for mode, paths in locks.items():
        for name, holders in paths.items():
            many = holders if isinstance(holders, list) else [holders]
            alive = [holder for holder in many if holder and _is_dvc(holder.get("pid"))]
            dropped += [str(holder.get("cmd")) for holder in many if holder and holder not in alive]
            if alive:
                kept[mode][name] = alive if isinstance(holders, list) else alive[0]
    if dropped:
        write_json(path, kept)
    return sorted(set(dropped))


def _is_dvc(pid: Any) -> bool:
    try:
        return any("dvc" in Path(word).name for word in psutil.Process(int(pid)).cmdline()[:4])
    except (psutil.Error, TypeError, ValueError):
        return False


@dataclass(frozen=True)
class Node:
    """One stage of the graph, its matrix filled in: ``stage`` and ``variant`` make its name, ``after`` are its parents."""

    name: str
    stage: str
    variant: str
    after: tuple[str, ...]


def read_graph(root: Path, params: Mapping[str, Any] | None = None) -> dict[str, Node]:
    """The stages of dvc.yaml by name, each after those it stands on.

    Args:
        root: of the project.
        params: values that stand in for ``${section.key}`` in the paths; None: those of params.yaml, if there is one.

    Raises:
        ParameterError: there is no readable dvc.yaml.
    """
    try:
        stages = yaml.safe_load((root / GRAPH_FILE).read_text())["stages"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ParameterError(f"{root / GRAPH_FILE}: cannot be read: {error}") from error
    if params is None:
        params = read_params(root / PARAMS_FILE) if (root / PARAMS_FILE).is_file() else {}
    values = {f"${{{section}.{key}}}": str(value) for section, of in params.items() if isinstance(of, Mapping)
              for key, value in of.items()}  # fmt: skip
    entries: dict[str, tuple[str, str, list[str], list[str]]] = {}
    for stage, entry in stages.items():
        for key, variant in _matrix(stage, entry):
            name = f"{stage}@{variant}" if variant else stage
            made = [*entry.get("outs", []), *entry.get("metrics", [])]
            outs = [next(iter(out)) if isinstance(out, dict) else out for out in made]
            known = values | {f"${{item.{key}}}": variant}
            filled = [[_fill(str(p), known) for p in ps] for ps in (entry.get("deps", []), outs)]
            entries[name] = stage, variant, filled[0], filled[1]
    after = {
        name: tuple(
            other
            for other, (_, _, _, outs) in entries.items()
            if other != name and any(_overlap(dep, out) for dep in deps for out in outs)
        )
        for name, (_, _, deps, _) in entries.items()
    }
    ordered: dict[str, Node] = {}
    while len(ordered) < len(entries):
        # The first that can be next, so that the file's own order is kept wherever it can be.
        name = next((one for one in entries if one not in ordered and all(p in ordered for p in after[one])), None)
        if name is None:
            raise ParameterError(f"{root / GRAPH_FILE}: the stages stand on each other in a circle")
        ordered[name] = Node(name, entries[name][0], entries[name][1], after[name])
    return ordered


def _fill(path: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{[^}]*\}", lambda found: values.get(found[0], found[0]), path)


def targets(graph: Mapping[str, Node]) -> list[str]:
    """What dvc takes as a target: every stage, and a stage with variants as a whole."""
    return list(dict.fromkeys(name for node in graph.values() for name in (node.stage, node.name)))


def needed_for(graph: Mapping[str, Node], target: str | None) -> list[Node]:
    """The stages that ``target`` stands on and itself, in order; all for None."""
    wanted = {name for name, node in graph.items() if target in (None, name, node.stage)}
    for name in reversed(list(graph)):
        if name in wanted:
            wanted |= set(graph[name].after)
    return [node for name, node in graph.items() if name in wanted]


def _matrix(stage: str, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    matrix = entry.get("matrix")
    if not matrix:
        return [("", "")]
    if len(matrix) != 1:
        raise ParameterError(f"{GRAPH_FILE}: {stage} has a matrix of {len(matrix)} keys; one is supported")
    return [(key, str(value)) for key, values in matrix.items() for value in values]


def _overlap(dep: str, out: str) -> bool:
    a, b = Path(dep), Path(out)
    return a == b or a in b.parents or b in a.parents
