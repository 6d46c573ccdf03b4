"""CoViAR as a snippet encoder: localisation on I-frames and what the stream tells of the frames between them.

The input is eight (or five) channels at each sampled instant: the RGB of the I-frame that the instant is decoded from, the
motion since that I-frame (x, y), and, with ``residual``, what motion does not explain (RGB). So no P-frame is ever turned
into a picture, unless residuals are asked for. As in the thesis (section 4.1), each kind has a network of its own, most of
the computation goes to I-frames, which are few (snippets of one group of pictures share theirs), and nothing mixes the
streams but what stands on their features.
"""

import torch
from torch import Tensor, nn

from models.streams import CHANNELS, StreamNetwork

_NARROWEST = 8
_GOLDEN = 0.6180339887498949


class CoviarEncoder(nn.Module):
    """Streams side by side; contract in ``models/encoders/__init__.py``.

    Args:
        backbone: of the I-frame network, a torchvision ResNet.
        update_backbone: of the motion and residual networks.
        base_width: channels of the I-frame network's first layer; those of the others have half (at least 8), the thesis'
            "much smaller and simpler model to capture the updates".
        residual: whether the input has residuals.
    """

    def __init__(self, backbone: str, update_backbone: str, base_width: int, residual: bool) -> None:
        super().__init__()
        narrow = max(base_width // 2, _NARROWEST)
        self.i = StreamNetwork(CHANNELS["i"], 0, backbone, base_width, data_norm=False)
        updates = ("mv", "residual") if residual else ("mv",)
        self.updates = nn.ModuleDict(
            {name: StreamNetwork(CHANNELS[name], 0, update_backbone, narrow) for name in updates}
        )
        self.in_channels = CHANNELS["i"] + sum(CHANNELS[name] for name in updates)
        networks = [self.i, *self.updates.values()]
        self.feature_dim = sum(network.feature_dim for network in networks if isinstance(network, StreamNetwork))

    def forward(self, x: Tensor) -> Tensor:
        """Encode snippets.

        Args:
            x: ``[B, in_channels, T, H, W]``, normalised: RGB of the I-frame, motion x and y, perhaps residual RGB.

        Returns:
            ``[B, feature_dim, T, ceil(H / 32), ceil(W / 32)]``: features of I-frame, motion, residual, one after the other.
        """
        if x.dim() != 5 or x.shape[1] != self.in_channels:
            raise ValueError(f"expected snippets [B, {self.in_channels}, T, H, W], got {list(x.shape)}")
        instants = x.transpose(1, 2).flatten(0, 1)
        at = CHANNELS["i"]
        maps = [self._i_frames(instants[:, :at])]
        for name, network in self.updates.items():
            maps.append(network.maps(instants[:, at : at + CHANNELS[name]]))  # type: ignore[operator]
            at += CHANNELS[name]
        features = torch.cat(maps, dim=1)
        return features.view(x.shape[0], x.shape[2], *features.shape[1:]).transpose(1, 2)

    def _i_frames(self, pictures: Tensor) -> Tensor:
        """Maps of the I-frames ``[N, 3, H, W]``; equal ones, of whatever snippet, are encoded once."""
        chosen, which = _distinct(pictures)
        maps: Tensor = self.i.maps(pictures[chosen])
        return maps[which]


def _distinct(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """One of each of the equal pictures ``[N, ...]``, int64 [M], and which of these each picture equals, int64 [N]."""
    rows = pictures.detach().flatten(1)
    everyone = torch.arange(len(rows), device=rows.device)
    # Equal rows have equal weighted sums; whether those of equal sums are equal is looked at.
    weights = torch.frac(torch.arange(1, rows.shape[1] + 1, device=rows.device, dtype=torch.float64) * _GOLDEN).float()
    sums, which = torch.unique((rows.float() * weights).sum(dim=1), return_inverse=True)
    chosen = torch.full_like(sums, len(rows), dtype=torch.int64).scatter_reduce(0, which, everyone, "amin")
    if torch.equal(rows, rows[chosen][which]):
        return chosen, which
    return everyone, everyone


def coviar_resnet18(base_width: int = 64, residual: bool = False) -> CoviarEncoder:
    """ResNet-18 for I-frames, of half its width for the rest; ``feature_dim`` is ``12`` (``16``) x ``base_width``."""
    return CoviarEncoder("resnet18", "resnet18", base_width, residual)


def coviar_resnet50(base_width: int = 64, residual: bool = False) -> CoviarEncoder:
    """ResNet-50 for I-frames, ResNet-18 of half width for the rest; ``feature_dim`` is ``36`` (``40``) x ``base_width``."""
    return CoviarEncoder("resnet50", "resnet18", base_width, residual)
