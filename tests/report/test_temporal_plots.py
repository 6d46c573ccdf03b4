"""Pictures of adaptive time: what is drawn where."""

import io

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from pipeline.evaluation.bootstrap import Interval
from pipeline.report.temporal_plots import (
    BINS,
    Clip,
    Cost,
    frames_by_class,
    grid_locations,
    grouped_frames,
    score_by_cost,
)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(imread(io.BytesIO(png))[..., :3])


def near(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where the picture has the colour, bool [height, width]."""
    return np.asarray((np.abs(picture - np.array(to_rgb(colour))) < 0.02).all(axis=-1))


def clip(**values: np.ndarray) -> Clip:
    grey = np.full((4, 6, 8, 3), 128, np.uint8)
    empty = {"weights": None, "positions": None}
    return Clip("walk", grey, np.zeros((4, 3, 4), np.float32), np.ones((2, 3, 4), np.float32), **(empty | values))  # type: ignore[arg-type]


def test_frames_wear_the_colour_of_their_bin() -> None:
    weights = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.9, 0.9]], np.float32)
    plot = grouped_frames(clip(weights=weights))
    picture = pixels(plot.light)
    first, second = near(picture, BINS[0]), near(picture, BINS[1])
    half = picture.shape[1] // 2
    top = slice(0, picture.shape[0] // 2)
    assert first[top, :half].sum() > 200 and not first[top, half + 40 :].any()
    assert second[top, half:].sum() > 200 and not second[top, : half - 40].any()
    assert "2 active bins of 4 frames" in plot.caption and plot.light != plot.dark


def test_lines_stand_where_frames_are_sampled() -> None:
    at = np.array([0.0, 0.5, 3.0], np.float32)
    picture = pixels(grid_locations([clip(positions=at)]).light)
    columns = np.flatnonzero(near(picture, "#c4622d")[: picture.shape[0] // 2].sum(axis=0) > 20)
    groups = np.split(columns, np.flatnonzero(np.diff(columns) > 3) + 1)
    centres = np.array([group.mean() for group in groups])
    assert len(centres) == 3
    share = (centres - centres[0]) / (centres[-1] - centres[0])
    assert abs(share[1] - 0.5 / 3) < 0.01


def test_classes_are_ordered_by_what_they_keep() -> None:
    plot = frames_by_class({"still": np.array([1, 1, 2]), "jump": np.array([4, 4])}, 8, "active bins")
    assert plot.title == "Active bins by class" and plot.light.startswith(b"\x89PNG")


def test_cheaper_encoders_stand_to_the_left() -> None:
    costs = [Cost("plain", 2.0, Interval(0.2, 0.1, 0.3)), Cost("sgs", 1.0, Interval(0.2, 0.1, 0.3))]
    picture = pixels(score_by_cost(costs, "mAP", "").light)
    cheap, dear = (np.flatnonzero(near(picture, colour).any(axis=0)).mean() for colour in ("#2a5bd7", "#c4622d"))
    assert cheap < dear
