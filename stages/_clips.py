"""The snippets of a batch of videos as an encoder takes them: all at once, or as they are asked for."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.datasets.schema import Video
from pipeline.datasets.snippets import FrameStore, snippet_indices
from stages import _encoder

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.training.replay import Lazy


@dataclass(frozen=True)
class Snippets:
    """L equally spaced snippets of a video.

    Attributes:
        store: the frames.
        spec: of the encoder.
        length: L.
        min_scale: smallest random window, relative to the largest.
    """

    store: FrameStore
    spec: _encoder.EncoderSpec
    length: int
    min_scale: float

    def of(self, video: Video, rng: np.random.Generator | None, part: slice = slice(None)) -> "Tensor":
        """Those in ``part``, ``[N, 3, T, H, W]`` uint8; one window for all, drawn from ``rng`` (centred without)."""
        pts, spec = self.store.pts(video.id), self.spec
        indices = snippet_indices(pts, video.duration_s, self.length, spec.frames, spec.window_s)[part]
        return _encoder.to_clips(self.store.pictures(video.id, indices), spec, rng, self.min_scale)

    def batch(self, videos: Sequence[Video], rng: np.random.Generator) -> "Tensor":
        """Those of several videos, ``[B * L, 3, T, H, W]`` uint8."""
        import torch

        return torch.cat([self.of(video, rng) for video in videos])

    def lazy(self, videos: Sequence[Video], rng: np.random.Generator, device: "torch.device") -> "Lazy":
        """The same snippets on ``device``, cut when asked for: only a chunk of them is in memory."""
        import torch

        from pipeline.training.replay import Lazy

        states = []
        for video in videos:
            states.append(deepcopy(rng))
            self.of(video, rng, slice(1))  # draws the video's window, as the next video's state stands behind it

        def load(start: int, stop: int) -> "Tensor":
            parts = []
            for number in range(start // self.length, -(-stop // self.length)):
                first = number * self.length
                part = slice(max(start - first, 0), min(stop - first, self.length))
                parts.append(self.of(videos[number], deepcopy(states[number]), part))
            return torch.cat(parts).to(device, non_blocking=True)

        return Lazy(len(videos) * self.length, load)
