"""Online trackers of the optional library: better than the sample results on two sequences; an error without it."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.hota import hota
from pipeline.evaluation.tracking import TrackTable, count_tracks
from pipeline.video.online_tracks import TRACKERS, link_online
from tests.evaluation.test_tracking import read_mot

installed = importlib.util.find_spec("trackers") is not None
needs_library = pytest.mark.skipif(not installed, reason="needs the optional library trackers")


def walkers(pictures: int = 30, fps: float = 10.0) -> dict[str, Any]:
    """Two people who pass each other, and a ball beside the first; one more person in every third picture, weakly."""
    at = np.repeat(np.arange(pictures), 3)
    x = np.stack(
        [np.arange(pictures) * 4.0, 120 - np.arange(pictures) * 4.0, np.arange(pictures) * 4.0], axis=1
    ).ravel()
    y = np.tile([0.0, 60.0, 5.0], pictures)
    return {
        "pts": np.arange(pictures) / fps,
        "picture": at,
        "box": np.stack([x, y, x + 20, y + 50], axis=1),
        "label": np.tile([0, 0, 1], pictures),
        "score": np.full(3 * pictures, 0.9),
        "shot_start": [0.0],
    }


@pytest.mark.skipif(installed, reason="the library is there")
def test_without_the_library_the_error_names_the_fix() -> None:
    with pytest.raises(
        ModuleNotFoundError, match="tracker 'sort' needs the libraries trackers and supervision: pip install"
    ):
        link_online(**walkers(), tracker="sort")


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="tracker is 'deepsort'; allowed: sort, bytetrack, ocsort"):
        link_online(**walkers(), tracker="deepsort")
    with pytest.raises(ValueError, match="90 pictures, 90 boxes, 90 labels, 1 scores"):
        link_online(**walkers() | {"score": np.ones(1)})


@needs_library
@pytest.mark.parametrize("tracker", TRACKERS)
def test_people_who_pass_and_a_cut(tracker: str) -> None:
    scene = walkers()
    tracks = link_online(**scene, tracker=tracker, minimum_consecutive_frames=1).reshape(30, 3)
    assert all(len(set(column[column >= 0])) == 1 for column in tracks.T), "one tube each"
    assert len(set(tracks.max(axis=0))) == 3 and (tracks >= 0).mean() > 0.9
    cut = link_online(**scene | {"shot_start": [0.0, 1.5]}, tracker=tracker, minimum_consecutive_frames=1).reshape(
        30, 3
    )
    assert not set(cut[:15][cut[:15] >= 0]) & set(cut[15:][cut[15:] >= 0])
    with pytest.raises(ValueError, match="unexpected keyword"):
        link_online(**scene, tracker=tracker, no_such_option=1)


@needs_library
@pytest.mark.parametrize(("sequence", "pictures"), [("TUD-Campus", 71), ("TUD-Stadtmitte", 179)])
def test_better_than_the_sample_results(shared: Path, sequence: str, pictures: int) -> None:
    folder = shared / "annotations" / "mot"
    true, sample = (read_mot(folder / f"{sequence}_{name}.txt") for name in ("gt", "sample_result"))
    rows = np.loadtxt(folder / f"{sequence}_det.txt", delimiter=",")
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    at, box = rows[:, 0].astype(int) - 1, np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
    tracks = link_online(np.arange(pictures) / 25, at, box, np.zeros(len(at), int), rows[:, 6], [0.0])
    found = TrackTable(at[tracks >= 0] + 1, tracks[tracks >= 0].astype(np.int64), box[tracks >= 0])
    ours, theirs = count_tracks(true, found), count_tracks(true, sample)
    assert ours.mota > theirs.mota and ours.idf1 > theirs.idf1
    assert hota([(true, found)]).hota > hota([(true, sample)]).hota
