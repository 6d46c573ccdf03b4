"""CoViAR's networks: shapes, published cost, ImageNet weights, consensus, independence of the batch."""

import io
from pathlib import Path

import pytest
import torch
import torchvision

from models.costs import conv_macs
from models.streams import BACKBONES, CHANNELS, FUSION, build_stream, fuse, load_imagenet
from models.weights import WeightsError


@pytest.mark.parametrize("stream", CHANNELS)
@pytest.mark.parametrize("backbone", ["resnet18", "resnext50_32x4d"])
def test_consensus_is_the_mean_of_the_segments_logits(stream: str, backbone: str) -> None:
    torch.manual_seed(0)
    network = build_stream(stream, 7, backbone, 16).eval()
    torch.nn.init.normal_(network.fc.weight)
    clips = torch.randn(2, 3, CHANNELS[stream], 40, 48)
    logits = network(clips)
    assert logits.shape == (2, 7)
    alone = torch.stack([torch.stack([network(segment[None, None])[0] for segment in clip]).mean(0) for clip in clips])
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-4)
    assert network.maps(clips[0]).shape == (3, network.feature_dim, 2, 2)
    assert torch.allclose(network.fc(network.maps(clips[0]).mean((2, 3))).mean(0), logits[0], atol=1e-4)


def test_cost_is_the_thesis() -> None:
    """Table 4.3: 4.2 GFLOPs a frame, one I-frame and eleven P-frames in a group; ResNet-152 alone is given as 11.3."""
    gmacs = {}
    with torch.device("meta"):
        for stream in ("i", "mv", "residual"):
            gmacs[stream] = conv_macs(build_stream(stream, 101), torch.zeros(1, 1, CHANNELS[stream], 224, 224)) / 1e9
    assert BACKBONES["i"] == "resnet152" and BACKBONES["mv"] == BACKBONES["residual"] == "resnet18"
    assert gmacs["i"] == pytest.approx(11.3, rel=0.03)
    assert (gmacs["i"] + 11 * (gmacs["mv"] + gmacs["residual"])) / 12 == pytest.approx(4.2, rel=0.03)


def test_full_width_is_torchvisions_network() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet34(num_classes=4).eval()
    network = build_stream("i", 4, "resnet34").eval()
    state = reference.state_dict()
    network.fc.load_state_dict({"weight": state.pop("fc.weight"), "bias": state.pop("fc.bias")})
    network.backbone.load_state_dict(state)
    pictures = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(network(pictures[:, None]), reference(pictures), rtol=1e-4, atol=1e-4)


def imagenet_file() -> tuple[bytes, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    state = torchvision.models.resnet18().state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue(), state


def test_imagenet_weights_say_what_they_leave_out(tmp_path: Path) -> None:
    data, state = imagenet_file()
    (tmp_path / "resnet18.pth").write_bytes(data)
    for stream, left_out in (("i", ()), ("residual", ()), ("mv", ("conv1.weight",))):
        network = build_stream(stream, 5, "resnet18")
        stem = network.backbone.conv1.weight.clone()
        loaded = load_imagenet(network, "resnet18", tmp_path / "resnet18.pth")
        assert loaded.not_loaded == tuple(sorted((*left_out, "fc.bias", "fc.weight")))
        for key, value in network.backbone.state_dict().items():
            assert torch.equal(value, stem if key in left_out else state[key]), key
    with pytest.raises(WeightsError, match=r"layer1\.2\.conv1\.weight"):
        load_imagenet(build_stream("i", 5, "resnet34"), "resnet34", data)


def test_what_is_unknown_is_named() -> None:
    with pytest.raises(ValueError, match="'depth'; allowed: i, mv, residual, flow"):
        build_stream("depth", 3)
    with pytest.raises(ValueError, match=r"'vgg16'; torchvision's ResNets: .*resnet152"):
        build_stream("i", 3, "vgg16")
    with pytest.raises(ValueError, match="multiple of 8"):
        build_stream("i", 3, "resnet18", 12)
    with pytest.raises(ValueError, match=r"\[N, 2, H, W\]"):
        build_stream("mv", 3, "resnet18", 8)(torch.zeros(1, 1, 3, 32, 32))


def test_fusion_weighs_i_frames_twice() -> None:
    logits = {name: torch.randn(4, 3) for name in ("i", "mv", "residual")}
    expected = 2 * logits["i"] + logits["mv"] + logits["residual"]
    torch.testing.assert_close(fuse(logits), expected)
    assert dict(FUSION)["flow"] == 2.0
