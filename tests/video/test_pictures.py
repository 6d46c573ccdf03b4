"""JPEG and thumbnails."""

import numpy as np
import pytest

from pipeline.video import jpeg
from pipeline.video.thumbnails import thumbnails
from tests.video.clips import HEIGHT, WIDTH, Encode, grey_picture, index_of, moving_picture


def test_jpeg_keeps_picture_and_channel_order() -> None:
    red = np.zeros((20, 31, 3), dtype=np.uint8)
    red[..., 0] = 200
    back = jpeg.decode(jpeg.encode(red, 95))
    assert back.shape == red.shape
    assert np.abs(back.astype(int) - red).max() < 6
    smooth = moving_picture(3) // 4 + 96
    errors = [np.abs(jpeg.decode(jpeg.encode(smooth, quality)).astype(int) - smooth).mean() for quality in (95, 30)]
    assert errors[0] < errors[1]


def test_jpegs_fill_an_array() -> None:
    pictures = np.stack([grey_picture(index) for index in range(5)])
    target = np.empty_like(pictures)
    jpeg.decode_into(target, [jpeg.encode(picture, 90) for picture in pictures])
    assert [index_of(picture) for picture in target] == list(range(5))
    with pytest.raises(ValueError, match="expected"):
        jpeg.decode_into(np.empty((1, 10, 10, 3), np.uint8), [jpeg.encode(pictures[0], 90)])


def test_jpeg_errors_are_clear() -> None:
    with pytest.raises(ValueError, match="3 bytes are not a picture"):
        jpeg.decode(b"abc")
    with pytest.raises(ValueError, match="0 bytes"):
        jpeg.decode(b"")
    whole = jpeg.encode(moving_picture(0), 90)
    with pytest.raises(ValueError, match="not a picture that can be decoded"):
        jpeg.decode(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="quality is 0"):
        jpeg.encode(grey_picture(0), 0)
    with pytest.raises(ValueError, match="float64"):
        jpeg.encode(np.zeros((4, 4, 3)), 90)


def test_thumbnails_stand_at_the_middles_of_equal_parts(encode: Encode) -> None:
    strip = thumbnails(encode("strip.mp4", count=40, fps=10, picture=grey_picture), 4, 32)
    assert [t for t, _ in strip] == pytest.approx([0.5, 1.5, 2.5, 3.5])
    pictures = [jpeg.decode(data) for _, data in strip]
    assert [index_of(picture) for picture in pictures] == [5, 15, 25, 35]
    assert pictures[0].shape == (32, 32 * WIDTH // HEIGHT, 3)


def test_thumbnails_of_a_very_short_clip_repeat(encode: Encode) -> None:
    strip = thumbnails(encode("flash.mp4", count=2, fps=10, picture=grey_picture), 6, 32)
    assert [index_of(jpeg.decode(data)) for _, data in strip] == [0, 0, 0, 1, 1, 1]
