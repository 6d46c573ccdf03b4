"""The work store: complete entries or none."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.run.files import DiskFull, write_text
from pipeline.run.store import WORK_VARIABLE, Store, digest_inputs, make_key, work_root
from tests.run.tiny_project import clean_environment

KEY = make_key("a")


def test_an_entry_is_there_when_it_is_complete(tmp_path: Path) -> None:
    store = Store(tmp_path, "frames")
    with store.create(KEY) as (folder, record):
        write_text(folder / "unit.h5", "x")
        record["frames"] = 3
        assert store.find(KEY) is None
    entry = store.find(KEY)
    assert entry is not None
    assert entry.record == {"frames": 3}
    assert entry.folder == tmp_path / "data" / "work" / "frames" / KEY
    assert store.find(make_key("b")) is None


def test_links_are_named_after_the_video(tmp_path: Path) -> None:
    store = Store(tmp_path, "frames")
    with store.create(KEY) as (folder, _):
        write_text(folder / "unit.h5", "x")
        write_text(folder / "unit.truth.h5", "y")
    entry = store.find(KEY)
    assert entry is not None
    entry.link_into(tmp_path / "out", "my unit 1")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["my unit 1.h5", "my unit 1.truth.h5"]
    assert (tmp_path / "out" / "my unit 1.h5").samefile(entry.folder / "unit.h5")


def test_a_failing_maker_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, "frames")
    with pytest.raises(ValueError, match="bad"), store.create(KEY) as (folder, _):
        write_text(folder / "unit.h5", "x")
        raise ValueError("bad")
    assert list(store.folder.iterdir()) == []


def test_the_first_of_two_equal_entries_stays(tmp_path: Path) -> None:
    store = Store(tmp_path, "frames")
    with store.create(KEY) as (folder, record):
        record["first"] = True
        write_text(folder / "unit.h5", "x")
        with Store(tmp_path, "frames").create("other") as (other, _):
            write_text(other / "unit.h5", "x")
        (store.folder / "other").rename(store.folder / KEY)
    assert [path.name for path in store.folder.iterdir()] == [KEY]
    entry = store.find(KEY)
    assert entry is not None
    assert entry.record == {}


def test_a_full_disk_leaves_nothing(small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    disk = small_disk("1m")
    monkeypatch.setenv(WORK_VARIABLE, str(disk))
    store = Store(Path("anywhere"), "frames")
    for maker in (lambda p: write_text(p, "x" * (2 << 20)), lambda p: p.write_text("x" * (2 << 20))):
        with pytest.raises(DiskFull, match="no space left on the disk"), store.create(KEY) as (folder, _):
            maker(folder / "unit.h5")
        assert list(store.folder.iterdir()) == []


def test_killed_in_the_middle_and_tidied(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from pipeline.run.files import atomic_path
from pipeline.run.store import Store
with Store(Path(sys.argv[1]), "frames").create(sys.argv[2]) as (folder, record):
    (folder / "unit.h5").write_text("x")
    with atomic_path(folder / "more.h5") as temp:
        temp.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), KEY], env=clean_environment())
    assert done.returncode == -9
    store = Store(tmp_path, "frames")
    assert store.find(KEY) is None
    assert list(store.folder.iterdir())
    work = store.folder / f"{KEY}-work"
    work.mkdir()
    (work / ".writing-1-checkpoint").write_text("half")
    (work / "checkpoint").write_text("whole")
    store.tidy()
    assert [p.name for p in store.folder.iterdir()] == [work.name]
    assert [p.name for p in work.iterdir()] == ["checkpoint"]


def test_keys() -> None:
    assert make_key({"a": 1, "b": 2}) == make_key({"b": 2, "a": 1})
    assert len({make_key(1, 2), make_key(2, 1), make_key("1", 2), make_key([1, 2])}) == 4


def test_inputs_are_digested_by_content_and_relative_name(tmp_path: Path) -> None:
    for root in ("a", "b"):
        write_text(tmp_path / root / "in" / "deep" / "x.txt", "x")
        write_text(tmp_path / root / "in" / "y.txt", "y")
    inputs = {root: digest_inputs([tmp_path / root / "in"], tmp_path / root) for root in ("a", "b")}
    assert inputs["a"] == inputs["b"]
    assert [name for name, _ in inputs["a"]] == ["in/deep/x.txt", "in/y.txt"]
    write_text(tmp_path / "b" / "in" / "y.txt", "z")
    assert digest_inputs([tmp_path / "b" / "in"], tmp_path / "b") != inputs["b"]


def test_the_store_may_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORK_VARIABLE, raising=False)
    assert work_root(tmp_path) == tmp_path / "data" / "work"
    monkeypatch.setenv(WORK_VARIABLE, "/elsewhere")
    assert work_root(tmp_path) == Path("/elsewhere")
