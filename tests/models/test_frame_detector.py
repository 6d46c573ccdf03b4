"""Encoders as frame-wise detectors: back from windows, strides and SGS's bins to frames."""

import pytest
import torch

from models.coarse_fine import build_frame_network
from models.costs import conv_macs
from models.encoders import ENCODERS, build_encoder
from models.frame_detector import FrameDetector, bin_of_frames, split
from models.temporal.sgs import SGS
from models.temporal.tsm_stages import StagedTSM
from pipeline.training.replay import replayed

RGB = [name for name in ENCODERS if not name.startswith("coviar_")]


def detector(name: str, **options: object) -> FrameDetector:
    torch.manual_seed(0)
    return FrameDetector(build_encoder(name, base_width=8), 5, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RGB)
def test_every_encoder_of_rgb_answers_at_every_frame(name: str) -> None:
    with torch.device("meta"):
        network = FrameDetector(build_encoder(name, base_width=8), 5)
        assert network(torch.empty(2, 3, 19, 32, 32)).shape == (2, 5, 19)


def test_x3d_is_the_papers_fine_network_to_the_multiply() -> None:
    with torch.device("meta"):
        ours = FrameDetector(build_encoder("x3d_m"), 157)
        clip = torch.empty(1, 3, 128, 224, 224)
        assert conv_macs(ours, clip) == conv_macs(build_frame_network("fine_only", classes=157), clip)
        assert conv_macs(ours, clip) / 1e9 == pytest.approx(37.96, abs=0.005)


def test_a_window_is_a_clip_of_its_own() -> None:
    network, clip = detector("tsm_resnet18", window=4), torch.randn(2, 3, 10, 32, 32)
    alone = detector("tsm_resnet18")
    with torch.inference_mode():
        found = network(clip)
        assert torch.allclose(found[:, :, 4:8], alone(clip[:, :, 4:8]), atol=1e-5)
        last = torch.cat([clip[:, :, 8:], clip[:, :, 9:], clip[:, :, 9:]], dim=2)
        assert torch.allclose(found[:, :, 8:], alone(last)[:, :, :2], atol=1e-5)
        assert not torch.allclose(found, alone(clip), atol=1e-3), "windows cut the encoder's view"
    assert split(clip, 4).shape == (6, 3, 4, 32, 32)


def test_replay_of_windows_gives_the_gradient_of_all_at_once() -> None:
    network, clip = detector("x3d_s", window=3), torch.randn(2, 3, 9, 32, 32)
    network(clip).square().sum().backward()
    direct = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    network(clip, lambda rows, module, inputs: replayed(rows, module, inputs, chunk=2)).square().sum().backward()
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert set(found) == set(direct) and len(found) > 50
    for name, gradient in direct.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max())), name


def test_frames_get_the_features_of_their_bin() -> None:
    weights = torch.zeros(1, 3, 6)
    for frame, b in enumerate([2, 0, None, 0, 1, 2]):
        if b is not None:
            weights[0, b, frame] = 0.5
    assert bin_of_frames(weights).tolist() == [[2, 0, 0, 0, 1, 2]]


@pytest.mark.parametrize("name", ["x3d_s", "resnet3d_18", "tsm_resnet18"])
def test_sgs_answers_at_every_frame_and_frames_of_a_bin_agree(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name, base_width=8)
    encoder = StagedTSM(encoder) if name.startswith("tsm") else encoder  # type: ignore[arg-type]
    sgs = SGS(encoder.stage_channels["res2"], bins=4)  # type: ignore[operator,index]
    network = FrameDetector(encoder, 5, sgs=sgs).eval()
    clip = torch.randn(2, 3, 12, 32, 32)
    clip[:, :, 7] = clip[:, :, 3]
    with torch.inference_mode():
        logits = network(clip)
        assert logits.shape == (2, 5, 12)
        assert len({tuple(row.tolist()) for row in logits[0].T}) <= 4, "no more answers than bins"
        assert torch.allclose(network(clip[1:]), logits[1:], atol=1e-5), "alone and in a batch"
    network.train()
    network(clip).square().mean().backward()
    assert sgs.fc[0].weight.grad is not None


@pytest.mark.parametrize("name", ["i3d_r50", "slowfast_4x16_r50", "tsm_resnet18"])
def test_sgs_where_it_cannot_stand_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="SGS"):
        FrameDetector(build_encoder(name, base_width=8), 5, sgs=SGS(8))
