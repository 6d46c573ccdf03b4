"""Pre-processing values and augmentation of CoViAR, against values written out by hand and geometry."""

import cv2
import numpy as np
import pytest

from pipeline.datasets.augment import (
    SCALES,
    colour_jitter,
    fixed_crops,
    flip,
    motion_pictures,
    multi_scale_crop,
    residual_pictures,
    resized,
)


def test_motion_values() -> None:
    motion = np.array([-25, -20, -19, -1, 0, 1, 3, 19, 20, 25], np.int16)
    # trunc(v * 6.375) + 128: truncated towards zero, so both directions are alike.
    expected = [0, 1, 128 - 121, 128 - 6, 128, 128 + 6, 128 + 19, 128 + 121, 255, 255]
    assert motion_pictures(motion).tolist() == expected
    assert motion_pictures(np.array([-4, 4]), full_px=4.0).tolist() == [1, 255]


def test_residual_values() -> None:
    assert residual_pictures(np.array([-300, -128, -1, 0, 5, 127, 300], np.int16)).tolist() == [
        0, 0, 127, 128, 133, 255, 255,
    ]  # fmt: skip


def test_a_flipped_clip_shows_the_mirrored_motion() -> None:
    rng = np.random.default_rng(0)
    mv = rng.integers(-19, 20, (2, 5, 7, 2)).astype(np.int16)
    mirrored = mv[:, :, ::-1] * np.array([-1, 1], np.int16)
    assert np.array_equal(flip(motion_pictures(mv), True), motion_pictures(mirrored))
    pictures = rng.integers(0, 256, (2, 5, 7, 3)).astype(np.uint8)
    assert np.array_equal(flip(pictures, False), pictures[:, :, ::-1])
    assert np.array_equal(flip(flip(pictures, False), False), pictures)
    # A stack of flow fields alternates x and y.
    stack = motion_pictures(np.concatenate([mv, mv], axis=-1))
    assert np.array_equal(flip(stack, True)[..., 2:], flip(motion_pictures(mv), True))


def window_of(cut: np.ndarray, size: int) -> tuple[float, float, float, float]:
    """Height, width, top and left of a window of a picture whose values are its own coordinates."""
    ys, xs = cut[:, 0, 0].astype(float), cut[0, :, 1].astype(float)
    high, wide = (np.diff(v).mean() * size for v in (ys, xs))
    return high, wide, ys.mean() - high / 2 + 0.5, xs.mean() - wide / 2 + 0.5


def test_multi_scale_windows_are_the_papers() -> None:
    coordinates = np.zeros((1, 200, 250, 2), np.uint8)
    coordinates[0, ..., 0], coordinates[0, ..., 1] = np.mgrid[:200, :250]
    rng = np.random.default_rng(0)
    seen, tops, lefts = set(), [], []
    for _ in range(300):
        cut = multi_scale_crop(coordinates, 176, rng, SCALES["i"])
        high, wide, top, left = window_of(cut[0], 176)
        near = [min((200, 176, 150, 132), key=lambda side: abs(side - v)) for v in (high, wide)]
        assert abs(near[0] - high) < 2 and abs(near[1] - wide) < 2
        seen.add(tuple(near))
        tops.append(top), lefts.append(left)
    sides = (200, 176, 150, 132)  # 0.875 x 200 = 175 snaps to the size, 176
    assert seen == {(a, b) for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 1}
    assert min(tops) < 3 and max(tops) > 60 and min(lefts) < 3 and max(lefts) > 110


def test_all_pictures_of_a_clip_are_cut_alike() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 40, 50, 2)).astype(np.uint8)
    cut = multi_scale_crop(np.repeat(picture, 3, axis=0), 32, np.random.default_rng(1))
    assert np.array_equal(cut[0], cut[1]) and np.array_equal(cut[0], cut[2])


def test_ten_crops_are_corners_centre_and_their_mirrors() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (2, 340, 256, 3)).astype(np.uint8)
    square = np.stack([cv2.resize(one, (256, 256)) for one in picture])
    crops = fixed_crops(picture, 224, 10, motion=False)
    assert crops.shape == (20, 224, 224, 3)
    for number, (top, left) in enumerate([(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]):
        for which in (0, 1):
            expected = square[which, top : top + 224, left : left + 224]
            assert np.array_equal(crops[10 * which + 2 * number], expected)
            assert np.array_equal(crops[10 * which + 2 * number + 1], expected[:, ::-1])
    assert np.array_equal(fixed_crops(picture, 224, 1, False), crops[[8, 18]])
    assert np.array_equal(fixed_crops(picture, 224, 5, False)[:5], crops[:10:2])
    rest = np.full((1, 30, 40, 2), 128, np.uint8)
    assert (fixed_crops(rest, 32, 10, motion=True) == 128).all()
    with pytest.raises(ValueError, match="allowed: 1, 5, 10"):
        fixed_crops(picture, 224, 3, False)


def test_resizing_leaves_motion_values_as_they_are() -> None:
    mv = np.broadcast_to(motion_pictures(np.array([4, -7])), (1, 10, 12, 2))
    assert np.array_equal(np.unique(resized(mv, 20, 25).reshape(-1, 2), axis=0), np.unique(mv.reshape(-1, 2), axis=0))


def test_jitter_stays_within_its_bounds_and_changes_colours() -> None:
    picture = np.full((8, 8, 3), (90, 120, 150), np.uint8)
    lightness = []
    for seed in range(50):
        changed = colour_jitter(picture, np.random.default_rng(seed))
        assert (changed == changed[0, 0]).all()
        hls = cv2.cvtColor(changed, cv2.COLOR_RGB2HLS)[0, 0].astype(int)
        lightness.append(hls[1] - 120)
    assert -52 <= min(lightness) < -30 and 30 < max(lightness) <= 52
