"""MPEG-4 Part 2 and its like against the reference loader's definition, in every pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.video.compressed import read_compressed
from tests.video.clips import Encode, encode_clip
from tests.video.compressed.oracle import reference_loader


def rushing(index: int, width: int = 118, height: int = 90) -> np.ndarray:
    """Two textures that move fast and against each other, in and out of the picture; odd blocks at the edges."""
    rng = np.random.default_rng(3)
    back, front = (rng.integers(0, 255, (40, 60, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(2))
    left, top = 200 - 7 * (index % 24), 60 + 3 * (index % 24)
    picture = back[top : top + height, left : left + width].copy()
    at = 4 * index % (width - 30)
    picture[20:61, at : at + 30] = front[index : index + 41, :30]
    return picture


CLIPS: dict[str, tuple[str, dict[str, Any]]] = {
    "mpeg4": ("a.avi", {"codec": "mpeg4", "options": {"qmax": "6"}}),
    "mpeg4-16-px-sizes": ("a.mp4", {"codec": "mpeg4", "options": {"qmax": "6"}}),
    "mpeg4-4mv": ("b.avi", {"codec": "mpeg4", "options": {"qmax": "6", "flags": "+mv4", "mbd": "rd"}}),
    "mpeg4-qpel": ("c.avi", {"codec": "mpeg4", "options": {"qmax": "6", "flags": "+qpel"}}),
    "h263p": ("d.avi", {"codec": "h263p", "options": {"qmax": "6"}}),
    "mpeg1": ("e.mpg", {"codec": "mpeg1video", "options": {"qmax": "6"}}),
    "flv": ("f.flv", {"codec": "flv", "options": {"qmax": "6"}}),
    "msmpeg4": ("g.avi", {"codec": "msmpeg4", "options": {"qmax": "6"}}),
    "wmv2": ("h.wmv", {"codec": "wmv2", "options": {"qmax": "6"}}),
}


def clip(encode: Encode, name: str) -> Path:
    file, options = CLIPS[name]
    size = (128, 96) if name == "mpeg4-16-px-sizes" else (116, 92) if name == "h263p" else (118, 90)
    return encode(f"rushing-{name}-{file}", count=26, picture=lambda index: rushing(index, *size), **options)


@pytest.mark.parametrize("name", CLIPS)
def test_every_pixel_is_the_reference_loaders(encode: Encode, name: str) -> None:
    path = clip(encode, name)
    valid = moving = pixels = 0
    differences = []
    for ours, theirs in zip(read_compressed(path), reference_loader(path), strict=True):
        assert ours.frame_type == theirs.kind
        np.testing.assert_array_equal(ours.mv, theirs.mv)
        np.testing.assert_array_equal(ours.mv_accumulated, theirs.mv_accumulated)
        np.testing.assert_array_equal(ours.valid == 1, theirs.written)
        assert ours.residual is not None
        assert ours.residual_accumulated is not None
        differences += [
            np.abs(ours.residual - theirs.residual),
            np.abs(ours.residual_accumulated - theirs.residual_accumulated),
        ]
        if theirs.kind == 2:
            pixels += theirs.written.size
            valid += int(theirs.written.sum())
            moving += int(theirs.mv.any(-1).sum())
    assert np.mean(differences) < 0.5
    assert np.max(differences) <= 6
    assert moving > 0.4 * pixels  # the clip does ask for something
    assert valid < pixels


def test_the_last_frame_is_there(tmp_path: Path) -> None:
    """The reference loader never gives it, and zeros behind the end of a short group."""
    path = encode_clip(tmp_path / "a.mp4", "mpeg4", 25, gop=12)
    rows = list(read_compressed(path))
    assert len(rows) == 25
    assert [row.frame_type for row in rows].count(1) == 3
    assert rows[23].mv_accumulated is not None
    assert rows[23].mv_accumulated.any()
