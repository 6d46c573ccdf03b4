"""Which boxes are learned from and scored, and by what they are labelled."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.schema import Segment, Video
from pipeline.datasets.spans import OBJECT, PERSON, Instances
from stages._box_actions import label_boxes, people
from tests.stages.test_box_labels import ACTIONS, write_truth

SEGMENTS = (Segment("sit", 0.0, 2.0), Segment("wave", 2.0, 3.0))


def pictured(id_: str, phase: float = 0.0) -> tuple[Video, Instances]:
    """Four boxes at each of three seconds: the two that act in ``write_truth``, one where nobody is, and a thing."""
    left = np.tile(np.array([0, 20, 70, 0], np.float32) / 100, 3)
    box = np.stack([left, 0 * left, left + 0.1, 0 * left + 0.2], axis=1)
    track, rng = np.tile(np.arange(4), 3), np.random.default_rng(0)
    feature = rng.standard_normal((12, 5)).astype(np.float16)
    t = np.repeat(np.arange(3.0), 4) + phase
    source = np.where(track == 3, OBJECT, PERSON)
    video = Video(id_, "v.mp4", "training", 3.0, 20.0, 60, 100, 50, SEGMENTS)
    return video, Instances(t, box, track, np.ones(12, np.int64), source, feature)


def test_what_nobody_is_known_to_do_is_not_learned(tmp_path: Path) -> None:
    (told, boxes), (untold, _) = pictured("told"), pictured("untold")
    both = {"told": boxes, "untold": boxes}
    truths = {"told": write_truth(tmp_path / "v.h5")}
    labelling = label_boxes((told, untold), both, ACTIONS, truths, 0.5)
    assert labelling.by == "boxes"
    one = labelling.of["told"]
    assert (
        one.matched.tolist() == [True, True, False, False] * 3 and one.known.tolist() == [True, True, True, False] * 3
    )
    assert one.missed.tolist() == [0, 1, 2], "the third person of every second"
    assert not labelling.of["untold"].known.any() and not labelling.of["untold"].matched.any()
    learned = people((told, untold), both, labelling, len(ACTIONS))
    assert learned.video.tolist() == [0] * 6 and learned.labels.tolist() == [[True, False], [False, True]] * 3
    assert learned.feature.dtype == np.float16
    np.testing.assert_array_equal(learned.feature, boxes.feature[one.matched])


def test_the_time_of_a_box_is_that_of_its_bank(tmp_path: Path) -> None:
    path = write_truth(tmp_path / "v.h5")
    nobody = Instances(*(value[:0] for value in vars(pictured("a")[1]).values()))
    for phase, known, missed in ((0.0, 9, 3), (0.04, 9, 3), (0.5, 0, 0)):
        (video, boxes), (empty, _) = pictured("v", phase), pictured("empty", phase)
        given = {"v": boxes, "empty": nobody}
        labelling = label_boxes((video, empty), given, ACTIONS, {"v": path, "empty": path}, 0.5)
        assert labelling.of["v"].known.sum() == known, "key frames are at whole seconds"
        assert len(labelling.of["v"].missed) == missed
        assert len(labelling.of["empty"].missed) == 3 * missed, "where nobody was found all were missed"


@pytest.mark.parametrize("phase", [0.0, 0.5])
def test_segments_label_whoever_acts(phase: float) -> None:
    video, boxes = pictured("v", phase)
    labelling = label_boxes((video,), {"v": boxes}, ACTIONS, {}, 0.5)
    one = labelling.of["v"]
    assert labelling.by == "segments" and one.actions.tolist() == [[True, False]] * 8 + [[False, True]] * 4
    assert one.known.tolist() == one.matched.tolist() == [True, True, True, False] * 3, "a thing does nothing"
    assert people((), {}, labelling, 2).labels.shape == (0, 2)
