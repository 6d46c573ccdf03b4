"""Localise actions in the user's own videos: ``python -m pipeline predict VIDEO... --out DIR``. A door, like the cli.

It runs the stages' own functions (decode, encode, localise; shots, detect, track) on each file. Results stand in
``DIR/predictions.json`` in ActivityNet's submission format, shots and tracks in ``DIR/scenes.json``, and all of it on one
page per video; a file that cannot be read is named there with its cause.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.datasets.folder import video_ids
from pipeline.datasets.schema import file_stem
from pipeline.report.scene import Scene, view
from pipeline.report.timeline import IndexEntry, index_page, timeline_page
from pipeline.run.files import read_json, write_json, write_text
from pipeline.run.process import wait_passively
from pipeline.run.stage import StageError, Unit
from pipeline.video import jpeg
from pipeline.video.decode import VideoError, VideoInfo, decode_shown_at, scan
from pipeline.video.thumbnails import thumbnails
from stages import _detections, _encoder, _localiser, _opened_head, _outputs, _scene, compressed, features, frames
from stages._head_context import InBank

THUMBNAILS, THUMBNAIL_HEIGHT = 12, 96
BOX_PICTURES, BOX_PICTURE_HEIGHT = 12, 200
LEAST_OF_BEST = 0.3
"""Actions are written on a video from this share of its best score on."""
TRAINED = _outputs.ENCODER_VARIANTS[:2]


@dataclass(frozen=True)
class Model:
    """A checkpoint folder, opened: what every video of one call is run through."""

    folder: Path
    localiser: Any
    classifier: Any
    classes: tuple[str, ...]
    frames: frames.Frames
    snippets: int
    compressed: compressed.Compressed | None
    """How streams are read for an encoder that sees those, not frames."""
    notes: tuple[str, ...] = ()
    """What the head lacks here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files, or folders of them")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where predictions and pages are written"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="a folder data/checkpoints/heads/<encoder>; default: that of the last run's LoFi encoder",
    )

    parser.add_argument(
        "--detector",
        type=Path,
        metavar="DIR",
        help="a folder data/checkpoints/detector; default: the last run's; without one only shots are shown",
    )
    parser.add_argument(
        "--video",
        action="store_true",
        help="also write an annotated copy of each video: boxes, numbers, shots, actions",
    )


def run(options: argparse.Namespace) -> int:
    """Predict; see :func:`predict`."""
    wait_passively()
    return predict(Path.cwd(), options.videos, options.out, options.checkpoint, options.detector, options.video)


class Found(NamedTuple):
    """Of one file: actions in the submission format, the file's facts, thumbnails (time, JPEG), what else is in it.

    ``notes`` say what could not be found and why.
    """

    actions: list[dict[str, Any]]
    info: VideoInfo
    thumbnails: list[tuple[float, bytes]]
    scene: Scene | None
    notes: list[str]


