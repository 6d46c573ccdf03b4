"""Atomic writing, full disks, links from the work store."""

import errno
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.run.artifacts import Array, Kind
from pipeline.run.files import (
    DiskFull,
    atomic_path,
    file_digest,
    is_disk_full,
    link_or_copy,
    read_json,
    remove_temp_files,
    write_bytes,
    write_json,
)
from tests.run.tiny_project import clean_environment

KIND = Kind("big", 1, "", {"pts": Array("float64", ("row",), "s", "", chunk_rows=4096)})


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.txt"
    write_bytes(path, b"old")
    with atomic_path(path) as temp:
        assert temp.parent == path.parent
        temp.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temp:
        temp.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def fill_plain(path: Path) -> None:
    write_bytes(path, bytes(3 << 20))


def fill_hdf5(path: Path) -> None:
    with KIND.writer(path, {}) as writer:
        for _ in range(100):
            writer.append(pts=np.arange(10_000.0))


def fill_hdf5_at_once(path: Path) -> None:
    KIND.write(path, {"pts": np.arange(200_000.0)}, {})


@pytest.mark.parametrize("fill", [fill_plain, fill_hdf5, fill_hdf5_at_once])
def test_full_disk(small_disk: Callable[[str], Path], fill: Callable[[Path], None]) -> None:
    disk = small_disk("1m")
    KIND.write(disk / "small.h5", {"pts": np.arange(10.0)}, {})
    for name in ("new.bin", "small.h5"):
        with pytest.raises(DiskFull) as full:
            fill(disk / name)
        assert f"no space left on the disk while writing {disk / name}" in str(full.value)
        assert f"MiB free in {disk}" in str(full.value)
        assert full.value.errno == errno.ENOSPC
    assert [path.name for path in disk.iterdir()] == ["small.h5"]
    # The process lives on (HDF5 itself crashes when its disk fills up), the old artifact too.
    assert len(KIND.read(disk / "small.h5")["pts"]) == 10
    KIND.write(disk / "other.h5", {"pts": np.arange(10.0)}, {})


FILL_TO_EVERY_DEPTH = """
import sys
from pathlib import Path
import numpy as np
from pipeline.run.artifacts import BYTES, Array, Kind
from pipeline.run.files import DiskFull
disk = Path(sys.argv[1])
kind = Kind("sample", 1, "", {
    "pts": Array("float64", ("row",), "s", ""),
    "vector": Array("float32", ("row", "channel"), "1", "", chunk_rows=16, compress=True),
    "picture": Array("uint8", ("row", "pixel"), "1", "", chunk_rows=1),
    "jpeg": Array(BYTES, ("row",), "bytes", ""),
}, {"name": str})
rng = np.random.default_rng(0)
full = 0
for free in range(0, 2 << 20, 1 << 15):
    (disk / "ballast").write_bytes(bytes((2 << 20) - free - 8192))
    try:
        with kind.writer(disk / "a.h5", {"name": "x" * 5000}) as writer:
            for rows in (1, 40, 5, 100):
                writer.append(
                    pts=np.arange(rows) / 8, vector=rng.standard_normal((rows, 50)), picture=np.ones((rows, 999), np.uint8),
                    jpeg=[rng.bytes(int(size)) for size in rng.integers(0, 5000, rows)],
                )
    except DiskFull:
        full += 1
        assert not (disk / "a.h5").exists()
        assert not full < free >> 15, "space for a larger file did not suffice for a smaller one"
    else:
        assert len(kind.read(disk / "a.h5")["pts"]) == 146
    for path in disk.iterdir():
        path.unlink()
print(full)
"""


def test_a_full_disk_is_met_at_every_depth(small_disk: Callable[[str], Path]) -> None:
    """In a process of its own: where the reservation falls short HDF5 crashes, at the latest when the process ends."""
    command = [sys.executable, "-c", FILL_TO_EVERY_DEPTH, str(small_disk("2m"))]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 20 < int(done.stdout) < 60


def test_disk_full_crosses_process_borders(tmp_path: Path) -> None:
    error = DiskFull(tmp_path / "a.h5")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, DiskFull)
    assert copy.path == error.path
    assert copy.errno == errno.ENOSPC


def test_what_counts_as_a_full_disk() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "x"))
    assert is_disk_full(OSError(errno.EDQUOT, "x"))
    assert is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_disk_full(OSError(errno.EACCES, "x"))
    assert not is_disk_full(ValueError("x"))


def test_links_share_the_content_and_may_be_made_again(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "out" / "target"
    source.write_text("1")
    for _ in range(2):
        link_or_copy(source, target)
        assert target.samefile(source)
        assert [path.name for path in target.parent.iterdir()] == ["target"]
    other = tmp_path / "other"
    other.write_text("2")
    link_or_copy(other, target)
    assert (source.read_text(), target.read_text()) == ("1", "2")


def test_copies_where_the_file_system_cannot_link(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("1m")
    (tmp_path / "source").write_text("1")
    link_or_copy(tmp_path / "source", disk / "target")
    assert (disk / "target").read_text() == "1"
    (tmp_path / "big").write_bytes(bytes(2 << 20))
    with pytest.raises(DiskFull):
        link_or_copy(tmp_path / "big", disk / "target")
    assert [(path.name, path.read_text()) for path in disk.iterdir()] == [("target", "1")]


def test_json_has_one_form_and_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": [1.5]})
    write_json(tmp_path / "b", {"a": [1.5], "b": 1})
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b")
    assert read_json(tmp_path / "a") == {"a": [1.5], "b": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a", {"a": float("nan")})
    (tmp_path / "bad").write_text("{")
    with pytest.raises(ValueError, match=r"bad is not valid JSON"):
        read_json(tmp_path / "bad")


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".writing-1-a").write_text("half")
    (tmp_path / "deep" / "a").write_text("whole")
    remove_temp_files(tmp_path)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]
