"""Forgetting results in the work store that no current output uses.

An entry is in use when every file of it is among the outputs of its stage, in this checkout or in a worktree that
``python -m pipeline run`` made. Content decides, not names or links: DVC may have put its own copy in an output's place, or
restored the output of an earlier run without starting the stage. A stage that did not end well keeps all it has: its
finished videos and its checkpoint are what the next start goes on from.
"""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.run.files import TEMP_PREFIX, file_digest, read_json
from pipeline.run.process import folder_lock
from pipeline.run.stage import VideoStage, find_stage, stage_names
from pipeline.run.store import ENTRY_FILE, work_root

_KEY = re.compile(r"[0-9a-f]{24}(-work)?")


def clean(root: Path, dry_run: bool) -> int:
    """Remove what no output uses, and say what was freed. Waits for stages that are running.

    Args:
        root: the checkout.
        dry_run: only say what would be removed.

    Returns:
        The exit status, 0.
    """
    work = work_root(root)
    worktrees = sorted(path.parent for path in work.glob("runs/*/.git"))
    stores = _stores()
    total = 0
    for folder in sorted(path for path in work.glob("*") if path.name not in ("runs", "status")):
        if not folder.is_dir():
            continue
        store = stores.get(folder.name, _StoreUse())
        with folder_lock(folder):
            unsettled = [place for place in (root, *worktrees) if not store.is_settled(place)]
            if unsettled:
                places = ", ".join(str(place) for place in unsettled)
                print(f"{folder.name}: kept as it is, its last run did not end or its outputs are missing in {places}")
                continue
            unused = _unused(folder, store, [root, *worktrees])
            freed = sum(map(_freed_by, unused))
            total += freed
            if unused:
                print(f"{folder.name}: {len(unused)} results, {freed / 2**20:.1f} MiB")
            if not dry_run:
                for entry in unused:
                    _remove(entry)
    print(f"{total / 2**20:.1f} MiB {'would be' if dry_run else 'were'} freed in {work}")
    if worktrees:
        print(
            f"{len(worktrees)} worktrees of runs in {work / 'runs'}; `git worktree remove --force FOLDER` removes one"
        )
    return 0


@dataclass
class _StoreUse:
    """The runs that fill one folder of the work store, and where their outputs lie."""

    labels: list[str] = field(default_factory=list)
    outs: list[str] = field(default_factory=list)
    parts: set[str] | None = None
    """Sub-folders of an entry that become outputs; None: all of it does."""

    def is_settled(self, checkout: Path) -> bool:
        """Whether every run that was ever started in ``checkout`` ended well and left its outputs there."""
        status = [checkout / "data" / "work" / "status" / f"{label}.json" for label in self.labels]
        started = [path for path in status if path.is_file()]
        return all(read_json(path)["outcome"] == "done" for path in started) and (
            not started or any((checkout / out).exists() for out in self.outs)
        )


def _stores() -> dict[str, _StoreUse]:
    stores: dict[str, _StoreUse] = defaultdict(_StoreUse)
    for name in stage_names():
        stage = find_stage(name)
        for variant in stage.variants or ("",):
            label = f"{name}@{variant}" if variant else name
            if isinstance(stage, VideoStage):
                store = stores[name]
                store.outs.append(stage.out.format(variant=variant))
            else:
                store = stores[label]
                store.outs += [out.format(variant=variant) for out in stage.outs.values()]
                store.parts = set(stage.outs)
            store.labels.append(label)
    return stores


def _unused(folder: Path, store: _StoreUse, checkouts: list[Path]) -> list[Path]:
    outputs: dict[int, list[Path]] = defaultdict(list)
    for checkout in checkouts:
        for out in store.outs:
            for path in _files(checkout / out):
                outputs[path.stat().st_size].append(path)
    digests: dict[Path, str] = {}

    def is_output(path: Path) -> bool:
        return any(_same_content(path, output, digests) for output in outputs[path.stat().st_size])

    unused = []
    for entry in sorted(path for path in folder.iterdir() if _KEY.fullmatch(path.name)):
        files = [p for p in _files(entry) if p.name != ENTRY_FILE]
        if store.parts is not None:
            files = [p for p in files if p.relative_to(entry).parts[0] in store.parts]
        # A finished entry without files is a record of a few hundred bytes: nothing tells whether it is in use.
        if entry.name.endswith("-work") or not store.labels or not all(map(is_output, files)):
            unused.append(entry)
    return unused


def _same_content(a: Path, b: Path, digests: dict[Path, str]) -> bool:
    if a.samefile(b):
        return True
    for path in (a, b):
        if path not in digests:
            digests[path] = file_digest(path)
    return digests[a] == digests[b]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _remove(entry: Path) -> None:
    # Renamed first: a kill in between leaves no entry that looks complete.
    shutil.rmtree(entry.rename(entry.with_name(f"{TEMP_PREFIX}{os.getpid()}-{entry.name}")))


def _freed_by(entry: Path) -> int:
    # A file that has another link (an output, DVC's cache) stays on the disk.
    return sum(path.stat().st_size for path in _files(entry) if path.stat().st_nlink == 1)
