"""Any snippet encoder as frame-wise detector: its features at every frame of a clip of any length, then labels.

Beside the networks of ``models/coarse_fine`` these are the papers' baselines ("X3D", "I3D" with a label at every frame).
Two things that the encoders do to time are undone: a stride is interpolated away, and SGS, whose time axis is the order of
its bins, gives each frame the features of the bin it went into.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.coarse_fine.windows import Encode, cut, direct
from models.encoders.ragged import padded
from models.encoders.snippets import MEAN, STD
from models.encoders.staged import StagedEncoder
from models.heads.frame_labels import at_frames, frame_labels
from models.temporal.sgs import SGS, weighted_sums


class FrameDetector(nn.Module):
    """Encoder, mean over positions, back to all frames, classifier.

    Args:
        encoder: an entry of :data:`models.encoders.ENCODERS` that takes RGB.
        classes: K.
        window: frames that the encoder sees together; each window is a clip of its own. 0: all of them.
        sgs: grouping of similar frames inside the encoder.
        stage: that ``sgs`` stands behind.
        dropout: before the logits.

    Raises:
        ValueError: SGS in an encoder without stages, with two pathways, or with a stride in time behind it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        window: int = 0,
        sgs: SGS | None = None,
        stage: str = "res2",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if sgs is not None:
            _check_takes_sgs(encoder, stage)
        self.encoder, self.window, self.sgs, self.stage = encoder, window, sgs, stage
        self.pixel_mean, self.pixel_std = getattr(encoder, "pixel_mean", MEAN), getattr(encoder, "pixel_std", STD)
        dim = int(encoder.feature_dim)  # type: ignore[arg-type]
        self.head = frame_labels(dim, classes, getattr(encoder, "classifier", "") == "x3d", dropout)

    def forward(self, pixels: Tensor, encode: Encode = direct) -> Tensor:
        """``[N, 3, T, H, W]`` normalised RGB to logits ``[N, K, T]``.

        Clips of unequal length repeat their last frame; with a window, one that is not full does. ``encode``: how the
        windows are computed.
        """
        rows = encode(lambda _, windows: self.vectors(windows).flatten(1), self, split(pixels, self.window))
        return self.labels(rows, pixels.shape[0], pixels.shape[2])

    def vectors(self, pixels: Tensor) -> Tensor:
        """Features of every frame of clips ``[n, 3, w, H, W]``, each clip for itself: ``[n, D, w]``."""
        if self.sgs is not None:
            return self._grouped(pixels)
        features: Tensor = self.encoder(pixels)
        return at_frames(features.mean(dim=(3, 4)), pixels.shape[2])

    def labels(self, vectors: Tensor, clips: int, frames: int) -> Tensor:
        """Logits ``[clips, K, frames]`` of the windows' vectors, flat ``[n, D w]`` as gradient replay keeps them."""
        dim = int(self.encoder.feature_dim)  # type: ignore[arg-type]
        every = vectors.view(clips, -1, dim, vectors.shape[1] // dim).transpose(2, 3).flatten(1, 2)
        logits: Tensor = self.head.classifier(every[:, :frames])
        return logits.transpose(1, 2)

    def _grouped(self, pixels: Tensor) -> Tensor:
        encoder, sgs = self.encoder, self.sgs
        assert isinstance(encoder, StagedEncoder) and sgs is not None
        cut = encoder.stage_names.index(self.stage)
        x = encoder.start(pixels)
        for name in encoder.stage_names[: cut + 1]:
            x = encoder.run_stage(name, x, None, name != self.stage)
        weights, bins = sgs.weights(x)
        layout = padded(bins, weights.shape[1], x.dtype)
        x = F.relu(weighted_sums(x, weights))
        for name in encoder.stage_names[cut + 1 :]:
            x = encoder.run_stage(name, x, layout)
        means: Tensor = x.mean(dim=(3, 4))
        return means.gather(2, bin_of_frames(weights).unsqueeze(1).expand(-1, means.shape[1], -1))


def bin_of_frames(weights: Tensor) -> Tensor:
    """The bin that each frame went into, int64 ``[N, T]``, of SGS's weights ``[N, B', T]``.

    A frame on the edge of a bin weighs nothing in any; it gets the bin of the frame next to it in time.
    """
    chosen, frames = weights.detach().argmax(dim=1), weights.shape[2]
    index = torch.arange(frames, device=weights.device)
    apart = (index[:, None] - index[None, :]).abs().unsqueeze(0)
    nowhere = weights.detach().amax(dim=1) <= 0
    nearest = apart.masked_fill(nowhere.unsqueeze(1), frames).argmin(dim=2)
    return chosen.gather(1, nearest)


def split(pixels: Tensor, window: int) -> Tensor:
    """``[N, C, T, H, W]`` to windows of ``window`` frames ``[N n, C, window, H, W]``; the last repeats its last frame.

    0 leaves the clips whole.
    """
    if not window:
        return pixels
    missing = -pixels.shape[2] % window
    if missing:
        pixels = torch.cat([pixels, pixels[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)
    return cut(pixels.contiguous(), window)


def _check_takes_sgs(encoder: nn.Module, stage: str) -> None:
    if not isinstance(encoder, StagedEncoder) or not isinstance(encoder.stage_channels.get(stage), int):
        raise ValueError(f"SGS needs an encoder with stages and one pathway, and a stage of it; not behind {stage!r}")
    if encoder.temporal_strides:
        strides = ", ".join(encoder.temporal_strides)
        raise ValueError(f"SGS at every frame needs an encoder without a stride in time; this one has one in {strides}")
