"""The stage framewise, run for real: on pictures that show what is on, and on the published formats of frame labels."""

import copy
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.evaluation.from_files.frames import run_classify, run_localize, run_multithumos
from pipeline.evaluation.from_files.request import Request
from pipeline.run import kinds
from pipeline.run.files import read_json
from pipeline.run.params import PARAMS_FILE, ParameterError, check_params, read_params
from pipeline.run.stage import StageError, section_models
from pipeline.video import jpeg
from stages import _encoder, _framewise_report, _outputs
from tests.stages.one_stage import run_one
from tests.video.clips import encode_clip

CLASSES = ("left", "never", "right")
FEW = {"steps": 2, "batch": 2, "optimizer": "sgd", "lr": 0.01, "threads": 1}
CLIPS = {"fps": 4.0, "height": 32, "width": 32, "context": 12, "labels_per_frame": 2, "min_scale": 1.0, "flip": False}
LEARNS = {
    "model": "resnet3d_18", "base_width": 16, "frames": 8,
    "training": {"steps": 30, "batch": 4, "optimizer": "adamw", "lr": 0.01, "schedule": "one_cycle", "threads": 1,
                 "validate_every": 15, "checkpoint_s": 0.01},
}  # fmt: skip
SECTION: dict[str, Any] = {"subsets": ["training"], "clips": CLIPS, "networks": {"resnet": LEARNS}, "resamples": 100}
TWO_STREAM = {"base_width": 8, "coarse": "coarse", "fine": "fine", "training": FEW}
MANY: dict[str, Any] = {
    "both": {"model": "coarse_fine", "frames": 8, **TWO_STREAM},
    "replayed": {
        "model": "coarse_fine",
        "frames": 8,
        "window": 4,
        "replay_chunk": 1,
        "norm": "fine_frozen",
        **TWO_STREAM,
    },
    "fine_fine": {"model": "fine_fine", "frames": 8, **TWO_STREAM, "coarse": "fine"},
    "no_time": {"model": "coarse_fine", "frames": 8, "fusion": {"dims": "CHW", "mask": False}, **TWO_STREAM},
    "slowfast": {"model": "slowfast_det", "frames": 8, "pooling": "grid_pool", **TWO_STREAM},
    "coarse": {"model": "coarse_only", "base_width": 8, "frames": 12, "auxiliary": "flow", "training": FEW},
    "fine": {"model": "fine_only", "base_width": 8, "frames": 4, "training": FEW},
    "sgs": {"model": "x3d_s", "base_width": 8, "frames": 8, "sgs": {"bins": 4}, "training": FEW},
}


def painted(folder: Path, root: Path, training: int = 8) -> Path:
    """Videos of 2.5 to 4 s whose left and right halves are bright while the action of that name is on."""
    folder.mkdir(exist_ok=True)
    for name in ("pipeline", "stages", "models"):
        (folder / name).symlink_to(root / name)
    rng, videos = np.random.default_rng(0), []
    for subset, count in (("training", training), ("validation", 3), ("testing", 6)):
        for number in range(count):
            n = int(rng.integers(20, 33))
            segments = []
            pictures = rng.integers(60, 90, (n, 32, 40, 3)).astype(np.uint8)
            for label, half in (("left", slice(0, 20)), ("right", slice(20, 40))):
                first = int(rng.integers(0, n - 8))
                last = int(rng.integers(first + 4, n))
                pictures[first:last, :, half] += 120
                segments.append(Segment(label, first / 8 - 0.01, last / 8 - 0.01))
            video = Video(f"{subset}-{number}", "none.mp4", subset, n / 8, 8.0, n, 40, 32, tuple(segments))
            rows = {"pts": np.arange(n) / 8, "jpeg": [jpeg.encode(picture, 95) for picture in pictures]}
            attributes = {"width": 40, "height": 32, "fps": 8.0, "duration_s": n / 8}
            kinds.FRAMES.write(folder / _outputs.FRAMES / f"{video.file_stem}.h5", rows, attributes)
            videos.append(video)
    Dataset("painted", CLASSES, tuple(videos)).save(folder / _outputs.DATASET_FILE)
    return folder


def params(root: Path, **changes: Any) -> dict[str, Any]:
    raw = read_params(root / PARAMS_FILE)
    raw["run"] |= {"tracking": False, "executor": "inline"}
    raw["framewise"] = copy.deepcopy(SECTION) | changes
    return raw


def run(folder: Path, raw: dict[str, Any], name: str = "framewise") -> dict[str, float]:
    sections = check_params(raw, section_models(), PARAMS_FILE)
    return run_one(folder, sections, name)


