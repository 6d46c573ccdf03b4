"""Compressed artifacts by hand, in which every array says which row it is of."""

from pathlib import Path

import numpy as np

from pipeline.run.kinds import COMPRESSED
from pipeline.video import jpeg

ROWS, COLUMNS = 40, 56


def write_stream(
    path: Path, groups: list[int], fps: float = 20.0, mv: np.ndarray | None = None, without: tuple[str, ...] = ()
) -> Path:
    """A stream of groups of pictures of these lengths, an I-frame at the head of each.

    ``mv`` [N, 2]: motion of all pixels of each frame since its I-frame; by default x is the row's number within its group
    and y the group's number. Residuals are their negative, thrice. I-frame k is grey level 20 x (k + 1).
    """
    count = sum(groups)
    heads = np.cumsum([0, *groups[:-1]])
    group = np.repeat(np.arange(len(groups)), groups)
    is_i = np.isin(np.arange(count), heads)
    within = np.arange(count) - heads[group]
    moved = np.stack([within, group], axis=1) if mv is None else mv
    dense = np.broadcast_to(moved[:, None, None], (count, ROWS, COLUMNS, 2)).astype(np.int16)
    arrays = {
        "pts": np.arange(count) / fps,
        "frame_type": np.where(is_i, 1, 2).astype(np.uint8),
        "packet_bytes": np.full(count, 100, np.int32),
        "i_frame_index": heads[group].astype(np.int32),
        "reference_index": np.where(is_i, -1, np.arange(count) - 1).astype(np.int32),
        "mv": np.where(is_i[:, None, None, None], 0, 1).astype(np.int16) * np.ones_like(dense),
        "mv_accumulated": dense,
        "residual_accumulated": np.concatenate([-dense, -dense[..., :1]], axis=-1),
        "i_frame": [jpeg.encode(np.full((ROWS, COLUMNS, 3), 20 * (k + 1), np.uint8), 95) for k in range(len(groups))],
        "i_frame_row": heads.astype(np.int32),
    }
    attributes = {
        "width": 2 * COLUMNS, "height": 2 * ROWS, "rows": ROWS, "columns": COLUMNS, "codec": "h264", "normalised_from": "",
    }  # fmt: skip
    COMPRESSED.write(path, {name: array for name, array in arrays.items() if name not in without}, attributes)
    return path
