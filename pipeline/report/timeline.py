"""A page per video that shows what was found and when, and the page that lists the videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipeline.report.html import data_uri, render
from pipeline.report.sheets import Sheet

MOST_BARS = 60
"""Predictions drawn as bars, best first; the rest only enters the count."""

TABLE_ROWS = 20
_TICK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


@dataclass(frozen=True)
class Bar:
    """A segment on the page: place and width in percent of the axis, the row inside its lane, strength 0..1.

    ``verdict``: what is known about a prediction, such as ``true positive`` or the kind of its error; "" where nothing is.
    """

    label: str
    t_start: float
    t_end: float
    left: float
    width: float
    row: int
    score: float | None = None
    strength: float = 1.0
    verdict: str = ""


@dataclass(frozen=True)
class Lane:
    """One class: its true segments, if known, and its predictions."""

    label: str
    truth: tuple[Bar, ...]
    found: tuple[Bar, ...]
    truth_rows: int
    found_rows: int


@dataclass(frozen=True)
class Board:
    """Thumbnails, time axis and lanes of one video; the part that a timeline's page and the report share."""

    name: str
    duration_s: float
    strip: tuple[Mapping[str, Any], ...]
    ticks: tuple[Mapping[str, float], ...]
    lanes: tuple[Lane, ...]


@dataclass(frozen=True)
class Span:
    """A shot, or a person's tube: place and width in percent of the axis, row inside its lane, what stands in it."""

    text: str
    title: str
    left: float
    width: float
    row: int
    colour: int


@dataclass(frozen=True)
class SpanLane:
    """Spans of one kind, such as the shots or the people; ``rows`` below each other."""

    name: str
    spans: tuple[Span, ...]
    rows: int


@dataclass(frozen=True)
class SceneView:
    """What is in the video beside its actions: lanes under them, pictures with boxes, and a sentence."""

    lanes: tuple[SpanLane, ...]
    text: str = ""
    sheet: Sheet | None = None


@dataclass(frozen=True)
class IndexEntry:
    """One video of the index: its page (a path beside the index), its best detections, or the cause of its failure."""

    video_id: str
    href: str | None = None
    duration_s: float | None = None
    top: Sequence[Mapping[str, Any]] = ()
    thumbnail: bytes | None = None
    error: str | None = None


def timeline_page(
    video_id: str,
    duration_s: float,
    thumbnails: Sequence[tuple[float, bytes]],
    predictions: Sequence[Mapping[str, Any]],
    ground_truth: Sequence[Mapping[str, Any]] | None = None,
    notes: Sequence[str] = (),
    scene: SceneView | None = None,
) -> str:
    """One video as a self-contained HTML page.

    Args:
        video_id: heading of the page.
        duration_s: length of the time axis in seconds.
        thumbnails: (time in seconds, JPEG or PNG bytes).
        predictions: ``{"label", "score", "segment": [t_start, t_end]}``, any order.
        ground_truth: ``{"label", "segment"}``; None where it is not known.
        notes: sentences to show on top, such as what went wrong.
        scene: shots, people and objects, of :func:`pipeline.report.scene.view`.

    Raises:
        ValueError: the duration is not positive, or a thumbnail is neither JPEG nor PNG.
    """
    ranked = sorted(predictions, key=lambda p: -float(p["score"]))
    return render(
        "timeline.html.j2",
        board=build_board(video_id, duration_s, thumbnails, ranked[:MOST_BARS], ground_truth or ()),
        n_predictions=len(ranked),
        n_drawn=min(len(ranked), MOST_BARS),
        n_truths=None if ground_truth is None else len(ground_truth),
        top=[
            {"label": p["label"], "score": float(p["score"]), "t_start": p["segment"][0], "t_end": p["segment"][1]}
            for p in ranked[:TABLE_ROWS]
        ],
        notes=list(notes),
        scene=scene,
    )


