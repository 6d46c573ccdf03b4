"""The door: start ``dvc repro`` with the params.yaml that stands, or with overrides in a git worktree of its own.

A worktree shares the main checkout's DVC cache, work store, MLflow store and interpreter by absolute path, so that equal
work is done once and the user's files are never touched.
"""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import yaml

from pipeline.run.files import write_text
from pipeline.run.params import PARAMS_FILE, ParameterError, apply_overrides, check_params, read_params
from pipeline.run.stage import section_models
from pipeline.run.store import WORK_VARIABLE, make_key, work_root
from pipeline.run.tracking import STORE_VARIABLE, store_folder


def launch(
    root: Path, dataset: str | None, recipe: str | None, overrides: list[str], target: str | None, here: bool
) -> int:
    """Check everything, then run ``dvc repro``; returns its exit status.

    Args:
        root: the checkout.
        dataset: name of a file in data/datasets, or None for the one in params.yaml.
        recipe: name of an overlay in recipes/.
        overrides: ``section.key=value``.
        target: stage to stop at.
        here: write the overridden params.yaml here instead of into a worktree.

    Raises:
        ParameterError: a wrong parameter, data set, recipe or target; nothing was started.
    """
    standing = read_params(root / PARAMS_FILE)
    wanted = merge(standing, _overlay(root, recipe)) if recipe else standing
    wanted = apply_overrides(wanted, overrides)
    if dataset is not None:
        wanted["ingest"] = dict(wanted.get("ingest", {})) | {"dataset": dataset}
    check_params(wanted, section_models(), PARAMS_FILE)
    name = str(wanted["ingest"]["dataset"])
    _check_name(root / "data" / "datasets", name, "data set")
    if target is not None:
        _check_target(root, target)
    _link_source(root, name)

    if wanted == standing:
        workspace = root
    elif here:
        workspace = root
        write_text(root / PARAMS_FILE, yaml.safe_dump(wanted, sort_keys=False))
    else:
        workspace = _worktree(root, wanted, name)
    return _repro(root, workspace, target)


def _repro(root: Path, workspace: Path, target: str | None) -> int:
    interpreter = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{interpreter}{os.pathsep}{os.environ.get('PATH', '')}",
        WORK_VARIABLE: str(work_root(root)),
        STORE_VARIABLE: str(store_folder(root)),
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
    }
    command = [str(interpreter / "dvc"), "repro", *([target] if target else [])]
    if workspace != root:
        print(f"{workspace}$ {shlex.join(['dvc', *command[1:]])}", flush=True)
    process = subprocess.Popen(command, cwd=workspace, env=environment)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        # dvc does not forward a signal to its stage: tell the whole tree.
        for child in psutil.Process(process.pid).children(recursive=True):
            child.send_signal(number)
        process.send_signal(number)

    # Ctrl-C reaches dvc and its stage by itself (one process group); here it only must not end us before them.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, pass_on)
    report, table = workspace / "reports" / "index.html", workspace / "reports" / "tables" / "results.md"
    before = table.stat().st_mtime_ns if table.is_file() else None
    status = process.wait()
    if status == 0 and table.is_file():
        if table.stat().st_mtime_ns == before:  # nothing ran, so nothing printed it
            print(f"\n{table.read_text()}")
        print(f"report: {report}")
    return status


def _worktree(root: Path, params: dict[str, Any], name: str) -> Path:
    """The worktree of these parameters, made or brought to HEAD; equal parameters get the same one and go on there."""
    folder = work_root(root) / "runs" / f"{name}-{make_key(params)[:10]}"
    if (folder / ".git").exists():
        _git(folder, "checkout", "--quiet", "--force", "--detach", _git(root, "rev-parse", "HEAD"))
    else:
        _git(root, "worktree", "prune")
        folder.parent.mkdir(parents=True, exist_ok=True)
        _git(root, "worktree", "add", "--quiet", "--force", "--detach", str(folder), "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    if changed:
        files = ", ".join(line[3:] for line in changed)
        print(f"this run uses the last commit; uncommitted changes are not part of it: {files}", file=sys.stderr)
    write_text(folder / PARAMS_FILE, yaml.safe_dump(params, sort_keys=False))
    cache = subprocess.run(
        [str(Path(sys.executable).parent / "dvc"), "cache", "dir"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()
    write_text(folder / ".dvc" / "config.local", f"[cache]\n    dir = {(root / cache).resolve()}\n")
    _share_link(root / "data" / "raw" / name, folder / "data" / "raw" / name)
    return folder


def _share_link(source: Path, link: Path) -> None:
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source.resolve(), target_is_directory=True)


def _link_source(root: Path, name: str) -> None:
    """Make ``data/raw/<name>`` a link to the definition's ``source``, unless it is there already."""
    link = root / "data" / "raw" / name
    if link.exists():
        return
    path = root / "data" / "datasets" / f"{name}.yaml"
    source = yaml.safe_load(path.read_text()).get("source")
    link.parent.mkdir(parents=True, exist_ok=True)
    if source is None:
        link.mkdir()
        (link / ".gitkeep").touch()  # DVC warns about an empty folder
        return
    folder = (root / source).resolve()
    if not folder.is_dir():
        raise ParameterError(
            f"{path}: source = {source!r}: there is no folder {folder}; put the videos there, or link them: "
            f"ln -s FOLDER {link.relative_to(root)}"
        )
    if link.is_symlink():
        link.unlink()
    link.symlink_to(folder, target_is_directory=True)


def _overlay(root: Path, recipe: str) -> dict[str, dict[str, Any]]:
    return read_params(_check_name(root / "recipes", recipe, "recipe"))


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


def _check_target(root: Path, target: str) -> None:
    graph = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    names = []
    for name, stage in graph.items():
        matrix = stage.get("matrix")
        names += [f"{name}@{value}" for values in matrix.values() for value in values] if matrix else []
        names.append(name)
    if target not in names:
        raise ParameterError(f"target {target!r} is not a stage; stages: {', '.join(names)}")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"git {' '.join(arguments)} failed in {folder}: {done.stderr.strip()}")
    return done.stdout.strip()
