"""Encoders as the graph's stages build, store and use them."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from models.encoders import ENCODERS
from models.encoders.snippets import snippet_features
from stages import _encoder


def test_the_graph_offers_every_encoder_of_the_table() -> None:
    assert get_args(_encoder.EncoderSpec.model_fields["name"].annotation) == tuple(ENCODERS)


@pytest.mark.parametrize(
    "name", ["tsm_resnet18", "x3d_s", "slowfast_4x16_r50", "i3d_r50", "r2plus1d_18", "resnet3d_18"]
)
def test_an_encoder_comes_back_from_its_folder(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    spec = _encoder.EncoderSpec(name=name, base_width=8, frames=8, window_s=1.5, height=32, width=48)
    encoder = _encoder.build(spec).eval()
    _encoder.save(tmp_path, encoder, spec)
    loaded, found = _encoder.load(tmp_path)
    assert found == spec
    clips = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 8, 32, 48), np.uint8))
    with torch.no_grad():
        features = snippet_features(loaded, clips)
        assert torch.equal(features, snippet_features(encoder, clips))
    assert features.shape == (2, _encoder.feature_dim(loaded))
