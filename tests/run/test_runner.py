"""The runner end to end: real stages in a temp project, each run as a process, as DVC does it."""

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.run.artifacts import Array, Kind
from tests.run.tiny_project import TinyProject, wait_until

NUMBERS = Kind("numbers", 1, "", {"pts": Array("float64", ("row",), "s", "")}, {"source": str})
OUT = "data/artifacts/numbers"


def test_outputs_metrics_and_status(project: TinyProject) -> None:
    project.run("ingest")
    for name, value in {"one": 2.0, "two": 4.0, "three": 6.0}.items():
        assert NUMBERS.read(project.folder / OUT / f"{name}.h5")["pts"].tolist() == [value] * 3
    assert project.json(f"{OUT}/failures.json") == []
    metrics = project.json("reports/metrics/ingest.json")
    assert metrics["metrics"] == {"videos": 3.0, "failed": 0.0, "total": 12.0}
    assert metrics["videos"] == {"done": 3, "failed": 0, "reused": 0}
    assert metrics["mlflow_run_id"] is None
    status = project.json("data/work/status/ingest.json")
    assert (status["outcome"], status["done"], status["total"]) == ("done", 3, 3)


def test_bad_videos_are_rows_of_the_failures_table(project: TinyProject) -> None:
    project.add_video("empty", "")
    project.add_video("text", "not a number")
    (project.folder / "data" / "raw" / "gone.txt").symlink_to(project.folder / "nowhere")
    project.run("ingest")
    rows = {row["video"]: row["cause"] for row in project.json(f"{OUT}/failures.json")}
    assert rows.keys() == {"empty", "gone", "text"}
    assert "could not convert string to float: ''" in rows["empty"]
    assert "not a number" in rows["text"]
    assert "FileNotFoundError" in rows["gone"]
    assert sorted(p.stem for p in (project.folder / OUT).glob("*.h5")) == ["one", "three", "two"]
    metrics = project.json("reports/metrics/ingest.json")
    assert metrics["metrics"]["failed"] == 3
    assert {row["video"] for row in metrics["failures"]} == rows.keys()
    assert project.json("data/work/status/ingest.json")["failed"] == 3


def test_too_many_failures_fail_the_stage_but_lose_no_work(project: TinyProject) -> None:
    project.params["run"]["max_failed"] = 0.2
    project.add_video("bad", "bad")
    text = project.run("ingest", expect=1)
    assert "1 of 4 videos failed, more than run.max_failed = 0.2 allows: bad: ValueError" in text
    assert project.json("data/work/status/ingest.json")["outcome"] == "final"
    project.computed()
    project.params["run"]["max_failed"] = 0.3
    project.run("ingest")
    assert project.computed() == ["ingest bad"]


def test_no_video_at_all_is_an_error(project: TinyProject) -> None:
    shutil.rmtree(project.folder / "data" / "raw")
    (project.folder / "data" / "raw").mkdir()
    assert "there is no video to work on" in project.run("ingest", expect=1)


def test_results_survive_that_dvc_deletes_the_outputs(project: TinyProject) -> None:
    project.run("ingest")
    before = project.outputs()
    project.computed()
    shutil.rmtree(project.folder / "data" / "artifacts")
    project.run("ingest")
    assert project.outputs() == before
    assert project.computed() == []
    assert project.json("reports/metrics/ingest.json")["videos"]["reused"] == 3


def test_a_new_video_costs_only_itself(project: TinyProject) -> None:
    project.run("ingest")
    project.computed()
    project.add_video("four", "4")
    project.run("ingest")
    assert project.computed() == ["ingest four"]
    assert project.json(f"{OUT}/index.json") == {"four": 8.0, "one": 2.0, "three": 6.0, "two": 4.0}
    (project.folder / "data" / "raw" / "four.txt").unlink()
    project.run("ingest")
    assert project.computed() == []
    assert not (project.folder / OUT / "four.h5").exists()


def test_a_video_that_lies_there_twice_is_no_problem(project: TinyProject) -> None:
    project.add_video("again", "1")
    project.params["run"] |= {"executor": "process", "workers": 2}
    project.run("ingest")
    assert (project.folder / OUT / "again.h5").read_bytes() == (project.folder / OUT / "one.h5").read_bytes()
    assert project.json(f"{OUT}/failures.json") == []


