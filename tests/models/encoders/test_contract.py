"""What every encoder of the table must hold."""

import pytest
import torch
from torch import nn

from models.encoders import ENCODERS, build_encoder
from models.encoders.snippets import MEAN, STD, normalise, snippet_features
from models.norm import train_mode


@pytest.fixture(params=sorted(ENCODERS))
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return build_encoder(request.param, base_width=8).eval()


@pytest.mark.parametrize("shape", [(8, 64, 64), (1, 32, 48), (5, 33, 70)])
def test_any_length_and_size(encoder: nn.Module, shape: tuple[int, int, int]) -> None:
    features = encoder(torch.randn(2, 3, *shape))
    assert features.shape[:2] == (2, encoder.feature_dim)
    assert features.dim() == 5
    assert features.isfinite().all()


def test_snippet_does_not_depend_on_its_batch(encoder: nn.Module) -> None:
    clips = torch.randn(3, 3, 4, 32, 32)
    alone = torch.cat([encoder(clip.unsqueeze(0)) for clip in clips])
    torch.testing.assert_close(encoder(clips), alone, rtol=1e-4, atol=1e-5)


def test_snippet_features_keep_leading_axes_and_average(encoder: nn.Module) -> None:
    clips = torch.randint(0, 256, (2, 3, 3, 4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    features = snippet_features(encoder, clips)
    assert features.shape == (2, 3, encoder.feature_dim)
    expected = encoder(normalise(clips[1])).mean(dim=(2, 3, 4))
    torch.testing.assert_close(features[1], expected, rtol=1e-4, atol=1e-5)


def test_gradient_reaches_every_parameter_and_frozen_statistics_stay(encoder: nn.Module) -> None:
    train_mode(encoder, "frozen")
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder(torch.randn(2, 3, 4, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    assert all(torch.equal(before[name], value) for name, value in encoder.named_buffers())
    train_mode(encoder, "running")
    encoder(torch.randn(2, 3, 4, 32, 32))
    assert not torch.equal(before["bn1.running_mean"], encoder.get_buffer("bn1.running_mean"))


def test_norm_names_what_is_allowed(encoder: nn.Module) -> None:
    with pytest.raises(ValueError, match="'batch'; allowed: frozen, running"):
        train_mode(encoder, "batch")  # type: ignore[arg-type]


def test_normalise() -> None:
    clips = torch.randint(0, 256, (2, 3, 2, 5, 4), dtype=torch.uint8)
    expected = (clips / 255 - torch.tensor(MEAN).view(3, 1, 1, 1)) / torch.tensor(STD).view(3, 1, 1, 1)
    torch.testing.assert_close(normalise(clips), expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="uint8"):
        normalise(clips.float())


def test_unknown_name_and_option_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown encoder 'resnet18'; allowed: .*tsm_resnet18"):
        build_encoder("resnet18")
    with pytest.raises(ValueError, match=r"'tsm_resnet18'.*'width'; its options: base_width, shift_div"):
        build_encoder("tsm_resnet18", width=3)
