"""The bounded reader of compressed artifacts, and clips cut from it."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.augment import motion_pictures
from pipeline.datasets.clips import ClipSpec, Sources, labels_at, sample, scored_pictures, training_pictures
from pipeline.datasets.compressed_store import CompressedStore
from pipeline.datasets.flow_store import FlowStore, flow
from pipeline.datasets.kept import Kept
from pipeline.datasets.opened import stored_files
from pipeline.datasets.schema import Segment
from pipeline.datasets.snippets import FrameStore
from pipeline.run.artifacts import ArtifactError
from pipeline.run.kinds import FRAMES
from pipeline.video import jpeg
from tests.datasets.coded import COLUMNS, ROWS, write_stream

GROUPS = [10, 7, 13]


@pytest.fixture
def store(tmp_path: Path) -> CompressedStore:
    write_stream(tmp_path / "a.h5", GROUPS)
    write_stream(tmp_path / "b.h5", [5, 5])
    return CompressedStore(stored_files(tmp_path, ["a", "b", "absent"]))


def test_rows_of_any_shape_are_those_of_the_file(store: CompressedStore) -> None:
    rows = np.array([[29, 0, 5], [5, 9, 17]])
    found = store.rows("a", "mv_accumulated", rows)
    assert found.shape == (2, 3, ROWS, COLUMNS, 2) and found.dtype == np.int16
    assert found[..., 0, 0, 0].tolist() == [[12, 0, 5], [5, 9, 0]]
    assert found[..., 3, 7, 1].tolist() == [[2, 0, 0], [0, 0, 2]]
    assert "a" in store and "absent" not in store
    again = pickle.loads(pickle.dumps(store)).rows("a", "mv_accumulated", rows)
    assert np.array_equal(found, again)


def test_i_frames_by_their_rows(store: CompressedStore) -> None:
    pictures = store.i_frame_pictures("a", np.array([17, 0, 17, 10]))
    assert pictures.shape == (4, ROWS, COLUMNS, 3) and pictures.dtype == np.uint8
    assert np.abs(pictures.mean(axis=(1, 2, 3)) - [60, 20, 60, 40]).max() < 1
    with pytest.raises(ValueError, match=r"a.h5: rows \[3\] are no I-frames"):
        store.i_frame_pictures("a", np.array([0, 3]))


def test_what_is_not_there_is_named(store: CompressedStore, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="'absent'; there are 2 videos"):
        store.stream("absent")
    with pytest.raises(ArtifactError, match="without 'residual'"):
        store.rows("a", "residual", np.array([0]))


def test_memory_is_bounded_and_the_least_used_goes_first() -> None:
    made: list[int] = []
    kept: Kept[int] = Kept(3 * 80)

    def take(*keys: int) -> list[float]:
        arrays = kept.take(keys, lambda missing: (made.append(key) or np.full(10, float(key)) for key in missing))
        return [arrays[key][0] for key in keys]

    assert take(1, 2, 3) == [1, 2, 3]
    assert take(1, 4) == [1, 4]  # forgets 2
    assert kept.held_bytes == 240
    assert take(3, 1, 4) == [3, 1, 4] and made == [1, 2, 3, 4]
    assert take(2, 5, 6, 7, 2) == [2, 5, 6, 7, 2]  # more at once than is kept
    assert made == [1, 2, 3, 4, 2, 5, 6, 7] and kept.held_bytes == 240


SPEC = ClipSpec(size=32, segments=3, test_segments=4, test_crops=1, flip=False, jitter="none", motion_px=64.0)


def test_clips_show_the_streams_of_their_frames(store: CompressedStore) -> None:
    sources, span = Sources(store), Segment("x", 0.25, 1.25)  # rows 5 to 24
    middles = [5 + 2, 5 + 7, 5 + 12, 5 + 17]
    shown = sample(sources, "a", span, "mv", SPEC, None)
    np.testing.assert_allclose(shown.times, np.array(middles) / 20)
    # Row 17 is an I-frame: the last frame of the group before stands for it. 64 px of 256 are 20 of 80.
    expected = motion_pictures(np.array([[7, 0], [2, 1], [6, 1], [5, 2]]), 20.0)
    assert np.array_equal(shown.pictures[:, 0, 0], expected)
    residual = sample(sources, "a", span, "residual", SPEC, None).pictures
    assert residual[:, 0, 0].tolist() == [[121, 128, 121], [126, 127, 126], [122, 127, 122], [123, 126, 123]]
    rgb = sample(sources, "a", span, "i", SPEC, None).pictures
    assert np.abs(rgb.mean(axis=(1, 2, 3)) - [20, 40, 60, 60]).max() < 1
    raw = sample(sources, "a", span, "mv", SPEC.model_copy(update={"accumulated": False}), None).pictures
    assert np.array_equal(raw[:, 0, 0], motion_pictures(np.ones((4, 2)), 20.0))


def test_training_draws_within_the_clip_and_test_does_not_draw(store: CompressedStore) -> None:
    span = Segment("x", 0.55, 0.8)  # rows 11 to 15, all of the second group
    rng = np.random.default_rng(0)
    values = np.stack([sample(Sources(store), "a", span, "mv", SPEC, rng).pictures[:, 0, 0, 0] for _ in range(60)])
    allowed = motion_pictures(np.arange(1, 6), 20.0)
    assert set(values.reshape(-1).tolist()) == set(allowed.tolist())
    picture = sample(Sources(store), "a", span, "mv", SPEC, rng).pictures
    assert training_pictures(picture, "mv", SPEC, rng).shape == (3, 32, 32, 2)
    assert scored_pictures(picture, "mv", SPEC.model_copy(update={"test_crops": 10}), rng).shape == (30, 32, 32, 2)


def test_jitter_is_of_training_unless_asked_for(store: CompressedStore) -> None:
    picture = sample(Sources(store), "a", Segment("x", 0, 1), "i", SPEC, None).pictures
    for jitter, training, testing in (("none", False, False), ("training", True, False), ("always", True, True)):
        spec = SPEC.model_copy(update={"jitter": jitter})
        plain = training_pictures(picture, "i", SPEC, np.random.default_rng(0))
        changed = training_pictures(picture, "i", spec, np.random.default_rng(0))
        assert (np.abs(changed.mean() - plain.mean()) > 1) == training
        shown = scored_pictures(picture, "i", spec, np.random.default_rng(0))
        assert (not np.array_equal(shown, scored_pictures(picture, "i", SPEC, np.random.default_rng(1)))) == testing


def test_a_missing_source_is_named() -> None:
    for stream, what in (("i", "compressed artifacts"), ("flow", "decoded frames")):
        with pytest.raises(ValueError, match=f"{stream} needs {what}"):
            sample(Sources(), "a", Segment("x", 0, 1), stream, SPEC, None)


@pytest.mark.parametrize("method", ["farneback", "dis"])
def test_flow_of_a_moving_texture(method: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.float32)
    import cv2

    texture = cv2.resize(noise, (240, 160), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    frames = [texture[20:100, 60 - 3 * t : 160 - 3 * t] for t in range(4)]  # what is seen moves 3 px to the right
    found = flow(frames[0], frames[1], method)  # type: ignore[arg-type]
    assert np.median(found[10:-10, 10:-10], axis=(0, 1)) == pytest.approx([3, 0], abs=0.3)
    FRAMES.write(
        tmp_path / "v.h5", {"pts": np.arange(4) / 4, "jpeg": [jpeg.encode(one, 95) for one in frames]},
        {"width": 100, "height": 80, "fps": 4.0, "duration_s": 1.0},
    )  # fmt: skip
    store = FlowStore(FrameStore({"v": tmp_path / "v.h5"}), method)  # type: ignore[arg-type]
    spec = SPEC.model_copy(update={"flow_stack": 2, "flow": method, "motion_px": 64.0})
    shown = sample(Sources(flow=store), "v", Segment("x", 0, 1), "flow", spec, None)
    assert shown.pictures.shape == (4, 80, 100, 4)
    # Full motion is 64 of 256, here 20 of 80 px; the last row repeats the field before it.
    middle = np.median(shown.pictures[:, 10:-10, 10:-10].reshape(4, -1, 4), axis=1)
    assert np.abs(middle - np.array([128 + 3 * 6.375, 128] * 2)).max() <= 3
    assert np.array_equal(shown.pictures[2], shown.pictures[3])
    assert "v" in store and "w" not in store
    data = pickle.dumps(store)
    assert len(data) < 2000
    assert np.array_equal(pickle.loads(data).fields("v", np.arange(3)), store.fields("v", np.arange(3)))


def test_labels_of_frames() -> None:
    segments = (Segment("run", 0.0, 1.0), Segment("jump", 0.5, 2.0))
    found = labels_at(segments, {"jump": 0, "run": 1, "sit": 2}, np.array([0.2, 0.7, 1.0, 3.0]))
    assert found.tolist() == [[0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]
