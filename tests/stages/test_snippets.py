"""Snippets of the coded stream: the right I-frame, motion and residual at each instant, cut alike."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.encoders.snippets import snippet_features
from pipeline.datasets.augment import motion_pictures
from pipeline.run.kinds import FRAMES
from pipeline.run.params import ParameterError
from pipeline.video import jpeg
from pipeline.video.crop import crop_resize
from stages import _encoder, _outputs, _snippets
from tests.datasets.coded import COLUMNS, ROWS, write_stream

SIZE = {"base_width": 8, "frames": 4, "window_s": 0.8, "height": 32, "width": 40}
SPEC = _encoder.EncoderSpec(name="coviar_resnet18", residual=True, motion_px=64.0, **SIZE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_stream(tmp_path / _outputs.COMPRESSED / "a.h5", [10, 14, 16])
    return tmp_path


def test_every_instant_has_its_i_frame_and_what_moved_since(root: Path) -> None:
    source = _snippets.Snippets.of_root(root, SPEC, ["a", "failed"])
    assert "a" in source and "failed" not in source
    pictures = source.pictures("a", np.array([0.6, 1.5]))
    assert pictures.shape == (2, 4, ROWS, COLUMNS, 8) and pictures.dtype == np.uint8
    # 0.2 s apart around 0.6 s: rows 6, 10, 14, 18; row 10 is an I-frame, so row 9 stands for its motion.
    assert np.abs(pictures[0, ..., :3].mean(axis=(1, 2, 3)) - [20, 40, 40, 40]).max() < 1
    expected = motion_pictures(np.array([[6, 0], [9, 0], [4, 1], [8, 1]]), 20.0)
    assert np.array_equal(pictures[0, :, 0, 0, 3:5], expected)
    assert pictures[0, :, 0, 0, 5:].tolist() == [[122, 128, 122], [119, 128, 119], [124, 127, 124], [120, 127, 120]]


def test_clips_are_what_the_encoder_takes(root: Path) -> None:
    source = _snippets.Snippets.of_root(root, SPEC, ["a"])
    clips = source.clips("a", np.array([0.6, 1.0, 1.5]), np.random.default_rng(0), 0.8)
    assert clips.shape == (3, 8, 4, 32, 40) and clips.dtype == torch.uint8
    # Pictures and motion of a snippet are of one flat value each: cutting and scaling changes none.
    assert (clips == clips[..., :1, :1]).all()
    torch.manual_seed(0)
    encoder = _encoder.build(SPEC).eval()
    assert snippet_features(encoder, clips).shape == (3, _encoder.feature_dim(encoder))


def test_i_frames_and_motion_need_no_residual_in_the_file(tmp_path: Path) -> None:
    write_stream(tmp_path / _outputs.COMPRESSED / "a.h5", [10], without=("residual_accumulated",))
    spec = SPEC.model_copy(update={"residual": False})
    clips = _snippets.Snippets.of_root(tmp_path, spec, ["a"]).clips("a", np.array([0.2]))
    assert clips.shape == (1, 5, 4, 32, 40)


def test_frames_are_read_as_before(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (20, 36, 48, 3)).astype(np.uint8)
    path = tmp_path / _outputs.FRAMES / "a.h5"
    FRAMES.write(path, {"pts": np.arange(20) / 10, "jpeg": [jpeg.encode(one, 90) for one in stored]},
                 {"width": 48, "height": 36, "fps": 10.0, "duration_s": 2.0})  # fmt: skip
    spec = _encoder.EncoderSpec(name="tsm_resnet18", **SIZE)
    pictures = _snippets.Snippets.of_root(tmp_path, spec, ["a"]).pictures("a", 1.0)
    decoded = np.stack([jpeg.decode(jpeg.encode(stored[row], 90)) for row in (7, 9, 11, 13)])
    assert np.array_equal(pictures, decoded)
    assert _snippets.centers(10.0, 4).tolist() == [1.25, 3.75, 6.25, 8.75]


def test_only_coviar_has_residuals() -> None:
    with pytest.raises(ValueError, match="belongs to coviar encoders, not to tsm_resnet18"):
        _encoder.EncoderSpec(name="tsm_resnet18", residual=True, **SIZE)
    assert issubclass(ParameterError, ValueError)


def test_all_channels_are_cut_and_scaled_alike() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 50, 70, 8)).astype(np.uint8)
    whole = crop_resize(pictures, 32, 40, np.random.default_rng(1), 0.7)
    for channels in (slice(0, 3), slice(3, 5), slice(5, 8)):
        part = crop_resize(np.ascontiguousarray(pictures[..., channels]), 32, 40, np.random.default_rng(1), 0.7)
        assert np.array_equal(whole[..., channels], part)
