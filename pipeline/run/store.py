"""The work store: results under a key of what made them, kept apart from DVC's outputs and hard-linked into them.

DVC deletes a stage's outputs before it runs the stage again; what is in ``data/work/<stage>/<key>/`` survives that, a kill
at any moment, and a parameter that is changed and set back. An entry is complete when its folder has its final name: it
is built in a temp folder beside it and renamed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.run.files import (
    TEMP_PREFIX,
    DiskFull,
    file_digest,
    is_disk_full,
    link_or_copy,
    read_json,
    remove_temp_files,
    write_json,
)

WORK_VARIABLE = "PIPELINE_WORK"
ENTRY_FILE = "entry.json"


def work_root(root: Path) -> Path:
    """Where the work store lies: ``data/work``, or another checkout's, shared by absolute path."""
    return Path(os.environ.get(WORK_VARIABLE) or root / "data" / "work")


def make_key(*parts: Any) -> str:
    """Digest of plain values (JSON with sorted keys)."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def digest_inputs(paths: Iterable[Path], root: Path) -> list[tuple[str, str]]:
    """(name, digest) of every input file, folders walked; names do not depend on where the checkout lies."""
    found = []
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
            found.append((name.as_posix(), file_digest(file)))
    return found


class Entry:
    """One complete result: files, and the plain values that were recorded with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: dict[str, Any] = read_json(folder / ENTRY_FILE)

    def link_into(self, target: Path, name: str | None = None) -> list[Path]:
        """Hard-link the entry's files into ``target``.

        Args:
            target: the output folder.
            name: replaces the stem ``unit`` of the files' names; without it names stay as they are.
        """
        linked = []
        for source in sorted(self.folder.iterdir()):
            if source.name == ENTRY_FILE:
                continue
            path = target / (source.name.replace("unit", name, 1) if name is not None else source.name)
            link_or_copy(source, path)
            linked.append(path)
        return linked


class Store:
    """The work store of one stage."""

    def __init__(self, root: Path, stage: str) -> None:
        self.folder = work_root(root) / stage
        self.folder.mkdir(parents=True, exist_ok=True)

    def find(self, key: str) -> Entry | None:
        """The complete entry under ``key``, if there is one."""
        folder = self.folder / key
        return Entry(folder) if (folder / ENTRY_FILE).is_file() else None

    @contextmanager
    def create(self, key: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield a temp folder to fill and a record to fill in; at the end both become the entry, atomically.

        Raises:
            DiskFull: the disk has no space left; the folder is removed.
        """
        temp = self.folder / f"{TEMP_PREFIX}{os.getpid()}-{key}"
        shutil.rmtree(temp, ignore_errors=True)
        temp.mkdir()
        record: dict[str, Any] = {}
        final = self.folder / key
        try:
            yield temp, record
            write_json(temp / ENTRY_FILE, record)
            _rename_unless_there(temp, final)
        except DiskFull:
            raise
        except Exception as error:
            if is_disk_full(error):
                raise DiskFull(final) from error
            raise
        finally:
            shutil.rmtree(temp, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what killed writers left; call it only while holding the stage's lock."""
        for folder in self.folder.glob(f"{TEMP_PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)
        remove_temp_files(self.folder)


def _rename_unless_there(temp: Path, final: Path) -> None:
    try:
        temp.rename(final)
    except OSError:
        # Two units of the same content (a video that lies there twice) have the same key; the first one stays.
        if not (final / ENTRY_FILE).is_file():
            raise
