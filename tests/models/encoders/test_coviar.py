"""The CoViAR snippet encoder: each stream alone, I-frames once, cost beside TSM's."""

import pytest
import torch

from models.encoders import build_encoder
from models.encoders.snippets import normalise
from models.streams import normalise as normalise_stream


def snippets(residual: bool, b: int = 2, t: int = 6) -> torch.Tensor:
    """Snippets whose I-frame changes at the fourth instant."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(b, 8 if residual else 5, t, 40, 48, generator=generator)
    x[:, :3, :3] = x[:, :3, :1]
    x[:, :3, 3:] = x[:, :3, 3:4]
    return x


@pytest.mark.parametrize("residual", [False, True])
def test_every_stream_sees_its_own_channels_alone(residual: bool) -> None:
    torch.manual_seed(0)
    encoder = build_encoder("coviar_resnet18", base_width=16, residual=residual).eval()
    x = snippets(residual)
    features = encoder(x)
    assert features.shape == (2, encoder.feature_dim, 6, 2, 2)
    assert encoder.feature_dim == 16 * (16 if residual else 12)
    parts = {"i": (slice(0, 3), slice(0, 128)), "mv": (slice(3, 5), slice(128, 192))}
    if residual:
        parts["residual"] = (slice(5, 8), slice(192, 256))
    for name, (channels, columns) in parts.items():
        network = encoder.i if name == "i" else encoder.updates[name]
        expected = torch.stack([network.maps(x[:, channels, t]) for t in range(6)], dim=2)
        torch.testing.assert_close(features[:, columns], expected, rtol=1e-4, atol=1e-5)


def test_an_i_frame_is_encoded_once() -> None:
    encoder = build_encoder("coviar_resnet18", base_width=8).eval()
    seen: list[int] = []
    encoder.i.backbone.conv1.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    x = snippets(False, b=3)
    expected = torch.cat([encoder(one[None]) for one in x])
    seen.clear()
    torch.testing.assert_close(encoder(x), expected, rtol=1e-4, atol=1e-5)
    assert seen == [6]  # two in each of three snippets, not eighteen
    x[1, :3] = x[0, :3].flip(1)  # the first two snippets share their I-frames
    x[2, 0, 0, 5, 7] += 1e-3  # one value of one picture differs
    expected = torch.cat([encoder(one[None]) for one in x])
    seen.clear()
    torch.testing.assert_close(encoder(x), expected, rtol=1e-4, atol=1e-5)
    assert seen == [5]


def test_streams_and_snippets_are_normalised_alike() -> None:
    clips = torch.randint(0, 256, (2, 8, 3, 4, 5), dtype=torch.uint8)
    found = normalise(clips).transpose(1, 2)
    pictures = clips.transpose(1, 2)
    for stream, channels in (("i", slice(0, 3)), ("mv", slice(3, 5)), ("residual", slice(5, 8))):
        expected = normalise_stream(pictures[:, :, channels], stream)
        torch.testing.assert_close(found[:, :, channels], expected, rtol=0, atol=0)
    mv = torch.tensor([[[[128.0]], [[255.0]]]]).to(torch.uint8)
    assert normalise_stream(mv, "mv").flatten().tolist() == pytest.approx([128 / 255 - 0.5, 0.5], abs=1e-6)
    stack = torch.randint(0, 256, (1, 10, 4, 5), dtype=torch.uint8)
    torch.testing.assert_close(normalise_stream(stack, "flow"), stack / 255 - 0.5, rtol=0, atol=1e-6)


def test_wrong_channels_are_named() -> None:
    with pytest.raises(ValueError, match=r"\[B, 5, T, H, W\]"):
        build_encoder("coviar_resnet18", base_width=8)(torch.zeros(1, 8, 2, 32, 32))
    with pytest.raises(ValueError, match="3, 5 or 8"):
        normalise(torch.zeros(1, 4, 1, 2, 2, dtype=torch.uint8))
