"""Executors: the same results from both, and a unit's misfortune is its own."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.run.executors import Outcome, run_units
from pipeline.run.files import DiskFull, write_bytes


def work(item: Any) -> Any:
    """What the units of these tests do; a module-level function, since it is pickled by name."""
    match item:
        case "raise":
            raise ValueError("bad video")
        case "exit":
            os._exit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "pid":
            return os.getpid()
        case ("append", path, value):
            with open(path, "a") as log:
                log.write(f"{value}\n")
            time.sleep(0.05)
            return value
        case ("fill", path):
            write_bytes(path, bytes(2 << 20))
    return item * item


def outcomes(items: list[Any], executor: str, workers: int = 2) -> list[Outcome]:
    return sorted(run_units(work, items, executor, workers), key=lambda outcome: outcome.index)


def test_both_executors_give_the_same() -> None:
    items = [1, "raise", 3, 4]
    inline, pooled = outcomes(items, "inline"), outcomes(items, "process")
    assert [(o.index, o.value, o.cause) for o in inline] == [(o.index, o.value, o.cause) for o in pooled]
    assert [o.value for o in inline] == [1, None, 9, 16]
    assert inline[1].cause == "ValueError: bad video"


def test_where_the_units_run() -> None:
    assert {o.value for o in outcomes(["pid"] * 2, "inline")} == {os.getpid()}
    assert os.getpid() not in {o.value for o in outcomes(["pid"], "process", workers=1)}
    assert outcomes([], "process") == []


def test_a_unit_whose_process_dies_costs_only_itself() -> None:
    items = [1, "kill", 3, "exit", 5, "segfault", 7]
    result = outcomes(items, "process")
    assert [o.index for o in result] == list(range(7))
    assert [o.value for o in result] == [1, None, 9, None, 25, None, 49]
    assert all("its process died" in str(result[index].cause) for index in (1, 3, 5))


def test_after_a_death_the_rest_runs_in_a_pool_again(tmp_path: Path) -> None:
    # Only what was in flight is tried alone: the units after it share processes. On a busy machine the death is noticed
    # late. At most: the first pool's other process, two units in flight beside the guilty one, the second pool's two.
    result = outcomes(["kill"] + ["pid"] * 24, "process")
    assert len({o.value for o in result[1:]}) <= 1 + 2 + 2


def test_a_full_disk_ends_everything(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("1m")
    for executor in ("inline", "process"):
        log = tmp_path / executor
        items = [("fill", disk / "a")] + [("append", log, value) for value in range(40)]
        with pytest.raises(DiskFull, match="no space left on the disk while writing"):
            outcomes(items, executor)
        done = log.read_text().splitlines() if log.is_file() else []
        assert len(done) < 40
        assert list(disk.iterdir()) == []


def test_closing_the_loop_ends_the_pool(tmp_path: Path) -> None:
    log = tmp_path / "log"
    loop = run_units(work, [("append", log, value) for value in range(100)], "process", 2)
    next(loop)
    start = time.monotonic()
    loop.close()
    assert time.monotonic() - start < 2
    count = len(log.read_text().splitlines())
    assert count <= 5
    time.sleep(0.3)
    assert len(log.read_text().splitlines()) == count, "a worker of a closed pool is still at work"
