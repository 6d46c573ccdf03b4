"""One GPU for one stage; no GPU is needed to test who holds which lock."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.run.device_lease import VISIBLE_VARIABLE, lease, visible_gpus
from tests.run.tiny_project import clean_environment

HOLDER = """
import os, sys, time
from pathlib import Path
from pipeline.run.device_lease import lease
with lease("gpu", sys.argv[2].split(","), Path(sys.argv[1])) as name:
    print(name, os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    time.sleep(60)
"""


def holder(folder: Path, gpus: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), gpus], env=clean_environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_stage_has_a_gpu_of_its_own_and_a_kill_frees_it(tmp_path: Path) -> None:
    first = holder(tmp_path, "0,1")
    assert line(first) == "0 0"
    second = holder(tmp_path, "0,1")
    assert line(second) == "1 1"
    third = holder(tmp_path, "0,1")
    assert third.stderr is not None
    assert third.stderr.readline() == "all GPUs (0, 1) are in use; waiting for one\n"
    second.send_signal(signal.SIGKILL)
    assert line(third) == "1 1"
    for process in (first, second, third):
        process.kill()
        process.communicate(timeout=10)


def test_the_environment_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "5,GPU-abc"):
        monkeypatch.delenv(VISIBLE_VARIABLE, raising=False)
        if before is not None:
            monkeypatch.setenv(VISIBLE_VARIABLE, before)
            assert visible_gpus() == ["5", "GPU-abc"]
        with lease("gpu", ["5"], tmp_path) as name:
            assert (name, os.environ[VISIBLE_VARIABLE]) == ("5", "5")
        assert os.environ.get(VISIBLE_VARIABLE) == before


def test_without_need_or_without_gpu_there_is_nothing_to_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for hidden in ("", "-1"):
        monkeypatch.setenv(VISIBLE_VARIABLE, hidden)
        assert visible_gpus() == []
        with lease("gpu", folder=tmp_path / "locks") as name:
            assert name is None
    with lease("cpu", ["0"], tmp_path / "locks") as name:
        assert name is None
    assert not (tmp_path / "locks").exists()
