"""What every encoder of the table must hold."""

import pytest
import torch
from torch import Tensor, nn

from models.encoders import ENCODERS, build_encoder
from models.encoders.non_local import NonLocal
from models.encoders.ragged import Layout, mean_per_clip, padded
from models.encoders.slowfast import SlowFast
from models.encoders.snippets import MEAN, STD, normalise, normalise_for, snippet_features
from models.encoders.staged import StagedEncoder
from models.norm import train_mode
from models.recogniser import recogniser

# One name per builder: X3D-S is X3D-M seen with other clips.
NETWORKS = sorted({builder: name for name, builder in ENCODERS.items()}.values())
DEEP = ("r101", "x3d_l", "x3d_xl")  # nothing in them but more of the same blocks


def tiers(names: list[str]) -> list[object]:
    return [pytest.param(n, marks=pytest.mark.slow) if any(deep in n for deep in DEEP) else n for n in names]


STAGED = [name for name in NETWORKS if not name.startswith(("tsm", "coviar"))]
RAGGED = [name for name in STAGED if name != "i3d_inception"]


def build(name: str) -> nn.Module:
    """A narrow encoder whose every branch counts, which a fresh one's scales of 0 would hide."""
    torch.manual_seed(0)
    encoder = build_encoder(name, base_width=8)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
        if isinstance(module, NonLocal):  # cubic in its input: fresh weights would let it grow beyond bounds
            nn.init.normal_(module.theta.weight, std=1e-3)
    return encoder.eval()


@pytest.fixture(params=tiers(NETWORKS))
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    return build(request.param)


@pytest.mark.parametrize("shape", [(8, 32, 32), (1, 32, 48), (5, 33, 70)])
def test_any_length_and_size(encoder: nn.Module, shape: tuple[int, int, int]) -> None:
    features = encoder(torch.randn(2, encoder.in_channels, *shape))
    assert features.shape[:2] == (2, encoder.feature_dim)
    assert features.dim() == 5
    assert features.isfinite().all()


def test_snippet_does_not_depend_on_its_batch(encoder: nn.Module) -> None:
    clips = torch.randn(3, encoder.in_channels, 4, 32, 32)
    alone = torch.cat([encoder(clip.unsqueeze(0)) for clip in clips])
    torch.testing.assert_close(encoder(clips), alone, rtol=1e-4, atol=1e-4)


def test_snippet_features_keep_leading_axes_and_average(encoder: nn.Module) -> None:
    shape = (2, 3, encoder.in_channels, 4, 32, 32)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    features = snippet_features(encoder, clips)
    assert features.shape == (2, 3, encoder.feature_dim)
    expected = encoder(normalise_for(encoder, clips[1])).mean(dim=(2, 3, 4))
    torch.testing.assert_close(features[1], expected, rtol=1e-4, atol=1e-4)


