"""Localise actions in the user's own videos: ``python -m pipeline predict VIDEO... --out DIR``. A door, like the cli.

It runs the stages' own functions (decode, encode, localise) on each file. Results stand in ``DIR/predictions.json`` in
ActivityNet's submission format, and on one page per video; a file that cannot be read is named there with its cause.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.datasets.folder import video_ids
from pipeline.datasets.schema import file_stem
from pipeline.report.timeline import IndexEntry, index_page, timeline_page
from pipeline.run.files import read_json, write_json, write_text
from pipeline.run.process import wait_passively
from pipeline.run.stage import Unit
from pipeline.video.decode import VideoError, scan
from pipeline.video.thumbnails import thumbnails
from stages import _detections, _encoder, _localiser, _outputs, compressed, features, frames

THUMBNAILS, THUMBNAIL_HEIGHT = 12, 96
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


def run(options: argparse.Namespace) -> int:
    """Predict; see :func:`predict`."""
    wait_passively()
    return predict(Path.cwd(), options.videos, options.out, options.checkpoint)


def predict(root: Path, videos: Sequence[Path], out: Path, checkpoint: Path | None) -> int:
    """Localise actions in every file and write predictions and pages.

    Args:
        root: the checkout, whose last run's checkpoints are the default.
        videos: files, or folders whose files are taken.
        out: folder of the results.
        checkpoint: folder of a head (``data/checkpoints/heads/<encoder>``).

    Returns:
        Exit status: 0, or 1 when any file failed (the others are done all the same).

    Raises:
        ValueError: no such checkpoint; it says how to make one.
    """
    model = load_model(find_checkpoint(root, checkpoint))
    results: dict[str, list[dict[str, Any]]] = {}
    entries: list[IndexEntry] = []
    files = named_files(videos)
    for number, (id_, path) in enumerate(files, start=1):
        try:
            found, duration_s, pictures = localise_file(path, model)
        except Exception as error:
            # One bad file costs that file; whatever went wrong is told where the user looks for the result.
            cause = str(error) if isinstance(error, VideoError) else f"{type(error).__name__}: {error}"
            print(f"[{number}/{len(files)}] {id_}: failed: {cause}", file=sys.stderr, flush=True)
            entries.append(IndexEntry(id_, error=cause))
            continue
        results[id_] = found
        page = f"{file_stem(id_)}.html"
        notes = [f"checkpoint: {model.folder.name}; classes: {', '.join(model.classes)}"]
        write_text(out / page, timeline_page(id_, duration_s, pictures, found, notes=notes))
        best = f"{found[0]['label']} {found[0]['score']:.2f}" if found else "nothing found"
        print(f"[{number}/{len(files)}] {id_}: {duration_s:.1f} s, {len(found)} detections, best: {best}", flush=True)
        middle = pictures[len(pictures) // 2][1]
        entries.append(IndexEntry(id_, page, duration_s, found[:3], middle))
    write_json(out / "predictions.json", {"version": "VERSION 1.3", "external_data": {}, "results": results})
    write_text(out / "index.html", index_page(entries))
    failed = len(files) - len(results)
    print(f"{out / 'predictions.json'}: {len(results)} videos; {failed} failed; pages: {out / 'index.html'}")
    return 1 if failed else 0


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
    localiser, classifier, classes = _localiser.load(folder)
    raw = read_json(folder / _localiser.HEAD_FILE)
    decoding = frames.Frames.model_validate(raw["frames"])
    encoder, reading = _encoder.load_spec(folder), None
    if encoder.compressed:
        arrays = ("mv_accumulated", "i_frame", *(("residual_accumulated",) if encoder.residual else ()))
        reading = compressed.Compressed.model_validate({**raw["compressed"], "arrays": arrays})
    return Model(folder, localiser, classifier, classes, decoding, raw["snippets"], reading)


def localise_file(path: Path, model: Model) -> tuple[list[dict[str, Any]], float, list[tuple[float, bytes]]]:
    """Detections of one file, its duration in seconds, and thumbnails (time, JPEG).

    Raises:
        VideoError: the file cannot be read.
    """
    from pipeline.training.device import device

    duration_s = scan(path).duration_s
    with tempfile.TemporaryDirectory() as temp:
        unit = Unit(path.stem, "unit", (path,), {"duration_s": duration_s})
        if model.compressed is None:
            frames.decode(unit, model.frames, Path(temp))
        else:
            compressed.read(unit, model.compressed, Path(temp))
        artifact = Path(temp) / "unit.h5"
        options = features.Features(snippets=model.snippets)
        encoded, _ = features.encode_video(artifact, duration_s, model.folder, options)
    import torch

    channels = torch.from_numpy(encoded).T.contiguous().to(device())
    localiser, classifier = model.localiser.to(device()), model.classifier.to(device())
    found = _detections.localise(localiser, classifier, model.classes, _detections.Postprocess(), channels, duration_s)
    return found, duration_s, thumbnails(path, THUMBNAILS, THUMBNAIL_HEIGHT, duration_s=duration_s)


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
