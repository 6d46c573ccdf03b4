"""The snippets of a batch of videos as an encoder takes them: all at once, or as they are asked for."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.datasets.schema import Video
from stages._snippets import Snippets, centers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.training.replay import Lazy


@dataclass(frozen=True)
class ShapedSnippets:
    """L equally spaced snippets of a video at one size.

    Attributes:
        source: of the snippets.
        length: L.
        size: height and width in pixels.
        min_scale: smallest random window, relative to the largest.
    """

    source: Snippets
    length: int
    size: tuple[int, int]
    min_scale: float

    def of(self, video: Video, rng: np.random.Generator | None, part: slice = slice(None)) -> "Tensor":
        """Those in ``part``, ``[N, C, T, H, W]`` uint8; one window for all, drawn from ``rng`` (centred without)."""
        places = centers(video.duration_s, self.length)[part]
        return self.source.clips(video.id, places, rng, self.min_scale, size=self.size)

    def batch(self, videos: Sequence[Video], rng: np.random.Generator) -> "Tensor":
        """Those of several videos, ``[B * L, C, T, H, W]`` uint8."""
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
