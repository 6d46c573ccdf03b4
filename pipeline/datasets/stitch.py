"""Untrimmed videos with exact segments, joined from trimmed one-label clips of any data set.

A video is a row of clips with idle time before, between and after them. Idle time is background: the picture rests on the
clip's border frame (*held*), or first runs back for at most 0.4 s and then rests (*reversed*); all frames get the same
sensor noise, so that noise does not give the gaps away. The idle time between two clips belongs half to the one before
and half to the one after, so the picture jumps in the middle of a gap, never where an action starts or ends: a cut tells
nothing about the actions. The auxiliary subset is the exception; there the trimmed clips follow each other at once, as
material for classification.

Every planned video depends only on the definition, the rows of the pool and the videos planned before it in its subset:
more videos at the end of a subset change no other video.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.datasets.definition import DefinitionError, StitchDefinition, StitchSubset, resolve_source
from pipeline.datasets.readers import Planned
from pipeline.datasets.schema import SUBSETS, Segment, Video
from pipeline.run.kinds import TRUTH
from pipeline.video.decode import GRID_TOLERANCE_S, decode
from pipeline.video.encode import encode_h264

COLUMNS = ("file", "label", "group")
"""Columns that a pool must have. ``group`` (an actor, a scene) may be empty: the clip is then a group of its own."""

LONGEST_REVERSAL_S = 0.4
"""Longer reversed motion would look like the action itself (a wave is the same backwards)."""


@dataclass(frozen=True)
class Clip:
    """One row of the pool; ``file`` is relative to the source folder."""

    file: str
    label: str
    group: str


@dataclass(frozen=True)
class Part:
    """One clip of a planned video: the index of its file in the video's inputs, its label, the idle seconds before and
    after it, and whether each of these runs backwards first."""

    input: int
    label: str
    mirrored: bool
    idle_before_s: float
    idle_after_s: float
    reversed_before: bool
    reversed_after: bool


@dataclass(frozen=True)
class PlannedStitch:
    """One video to come: with the content of its input files, everything that decides its bytes."""

    id: str
    subset: str
    index: int
    seed: int
    parts: tuple[Part, ...]
    classes: tuple[str, ...]
    width: int
    height: int
    fps: float
    noise: float
    gop: int
    crf: int


def plan(definition: StitchDefinition, root: Path) -> list[Planned]:
    """The videos of a stitched set, by subset and index (see :mod:`pipeline.datasets.readers`). Reads the pool, no video.

    Raises:
        DefinitionError: the source folder or the pool is missing, the pool lacks a column, or nothing is left of it.
    """
    folder = resolve_source(definition, root)
    pool = _read_pool(definition, folder)
    members = {name: _members(definition, pool, name, subset) for name, subset in definition.subsets.items()}
    classes = tuple(sorted({clip.label for clips in members.values() for clip in clips}))
    planned = []
    for name, clips in members.items():
        for index, (files, parts) in enumerate(_deal(definition, name, clips)):
            video = PlannedStitch(
                f"{definition.name}-{name}-{index:04d}", name, index, definition.seed, parts, classes,
                definition.width, definition.height, definition.fps, definition.noise, definition.gop, definition.crf,
            )  # fmt: skip
            planned.append(Planned(video.id, tuple(folder / file for file in files), asdict(video)))
    return planned


def make(id_: str, inputs: Sequence[Path], spec: Mapping[str, Any], folder: Path) -> Video:
    """Render one planned video to ``unit.mp4`` and its truth to ``unit.truth.h5``; raises as :func:`write_stitched`."""
    parts = tuple(Part(**part) for part in spec["parts"])
    video = PlannedStitch(**{**spec, "parts": parts, "classes": tuple(spec["classes"])})
    assert video.id == id_
    return write_stitched(video, inputs, folder / "unit.mp4", folder / "unit.truth.h5")


def _read_pool(definition: StitchDefinition, folder: Path) -> list[Clip]:
    path = folder / definition.pool
    if not path.is_file():
        raise DefinitionError(f"data set {definition.name}: pool is {definition.pool!r}, but there is no file {path}")
    with open(path, newline="") as handle:
        rows = list(csv.DictReader(handle))
    columns = set(rows[0]) if rows else set()
    for name in (*COLUMNS, *definition.where):
        if name not in columns:
            raise DefinitionError(f"{path}: it has no column {name!r}, only {', '.join(sorted(columns)) or 'none'}")
    kept = [row for row in rows if all(row[name] == value for name, value in definition.where.items())]
    if not kept:
        raise DefinitionError(f"{path}: no row has {definition.where} (data set {definition.name}, field where)")
    return [Clip(row["file"], row["label"], row["group"] or row["file"]) for row in kept]


def _members(definition: StitchDefinition, pool: list[Clip], name: str, subset: StitchSubset) -> list[Clip]:
    known = {clip.group for clip in pool}
    for group in subset.groups:
        if group not in known:
            raise DefinitionError(
                f"data set {definition.name}: subsets.{name}.groups has {group!r}; "
                f"groups in the pool: {', '.join(sorted(known))}"
            )
    return sorted((c for c in pool if c.group in subset.groups), key=lambda clip: clip.file)


def _deal(
    definition: StitchDefinition, name: str, clips: list[Clip]
) -> Iterator[tuple[tuple[str, ...], tuple[Part, ...]]]:
    """Files and parts of each video of a subset. Clips are dealt like cards: all are used once before any comes again."""
    subset = definition.subsets[name]
    rng = np.random.default_rng([definition.seed, SUBSETS.index(name)])
    deck: list[Clip] = []
    for _ in range(subset.videos):
        hand = []
        for _ in range(int(rng.integers(subset.clips[0], subset.clips[1], endpoint=True))):
            if not deck:
                deck = [clips[i] for i in rng.permutation(len(clips))]
            hand.append(deck.pop())
        idle = rng.uniform(*definition.idle_s, len(hand) + 1) * (name != "auxiliary")
        share = rng.uniform(0.35, 0.65, len(hand) + 1)  # of each gap, what belongs to the clip before it
        share[0], share[-1] = 0.0, 1.0
        flips = rng.random((len(hand), 3)) < 0.5
        files = tuple(dict.fromkeys(clip.file for clip in hand))
        before, after = (idle * (1 - share))[:-1], (idle * share)[1:]
        yield files, tuple(
            Part(
                files.index(clip.file), clip.label, bool(flips[i, 0]) and definition.mirror,
                round(float(before[i]), 6), round(float(after[i]), 6), bool(flips[i, 1]), bool(flips[i, 2]),
            )
            for i, clip in enumerate(hand)
        )  # fmt: skip


@dataclass
class _Written:
    """What is known of a video while it is written: frames so far, actions as (class, first frame, end), shot starts."""

    frames: int = 0
    actions: list[tuple[int, int, int]] = field(default_factory=list)
    shots: list[int] = field(default_factory=list)


def write_stitched(plan: PlannedStitch, inputs: Sequence[Path], video_path: Path, truth_path: Path) -> Video:
    """Render one planned video (H.264) and its ``truth`` artifact; return its entry, with ``path`` as given.

    Segments are exact in the output's frame times: [first frame / fps, (last frame + 1) / fps).

    Raises:
        VideoError: a clip cannot be read; it names the clip. Nothing is written then.
        DiskFull: the disk has no space left.
    """
    written = _Written()
    encode_h264(video_path, _render(plan, inputs, written), plan.fps, gop=plan.gop, crf=plan.crf)
    labels = np.zeros((written.frames, len(plan.classes)), dtype=np.uint8)
    for class_, start, end in written.actions:
        labels[start:end, class_] = 1
    TRUTH.write(
        truth_path,
        {
            "pts": np.arange(written.frames) / plan.fps,
            "labels": labels,
            "box_frame": np.zeros(0, dtype=np.int32),
            "box": np.zeros((0, 4), dtype=np.float32),
            "box_class": np.zeros(0, dtype=np.int16),
            "box_track": np.zeros(0, dtype=np.int32),
            "shot_start": np.array(written.shots) / plan.fps,
        },
        {"box_classes": "", "label_classes": "\n".join(plan.classes)},
    )
    segments = tuple(Segment(plan.classes[c], start / plan.fps, end / plan.fps) for c, start, end in written.actions)
    return Video(
        plan.id, str(video_path), plan.subset, written.frames / plan.fps, plan.fps, written.frames, plan.width,
        plan.height, segments,
    )  # fmt: skip


def _render(plan: PlannedStitch, inputs: Sequence[Path], written: _Written) -> Iterator[np.ndarray]:
    """Yield the pictures and note in ``written`` what they show. One clip is in memory at a time."""
    rng = np.random.default_rng([plan.seed, SUBSETS.index(plan.subset), plan.index])
    noise = _SensorNoise(rng, plan)
    reversal = round(LONGEST_REVERSAL_S * plan.fps)
    for part in plan.parts:
        clip = _read_clip(inputs[part.input], plan, part.mirrored)
        before = _idle(len(clip), round(part.idle_before_s * plan.fps), reversal if part.reversed_before else 0)
        after = _idle(len(clip), round(part.idle_after_s * plan.fps), reversal if part.reversed_after else 0)
        lead = len(clip) - 1 - before[::-1]  # the same at the other end of the clip, backwards in time
        start = written.frames + len(lead)
        written.shots.append(written.frames)
        written.actions.append((plan.classes.index(part.label), start, start + len(clip)))
        for row in (*lead, *range(len(clip)), *after):
            written.frames += 1
            yield noise.on(clip[row])


def _idle(clip_frames: int, frames: int, reversal: int) -> np.ndarray:
    """Rows of a clip shown after its end: up to ``reversal`` frames backwards, then the last of them held."""
    return clip_frames - 1 - np.minimum(np.arange(1, frames + 1), min(reversal, clip_frames - 1))


def _read_clip(path: Path, plan: PlannedStitch, mirrored: bool) -> list[np.ndarray]:
    """The whole clip at the output's frame rate and size."""
    times, pictures = [], []
    for frame in decode(path):
        fitted = _cover(frame.picture, plan.width, plan.height)
        times.append(frame.pts_s)
        pictures.append(fitted[:, ::-1] if mirrored else fitted)
    step = times[-1] / (len(times) - 1) if len(times) > 1 else 1 / plan.fps
    count = max(1, round((times[-1] + step) * plan.fps))
    rows = np.searchsorted(times, np.arange(count) / plan.fps + GRID_TOLERANCE_S, side="right") - 1
    return [pictures[row] for row in rows]


def _cover(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale to cover width x height, keeping the aspect, and cut the middle."""
    have_height, have_width = picture.shape[:2]
    scale = max(width / have_width, height / have_height)
    if scale != 1:
        size = max(width, round(have_width * scale)), max(height, round(have_height * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


class _SensorNoise:
    """Gaussian noise, drawn once and shifted at random for each frame: as good to the eye, and much cheaper."""

    def __init__(self, rng: np.random.Generator, plan: PlannedStitch) -> None:
        self._rng = rng
        self._size = plan.width * plan.height * 3
        self._bank = np.rint(rng.standard_normal(2 * self._size, dtype=np.float32) * plan.noise).astype(np.int16)

    def on(self, picture: np.ndarray) -> np.ndarray:
        offset = int(self._rng.integers(self._size))
        noisy: np.ndarray = picture + self._bank[offset : offset + self._size].reshape(picture.shape)
        return noisy.clip(0, 255).astype(np.uint8)