def index_page(entries: Sequence[IndexEntry], title: str = "Predictions", notes: Sequence[str] = ()) -> str:
    """A page that links the videos' pages and lists the files that failed with their cause."""
    return render(
        "index.html.j2",
        title=title,
        entries=[entry for entry in entries if entry.error is None],
        failures=[entry for entry in entries if entry.error is not None],
        notes=list(notes),
    )


def build_board(
    name: str,
    duration_s: float,
    thumbnails: Sequence[tuple[float, bytes]],
    predictions: Sequence[Mapping[str, Any]],
    ground_truth: Sequence[Mapping[str, Any]],
) -> Board:
    """Lay out one video; arguments and errors as :func:`timeline_page`. A prediction may have a ``verdict``."""
    if not duration_s > 0:
        raise ValueError(f"video {name!r}: duration_s is {duration_s}, expected more than 0")
    return Board(
        name,
        duration_s,
        tuple(_strip(duration_s, thumbnails)),
        tuple(_ticks(duration_s)),
        tuple(build_lanes(duration_s, predictions, ground_truth)),
    )


def build_lanes(
    duration_s: float, predictions: Sequence[Mapping[str, Any]], ground_truth: Sequence[Mapping[str, Any]]
) -> list[Lane]:
    """Sort segments into one lane per class: classes of the ground truth first, then by their best score."""
    best = max((float(p["score"]) for p in predictions), default=0.0)
    labels = dict.fromkeys([t["label"] for t in sorted(ground_truth, key=lambda t: float(t["segment"][0]))])
    labels.update(dict.fromkeys(p["label"] for p in sorted(predictions, key=lambda p: -float(p["score"]))))
    lanes = []
    for label in labels:
        truth = pack(duration_s, [t for t in ground_truth if t["label"] == label], best)
        found = pack(duration_s, [p for p in predictions if p["label"] == label], best)
        rows = [max((bar.row + 1 for bar in bars), default=0) for bars in (truth, found)]
        lanes.append(Lane(label, truth, found, *rows))
    return lanes


def pack(duration_s: float, items: Sequence[Mapping[str, Any]], best: float) -> tuple[Bar, ...]:
    """Give each segment the first row where it overlaps no earlier one; the best scores take the upper rows."""
    rows: list[list[tuple[float, float]]] = []
    bars = []
    for item in items:
        t_start, t_end = (float(t) for t in item["segment"])
        shown = (min(max(t_start, 0.0), duration_s), min(max(t_end, 0.0), duration_s))
        free = (i for i, taken in enumerate(rows) if all(shown[1] <= a or b <= shown[0] for a, b in taken))
        row = next(free, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(shown)
        score = float(item["score"]) if "score" in item else None
        bars.append(
            Bar(
                str(item["label"]),
                t_start,
                t_end,
                left=100 * shown[0] / duration_s,
                width=100 * max(shown[1] - shown[0], 0.0) / duration_s,
                row=row,
                score=score,
                strength=1.0 if score is None or best <= 0 else score / best,
                verdict=str(item.get("verdict", "")),
            )
        )
    return tuple(bars)


def _strip(duration_s: float, thumbnails: Sequence[tuple[float, bytes]]) -> list[dict[str, Any]]:
    """Each thumbnail takes the part of the axis that is nearest to its time."""
    ordered = sorted(thumbnails, key=lambda thumbnail: thumbnail[0])
    times = [time for time, _ in ordered]
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(times)), duration_s]
    return [
        {
            "time": time,
            "uri": data_uri(picture),
            "left": 100 * edges[i] / duration_s,
            "width": 100 * (edges[i + 1] - edges[i]) / duration_s,
        }
        for i, (time, picture) in enumerate(ordered)
    ]


def _ticks(duration_s: float, most: int = 10) -> list[dict[str, float]]:
    step = next((step for step in _TICK_STEPS if duration_s / step <= most), duration_s / most)
    times = [i * step for i in range(int(duration_s / step) + 1)]
    return [{"time": time, "left": 100 * time / duration_s} for time in times]
