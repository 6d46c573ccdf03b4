"""The stage ``report`` on a small project whose artifacts are written by hand."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.run import kinds
from pipeline.run.files import read_json, write_json
from pipeline.run.params import PARAMS_FILE, check_params, read_params
from pipeline.run.progress import StageProgress
from pipeline.run.runner import run_stage
from pipeline.run.stage import find_stage, section_models
from stages import _outputs
from tests.browser import Browser

DURATION, WIDTH, HEIGHT = 8.0, 64, 48
PTS = np.arange(0.0, DURATION, 0.25)
LABELS = ("run", "jump")
MEASURED = {
    "shots": {"cut_F1": 0.5, "cut_F1_low": 0.25, "cut_F1_high": 0.75},
    "detect": {"AP50/person": 0.875, "AP50/ball": 0.625, "AP50_person": 0.875, "AP50_objects": 0.625},
    "track": {"IDF1": 0.9375, "IDF1_low": 0.8125, "IDF1_high": 1.0},
    "recognise": {
        "top1/I": 0.25,
        "top1_low/I": 0.125,
        "top1_high/I": 0.375,
        "above_chance/I": 0.0,
        "gmacs_per_picture/i": 1.5,
        "top1/I+M": 0.75,
        "top1_low/I+M": 0.625,
        "top1_high/I+M": 0.875,
        "above_chance/I+M": 1.0,
        "gain/I+M": 0.5,
        "gain_low/I+M": 0.375,
        "gain_high/I+M": 0.625,
        "chance_uniform": 0.5,
        "chance_majority": 0.5,
    },
    "framewise": {
        "charades_v1_localize_mAP/coarse": 0.3125,
        "charades_v1_localize_mAP_low/coarse": 0.25,
        "charades_v1_localize_mAP_high/coarse": 0.375,
        "charades_v1_localize_wAP/coarse": 0.34,
        "charades_v1_localize_mAP/both": 0.4375,
        "gain/both": 0.125,
        "gain_low/both": 0.0625,
        "gain_high/both": 0.1875,
        "conv_gmacs/both": 73.4,
        "chance_mAP": 0.0625,
    },
}


def boxes(with_track: bool) -> dict[str, np.ndarray]:
    """One person who walks to the right, in every second picture from 1 s on."""
    pictures = np.arange(4, len(PTS), 2).astype(np.int32)
    x = PTS[pictures] * 4
    box = np.stack([x, np.full_like(x, 10), x + 10, np.full_like(x, 40)], axis=1).astype(np.float32)
    rows = {
        "pts": PTS, "picture": pictures, "t": PTS[pictures], "box": box,
        "label": np.zeros(len(pictures), np.int16), "score": np.full(len(pictures), 0.9, np.float32),
    }  # fmt: skip
    return rows | ({"track": np.zeros(len(pictures), np.int32)} if with_track else {})


def write_artifacts(root: Path, video: Video, jpeg: bytes) -> None:
    """All artifacts that the report shows; the cut at 2 s is right, that at 6 s wrong, and one at 4 s is missed."""
    stem, attributes = f"{video.file_stem}.h5", {"classes": "person,ball", "duration_s": DURATION}
    kinds.FRAMES.write(root / _outputs.FRAMES / stem, {"pts": PTS, "jpeg": [jpeg] * len(PTS)},
                       {"width": WIDTH, "height": HEIGHT, "fps": 4.0, "duration_s": DURATION})  # fmt: skip
    starts, ends = np.array([0.0, 2.0, 6.0]), np.array([2.0, 6.0, DURATION])
    kinds.SHOTS.write(
        root / _outputs.SHOTS / stem, {"t_start": starts, "t_end": ends, "score": np.zeros(3)}, {"detector": "x"}
    )
    size = {"width": WIDTH, "height": HEIGHT}
    kinds.DETECTIONS.write(root / _outputs.DETECTIONS / stem, boxes(False), attributes | size)
    kinds.TRACKS.write(root / _outputs.TRACKS / stem, boxes(True), attributes | size)
    seconds = np.arange(1, 7) + 0.5
    kinds.BANK.write(
        root / _outputs.BANK / stem,
        {"t": seconds, "track": np.zeros(6, np.int32), "label": np.zeros(6, np.int16),
         "box": np.zeros((6, 4), np.float32), "score": np.ones(6, np.float32), "feature": np.zeros((6, 2), np.float32)},
        attributes | {"encoder": "x", "window_s": 1.0},
    )  # fmt: skip
    n = len(PTS)
    kinds.COMPRESSED.write(
        root / _outputs.COMPRESSED / stem,
        {"pts": PTS, "frame_type": np.full(n, 2, np.uint8), "packet_bytes": np.ones(n, np.int32),
         "i_frame_index": np.zeros(n, np.int32), "reference_index": np.arange(n, dtype=np.int32) - 1,
         "mv": np.ones((n, 6, 8, 2), np.int16)},
        {**size, "rows": 6, "columns": 8, "codec": "h264", "normalised_from": ""},
    )  # fmt: skip
    true = boxes(True)
    kinds.TRUTH.write(
        root / _outputs.VIDEOS / f"{video.file_stem}.truth.h5",
        {"pts": PTS, "labels": np.zeros((n, 2), np.uint8), "box_frame": true["picture"], "box": true["box"],
         "box_class": true["label"], "box_track": true["track"], "shot_start": np.array([0.0, 2.0, 4.0])},
        {"box_classes": "person,ball", "label_classes": "run,jump"},
    )  # fmt: skip


def metrics_file(root: Path, stage: str, values: dict[str, float]) -> None:
    """A metrics file as the runner writes it."""
    write_json(root / _outputs.METRICS / f"{stage}.json", {
        "stage": stage, "metrics": values, "cost": {"wall_s": 1.0, "process_cpu_s": 2.0}, "executed": True,
        "mlflow_run_id": f"run-of-{stage}", "warnings": [f"{stage} warns"] if stage == "shots" else [],
        "failures": [{"stage": stage, "video": "bad.mp4", "cause": "it is empty"}] if stage == "ingest" else [],
        "videos": {"done": 2, "failed": 0, "reused": 0},
    })  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, root: Path, jpeg: bytes) -> Iterator[Path]:
    """A finished run but for its report: two test videos, three encoders, one of which is always right."""
    for name in ("pipeline", "stages", "models"):
        (tmp_path / name).symlink_to(root / name)
    params = read_params(root / PARAMS_FILE)
    params["run"] |= {"tracking": False}
    params["evaluate"] |= {"resamples": 100}
    (tmp_path / PARAMS_FILE).write_text(yaml.safe_dump(params))
    segments = (Segment("run", 1.0, 3.0), Segment("jump", 4.0, 7.0))
    videos = tuple(
        Video(f"clip {i}", f"no/such/{i}.mp4", "testing", DURATION, 4.0, len(PTS), WIDTH, HEIGHT, segments)
        for i in range(2)
    )
    Dataset("by hand", LABELS, videos).save(tmp_path / _outputs.DATASET_FILE)
    for video in videos:
        write_artifacts(tmp_path, video, jpeg)
    for variant, shift in (("lofi", 0.0), ("acp", 0.4), ("untrained", 3.0)):
        rows = [
            {"label": s.label, "score": 0.75 - i / 10, "segment": [s.t_start + shift, s.t_end + shift]}
            for i, s in enumerate(segments)
        ]
        found = {"version": "VERSION 1.3", "external_data": {}, "results": {video.id: rows for video in videos}}
        write_json(tmp_path / _outputs.PREDICTIONS.format(variant=variant) / "predictions.json", found)
    for stage in ("ingest", "frames", *MEASURED):
        metrics_file(tmp_path, stage, MEASURED.get(stage, {}))
    yield tmp_path


def make(root: Path) -> str:
    """Run the stage in this process; the page."""
    sections = check_params(read_params(root / PARAMS_FILE), section_models(), PARAMS_FILE)
    with StageProgress("report", root / "status.json") as progress:
        run_stage(find_stage("report"), "", sections, root, progress)
    return (root / "reports" / "index.html").read_text()


def plain(page) -> str:
    return " ".join(" ".join(page.texts).split())


def offline(html: str) -> str:
    """The page without the links to runs, the only addresses that it may hold."""
    return html.replace("http://127.0.0.1:5000", "")


def test_everything_is_on_the_page(project: Path, read_page: Callable) -> None:
    html = make(project)
    page = read_page(offline(html))
    text = plain(page)
    for expected in (
        "cut F1 50.0 25.0 … 75.0", "AP50 of people 87.5", "AP50 of objects 62.5", "IDF1 of people 93.8 81.2 … 100.0",
        "AP by encoder", "AP of lofi by tIoU", "Precision against recall at tIoU 0.75",
        "What fixing a kind of error would give", "false negative", "clip 0", "clip 1", "3 shots found, 3 true",
        "6.00 to 8.00 s: no true cut here",
        "missed cut at 4.00 s", "Boxes with a score of at least", "AP50, % 62.5 87.5", "testing 2 16 12 75.0 12 2",
        "Test videos. Rows by class: person 12, ball 0", "Motion vectors", "bad.mp4", "it is empty", "shots warns",
        "I 25.0 12.5 … 37.5 no 1.5", "I+M 75.0 62.5 … 87.5 yes +50.0 (+37.5 … +62.5)", "chance, majority 50.0",
        "What the streams see: clip 0",
    ):  # fmt: skip
        assert expected in text, expected
    assert "2.00 to 6.00 s: no" not in text  # that cut is right
    assert 'href="http://127.0.0.1:5000/#/runs/run-of-track"' in html
    # Of each video: pictures with a box at 2, 3, 4, 5 s and so on, twice: found and true.
    assert page.tags.count("rect") % 2 == 0
    assert page.tags.count("rect") >= 16
    assert html.count('class="bar found') == html.count('class="bar truth"') == 4
    assert 'class="bar found wrong"' not in html  # lofi is the best and always right
    assert (project / "reports" / "bench" / "repro.json").is_file()
    recognised = read_json(project / "reports" / "tables" / "recognition.json")["rows"]
    assert [row["streams"] for row in recognised] == ["I", "I+M", "chance, uniform", "chance, majority"]
    framewise = read_json(project / "reports" / "tables" / "framewise.json")["rows"]
    assert [row["network"] for row in framewise] == ["both", "coarse", "chance"], "best first"
    for expected in ("43.8", "+12.5 +6.2 … +18.8", "73.4", "31.2", "25.0 … 37.5", "34.0", "6.2"):
        assert expected in text, expected
    assert len(html) < 3_000_000


def test_data_set_without_truth_of_its_own(project: Path, read_page: Callable) -> None:
    for path in (project / _outputs.VIDEOS).glob("*.truth.h5"):
        path.unlink()
    for stage in MEASURED:
        metrics_file(project, stage, {})
    page = read_page(offline(make(project)))
    text = plain(page)
    assert "The data set has no boxes of its own" in text
    assert "The data set does not know its cuts" in text
    for absent in ("AP50", "IDF1", "cut F1", "no true cut", "missed cut"):
        assert absent not in text, absent
    assert page.tags.count("rect") > 0
    assert "truth" not in [t.strip() for t in page.texts]


def test_stages_that_left_nothing(project: Path, read_page: Callable) -> None:
    for folder in (
        _outputs.FRAMES, _outputs.SHOTS, _outputs.DETECTIONS, _outputs.TRACKS, _outputs.BANK, _outputs.COMPRESSED
    ):  # fmt: skip
        shutil.rmtree(project / folder)
    page = read_page(offline(make(project)))
    text = plain(page)
    for expected in (
        "No pictures of clip 0", "clip 0 was not split into shots", "clip 1 was not searched", "clip 1 was not tracked",
        "There is no feature bank", "The coded stream of clip 0 was not read",
    ):  # fmt: skip
        assert expected in text, expected
    assert "figure" in page.tags  # the plots are there
    assert "rect" not in page.tags


def test_server_that_the_ui_started_is_linked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_MLFLOW_URL", "http://127.0.0.1:5999")
    write_json(project / "open_run.json", {"run_id": "the-whole-run"})
    monkeypatch.setenv("PIPELINE_PARENT_RUN", str(project / "open_run.json"))
    html = make(project)
    assert 'href="http://127.0.0.1:5999/#/runs/the-whole-run"' in html
    assert 'href="http://127.0.0.1:5999/#/runs/run-of-track"' in html
    assert ":5000" not in html


@pytest.mark.slow
def test_the_page_in_a_browser(project: Path, tmp_path: Path) -> None:
    """Opened as a file, with no server and no network: all drawn, nothing asked for, nothing wider than the window."""
    make(project)
    browser = Browser(tmp_path / "chromium", width=1200, height=900)
    try:
        browser.open((project / "reports" / "index.html").as_uri())
        browser.wait_for("What fixing a kind of error would give")
        assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert browser.run("document.images.length") >= 10
        assert browser.run("document.documentElement.scrollWidth") <= 1200
        for name in browser.run("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))"):
            assert browser.run(f"document.querySelector('{name}') !== null"), f"{name} leads nowhere"
        browser.click("Tracks", "nav a")
        browser.wait_until("window.scrollY > 0", "the tracks")
        browser.click("frames", "summary")
        browser.wait_for("jpeg_quality")
        browser.screenshot(Path(os.environ.get("PIPELINE_SCREENSHOTS") or tmp_path) / "report.png")
        assert browser.foreign == set()
    finally:
        browser.close()
