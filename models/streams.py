"""CoViAR's networks: one 2-D ResNet for each kind of data in a compressed video (thesis, sections 4.1 and 4.2).

I-frames, (accumulated) motion vectors and (accumulated) residuals each have a network of their own, trained on its own;
their scores are added in the end (:data:`FUSION`). Any torchvision ResNet serves; the thesis takes ResNet-152 for I-frames
and ResNet-18 for the rest, pre-activation ones in MXNet, where the released code and this one take torchvision's
post-activation form, for which public ImageNet weights exist. Optical flow, which the thesis fuses with, is one more kind.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model, list_models
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from models.encoders.snippets import MEAN, STD
from models.memory_format import image_format
from models.weights import LoadedWeights, load_weights

CHANNELS: Mapping[str, int] = {"i": 3, "mv": 2, "residual": 3, "flow": 2}
"""Channels of a picture of each stream: I-frame RGB, motion x and y, residual RGB, flow x and y."""

BACKBONES: Mapping[str, str] = {"i": "resnet152", "mv": "resnet18", "residual": "resnet18", "flow": "resnet18"}
"""The thesis' choice for each stream (its flow network was BN-Inception)."""

FUSION: Mapping[str, float] = {"i": 2.0, "mv": 1.0, "residual": 1.0, "flow": 2.0}
"""Weights of the mean logits in score fusion. 2, 1, 1 are the released ones; for flow none are known: ours is 2, half of
the compressed streams' sum."""

_HALF = (0.5,)
_STATISTICS = {
    "i": (MEAN, STD),
    "mv": (_HALF * 2, (1.0, 1.0)),
    "residual": (_HALF * 3, STD),
    "flow": (_HALF * 2, (1.0, 1.0)),
}
_TORCHVISION_WIDTH = 64


def normalise(pictures: Tensor, stream: str) -> Tensor:
    """Turn uint8 pictures of a stream into what its network takes: (value / 255 - mean) / std by channel.

    As released: ImageNet's statistics for I-frames; 1/2 and 1 for motion; 1/2 and ImageNet's deviations for residuals. The
    released code divides residuals, which it has in the order BGR, by the deviations in the order RGB; ours are RGB.

    Args:
        pictures: ``[..., channels, H, W]`` uint8; flow may be a stack, whose channels are a multiple of two.
        stream: of :data:`CHANNELS`.
    """
    mean, std = (torch.tensor(values, device=pictures.device).view(-1, 1, 1) for values in _STATISTICS[stream])
    times = pictures.shape[-3] // len(mean)
    mean, std = mean.repeat(times, 1, 1), std.repeat(times, 1, 1)
    return torch.addcmul(-mean / std, pictures.float(), 1 / (255 * std))