def predict(
    root: Path,
    videos: Sequence[Path],
    out: Path,
    checkpoint: Path | None,
    detector: Path | None = None,
    annotated: bool = False,
) -> int:
    """Localise actions in every file and write predictions, pages and, if ``annotated``, annotated videos.

    Args:
        root: the checkout, whose last run's checkpoints are the default, and whose params.yaml says how people are found.
        videos: files, or folders whose files are taken.
        out: folder of the results.
        checkpoint: folder of a head (``data/checkpoints/heads/<encoder>``).
        detector: folder of a detector (``data/checkpoints/detector``).
        annotated: write ``<name>.annotated.mp4`` too.

    Returns:
        Exit status: 0, or 1 when any file failed (the others are done all the same).

    Raises:
        ValueError: no such checkpoint; it says how to make one.
    """
    model = load_model(find_checkpoint(root, checkpoint))
    for note in model.notes:
        print(f"{model.folder}: {note}", file=sys.stderr, flush=True)
    chosen = _scene.settings(root, _scene.find_detector(root, detector, _outputs.DETECTOR))
    results: dict[str, list[dict[str, Any]]] = {}
    scenes: dict[str, dict[str, Any]] = {}
    entries: list[IndexEntry] = []
    files = named_files(videos)
    for number, (id_, path) in enumerate(files, start=1):
        try:
            found = look_into(path, model, chosen)
            if annotated:
                write_annotated(path, out / f"{file_stem(id_)}.annotated.mp4", found)
        except Exception as error:
            # One bad file costs that file; whatever went wrong is told where the user looks for the result.
            cause = str(error) if isinstance(error, VideoError) else f"{type(error).__name__}: {error}"
            print(f"[{number}/{len(files)}] {id_}: failed: {cause}", file=sys.stderr, flush=True)
            entries.append(IndexEntry(id_, error=cause))
            continue
        results[id_] = found.actions
        scenes |= {id_: found.scene.as_json()} if found.scene else {}
        page, best = f"{file_stem(id_)}.html", found.actions[:1]
        write_text(out / page, page_of(id_, path, found, model))
        said = f"{best[0]['label']} {best[0]['score']:.2f}" if best else "nothing found"
        duration_s, tracks = found.info.duration_s, len(scenes.get(id_, {}).get("tracks", ()))
        print(
            f"[{number}/{len(files)}] {id_}: {duration_s:.1f} s, {len(found.actions)} detections, best: {said}; "
            f"{tracks} tracks",
            flush=True,
        )
        middle = found.thumbnails[len(found.thumbnails) // 2][1]
        entries.append(IndexEntry(id_, page, duration_s, found.actions[:3], middle))
    write_json(out / "predictions.json", {"version": "VERSION 1.3", "external_data": {}, "results": results})
    write_json(out / "scenes.json", scenes)
    write_text(out / "index.html", index_page(entries))
    failed = len(files) - len(results)
    print(f"{out / 'predictions.json'}: {len(results)} videos; {failed} failed; pages: {out / 'index.html'}")
    return 1 if failed else 0


def look_into(path: Path, model: Model, chosen: _scene.Settings) -> Found:
    """Everything that is found in one file.

    Raises:
        VideoError: the file cannot be read.
    """
    info = scan(path)
    actions, pictures = localise_file(path, model, info.duration_s)
    scene, notes = None, []
    if chosen.detector is None:
        notes = ["people and objects were not looked for: there is no detector (--detector)"]
    try:
        scene = _scene.look(path, model.frames, (info.width, info.height), info.duration_s, chosen)
    except (ValueError, ModuleNotFoundError, StageError) as error:
        notes = [f"people and objects could not be looked for: {error}"]
    return Found(actions, info, pictures, scene, notes)


def page_of(id_: str, path: Path, found: Found, model: Model) -> str:
    """The timeline's page of one video."""
    notes = [f"checkpoint: {model.folder.name}; classes: {', '.join(model.classes)}", *model.notes, *found.notes]
    scene, duration_s = found.scene, found.info.duration_s
    shown = None
    if scene is not None:
        times = scene.shown_times(BOX_PICTURES)
        drawn = decode_shown_at(path, times, height=min(BOX_PICTURE_HEIGHT, found.info.height)) if len(times) else []
        pictures = [(t, jpeg.encode(frame.picture, 85)) for t, frame in zip(times, drawn, strict=True)]
        shown = view(scene, duration_s, pictures)
    return timeline_page(id_, duration_s, found.thumbnails, found.actions, notes=notes, scene=shown)


def write_annotated(path: Path, out: Path, found: Found) -> None:
    """An annotated copy of a video; actions from a share of the best score on."""
    from pipeline.report.scene import colour
    from pipeline.video.annotate import Lasting, Moving, annotate

    scene, actions = found.scene or Scene(np.zeros((0, 2)), (found.info.width, found.info.height)), found.actions
    least = LEAST_OF_BEST * actions[0]["score"] if actions else 0.0
    lines = [Lasting(f"{row['label']} {row['score']:.2f}", *row["segment"]) for row in actions if row["score"] >= least]
    tubes = [Moving(f"{t.label} {t.number}", colour(t.number), t.t, t.box) for t in scene.tubes()]
    annotate(path, out, tubes, scene.shots, lines, hold_s=scene.step_s / 2)


def find_checkpoint(root: Path, checkpoint: Path | None) -> Path:
    """The folder of the head to use: the given one, or the last run's best encoder that has one.

    Raises:
        ValueError: there is none, or the given folder does not hold one.
    """
    needed = (*_localiser.FILES, _encoder.WEIGHTS_FILE, _encoder.SPEC_FILE)
    if checkpoint is not None:
        missing = [name for name in needed if not (checkpoint / name).is_file()]
        if missing:
            raise ValueError(
                f"--checkpoint {checkpoint}: {', '.join(missing)} missing; "
                "expected a folder like data/checkpoints/heads/lofi"
            )
        return checkpoint
    for variant in TRAINED:
        folder = root / _outputs.HEADS.format(variant=variant)
        if all((folder / name).is_file() for name in needed):
            return folder
    state = (
        "a fresh clone has none, and a stage that failed or was interrupted leaves its old outputs deleted"
        if (root / "dvc.lock").is_file()
        else "nothing was trained here yet"
    )
    raise ValueError(
        f"there is no trained head in {root / 'data/checkpoints/heads'} ({state}): "
        "run `make repro` first, or name one with --checkpoint"
    )


def load_model(folder: Path) -> Model:
    """Open a checkpoint folder."""
    opened = _opened_head.load(folder)
    localiser, classifier = opened.of(InBank("", 1.0))
    raw = read_json(folder / _localiser.HEAD_FILE)
    decoding = frames.Frames.model_validate(raw["frames"])
    encoder, reading = _encoder.load_spec(folder), None
    if encoder.compressed:
        arrays = ("mv_accumulated", "i_frame", *(("residual_accumulated",) if encoder.residual else ()))
        reading = compressed.Compressed.model_validate({**raw["compressed"], "arrays": arrays})
    notes = (_opened_head.WITHOUT_BANKS,) if opened.banks else ()
    return Model(folder, localiser, classifier, opened.classes, decoding, raw["snippets"], reading, notes)


def localise_file(
    path: Path, model: Model, duration_s: float
) -> tuple[list[dict[str, Any]], list[tuple[float, bytes]]]:
    """Actions in one file, and thumbnails (time, JPEG).

    Raises:
        VideoError: the file cannot be read.
    """
    import torch

    from pipeline.training.device import device

    with tempfile.TemporaryDirectory() as temp:
        unit = Unit(path.stem, "unit", (path,), {"duration_s": duration_s})
        if model.compressed is None:
            frames.decode(unit, model.frames, Path(temp))
        else:
            compressed.read(unit, model.compressed, Path(temp))
        artifact = Path(temp) / "unit.h5"
        options = features.Features(snippets=model.snippets)
        encoded, _ = features.encode_video(artifact, duration_s, model.folder, options)
    channels = torch.from_numpy(encoded).T.contiguous().to(device())
    post = _detections.Postprocess()
    found = _detections.localise(model.localiser, model.classifier, model.classes, post, channels, duration_s)
    return found, thumbnails(path, THUMBNAILS, THUMBNAIL_HEIGHT, duration_s=duration_s)


def named_files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """(id, file): the stem, or the relative path where stems collide; folders are walked, hidden files left out."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        else:
            files.append(path)
    files = list(dict.fromkeys(files))
    return list(zip(video_ids(files), files, strict=True))