def test_a_parameter_set_back_costs_nothing(project: TinyProject) -> None:
    project.run("ingest")
    before = project.outputs()
    project.params["ingest"]["rows"] = 5
    project.run("ingest")
    assert project.outputs() != before
    project.computed()
    project.params["ingest"]["rows"] = 3
    project.run("ingest")
    assert project.computed() == []
    assert project.outputs() == before


def test_only_code_that_computes_counts(project: TinyProject) -> None:
    project.run("ingest")
    project.computed()
    project.write(
        "models/double.py",
        '"""Now with a docstring."""\n\ndef scale(value):\n    # and a comment\n    return 2 * value\n',
    )
    project.write("models/triple.py", "def scale(value):\n    return value + value + value\n")
    project.run("ingest")
    assert project.computed() == [], "a comment, or an entry of the table that was not chosen, cost a computation"
    project.write("models/double.py", "def scale(value):\n    return value + value\n")
    project.run("ingest")
    assert len(project.computed()) == 3


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("ingest", {"rowz": 3}, "params.yaml: unknown parameter ingest.rowz = 3; allowed there: dataset, rows, scale"),
        ("train", {"steps": "many"}, "params.yaml: train.steps = 'many'"),
        ("trian", {}, "params.yaml: unknown section 'trian'; allowed: ingest, report, run, train"),
    ],
)
def test_bad_params_fail_before_any_work(project: TinyProject, section: str, values: dict, expected: str) -> None:
    project.params[section] = values
    assert expected in project.run("ingest", expect=1)
    assert not (project.folder / "data" / "work").exists()
    assert not (project.folder / "data" / "artifacts").exists()


def test_a_wrong_variant_is_named(project: TinyProject) -> None:
    assert "takes one of ('a', 'b'), got ['c']" in project.run("train", "c", expect=1)
    assert "takes one of ('a', 'b'), got []" in project.run("train", expect=1)


def test_a_missing_input_is_named(project: TinyProject) -> None:
    assert "data/artifacts/numbers" in project.run("train", "a", expect=1)


def test_same_bytes_from_both_executors_and_a_crash_costs_only_its_unit(project: TinyProject, tmp_path: Path) -> None:
    project.run("ingest")
    pooled = TinyProject(tmp_path / "pooled", {"one": "1", "two": "2", "three": "3", "bad": "exit", "worse": "kill"})
    pooled.params["run"] |= {"executor": "process", "workers": 2}
    pooled.run("ingest")
    rows = {row["video"]: row["cause"] for row in pooled.json(f"{OUT}/failures.json")}
    assert rows.keys() == {"bad", "worse"}
    assert all("its process died" in cause for cause in rows.values())
    ours, theirs = project.outputs(), pooled.outputs()
    del ours[f"{OUT}/failures.json"], theirs[f"{OUT}/failures.json"]
    assert ours == theirs
    # The only unit left to compute is the guilty one: it must not take the stage with it now.
    (pooled.folder / "data" / "raw" / "worse.txt").unlink()
    pooled.run("ingest")
    assert [row["video"] for row in pooled.json(f"{OUT}/failures.json")] == ["bad"]


def test_dataset_stage_is_reused_by_variant(project: TinyProject) -> None:
    project.run("ingest")
    project.run("train", "a")
    project.run("train", "b")
    before = project.outputs()
    assert before["data/checkpoints/a/weights.json"] != before["data/checkpoints/b/weights.json"]
    project.computed()
    shutil.rmtree(project.folder / "data" / "checkpoints")
    project.run("train", "a")
    project.run("train", "b")
    assert project.outputs() == before
    assert project.computed() == []
    assert "taken from the work store" in project.json("reports/metrics/train@a.json")["summary"]


def test_a_value_of_another_section_counts_where_it_is_declared(project: TinyProject) -> None:
    project.run("ingest")
    project.run("train", "a")
    project.computed()
    project.params["report"] = {}
    project.params["ingest"]["scale"] = "double"
    project.run("train", "a")
    assert project.computed() == []
    project.params["ingest"]["rows"] = 4
    project.run("train", "a")
    assert len(project.computed()) == 20