class _WideResNet(ResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ResNet for pictures of any number of channels, every layer ``base_width / 64`` times as wide."""

    def __init__(self, like: ResNet, channels: int, base_width: int) -> None:
        self._wanted = base_width
        layers = [like.layer1, like.layer2, like.layer3, like.layer4]
        super().__init__(
            type(layers[0][0]), list(map(len, layers)), groups=like.groups, width_per_group=like.base_width
        )
        self.conv1 = nn.Conv2d(channels, base_width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base_width)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def _make_layer(
        self, block: type[BasicBlock | Bottleneck], planes: int, *args: object, **kw: object
    ) -> nn.Sequential:
        if planes == _TORCHVISION_WIDTH:  # the first: torchvision made a stem of its own width
            self.inplanes = self._wanted
        layer: nn.Sequential = super()._make_layer(block, planes * self._wanted // _TORCHVISION_WIDTH, *args, **kw)
        return layer


class StreamNetwork(nn.Module):
    """One stream: data batch normalisation (not for RGB pictures), a ResNet, a linear classifier.

    Args:
        channels: of a picture.
        classes: of the classifier; 0 for none (then only :meth:`maps` can be called).
        backbone: name of a torchvision ResNet.
        base_width: channels of the first layer, 64 in torchvision; a smaller one changes nothing else.
        data_norm: whether ``data_bn`` stands in front, as it does for all but I-frames: their statistics are not ImageNet's.

    Raises:
        ValueError: ``backbone`` is no torchvision ResNet, or the width is not a multiple of 8.
    """

    def __init__(
        self, channels: int, classes: int, backbone: str, base_width: int = 64, data_norm: bool = True
    ) -> None:
        super().__init__()
        if base_width < 8 or base_width % 8:
            raise ValueError(f"base_width is {base_width}, it must be a multiple of 8")
        self.channels = channels
        self._format = image_format(base_width)
        self.data_bn: nn.Module = nn.BatchNorm2d(channels) if data_norm else nn.Identity()
        self.backbone = _WideResNet(_shape_of(backbone), channels, base_width)
        self.feature_dim = feature_dim = _last_width(self.backbone)
        self.backbone.fc = nn.Identity()
        self.fc: nn.Module = nn.Identity()
        if classes:
            self.fc = nn.Linear(feature_dim, classes)
            nn.init.normal_(self.fc.weight, 0.0, 0.001)
            nn.init.zeros_(self.fc.bias)

    def maps(self, pictures: Tensor) -> Tensor:
        """Last feature maps: ``[N, channels, H, W]`` normalised pictures to ``[N, feature_dim, ceil(H / 32), ...]``."""
        if pictures.dim() != 4 or pictures.shape[1] != self.channels:
            raise ValueError(f"expected pictures [N, {self.channels}, H, W], got {list(pictures.shape)}")
        x = self.data_bn(pictures.contiguous(memory_format=self._format))
        net = self.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        maps: Tensor = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return maps

    def frame_logits(self, segments: Tensor) -> Tensor:
        """Logits of every picture, ``[B, S, channels, H, W]`` to ``[B, S, classes]``: for labels of frames (Charades)."""
        logits: Tensor = self.fc(self.maps(segments.flatten(0, 1)).mean(dim=(2, 3)))
        return logits.view(*segments.shape[:2], -1)

    def forward(self, segments: Tensor) -> Tensor:
        """Segments of clips ``[B, S, channels, H, W]`` to their consensus, the mean of the logits, ``[B, classes]``."""
        return self.frame_logits(segments).mean(dim=1)


def build_stream(
    stream: str, classes: int, backbone: str | None = None, base_width: int = 64, stack: int = 1
) -> StreamNetwork:
    """The network of a stream, with fresh weights drawn from torch's global generator.

    Args:
        stream: of :data:`CHANNELS`.
        classes: of the classifier.
        backbone: torchvision ResNet; None takes the thesis' (:data:`BACKBONES`).
        base_width: see :class:`StreamNetwork`.
        stack: pictures that are one input, channel after channel; TSN's flow network takes 5.

    Raises:
        ValueError: unknown stream, backbone or width; the message lists what is allowed.
    """
    if stream not in CHANNELS:
        raise ValueError(f"unknown stream {stream!r}; allowed: {', '.join(CHANNELS)}")
    return StreamNetwork(stack * CHANNELS[stream], classes, backbone or BACKBONES[stream], base_width, stream != "i")


def load_imagenet(network: StreamNetwork, backbone: str, source: Path | bytes) -> LoadedWeights:
    """Load torchvision's ImageNet weights of ``backbone`` into a stream's network of full width.

    Returns:
        What the file was. ``not_loaded`` lists the classifier, and ``conv1`` where the stream has not three channels: both
        keep their fresh weights, as ``data_bn`` does, for which the file has none.

    Raises:
        WeightsError: the file is unreadable or of another architecture; every key that does not fit is listed.
    """
    reference = _shape_of(backbone, on_meta=False)
    reference.fc = nn.Identity()
    loaded = load_weights(reference, source)
    state = reference.state_dict()
    replaced = () if network.channels == 3 else ("conv1.weight",)
    for key in replaced:
        del state[key]
    result = network.backbone.load_state_dict(state, strict=False)
    assert list(result.missing_keys) == list(replaced) and not result.unexpected_keys
    return LoadedWeights(loaded.format, loaded.metadata, tuple(sorted((*loaded.not_loaded, *replaced))))


def fuse(logits: Mapping[str, Tensor], weights: Mapping[str, float] = FUSION) -> Tensor:
    """Score fusion: the weighted sum of the streams' mean logits, each ``[N, classes]``, before any softmax."""
    return torch.stack([weights[stream] * value for stream, value in logits.items()]).sum(dim=0)


def _shape_of(backbone: str, on_meta: bool = True) -> ResNet:
    allowed = [name for name in list_models() if name.startswith(("resnet", "resnext", "wide_resnet"))]
    if backbone not in allowed:
        raise ValueError(f"unknown backbone {backbone!r}; torchvision's ResNets: {', '.join(allowed)}")
    with torch.device("meta" if on_meta else "cpu"):
        network: ResNet = get_model(backbone, weights=None)
    return network


def _last_width(network: ResNet) -> int:
    return int(network.fc.in_features * network._wanted // _TORCHVISION_WIDTH)
