"""A JPEG file made from the decoded planes shows what the frame shows, at least as well as by way of RGB."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.video import jpeg
from pipeline.video.decode import decode, decode_at, shown_at
from pipeline.video.planes import jfif
from tests.video.clips import Encode, moving_picture

# Of ITU-R BT.601, BT.709 and BT.2020: Cr in R, Cb in G, Cr in G, Cb in B.
MATRICES = {
    2: (1.402, 0.344136, 0.714136, 1.772),
    6: (1.402, 0.344136, 0.714136, 1.772),
    1: (1.5748, 0.187324, 0.468124, 1.8556),
    9: (1.4746, 0.164553, 0.571353, 1.8814),
}


def exact(planes: list[np.ndarray], matrix: int, full: bool) -> np.ndarray:
    """RGB in floating point; colour of a pixel is that of its block of 2x2."""
    height, width = planes[0].shape
    y, u, v = (plane.astype(float) for plane in planes)
    y, u, v = (y, u - 128, v - 128) if full else ((y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224)
    u, v = (c.repeat(2, axis=0).repeat(2, axis=1)[:height, :width] for c in (u, v))
    red, green_u, green_v, blue = MATRICES[matrix]
    return np.clip(np.stack([y + red * v, y - green_u * u - green_v * v, y + blue * u], axis=-1), 0, 255)


def samples(frame: av.VideoFrame) -> list[np.ndarray]:
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]  # type: ignore[call-overload]
        for plane in frame.planes
    ]


def frame_of(height: int, width: int, matrix: int, full: bool) -> av.VideoFrame:
    """A frame of smooth random planes, the colours of which exist."""
    rng = np.random.default_rng(3)
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, (low, high) in zip(frame.planes, ((80, 180), (110, 146), (110, 146)), strict=True):
        coarse = rng.integers(low, high, (4, 4)).astype(np.float32)
        smooth = cv2.resize(coarse, (plane.width, plane.height), interpolation=cv2.INTER_LINEAR)
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : plane.width] = smooth
        plane.update(padded.tobytes())
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize(("height", "width"), [(64, 96), (63, 96), (64, 95), (35, 51)])
def test_matrix_and_range_become_those_of_jpeg(height: int, width: int, matrix: int, full: bool) -> None:
    frame = frame_of(height, width, matrix, full)
    planes = jfif(frame)
    assert planes is not None
    assert planes.shape == (height, width, 3)
    expected = exact(samples(frame), matrix, full)
    error = exact([planes.y, planes.u, planes.v], 2, full=True) - expected
    assert np.abs(error).mean() < 1
    assert np.abs(error).max() < 5
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.4
    shown = jpeg.decode(jpeg.encode_planes(*planes, 98))
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() < 1.5


def test_black_and_white_beyond_the_range_are_cut_off() -> None:
    frame = frame_of(16, 16, 2, full=False)
    for plane, value in zip(frame.planes, (3, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    planes = jfif(frame)
    assert planes is not None
    assert planes.y.max() == 0
    frame.planes[0].update(b"\xf8" * frame.planes[0].buffer_size)
    planes = jfif(frame)
    assert planes is not None
    assert planes.y.min() == 255


def test_what_is_no_420_or_has_another_matrix_is_left_to_rgb() -> None:
    assert jfif(av.VideoFrame(16, 16, "yuv422p")) is None
    strange = frame_of(16, 16, 2, full=False)
    strange.colorspace = 8  # YCgCo
    assert jfif(strange) is None


@pytest.mark.parametrize(("height", "width"), [(35, 51), (36, 51), (35, 52), (16, 17)])
def test_the_edge_of_an_odd_picture_is_its_own(height: int, width: int) -> None:
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(frame.planes, (100, 90, 150), strict=True):
        padded = np.full((plane.height, plane.line_size), 255, np.uint8)
        padded[:, : plane.width] = value
        plane.update(padded.tobytes())
    planes = jfif(frame)
    assert planes is not None
    shown = jpeg.decode(jpeg.encode_planes(*planes, 95))
    assert shown.shape == (height, width, 3)
    assert np.ptp(shown.reshape(-1, 3), axis=0).max() == 0
    with pytest.raises(ValueError, match="even number of rows"):
        jpeg.encode_planes(planes.y.copy(), planes.u, planes.v, 95)


def test_planes_that_do_not_fit_are_refused() -> None:
    y, u = np.zeros((32, 48), np.uint8), np.zeros((16, 24), np.uint8)
    with pytest.raises(ValueError, match="colour are"):
        jpeg.encode_planes(y, u, u[:, :20], 90)
    with pytest.raises(ValueError, match="quality is 101"):
        jpeg.encode_planes(y, u, u, 101)


@pytest.mark.parametrize("short_side", [None, 40, 41, 100])
@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "rotate"),
    [
        ("a.mp4", "libx264", "yuv420p", 0), ("a.mp4", "libx264", "yuv422p", 0), ("a.mp4", "libx264", "yuv444p", 0),
        ("a.mkv", "ffv1", "yuv420p10le", 0), ("a.mkv", "mjpeg", "yuvj420p", 0), ("a.mkv", "ffv1", "bgr0", 0),
        ("a.mp4", "libx264", "yuv420p", 90), ("a.mp4", "libx264", "yuv420p", 180),
    ],
)  # fmt: skip
def test_every_source_is_shown_as_decoding_shows_it(
    encode: Encode, name: str, codec: str, pix_fmt: str, rotate: int, short_side: int | None
) -> None:
    def soft(index: int) -> np.ndarray:  # one tint: 4:2:0 keeps no more
        texture = cv2.GaussianBlur(moving_picture(index)[..., :1], (9, 9), 0)[..., None].astype(int) // 2
        return (texture + np.array([90, 20, 50])).astype(np.uint8)

    path = encode(f"planes-{pix_fmt}-{rotate}-{name}", codec, count=3, picture=soft, pix_fmt=pix_fmt, rotate=rotate)
    for frame, shown in zip(decode(path, short_side=short_side), shown_at(path, None), strict=True):
        t, picture = shown.planes(short_side)
        rgb = isinstance(picture, np.ndarray)
        assert rgb == (bool(rotate) or short_side is not None or pix_fmt not in ("yuv420p", "yuvj420p"))
        coded = jpeg.encode(picture, 98) if isinstance(picture, np.ndarray) else jpeg.encode_planes(*picture, 98)
        back = jpeg.decode(coded).astype(int)
        assert t == frame.pts_s
        assert back.shape == frame.picture.shape
        assert np.abs(back - frame.picture).mean() < 4
        assert np.abs((back - frame.picture).mean()) < 1.7  # swscale's RGB is a level too dark


def test_real_pictures_are_nearer_to_the_source_than_by_way_of_rgb(shared: Path) -> None:
    for name, matrix in (
        ("actions/ucf_SoccerJuggling_g24_c01.avi", 2), ("actions/yoga.mp4", 2),
        ("people/one_by_one_person.mp4", 6), ("people/vtest_pets09_s2l1.avi", 1),
    ):  # fmt: skip
        shown = next(shown_at(shared / "videos" / name, None))
        assert int(shown.frame.colorspace) == matrix
        truth = exact(samples(shown.frame), matrix, full=False)
        planes = jfif(shown.frame)
        assert planes is not None
        ways = jpeg.encode(shown.convert().picture, 90), jpeg.encode_planes(*planes, 90)
        errors = [np.square(jpeg.decode(data) - truth).mean() for data in ways]
        assert errors[1] < errors[0], name
        assert len(ways[1]) < 1.02 * len(ways[0])


def test_the_frames_are_those_of_decode_at(encode: Encode) -> None:
    path = encode("planes-rate.mp4", count=40)
    assert [shown.t for shown in shown_at(path, 8)] == [frame.pts_s for frame in decode_at(path, 8)]
