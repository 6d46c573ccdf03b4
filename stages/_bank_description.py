"""What a row of a long-term feature bank is, where it is and since when: channels beside its region's feature."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

Description = Literal["class", "box", "age"]

OLD_S = 3.0
"""Age in seconds of a described track from which on it is told no more, so that age is no clock of the video."""


def described(
    rows: Mapping[str, np.ndarray], tracks: Mapping[str, np.ndarray], names: Sequence[str], size: tuple[int, int],
    wanted: Sequence[Description],
) -> np.ndarray:  # fmt: skip
    """What a row is, where it is and since when, float32 [N, channels], in the order of ``wanted``.

    ``class``: one channel for each of ``names``, 1 for the row's label; ``box``: middle (x, y), width and height as shares
    of the picture; ``age``: seconds since the track began, at most ``OLD_S``, and 0 where nothing is followed. It looks back
    only, so a causal window stays causal.
    """
    height, width = size
    box = rows["box"] / np.array([width, height, width, height], np.float32)
    begin = {int(number): float(tracks["t"][tracks["track"] == number].min()) for number in np.unique(tracks["track"])}
    age = np.array([t - begin.get(int(k), t) for t, k in zip(rows["t"], rows["track"], strict=True)]).reshape(-1, 1)
    channels = {
        "class": np.eye(len(names))[rows["label"]],
        "box": np.concatenate([(box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]], axis=1),
        "age": np.minimum(age, OLD_S),
    }
    return np.concatenate([channels[name] for name in wanted], axis=1).astype(np.float32)
