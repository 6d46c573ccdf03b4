"""Shots, people and objects of one file outside the graph: the stages' own functions, with the checkout's parameters."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.report.scene import Scene
from pipeline.run import kinds
from pipeline.run.params import PARAMS_FILE, check_params, read_params
from pipeline.run.stage import Unit, section_models
from stages import _detector, detect, frames, shots, track


class Settings(NamedTuple):
    """Sections of params.yaml, and the folder of the detector (None: only shots are found)."""

    shots: shots.Shots
    detect: detect.Detect
    track: track.Track
    detector: Path | None


def settings(root: Path, detector: Path | None) -> Settings:
    """Those of a checkout.

    Raises:
        ParameterError: params.yaml is missing or wrong.
    """
    sections = check_params(read_params(root / PARAMS_FILE), section_models(), PARAMS_FILE)
    cut, search, link = (sections[name] for name in ("shots", "detect", "track"))
    assert isinstance(cut, shots.Shots) and isinstance(search, detect.Detect) and isinstance(link, track.Track)
    return Settings(cut, search, link, detector)


def find_detector(root: Path, given: Path | None, default: str) -> Path | None:
    """The given folder, or the last run's, or None.

    Raises:
        ValueError: the given folder holds no detector.
    """
    folder = given if given is not None else root / default
    missing = [name for name in (_detector.WEIGHTS_FILE, _detector.SPEC_FILE) if not (folder / name).is_file()]
    if missing and given is not None:
        raise ValueError(f"--detector {given}: {', '.join(missing)} missing; expected a folder like {default}")
    return None if missing else folder


def look(path: Path, decoding: frames.Frames, size: tuple[int, int], duration_s: float, chosen: Settings) -> Scene:
    """What is in a video file.

    Args:
        path: the file.
        decoding: how its frames are decoded for the detector.
        size: width and height in source pixels.
        duration_s: of the video.
        chosen: see :func:`settings`.

    Raises:
        VideoError: the file cannot be read.
        ValueError: what the parameters ask for cannot be done.
    """
    with tempfile.TemporaryDirectory() as temp:
        folders = {name: Path(temp) / name for name in ("shots", "frames", "detect", "track")}
        for folder in folders.values():
            folder.mkdir()
        files = {name: folder / "unit.h5" for name, folder in folders.items()}
        spec = {"width": size[0], "height": size[1]}
        shots.split(Unit("", "unit", (path,), {"duration_s": duration_s}), chosen.shots, folders["shots"])
        cut = kinds.SHOTS.read(files["shots"])
        if chosen.detector is None:
            return Scene(np.stack([cut["t_start"], cut["t_end"]], axis=1), size)
        frames.decode(Unit("", "unit", (path,), {"duration_s": duration_s}), decoding, folders["frames"])
        weights = (chosen.detector / _detector.WEIGHTS_FILE, chosen.detector / _detector.SPEC_FILE)
        detect.detect(Unit("", "unit", (files["frames"], *weights), spec), chosen.detect, folders["detect"])
        track.track(Unit("", "unit", (files["detect"], files["shots"])), chosen.track, folders["track"])
        with kinds.TRACKS.open(files["track"]) as reader:
            rows = {name: reader[name] for name in ("pts", "t", "box", "label", "score", "track")}
            classes = tuple(reader.attributes["classes"].split(","))
        return Scene(np.stack([cut["t_start"], cut["t_end"]], axis=1), size, classes, **rows)
