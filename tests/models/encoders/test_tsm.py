"""TSM against its definition and against torchvision's ResNet."""

import pytest
import torch
import torchvision
from torch import Tensor

from models.costs import conv_macs, parameters
from models.encoders import build_encoder
from models.encoders.tsm import temporal_shift


def literal_shift(x: Tensor, frames: int) -> Tensor:
    """The shift as the paper's figure says it, one value at a time over frames and channel groups."""
    batch, channels = x.shape[0] // frames, x.shape[1]
    fold = channels // 8
    out = torch.zeros_like(x)
    for b in range(batch):
        for t in range(frames):
            for c in range(channels):
                source = t + 1 if c < fold else t - 1 if c < 2 * fold else t
                if 0 <= source < frames:
                    out[b * frames + t, c] = x[b * frames + source, c]
    return out


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_shift_equals_its_definition(frames: int, memory_format: torch.memory_format) -> None:
    x = torch.randn(3 * frames, 17, 3, 2).contiguous(memory_format=memory_format)
    shifted = temporal_shift(x, frames)
    assert torch.equal(shifted, literal_shift(x, frames))
    assert shifted.is_contiguous(memory_format=memory_format)


def test_gradients_of_the_shift() -> None:
    x = torch.randn(2 * 3, 8, 2, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: temporal_shift(y, 3), x)
    assert torch.autograd.gradgradcheck(lambda y: temporal_shift(y, 3), x)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_without_shift_it_is_torchvisions_resnet(name: str) -> None:
    torch.manual_seed(0)
    reference = getattr(torchvision.models, name)(weights=None).eval()
    state = {key: value for key, value in reference.state_dict().items() if not key.startswith("fc.")}
    encoder = build_encoder(f"tsm_{name}", shift_div=0).eval()
    encoder.load_state_dict(state)  # strict: the keys are the same
    assert list(encoder.state_dict()) == list(state)
    reference.fc = torch.nn.Identity()
    x = torch.randn(1, 3, 2, 40, 64)
    with torch.no_grad():
        ours = encoder(x).mean(dim=(3, 4))[0].T
        theirs = reference(x[0].transpose(0, 1))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_shift_stands_before_conv1_of_every_block() -> None:
    encoder = build_encoder("tsm_resnet18", base_width=8).eval()
    still = torch.randn(1, 3, 1, 32, 32)
    video = torch.cat([torch.zeros(1, 3, 8, 32, 32), still, torch.zeros(1, 3, 8, 32, 32)], dim=2)
    with torch.no_grad():
        moved = (encoder(video) - encoder(torch.zeros_like(video))).abs().amax(dim=(0, 1, 3, 4)) > 0
    assert moved.tolist() == [True] * 17  # eight blocks: the frame is felt exactly eight frames away on either side
    longer = torch.nn.functional.pad(video, (0, 0, 0, 0, 2, 2))
    with torch.no_grad():
        moved = (encoder(longer) - encoder(torch.zeros_like(longer))).abs().amax(dim=(0, 1, 3, 4)) > 0
    assert moved.tolist() == [False] * 2 + [True] * 17 + [False] * 2


def test_costs_are_the_published_ones() -> None:
    with torch.device("meta"):
        r18, r50 = build_encoder("tsm_resnet18"), build_encoder("tsm_resnet50")
        frame = torch.empty(1, 3, 1, 224, 224)
    assert parameters(r18) == 11_689_512 - 513_000  # torchvision's ResNet-18 without its classifier
    assert parameters(r50) == 25_557_032 - 2_049_000
    assert conv_macs(r18, frame) == 1_813_561_344  # the 1.81 G of ResNet-18, classifier (0.5 M) not counted
    assert conv_macs(r50, frame) == 4_087_136_256


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\[B, 3, T, H, W\]"):
        build_encoder("tsm_resnet18", base_width=8)(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match="base_width is 0"):
        build_encoder("tsm_resnet18", base_width=0)
