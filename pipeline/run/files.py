"""Writing files so that a reader never sees half of one, and linking them from the work store.

Every writer of the project goes through :func:`atomic_path`: temp file in the same folder, flush, fsync, rename.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMP_PREFIX = ".writing-"


class DiskFull(OSError):
    """The disk ran out of space while a file was written; nothing of that file was left behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            free = shutil.disk_usage(path.parent).free
        except OSError:
            free = 0
        super().__init__(
            errno.ENOSPC,
            f"no space left on the disk while writing {path} ({free / 2**20:.1f} MiB free in {path.parent}); "
            "the half-written file was removed, free some space and start again",
        )

    def __reduce__(self) -> tuple[type["DiskFull"], tuple[Path]]:
        # It crosses process borders; OSError would rebuild it from errno and text.
        return DiskFull, (self.path,)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means that the disk has no space left."""
    # PyAV, safetensors and SQLite have errors of their own for it, which are no OSError.
    codes = (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "errno", None) in codes or "No space left on device" in str(error)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temp path in ``path``'s folder; at the end fsync it and rename it to ``path``.

    On any error the temp file is removed and ``path`` stays as it was.

    Raises:
        DiskFull: the disk has no space left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f"{TEMP_PREFIX}{os.getpid()}-{path.name}")
    try:
        yield temp
        with open(temp, "rb") as handle:
            os.fsync(handle.fileno())
        temp.replace(path)
        _fsync_folder(path.parent)
    except BaseException as error:
        temp.unlink(missing_ok=True)
        if is_disk_full(error):
            raise DiskFull(path) from error
        raise


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temp:
        temp.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON with sorted keys, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; an error names the file."""
    try:
        return json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def file_digest(path: Path) -> str:
    """Hex digest (BLAKE2b, 128 bit) of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link ``source`` to ``target`` (copy where the file system cannot), replacing ``target`` atomically."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = target.with_name(f"{TEMP_PREFIX}{os.getpid()}-{target.name}")
    temp.unlink(missing_ok=True)
    try:
        os.link(source, temp)
    except OSError:
        with atomic_path(target) as copy:
            shutil.copyfile(source, copy)
        return
    temp.replace(target)
    # Renaming one link of a file over another does nothing at all: the first is still there.
    temp.unlink(missing_ok=True)


def remove_temp_files(folder: Path) -> None:
    """Delete what killed writers left in ``folder``; call it only while holding the folder's lock."""
    for path in folder.rglob(f"{TEMP_PREFIX}*"):
        path.unlink(missing_ok=True)
