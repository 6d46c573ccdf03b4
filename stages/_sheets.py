"""Sections of the report with pictures: shots, the coded stream; and what all such sections share.

Whatever artifact or truth is missing leaves its part out, and a sentence says so.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.datasets.schema import Dataset, Video
from pipeline.datasets.snippets import frame_indices
from pipeline.datasets.stored import open_frames
from pipeline.evaluation.shot_boundaries import count_cuts, cuts_of
from pipeline.report.blocks import Block, Measure, Measures, Section, Sheets, Text
from pipeline.report.sheets import Picture, Row, Sheet
from pipeline.run import kinds
from pipeline.video import jpeg
from pipeline.video.compressed.draw import draw_motion
from pipeline.video.crop import crop_resize
from stages import _outputs

_HEIGHT, _QUALITY = 144, 78
COLUMNS = 6
"""Pictures in a row."""
_MOST_SHOTS = 24
_FULL_PX = 8.0
"""Motion in px that is drawn fullest, unless the fastest block is slower."""


def shown_videos(dataset: Dataset, count: int) -> list[Video]:
    """Annotated test videos, evenly spaced in the list, so that nothing is picked by its result."""
    videos = [video for video in dataset.subset("testing") if video.segments]
    places = np.linspace(0, len(videos) - 1, min(count, len(videos))).round().astype(int)
    return [videos[place] for place in np.unique(places)]


def shots(root: Path, shown: Sequence[Video], measures: Sequence[Measure], tolerance_s: float) -> Section:
    """A picture from the middle of every shot, and of every cut that was missed."""
    sheets, missing = [], list[Block]()
    for video in shown:
        path = _outputs.artifact(root, _outputs.SHOTS, video)
        if not path.is_file():
            missing.append(Text(f"{video.id} was not split into shots.", warning=True))
            continue
        found = kinds.SHOTS.read(path)
        truth = _outputs.truth(root, video)
        starts = kinds.TRUTH.read(truth)["shot_start"] if truth.is_file() else np.zeros(0)
        true = cuts_of(starts) if len(starts) else None
        tiles = list[tuple[float, str, bool]]()
        for start, end in zip(found["t_start"], found["t_end"], strict=True):
            wrong = true is not None and start > 0 and not count_cuts(true, [start], tolerance_s).matched
            tiles.append(
                ((start + end) / 2, f"{start:.2f} to {end:.2f} s{': no true cut here' if wrong else ''}", wrong)
            )
        for cut in () if true is None else true:
            if not count_cuts([cut], cuts_of(found["t_start"]), tolerance_s).matched:
                tiles.append((cut, f"missed cut at {cut:.2f} s", True))
        tiles = sorted(tiles)[:_MOST_SHOTS]
        row = [
            Picture(image, video.width, video.height, caption, verdict="bad" if wrong else "")
            for image, (_, caption, wrong) in zip(
                decoded_pictures(root, video, [tile[0] for tile in tiles], missing), tiles, strict=False
            )
        ]
        count = f"{len(found['t_start'])} shots found" + ("" if true is None else f", {len(true) + 1} true")
        if len(found["t_start"]) > _MOST_SHOTS:
            count += f", the first {_MOST_SHOTS} below"
        sheets += [Sheet(video.id, [Row("", row)], count, wrap=True)] if row else []
    unknown = Text("The data set does not know its cuts, so the shots are not scored.", warning=True)
    return picture_section(
        "shots", "Shots", "The middle of every shot that was found.", measures, sheets, missing, unknown
    )


def stream(root: Path, shown: Sequence[Video]) -> Section:
    """Pictures above their motion vectors."""
    sheets, missing = [], list[Block]()
    for video in shown:
        path = _outputs.artifact(root, _outputs.COMPRESSED, video)
        if not path.is_file():
            missing.append(Text(f"The coded stream of {video.id} was not read.", warning=True))
            continue
        with kinds.COMPRESSED.open(path) as reader:
            if "mv" not in reader:
                missing.append(Text(f"The motion of {video.id} was not kept (compressed.arrays).", warning=True))
                continue
            pts, predicted = reader["pts"], np.flatnonzero(reader["reference_index"] >= 0)
            if not len(predicted):
                missing.append(Text(f"{video.id} has no predicted frame, so no motion vectors.", warning=True))
                continue
            chosen = predicted[np.linspace(0, len(predicted) - 1, COLUMNS + 2).round().astype(int)[1:-1]]
            motion = [reader.rows("mv", slice(row, row + 1))[0].astype(np.float64) for row in chosen]
        fullest = min(max(float(np.hypot(one[..., 0], one[..., 1]).max()) for one in motion), _FULL_PX)
        colours = [draw_motion(one, fullest) for one in motion]
        size = (video.width, video.height)
        shown_row = [Picture(image, *size) for image in decoded_pictures(root, video, pts[chosen], missing)]
        motion_row = [
            Picture(jpeg.encode(one, 90), *size, f"{pts[row]:.2f} s") for one, row in zip(colours, chosen, strict=True)
        ]
        sheets.append(Sheet(video.id, [Row("shown", shown_row), Row("motion", motion_row)]))
    text = "Motion vectors of the coded stream: the hue is the direction, the saturation the amplitude."
    return picture_section("stream", "Compressed stream", text, [], sheets, missing, None)


def picture_section(
    name: str, title: str, text: str, measures: Sequence[Measure], sheets: Sequence[Sheet], missing: Sequence[Block],
    unscored: Text | None,
) -> Section:  # fmt: skip
    """Figures (or why there are none), what is missing, and the sheets."""
    blocks: list[Block] = [Measures(measures)] if measures else [unscored] if unscored and sheets else []
    return Section(name, title, text if sheets else "", [*blocks, *missing, *([Sheets(sheets)] if sheets else [])])


def decoded_pictures(
    root: Path, video: Video, times: Sequence[float] | np.ndarray, missing: list[Block], height: int = _HEIGHT
) -> list[bytes]:
    """The decoded frames on show at ``times`` as JPEG, at most ``height`` px high.

    None, and a word in ``missing``, where the video has no frames.
    """
    path = _outputs.artifact(root, _outputs.FRAMES, video)
    if not path.is_file():
        missing.append(Text(f"No pictures of {video.id}: it could not be decoded.", warning=True))
        return []
    with open_frames(path) as frames:
        stored = frames.jpegs(frame_indices(frames.pts(), np.asarray(times, np.float64)))
        own_height, own_width, _ = frames.size
    if own_height <= height:
        return stored
    width = round(own_width * height / own_height)
    return [jpeg.encode(crop_resize(jpeg.decode(one)[None], height, width)[0], _QUALITY) for one in stored]
