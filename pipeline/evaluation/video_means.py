"""Means with intervals over videos and over trainings, and paired gains on the same videos.

For what has one figure a video, or one for each of its clips: whether its class is right, or a squared error.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import Interval, draw_videos, percentile_interval


class Mean(NamedTuple):
    """The mean of one model, and its gain over the first model, paired: both on the same drawn videos (None: it is that)."""

    value: Interval
    gain: Interval | None


def video_means(
    figures: Mapping[str, NDArray[np.float64]],
    *,
    video: NDArray[np.int64] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Mean]:
    """Compare models on the same videos.

    A resample draws as many videos as there are, with replacement, and for every model as many of its trainings as it has.

    Args:
        figures: [S, N] by model, a figure for each of S trainings and N videos; the first model is what gains are over.
        video: [N] number of the video, 0..V-1, that each figure is of, where they are of clips: whole videos are drawn, and
            the mean is over the clips of those; None: a video each.
        resamples: of videos and trainings.
        seed: of the draws.
        level: of the intervals.

    Raises:
        ValueError: no figure or training, another number of figures, or a figure that is not finite.
    """
    counts = {name: table.shape for name, table in figures.items()}
    if any(len(shape) != 2 or 0 in shape for shape in counts.values()) or len({s[1] for s in counts.values()}) != 1:
        raise ValueError(f"figures are {counts}; needed: trainings x videos, the same videos for all")
    count = next(iter(counts.values()))[1]
    video = np.arange(count) if video is None else video
    weights = draw_videos(int(video.max()) + 1, resamples, seed)
    clips = weights @ np.bincount(video)
    found: dict[str, Mean] = {}
    first: tuple[float, NDArray[np.float64]] | None = None
    for number, (name, table) in enumerate(figures.items()):
        if not np.isfinite(table).all():
            raise ValueError(f"{name}: a figure is not finite")
        trainings = len(table)
        sums = np.stack([np.bincount(video, weights=one) for one in table], axis=1)
        drawn = weights @ sums / clips[:, None]
        chosen = np.random.default_rng([seed, 1 + number]).integers(trainings, size=(resamples, trainings))
        point, samples = float(table.mean()), np.take_along_axis(drawn, chosen, axis=1).mean(axis=1)
        gain = None if first is None else percentile_interval(point - first[0], samples - first[1], level)
        found[name] = Mean(percentile_interval(point, samples, level), gain)
        first = first or (point, samples)
    return found
