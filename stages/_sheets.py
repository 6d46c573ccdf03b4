"""Sections of the report with pictures: shots, the coded stream; and what all such sections share.

Whatever artifact or truth is missing leaves its part out, and a sentence says so.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline.datasets.schema import Dataset, Video
from pipeline.evaluation.shot_boundaries import count_cuts, cuts_of
from pipeline.report.blocks import Block, Measure, Measures, Section, Sheets, Text
from pipeline.report.sheets import Picture, Row, Sheet, motion_colours
from pipeline.run import kinds
from pipeline.video import jpeg
from pipeline.video.container import VideoError
from pipeline.video.decode import decode_shown_at
from stages import _outputs

_HEIGHT, _QUALITY = 144, 78
COLUMNS = 6
"""Pictures in a row."""
_TOLERANCE_S = 0.1
_FULL_PX = 8.0
"""Motion that gets full colour, unless the fastest block is slower."""


def shown_videos(dataset: Dataset, count: int) -> list[Video]:
    """Annotated test videos, evenly spaced in the list, so that nothing is picked by its result."""
    videos = [video for video in dataset.subset("testing") if video.segments]
    places = np.unique(np.linspace(0, len(videos) - 1, min(count, len(videos))).round().astype(int)) if videos else []
    return [videos[place] for place in places]


def shots(
    root: Path, shown: Sequence[Video], measures: Sequence[Measure], tolerance_s: float = _TOLERANCE_S
) -> Section:
    """A picture from the middle of every shot, and of every cut that was missed."""
    sheets, missing = [], list[Block]()
    for video in shown:
        path = artifact(root, _outputs.SHOTS, video)
        if not path.is_file():
            missing.append(Text(f"{video.id} was not split into shots.", warning=True))
            continue
        found = kinds.SHOTS.read(path)
        truth = artifact(root, _outputs.VIDEOS, video, ".truth.h5")
        starts = kinds.TRUTH.read(truth)["shot_start"] if truth.is_file() else np.zeros(0)
        true = cuts_of(starts) if len(starts) else None
        tiles = []
        for start, end in zip(found["t_start"], found["t_end"], strict=True):
            wrong = true is not None and start > 0 and not count_cuts(true, [start], tolerance_s).matched
            caption = f"{start:.2f} to {end:.2f} s{': no true cut here' if wrong else ''}"
            tiles.append(((start + end) / 2, caption, "bad" if wrong else ""))
        for cut in () if true is None else true:
            if not count_cuts([cut], cuts_of(found["t_start"]), tolerance_s).matched:
                tiles.append((cut, f"missed cut at {cut:.2f} s", "bad"))
        tiles.sort()
        pictures = source_pictures(root, video, [tile[0] for tile in tiles], missing)
        row = Row("", [
            Picture(image, video.width, video.height, caption, verdict=verdict)  # type: ignore[arg-type]
            for image, (_, caption, verdict) in zip(pictures, tiles, strict=False)
        ])  # fmt: skip
        count = f"{len(found['t_start'])} shots found" + ("" if true is None else f", {len(true) + 1} true")
        sheets.append(Sheet(video.id, [row], count, wrap=True))
    unknown = Text("The data set does not know its cuts, so the shots are not scored.", warning=True)
    return picture_section(
        "shots", "Shots", "The middle of every shot that was found.", measures, sheets, missing, unknown
    )


def stream(root: Path, shown: Sequence[Video]) -> Section:
    """Pictures above their motion vectors."""
    sheets, missing = [], list[Block]()
    for video in shown:
        path = artifact(root, _outputs.COMPRESSED, video)
        if not path.is_file():
            missing.append(Text(f"The coded stream of {video.id} was not read.", warning=True))
            continue
        with kinds.COMPRESSED.open(path) as reader:
            pts, reference = reader["pts"], reader["reference_index"]
            predicted = np.flatnonzero(reference >= 0)
            chosen = predicted[np.linspace(0, len(predicted) - 1, COLUMNS + 2).round().astype(int)[1:-1]]
            if not len(predicted):
                continue
            motion = [reader.rows("mv", slice(row, row + 1))[0] for row in chosen]
        pictures = source_pictures(root, video, pts[chosen], missing)
        fast = max(float(np.hypot(*np.moveaxis(one.astype(np.float64), -1, 0)).max()) for one in motion)
        blocks = [np.kron(motion_colours(one, min(fast, _FULL_PX)), np.ones((8, 8, 1), np.uint8)) for one in motion]
        below = [jpeg.encode(one, 90) for one in blocks]
        sheets.append(Sheet(video.id, [
            Row("shown", [Picture(i, video.width, video.height) for i in pictures]),
            Row("motion", [Picture(i, video.width, video.height, f"{pts[row]:.2f} s")
                           for i, row in zip(below, chosen, strict=True)]),
        ]))  # fmt: skip
    text = "Motion vectors of the coded stream, 8 x 8 px blocks: the hue is the direction, the strength the speed."
    return picture_section("stream", "Compressed stream", text, [], sheets, missing, None)


def picture_section(
    name: str, title: str, text: str, measures: Sequence[Measure], sheets: Sequence[Sheet], missing: Sequence[Block],
    unscored: Text | None,
) -> Section:  # fmt: skip
    """Figures (or why there are none), what is missing, and the sheets."""
    blocks: list[Block] = [Measures(measures)] if measures else [unscored] if unscored else []
    return Section(name, title, text if sheets else "", [*blocks, *missing, *([Sheets(sheets)] if sheets else [])])


def source_pictures(root: Path, video: Video, times: Iterable[float], missing: list[Block]) -> list[bytes]:
    """The source's pictures at ascending times as JPEG; none, and a word in ``missing``, where it cannot be read."""
    try:
        shown = decode_shown_at(root / video.path, list(times), height=min(video.height, _HEIGHT))
    except (VideoError, OSError) as error:
        missing.append(Text(f"No pictures of {video.id}: {error}", warning=True))
        return []
    return [jpeg.encode(frame.picture, _QUALITY) for frame in shown]


def artifact(root: Path, folder: str, video: Video, suffix: str = ".h5") -> Path:
    """The file of a video in a stage's output folder, there or not."""
    return root / folder / f"{video.file_stem}{suffix}"
