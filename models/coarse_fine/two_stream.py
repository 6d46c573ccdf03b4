"""Coarse-Fine Networks: a Coarse stream with Grid Pool that takes fine context by Multi-stage Fusion (paper, section 3).

Without pooling in the Coarse stream it is the Fine-Fine Network, with a stride for Grid Pool table 3f's "SlowFast_det w/
Fusion".
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.coarse_fine.stream import FUSED_STAGES, POOL_AFTER, Stream
from models.encoders.ragged import Layout
from models.temporal.fixed_pool import clip_lengths
from models.temporal.fusion import MultiStageFusion

Centres = Literal["paper", "released"]

FUSION_RATE = 10.0
"""Factor on the learning rate of the fusion in the second training stage (section 4.1)."""


class FineFeatures(NamedTuple):
    """What the Coarse stream needs of a video's Fine stream; may be computed once and stored.

    Attributes:
        levels: features behind res2..res5, ``[N, C_l, T', h, w]``, all averaged to the positions of res5.
        last: features behind conv5, ``[N, C, T', h, w]``.
        lengths: int64 ``[N]``, real frames of each video.
    """

    levels: tuple[Tensor, ...]
    last: Tensor
    lengths: Tensor


class CoarseFine(nn.Module):
    """Two streams and the fusion between them.

    The streams are :class:`~models.coarse_fine.stream.Stream` under the names ``coarse`` and ``fine``, so that the networks
    of the first training stage load into them one to one.

    Args:
        coarse: with pooling (or without: Fine-Fine).
        fine: without pooling.
        fusion: of the fine stream's stages into the coarse ones.
        centres: where a Gaussian stands: "paper", on the frame that Grid Pool took, or "released", grid times T instead of
            T - 1.

    Attributes:
        reference_form: True also runs the head of the Fine stream, which the paper's cost counts and no output needs.
    """

    def __init__(self, coarse: Stream, fine: Stream, fusion: MultiStageFusion, centres: Centres = "paper") -> None:
        super().__init__()
        if centres not in get_args(Centres):
            raise ValueError(f"centres is {centres!r}; allowed: {', '.join(get_args(Centres))}")
        self.coarse, self.fine, self.fusion, self.centres = coarse, fine, fusion, centres
        self.pixel_mean, self.pixel_std = coarse.pixel_mean, coarse.pixel_std
        self.reference_form = False

    def forward(
        self,
        pixels: Tensor,
        video: Tensor | None = None,
        start: Tensor | None = None,
        layout: Layout | None = None,
        video_layout: Layout | None = None,
    ) -> Tensor:
        """Label the frames of clips in the context of their videos.

        Args:
            pixels: ``[N, 3, T, H, W]``, what the Coarse stream sees, normalised.
            video: ``[N, 3, T', H', W']``, the whole videos at the same frame rate; None: ``pixels`` is the whole.
            start: ``[N]``, the frame of the video at which the clip begins; None: 0.
            layout: of the frames of ``pixels`` where clips have unequal lengths.
            video_layout: the same of ``video``.

        Returns:
            logits ``[N, K, T]``, 0 past a clip's end.
        """
        video_layout = layout if video is None else video_layout
        fine = self.fine_features(pixels if video is None else video, video_layout)
        return self.coarse_logits(pixels, fine, start, layout)

    def fine_features(self, video: Tensor, layout: Layout | None = None) -> FineFeatures:
        """The Fine stream on whole videos ``[N, 3, T', H', W']``."""
        encoder = self.fine.encoder
        x, found = encoder.start(video), {}
        for name in encoder.stage_names:
            x = found[name] = encoder.run_stage(name, x, layout)
        size = tuple(x.shape[3:])
        levels = tuple(F.adaptive_avg_pool3d(found[name], (x.shape[2], *size)) for name in FUSED_STAGES)
        if self.reference_form:
            self.fine.head(x)
        lengths = torch.full((len(x),), x.shape[2], device=x.device) if layout is None else clip_lengths(layout)
        return FineFeatures(levels, x, lengths)

    def coarse_logits(
        self, pixels: Tensor, fine: FineFeatures, start: Tensor | None = None, layout: Layout | None = None
    ) -> Tensor:
        """The Coarse stream on clips ``[N, 3, T, H, W]`` with the features of their videos: logits ``[N, K, T]``."""
        encoder = self.coarse.encoder
        at = self.coarse.pooled(self.coarse.before_pool(pixels, layout), layout)
        centres = self._centres(at.grid, at.centre, pixels, start, layout)
        gaussians = self.fusion.weights(centres, fine.lengths, fine.last.shape[2])
        size = at.features.shape[3:]
        sizes = [torch.Size(-(-n // 2**i) for n in size) for i in range(len(FUSED_STAGES))]
        prepared = self.fusion.prepare(fine.levels, gaussians, sizes)
        x = self.fusion.fuse(0, at.features, prepared)
        for name in encoder.stage_names[encoder.stage_names.index(POOL_AFTER) + 1 :]:
            x = encoder.run_stage(name, x, at.layout)
            if name in FUSED_STAGES:
                x = self.fusion.fuse(FUSED_STAGES.index(name), x, prepared)
        logits = self.fusion.fuse_logits(self.coarse.head(x), fine.last, gaussians)
        return self.coarse.to_frames(logits, at, pixels.shape[2], layout)

    def _centres(
        self, grid: Tensor | None, centre: Tensor, pixels: Tensor, start: Tensor | None, layout: Layout | None
    ) -> Tensor:
        """Centres of the Gaussians in frames of the video, ``[N, J]``: not learned through (section 3.2)."""
        if self.centres == "released" and grid is not None:
            frames = pixels.shape[2] if layout is None else clip_lengths(layout).unsqueeze(1)
            centre = grid * frames
        return centre.detach() + (0 if start is None else start.to(centre.dtype).unsqueeze(1))


def second_stage(network: CoarseFine, fine: Literal["joint", "frozen"] = "joint") -> Mapping[str, float]:
    """Set up the second training stage, in which the streams train together.

    The first stage trains the two :class:`Stream` alone, each as a network of its own; load them with
    ``network.coarse.load_state_dict(...)`` and ``network.fine.load_state_dict(...)``.

    Args:
        network: with the streams of the first stage and a fresh fusion.
        fine: "joint" trains the Fine stream too (paper), "frozen" does not (released: its features are stored). Its head has
            no part in the second stage and is frozen either way.

    Returns:
        learning-rate factors by parameter-name prefix, for ``pipeline.training.optim.make_optimizer``.
    """
    if fine not in ("joint", "frozen"):
        raise ValueError(f"fine is {fine!r}; allowed: joint, frozen")
    network.requires_grad_(True)
    network.fine.requires_grad_(fine == "joint")
    network.fine.head.requires_grad_(False)
    return {"fusion.": FUSION_RATE}
