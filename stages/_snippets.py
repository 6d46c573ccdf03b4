"""Where an encoder's snippets come from: decoded frames, or the coded stream. Every stage that encodes reads them here."""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.datasets.augment import full_motion, motion_pictures, residual_pictures, resized
from pipeline.datasets.compressed_store import CompressedStore
from pipeline.datasets.opened import stored_files
from pipeline.datasets.segments import i_frames, predicted_frames
from pipeline.datasets.snippets import FrameStore, clip_indices, snippet_cells
from pipeline.video.crop import crop_resize
from stages import _outputs
from stages._encoder import EncoderSpec

if TYPE_CHECKING:
    from torch import Tensor


def source(spec: EncoderSpec) -> str:
    """Folder of the artifacts that the encoder's snippets are read from."""
    return _outputs.COMPRESSED if spec.compressed else _outputs.FRAMES


class Snippets:
    """Snippets of videos, uint8, by id and time.

    From frames: RGB. From the coded stream: at each instant the I-frame it is decoded from (RGB), the motion since then
    (x, y), and for encoders with ``residual`` the accumulated residual (RGB), all at the I-frame's stored size.

    Args:
        spec: of the encoder that they are for.
        paths: artifact of each video id, of the kind that :func:`source` holds.

    Attributes:
        frames: the decoded frames; of no video where snippets are of the coded stream.
    """

    def __init__(self, spec: EncoderSpec, paths: Mapping[str, Path]) -> None:
        self.spec = spec
        self.frames = FrameStore({} if spec.compressed else paths)
        self._compressed = CompressedStore(paths if spec.compressed else {})

    @staticmethod
    def of_root(root: Path, spec: EncoderSpec, ids: Iterable[str]) -> "Snippets":
        """Those of the videos whose artifact exists; a video that failed has none."""
        return Snippets(spec, stored_files(root / source(spec), ids))

    def __contains__(self, id_: str) -> bool:
        return id_ in (self._compressed if self.spec.compressed else self.frames)

    def pictures(self, id_: str, centers: np.ndarray | float) -> np.ndarray:
        """Pictures of the snippets around ``centers`` (seconds, any shape [...]): uint8 [..., T, height, width, C]."""
        rows = self._rows(id_, centers)
        layers = [distinct[which] for distinct, which in self._layers(id_, rows)]
        return np.concatenate(layers, axis=-1).reshape(*rows.shape, *layers[0].shape[1:3], -1)

    def clips(
        self,
        id_: str,
        centers: np.ndarray,
        rng: np.random.Generator | None = None,
        min_scale: float = 1.0,
        *,
        speed: float = 1.0,
        size: tuple[int, int] | None = None,
        frames: int | None = None,
    ) -> "Tensor":
        """Snippets around ``centers`` [N] as encoders take them, ``[N, C, T, H, W]`` uint8.

        ``rng`` None takes the centred window of each snippet, a generator one random window for all N of them (they are of
        one video, whose camera does not jump from snippet to snippet). ``speed``: as many pictures of a window that is so
        many times as long, which plays that much faster. ``size``: H and W in pixels in place of the encoder's own (LoFi's
        lower resolutions). ``frames``: T in place of its own, as far apart as its own are (multigrid's shorter clips).
        """
        import torch

        rows = self._rows(id_, centers, speed, frames)
        height, width = size or (self.spec.height, self.spec.width)
        cut = []
        for distinct, which in self._layers(id_, rows):
            # A copy, so that all layers are cut at the same window; overlapping snippets share pictures, cut once.
            drawing = copy.deepcopy(rng)
            cut.append(crop_resize(distinct, height, width, drawing, min_scale)[which])
        if rng is not None and drawing is not None:
            rng.bit_generator.state = drawing.bit_generator.state
        clips = np.concatenate(cut, axis=-1).reshape(*rows.shape, height, width, -1)
        return torch.from_numpy(clips).permute(0, 4, 1, 2, 3)

    def _rows(self, id_: str, centers: np.ndarray | float, speed: float = 1.0, frames: int | None = None) -> np.ndarray:
        """Rows of the artifact at every instant of the snippets, int64 [..., T]."""
        pts = self._compressed.stream(id_).pts if self.spec.compressed else self.frames.pts(id_)
        count = frames or self.spec.frames
        return clip_indices(pts, centers, count, speed * self.spec.window_s * (count / self.spec.frames))

    def _layers(self, id_: str, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Channels of the pictures at ``rows``, layer on layer: distinct pictures [M, h, w, C], and which is at each row."""
        flat = rows.reshape(-1)
        if not self.spec.compressed:
            wanted, which = np.unique(flat, return_inverse=True)
            return [(self.frames.pictures(id_, wanted), which)]
        known = self._compressed.stream(id_)
        wanted, which = np.unique(i_frames(flat, known.i_frame_index), return_inverse=True)
        layers = [(self._compressed.i_frame_pictures(id_, wanted), which)]
        size = layers[0][0].shape[1:3]
        wanted, which = np.unique(predicted_frames(flat, known.is_predicted), return_inverse=True)
        full = full_motion(self.spec.motion_px, known.height, known.width)
        moved = motion_pictures(self._compressed.rows(id_, "mv_accumulated", wanted), full)
        layers.append((resized(moved, *size), which))
        if self.spec.residual:
            left = residual_pictures(self._compressed.rows(id_, "residual_accumulated", wanted))
            layers.append((resized(left, *size), which))
        return layers


def centers(duration_s: float, length: int) -> np.ndarray:
    """Centres in seconds of the L snippets that stand for a video, float64 [length] (LoFi section 3)."""
    start, end = snippet_cells(duration_s, length)
    return np.asarray((start + end) / 2)