def digests(folder: Path) -> dict[str, str]:
    """Of all that the stage writes."""
    outs = (_outputs.FRAME_NETWORKS, _outputs.FRAME_SCORES, "data/checkpoints/history/framewise")
    files = [path for out in outs for path in (folder / out).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, root: Path) -> tuple[Path, dict[str, float]]:
    folder = painted(tmp_path_factory.mktemp("framewise"), root)
    return folder, run(folder, params(root))


def test_what_the_pictures_show_is_learned_at_every_frame(done: tuple[Path, dict[str, float]]) -> None:
    _, metrics = done
    assert metrics["charades_v1_localize_mAP/resnet"] > 0.9 > 0.7 > metrics["chance_mAP"]
    assert metrics["charades_v1_localize_wAP/resnet"] > 0.9
    # A class that never occurs counts 0 in the frames' mean of three, and nothing in the other.
    assert metrics["classes_without_test_rows"] == 1
    assert 0.6 < metrics["frames_mAP/resnet"] < 2 / 3
    assert metrics["frames_mAP_low/resnet"] <= metrics["frames_mAP/resnet"] <= metrics["frames_mAP_high/resnet"]
    assert metrics["conv_gmacs/resnet"] > 0 and metrics["params_m/resnet"] > 0


def test_the_scores_are_files_that_the_protocols_read(done: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = done
    dataset = Dataset.load(folder / _outputs.DATASET_FILE)
    scores = folder / _outputs.FRAME_SCORES / "resnet"
    with np.load(scores / "instants.npz") as instants, np.load(scores / "frames.npz") as frames:
        assert set(instants) == set(frames) == {video.id for video in dataset.subset("testing")}
        for video in dataset.subset("testing"):
            assert instants[video.id].shape == (25, 3) and frames[video.id].shape == (video.n_frames, 3)
            assert frames[video.id].min() >= 0 and frames[video.id].max() <= 1
    assert metrics["frames_mAP/resnet"] == pytest.approx(slowly_scored(dataset, scores / "frames.npz"), abs=1e-12)


def test_grid_pools_frames_are_kept_for_the_report(root: Path, tmp_path: Path) -> None:
    folder = painted(tmp_path / "grid", root, training=2)
    coarse = {"model": "coarse_only", "base_width": 8, "frames": 12, "training": FEW}
    first = run(folder, params(root, networks={"coarse": coarse}, clips=CLIPS | {"test_frames": 5}))
    dataset = Dataset.load(folder / _outputs.DATASET_FILE)
    with np.load(folder / _outputs.FRAME_SCORES / "coarse" / "grid.npz") as grid:
        for video in dataset.subset("testing"):
            assert (np.diff(grid[video.id]) >= 0).all() and 0 < grid[video.id][0] < grid[video.id][
                -1
            ] < video.duration_s
    rows = _framewise_report.rows([read_json(folder / _outputs.METRICS / "framewise.json")])
    assert [row["network"] for row in rows] == ["coarse", "chance"]
    assert rows[0]["charades_v1_localize_wAP"] == first["charades_v1_localize_wAP/coarse"]
    plot = _framewise_report.picture(folder, dataset, "coarse", dataset.subset("testing")[0])
    assert plot is not None and plot.light.startswith(b"\x89PNG") and "Grid Pool" in plot.caption
    # From its own weights, with nothing more to learn, it goes on as it was.
    start = dict(coarse, initial=f"{_outputs.FRAME_NETWORKS}/coarse.safetensors", norm="frozen",
                 training=FEW | {"steps": 1, "lr": 1e-12})  # fmt: skip
    again = run(folder, params(root, networks={"coarse": start}, clips=CLIPS | {"test_frames": 5}))
    assert again["frames_mAP/coarse"] == pytest.approx(first["frames_mAP/coarse"], abs=1e-6)


@pytest.mark.parametrize("name", ["tsm_resnet18", "x3d_m"])
def test_networks_start_from_the_encoder_of_pretrain(root: Path, tmp_path: Path, name: str) -> None:
    folder = painted(tmp_path, root, training=2)
    spec = _encoder.EncoderSpec(name=name, base_width=8, window_s=1.6, height=32, width=32,
                                temporal=_encoder.Temporal(name="sgs", after="res2"))  # fmt: skip
    encoder = _encoder.build(spec)
    _encoder.save(folder / _outputs.ENCODERS.format(variant="acp"), encoder, spec)
    still = {
        "base_width": 8,
        "frames": 8,
        "initial": "acp",
        "norm": "frozen",
        "training": FEW | {"steps": 1, "lr": 1e-12},
    }
    networks = {"tsm": still | {"model": "tsm_resnet18"}, "coarse": still | {"model": "coarse_only"}, "not": None}
    metrics = run(folder, params(root, networks=networks))
    for network, mine in (("tsm", "tsm_resnet18"), ("coarse", "x3d_m")):
        assert metrics[f"pretrained/{network}"] == (name == mine)
        found = load_file(folder / _outputs.FRAME_NETWORKS / f"{network}.safetensors")
        given = {key.removeprefix("tsm."): value for key, value in encoder.state_dict().items()}
        same = [torch.equal(value, found[f"encoder.{key}"]) for key, value in given.items()
                if value.ndim > 1 and f"encoder.{key}" in found]  # fmt: skip
        assert all(same) if name == mine else not any(same)
        assert len(same) > 15 or name != mine


def slowly_scored(dataset: Dataset, path: Path) -> float:
    """Per-frame mAP told once more: every frame of every video one after the other."""
    total = 0.0
    with np.load(path) as frames:
        for number, label in enumerate(CLASSES):
            rows = []
            for video in dataset.subset("testing"):
                for i, score in enumerate(frames[video.id][:, number]):
                    on = any(s.label == label and s.t_start < i / video.fps < s.t_end for s in video.segments)
                    rows.append((-float(score), len(rows), on))
            hits, precisions = 0, []
            for rank, (_, _, on) in enumerate(sorted(rows), start=1):
                if on:
                    hits += 1
                    precisions.append(hits / rank)
            total += sum(precisions) / max(hits, 1)
    return total / len(CLASSES)


def test_all_networks_of_the_table_and_those_that_start_from_others(root: Path, tmp_path: Path) -> None:
    folder = painted(tmp_path / "many", root, training=3)
    metrics = run(folder, params(root, networks=MANY, measure_memory=True))
    for name in MANY:
        assert 0 < metrics[f"charades_v1_localize_mAP/{name}"] <= 1
        assert metrics[f"peak_mib/{name}"] > 0
        assert (folder / _outputs.FRAME_NETWORKS / f"{name}.safetensors").is_file()
    assert "gain/both" not in metrics and {"gain/replayed", "gain_low/sgs"} <= set(metrics)
    # Same network, the Fine stream one window at a time: less memory, as many multiplications.
    assert metrics["peak_mib/replayed"] < metrics["peak_mib/both"]
    assert metrics["conv_gmacs/replayed"] == metrics["conv_gmacs/both"]
    assert metrics["conv_gmacs/coarse"] < metrics["conv_gmacs/fine"] < metrics["conv_gmacs/both"]
    history = read_json(folder / "data/checkpoints/history/framewise/coarse.json")
    assert {"classification", "localisation", "auxiliary"} <= set(history[-1])
    weighted = (history[-1]["classification"] + history[-1]["localisation"]) / 2 + 0.1 * history[-1]["auxiliary"]
    assert history[-1]["total"] == pytest.approx(weighted, rel=1e-5)
    table = read_json(folder / _outputs.FRAME_SCORES / "table.json")
    assert not any("cpu" in key or "mib" in key for key in table), "no clock in an output"


def test_killed_in_the_middle_it_ends_with_the_same_bytes(
    done: tuple[Path, dict[str, float]], root: Path, tmp_path: Path
) -> None:
    folder = painted(tmp_path / "killed", root)
    (folder / PARAMS_FILE).write_text(yaml.safe_dump(params(root)))
    command = [sys.executable, "-m", "stages.framewise"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (saved := list((folder / "data/work/framewise").glob("*/**/resnet.pt"))):
        assert process.poll() is None and time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert saved and not digests(folder), "killed before it was done"
    run(folder, params(root))
    assert digests(folder) == digests(done[0])


def annotated(folder: Path, root: Path, format_: str, ids: dict[str, str]) -> dict[str, Any]:
    """Real video files under the names of a published format, ingested and decoded; the parameters."""
    (folder / "videos").mkdir(parents=True)
    for id_ in ids:
        encode_clip(folder / "videos" / f"{id_}.mp4", count=40, fps=10)
    (folder / "data" / "datasets").mkdir(parents=True)
    definition = f"kind: annotated\nsource: videos\nformat: {format_}\nannotations: annotations\n"
    (folder / "data" / "datasets" / "dense.yaml").write_text(definition)
    network = {"model": "tsm_resnet18", "base_width": 8, "frames": 8, "training": FEW}
    raw = params(root, networks={"tsm": network})
    raw["ingest"]["dataset"] = "dense"
    (folder / PARAMS_FILE).write_text(yaml.safe_dump(raw))
    run(folder, raw, "ingest")
    run(folder, raw, "frames")
    return raw


def test_charades_feeds_it_and_the_official_rule_gives_its_figure(root: Path, tmp_path: Path) -> None:
    ids = {"AAAAA": "train", "BBBBB": "train", "CCCCC": "test", "DDDDD": "test", "EEEEE": "test"}
    (tmp_path / "annotations").mkdir()
    for part in ("train", "test"):
        actions = dict.fromkeys(ids, "c001 0.5 2.0;c156 1.0 3.5") | {"DDDDD": "c156 0.0 2.0", "EEEEE": ""}
        rows = "".join(f'{id_},"{actions[id_]}",4.0\n' for id_, of in ids.items() if of == part)
        (tmp_path / "annotations" / f"Charades_v1_{part}.csv").write_text("id,actions,length\n" + rows)
    raw = annotated(tmp_path, root, "charades", ids)
    metrics = run(tmp_path, raw)
    scores = tmp_path / _outputs.FRAME_SCORES / "tsm"
    official = run_localize(Request(tmp_path / "annotations", scores / "instants.npz"))
    assert metrics["charades_v1_localize_mAP/tsm"] == pytest.approx(official["mAP_present"], abs=1e-12)
    assert metrics["charades_v1_localize_wAP/tsm"] == pytest.approx(official["wAP"], abs=1e-12)
    whole = run_classify(Request(tmp_path / "annotations", scores / "videos.npz"))
    assert metrics["charades_v1_classify_mAP/tsm"] == pytest.approx(whole["mAP_present"], abs=1e-12)
    assert metrics["charades_v1_classify_wAP/tsm"] == pytest.approx(whole["wAP"], abs=1e-12)
    assert metrics["classes_without_test_rows"] == 155 and official["positives"] > 0


def test_multithumos_feeds_it_and_its_protocol_gives_its_figure(root: Path, tmp_path: Path) -> None:
    ids = {"video_validation_0000001": "training", "video_test_0000002": "testing"}
    entry = {"duration": 4.0, "actions": [[12, 0.5, 2.0], [65, 1.0, 3.0]]}
    (tmp_path / "annotations").mkdir()
    text = json.dumps({id_: {**entry, "subset": subset} for id_, subset in ids.items()})
    (tmp_path / "annotations" / "multithumos.json").write_text(text)
    raw = annotated(tmp_path, root, "multithumos", ids)
    metrics = run(tmp_path, raw)
    scores = tmp_path / _outputs.FRAME_SCORES / "tsm"
    official = run_multithumos(Request(tmp_path / "annotations", scores / "frames.npz"))
    assert metrics["multithumos_mAP/tsm"] == pytest.approx(official["mAP"], abs=1e-12)
    assert official["step_s"] == pytest.approx(0.1), "every frame of the file"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "x3d"}, r"networks\.it\.model.*'x3d'.*coarse_fine.*x3d_m"),
        ({"model": "fine_only", "pooling": "stride"}, "pooling belongs to coarse_fine"),
        ({"model": "fine_only", "alpha": 0.5}, "alpha belongs to"),
        ({"model": "coarse_only", "pooling": "stride", "auxiliary": "flow"}, "auxiliary belongs to coarse_only with"),
        ({"model": "coarse_only", "sgs": {}}, "sgs belongs to encoders"),
        ({"model": "slowfast_det", "replay_chunk": 1}, "replay_chunk belongs to"),
        ({"model": "coarse_fine", "coarse": "it"}, "name both networks or none"),
        ({"model": "slowfast_det", "fusion": {"dims": "C"}}, "fusion belongs to coarse_fine, fine_fine"),
        ({"model": "coarse_fine", "initial": "x.pt"}, "initial belongs to networks of one stream"),
        ({"model": "coarse_fine", "coarse": "nobody", "fine": "it"}, r"networks\.it\.coarse is 'nobody'"),
        ({"model": "fine_only", "norm": "fine_frozen"}, "norm: fine_frozen belongs to coarse_fine"),
        ({"training": FEW | {"schedule": "step", "milestones": [4, 2]}}, "they must rise"),
    ],
)
def test_wrong_networks_are_named(root: Path, change: dict[str, Any], message: str) -> None:
    raw = params(root, networks={"it": {"base_width": 8, "training": FEW} | change})
    with pytest.raises(ParameterError, match=message):
        check_params(raw, section_models(), PARAMS_FILE)


def test_a_network_that_cannot_be_is_refused_before_training(done: tuple[Path, dict[str, float]], root: Path) -> None:
    two = {"resnet": LEARNS, "bad": {"model": "i3d_r50", "base_width": 8, "sgs": {}, "training": FEW}}
    with pytest.raises(StageError, match=r"framewise\.networks\.bad: SGS.*stride in time"):
        run(done[0], params(root, networks=two))
