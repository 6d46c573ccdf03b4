"""A git worktree for a run with other parameters, so that the user's files are never touched.

It shares the main checkout's DVC cache and remotes by absolute path (the work store, the MLflow store and the interpreter
come with the environment), so equal work is done once.
"""

import configparser
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipeline.run.dvc import dvc_program
from pipeline.run.files import write_bytes, write_text
from pipeline.run.params import PARAMS_FILE, ParameterError
from pipeline.run.process import folder_lock
from pipeline.run.store import make_key, work_root

# What a run is made of; a change elsewhere (README, tests) does not matter to it.
_CODE = ("dvc.yaml", "pipeline", "stages", "models", "requirements.lock", ".dvc", ".dvcignore")


def worktree_folder(root: Path, params: dict[str, Any], dataset: str) -> Path:
    """Where the worktree of these parameters lies: equal parameters get the same one and go on there."""
    return work_root(root) / "runs" / f"{dataset}-{make_key(params)[:10]}"


def prepare_worktree(
    root: Path, folder: Path, params: dict[str, Any], dataset: str, say: Callable[[str], None]
) -> None:
    """Make the worktree, or bring it to the last commit of ``root``; params.yaml and the data set's definition are ours.

    Args:
        root: the checkout it belongs to.
        folder: from :func:`worktree_folder`.
        params: what its params.yaml shall say.
        dataset: whose definition it gets; all of data/raw is linked.
        say: is told what the user should know.

    Raises:
        ParameterError: ``root`` is no git checkout with a commit.
    """
    try:
        commit = git(root, "rev-parse", "HEAD")
    except OSError as error:
        raise ParameterError(
            f"a run with parameters of its own needs a git checkout with a commit ({error}); or run it here (--here)"
        ) from error
    changed = uncommitted(root)
    if changed:
        say(
            f"this run uses the last commit ({commit[:9]}); uncommitted changes are not part of it: {', '.join(changed)}"
        )
    with folder_lock(folder.parent / ".making"):
        _make(root, folder, commit, say)
    write_text(folder / PARAMS_FILE, yaml.safe_dump(params, sort_keys=False))
    definition = Path("data", "datasets", f"{dataset}.yaml")
    # A definition is an input like the parameters: a new one must not have to be committed first.
    write_bytes(folder / definition, (root / definition).read_bytes())
    _share_cache(root, folder)
    raw = root / "data" / "raw"
    # Not the data set's source alone: public weights that parameters name lie there too.
    for name in sorted({dataset, *(path.name for path in (raw.iterdir() if raw.is_dir() else ()))}):
        _share_source(raw / name, folder / "data" / "raw" / name)


def uncommitted(root: Path) -> list[str]:
    """Files of the code that differ from the last commit, new ones included."""
    return [line[3:] for line in git(root, "status", "--porcelain", "--", *_CODE).splitlines()]


def git(folder: Path, *arguments: str) -> str:
    """Run git; raises OSError with what it said."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"git {' '.join(arguments)} failed in {folder}: {done.stderr.strip()}")
    return done.stdout.rstrip()


def _make(root: Path, folder: Path, commit: str, say: Callable[[str], None]) -> None:
    if folder.exists() and not _is_worktree(folder):
        say(f"{folder} is no longer a whole worktree; it is made anew, finished work comes from the store")
        shutil.rmtree(folder)
    if not folder.exists():
        git(root, "worktree", "prune")  # of those that were deleted by hand
        git(root, "worktree", "add", "--quiet", "--force", "--detach", str(folder), commit)
        return
    lock = folder / "dvc.lock"
    own = lock.read_bytes() if lock.is_file() else None
    (Path(git(folder, "rev-parse", "--absolute-git-dir")) / "index.lock").unlink(missing_ok=True)  # of a killed git
    git(folder, "checkout", "--quiet", "--force", "--detach", commit)
    if own is not None:
        # It knows what this worktree's outputs are; the committed one knows those of other parameters.
        write_bytes(lock, own)


def _is_worktree(folder: Path) -> bool:
    try:
        return Path(git(folder, "rev-parse", "--show-toplevel")).resolve() == folder.resolve()
    except OSError:
        return False


def _share_cache(root: Path, folder: Path) -> None:
    asked = subprocess.run([dvc_program(), "cache", "dir"], cwd=root, capture_output=True, text=True)
    if asked.returncode:
        raise OSError(f"dvc cache dir failed in {root}: {asked.stderr.strip()}")
    config = configparser.ConfigParser(interpolation=None)
    config.read(root / ".dvc" / "config.local")
    for section in config.sections():
        url = config[section].get("url")
        if url and "://" not in url and not Path(url).is_absolute():
            config[section]["url"] = str((root / ".dvc" / url).resolve())
    if not config.has_section("cache"):
        config.add_section("cache")
    config["cache"]["dir"] = str((root / asked.stdout.strip()).resolve())
    with open(folder / ".dvc" / "config.local", "w") as handle:
        config.write(handle)


def _share_source(source: Path, link: Path) -> None:
    if link.is_symlink() and link.resolve() != source.resolve():
        link.unlink()
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source.resolve(), target_is_directory=True)


def warn(text: str) -> None:
    """The ``say`` of a command."""
    print(text, file=sys.stderr, flush=True)