def test_gradient_reaches_every_parameter_and_frozen_statistics_stay(encoder: nn.Module) -> None:
    train_mode(encoder, "frozen")
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder(torch.randn(2, encoder.in_channels, 4, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    assert all(torch.equal(before[name], value) for name, value in encoder.named_buffers())
    train_mode(encoder, "running")
    encoder(torch.randn(2, encoder.in_channels, 4, 32, 32))
    means = [name for name in before if name.endswith("running_mean")]
    assert all(not torch.equal(before[name], encoder.get_buffer(name)) for name in means)


@pytest.mark.parametrize("per_frame", [False, True])
def test_recogniser(encoder: nn.Module, per_frame: bool) -> None:
    model = recogniser(encoder, classes=5, per_frame=per_frame).eval()
    clips = torch.randn(2, encoder.in_channels, 4, 32, 32)
    features, logits = encoder(clips), model(clips)
    assert logits.shape == ((2, 5, features.shape[2]) if per_frame else (2, 5))
    vectors = features.mean(dim=(3, 4)).transpose(1, 2) if per_frame else features.mean(dim=(2, 3, 4))
    expected = model.head(vectors)
    torch.testing.assert_close(logits, expected.transpose(1, 2) if per_frame else expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", tiers(STAGED))
def test_stages_one_by_one_are_the_encoder(name: str) -> None:
    encoder = build(name)
    assert isinstance(encoder, StagedEncoder)
    assert encoder.stage_names[:5] == ("stem", "res2", "res3", "res4", "res5")
    x = torch.randn(1, 3, 8, 32, 32)
    expected = encoder(x)
    y = encoder.start(x)
    for stage in encoder.stage_names:
        y = encoder.run_stage(stage, y)
        channels = tuple(one.shape[1] for one in y) if isinstance(y, tuple) else y.shape[1]
        assert channels == encoder.stage_channels[stage]
    assert torch.equal(encoder.finish(y, encoder.start_layout(None))[0], expected)


class Shorten(nn.Module):
    """Leaves the first frames of each clip, and nonsense behind them up to the longest clip's length."""

    def __init__(self, lengths: list[int], before_relu: bool) -> None:
        super().__init__()
        self.lengths, self.before_relu = lengths, before_relu

    def cut(self, x: Tensor, lengths: list[int]) -> tuple[Tensor, Layout]:
        lengths = [min(length, x.shape[2]) for length in lengths]
        layout = padded(torch.tensor(lengths), max(lengths))
        cut = x[:, :, : max(lengths)]
        return torch.where(layout.mask > 0, cut, torch.full_like(cut, 7.0)), layout

    def forward(self, x: object, layout: object) -> tuple[object, object]:
        if isinstance(x, tuple):
            slow, fast = (self.cut(one, [n * (k + 1) for n in self.lengths]) for k, one in enumerate(x))
            return (slow[0], fast[0]), (slow[1], fast[1])
        assert isinstance(x, Tensor)
        return self.cut(x, self.lengths)


@pytest.mark.parametrize("before_relu", [False, True])
@pytest.mark.parametrize("name", tiers(RAGGED))
def test_clips_shortened_unequally_are_what_they_are_alone(name: str, before_relu: bool) -> None:
    clips = torch.randn(3, 3, 16, 32, 32)
    lengths = [3, 1, 2]

    def run(which: list[int]) -> Tensor:
        encoder = build(name)
        encoder.plug("res2", Shorten([lengths[index] for index in which], before_relu))
        with torch.no_grad():
            return mean_per_clip(*encoder.encode(clips[which]))

    together = run([0, 1, 2])
    assert together.isfinite().all()
    torch.testing.assert_close(together, torch.cat([run([index]) for index in range(3)]), rtol=1e-4, atol=1e-4)
    if not isinstance(build(name), SlowFast):
        # Where nothing is padded the layout changes nothing.
        plain = build(name)
        plain.plug("res2", Cut(2))
        with torch.no_grad():
            torch.testing.assert_close(run([2])[0], plain(clips[2:]).mean(dim=(0, 2, 3, 4)), rtol=1e-4, atol=1e-4)


class Cut(nn.Module):
    """The first frames, without a layout."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, x: Tensor, layout: None) -> tuple[Tensor, None]:
        return x[:, :, : self.frames], None


def test_plug_names_what_is_allowed() -> None:
    encoder = build("x3d_s")
    encoder.plug("conv5", Cut(1))
    with pytest.raises(ValueError, match="Cut already stands behind conv5"):
        encoder.plug("conv5", Cut(1))
    with pytest.raises(ValueError, match=r"no stage 'res6'; allowed: stem, res2, res3, res4, res5, conv5"):
        encoder.plug("res6", Cut(1))


def test_norm_names_what_is_allowed(encoder: nn.Module) -> None:
    with pytest.raises(ValueError, match="'batch'; allowed: frozen, running"):
        train_mode(encoder, "batch")  # type: ignore[arg-type]


def test_normalise() -> None:
    clips = torch.randint(0, 256, (2, 3, 2, 5, 4), dtype=torch.uint8)
    expected = (clips / 255 - torch.tensor(MEAN).view(3, 1, 1, 1)) / torch.tensor(STD).view(3, 1, 1, 1)
    torch.testing.assert_close(normalise(clips), expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="uint8"):
        normalise(clips.float())
    # PySlowFast trains with one mean and deviation for all colours, pytorch-i3d with pictures in [-1, 1].
    torch.testing.assert_close(normalise_for(build("x3d_s"), clips), (clips / 255 - 0.45) / 0.225, rtol=0, atol=1e-5)
    torch.testing.assert_close(normalise_for(build("i3d_inception"), clips), clips / 127.5 - 1, rtol=0, atol=1e-5)
    assert torch.equal(normalise_for(build("tsm_resnet18"), clips), normalise(clips))


def test_unknown_name_and_option_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown encoder 'resnet18'; allowed: .*tsm_resnet18"):
        build_encoder("resnet18")
    with pytest.raises(ValueError, match=r"'tsm_resnet18'.*'width'; its options: base_width, shift_div"):
        build_encoder("tsm_resnet18", width=3)
    with pytest.raises(ValueError, match="base_width is 0"):
        build_encoder("x3d_s", base_width=0)