def test_training_goes_on_from_its_checkpoint_after_sigkill(project: TinyProject, tmp_path: Path) -> None:
    twin = TinyProject(tmp_path / "twin", {"one": "1", "two": "2", "three": "3"})
    for one in (project, twin):
        one.run("ingest")
    twin.run("train", "a")

    process = project.start("train", "a", TINY_PAUSE="0.05")
    log = project.folder / "computed.log"
    wait_until(lambda: log.is_file() and log.read_text().count("train@a") >= 5, "five steps are done")
    process.kill()
    process.communicate(timeout=30)
    assert not (project.folder / "data" / "checkpoints").exists()
    before = [line for line in project.computed() if line.startswith("train")]
    project.run("train", "a")
    after = project.computed()
    assert len(before) >= 5
    assert len(before) + len(after) <= 21, "more than the step in flight was repeated"
    assert project.outputs() == twin.outputs()
    assert not list((project.folder / "data" / "work" / "train@a").glob("*-work"))


def kill_and_run_again(project: TinyProject, delay_units: int, executor: str) -> None:
    """SIGKILL the ingest stage once ``delay_units`` have begun, run it again, and check that little was repeated."""
    project.params["run"] |= {"executor": executor, "workers": 2}
    process = project.start("ingest", TINY_PAUSE="0.1")
    log = project.folder / "computed.log"
    wait_until(lambda: log.is_file() and len(log.read_text().splitlines()) >= delay_units, "some units have begun")
    process.kill()
    process.communicate(timeout=30)
    before = project.computed()
    project.run("ingest")
    after = project.computed()
    assert len(before) + len(after) <= 8 + 3, "more than the units in flight were repeated"
    work = project.folder / "data" / "work" / "ingest"
    assert not [path for path in work.rglob("*") if path.name.startswith(".writing-")]


EIGHT = {f"v{index}": str(index) for index in range(8)}


def test_a_killed_video_stage_repeats_only_what_was_in_flight(tmp_path: Path) -> None:
    twin = TinyProject(tmp_path / "twin", EIGHT)
    twin.run("ingest")
    project = TinyProject(tmp_path / "killed", EIGHT)
    kill_and_run_again(project, 4, "process")
    assert project.outputs() == twin.outputs()


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "process"])
def test_killed_at_random_moments(tmp_path: Path, executor: str) -> None:
    twin = TinyProject(tmp_path / "twin", EIGHT)
    twin.run("ingest")
    rng = random.Random(0)
    for trial in range(8):
        project = TinyProject(tmp_path / f"killed{trial}", EIGHT)
        kill_and_run_again(project, rng.randint(1, 7), executor)
        assert project.outputs() == twin.outputs()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_stage_with_retry(project: TinyProject, number: signal.Signals) -> None:
    project.run("ingest")
    process = project.start("train", "a", TINY_PAUSE="0.1")
    log = project.folder / "computed.log"
    wait_until(lambda: "train@a 2" in log.read_text(), "training is under way")
    os.kill(process.pid, number)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 75
    assert "Traceback" not in error
    status = project.json("data/work/status/train@a.json")
    assert status["outcome"] == "retry"
    assert f"stopped by {number.name}" in status["message"]


def test_a_full_disk_leaves_no_half_artifact_and_says_so(
    project: TinyProject, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("700k")
    project.add_video("big", "9")  # 800 kB
    text = project.run("ingest", expect=1, PIPELINE_WORK=str(disk))
    assert "no space left on the disk while writing" in text
    assert "Traceback" not in text
    assert project.json("data/work/status/ingest.json")["outcome"] == "retry"
    assert not list(disk.rglob(".writing-*"))
    for folder in (disk / "ingest").glob("[0-9a-f]*"):
        assert {path.name for path in folder.iterdir()} == {"entry.json", "unit.h5"}
    # What was finished before is kept.
    before = project.computed()
    assert "ingest big" in before
    (project.folder / "data" / "raw" / "big.txt").unlink()
    project.run("ingest", PIPELINE_WORK=str(disk))
    assert set(before).isdisjoint(project.computed())


def test_a_full_disk_in_a_pool_ends_the_stage(project: TinyProject, small_disk: Callable[[str], Path]) -> None:
    project.add_video("big", "9")
    project.params["run"] |= {"executor": "process", "workers": 2}
    text = project.run("ingest", expect=1, PIPELINE_WORK=str(small_disk("700k")))
    assert "no space left on the disk while writing" in text
    assert project.json("data/work/status/ingest.json")["outcome"] == "retry"
