"""Checkpoints as MLflow serves them: the signature says what ``predict`` really takes and gives."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.heads import build_head
from pipeline.run.stage import Array, find_stage
from stages import _detector, _encoder, _localiser, _served
from stages.frames import Frames

SPEC = _encoder.EncoderSpec(name="tsm_resnet18", base_width=8, frames=4, window_s=1.0, height=48, width=64)
CLASSES = ("jump", "wave")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_an_encoder(tmp_path: Path) -> None:
    _encoder.save(tmp_path, _encoder.build(SPEC), SPEC)
    inputs, outputs = _served.signature(tmp_path)
    assert inputs == Array("uint8", (-1, 3, 4, 48, 64))
    clips = np.random.default_rng(0).integers(0, 256, (3, *inputs.shape[1:]), dtype=inputs.dtype)
    features = _served._load_pyfunc(str(tmp_path)).predict(clips)
    assert isinstance(outputs, Array)
    assert features.shape == (3, *outputs.shape[1:])
    assert features.dtype == outputs.dtype
    assert np.ptp(features, axis=0).max() > 0, "different clips have different features"


def test_a_head_though_its_encoder_lies_beside_it(tmp_path: Path) -> None:
    sizes = _localiser.GTADSpec(hidden=16, groups=4, inner_points=4, context_points=2, aligned=16, localisation=16)
    spec = _localiser.LocaliserSpec("gtad", sizes)
    localiser, classifier = _localiser.build(spec, 12), build_head("segment_classifier", feature_dim=12, classes=2)
    frames = Frames(fps=4, short_side=64, jpeg_quality=90)
    _localiser.save(tmp_path, localiser, classifier, spec, CLASSES, 10, frames, {})
    _encoder.save(tmp_path, _encoder.build(SPEC), SPEC)
    inputs, outputs = _served.signature(tmp_path)
    assert inputs == Array("float32", (-1, 12))
    features = np.random.default_rng(0).normal(size=(10, 12)).astype(inputs.dtype)
    found = _served._load_pyfunc(str(tmp_path)).predict(features)
    assert not isinstance(outputs, Array)
    assert list(found.columns) == list(outputs)
    assert set(found["label"]) <= set(CLASSES)
    assert found["score"].is_monotonic_decreasing
    assert (found["begin"] < found["end"]).all()


def test_a_detector(tmp_path: Path) -> None:
    network = _detector.Network(
        name="fcos_resnet18_fpn", short_side=64, base_width=8, first_level=2, last_level=4, channels=32, head_convs=1
    )
    spec = _detector.DetectorSpec(network=network, classes=("person", "ball"), own_boxes=True)
    _detector.save(tmp_path, _detector.build(spec), spec)
    inputs, outputs = _served.signature(tmp_path)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 80, 3), dtype=inputs.dtype)
    found = _served._load_pyfunc(str(tmp_path)).predict(pictures)
    assert not isinstance(outputs, Array)
    assert list(found.columns) == list(outputs)
    assert set(found["picture"]) <= {0, 1}
    assert set(found["class"]) <= {"person", "ball"}


def test_every_stage_that_writes_weights_declares_them() -> None:
    declared = {name: set(find_stage(name).checkpoints) for name in ("pretrain", "lofi", "head", "detector")}
    assert declared == {"pretrain": {"acp", "untrained"}, "lofi": {"lofi"}, "head": {"head"}, "detector": {"detector"}}
