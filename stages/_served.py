"""Checkpoints as models with one ``predict``: what MLflow's ``load_model`` gives back, and the signature it shows.

A folder is told by its files: a head comes with the encoder that it was trained on and is served as a head.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.run.files import read_json
from pipeline.run.stage import Array, Signature
from stages import _detections, _detector, _encoder, _localiser, _opened_head
from stages._head_context import InBank


def signature(folder: Path) -> Signature:
    """What :func:`_load_pyfunc`'s model takes and gives.

    An encoder takes snippets, uint8 [N, C, T, H, W] (RGB, for CoViAR also motion and residual), and gives features [N, D].
    A head takes the features of one video [L, D] and gives detections; ends are fractions of the video; its long-term
    context, if it has one, is left out, and loading it warns of that. A detector takes pictures, RGB uint8 [N, H, W, 3], and
    gives boxes in pixels.
    """
    if (folder / _localiser.HEAD_FILE).is_file():
        head = read_json(folder / _localiser.HEAD_FILE)
        columns = {"label": "string", "score": "double", "begin": "double", "end": "double"}
        return Signature(Array("float32", (-1, head["feature_dim"])), columns)
    if (folder / _detector.SPEC_FILE).is_file():
        boxes = dict.fromkeys(("x1", "y1", "x2", "y2", "score"), "double")
        return Signature(Array("uint8", (-1, -1, -1, 3)), {"picture": "long", "class": "string", **boxes})
    encoder, spec = _encoder.load(folder)
    clips = Array("uint8", (-1, int(encoder.in_channels), spec.frames, spec.height, spec.width))  # type: ignore[arg-type]
    return Signature(clips, Array("float32", (-1, _encoder.feature_dim(encoder))))


class Served(NamedTuple):
    """A loaded checkpoint."""

    call: Callable[[np.ndarray], Any]

    def predict(self, inputs: np.ndarray, params: Any = None) -> Any:
        """See :func:`signature`; ``params`` is MLflow's and not used."""
        return self.call(np.asarray(inputs))


def _load_pyfunc(path: str) -> Served:
    folder = Path(path)
    if (folder / _localiser.HEAD_FILE).is_file():
        return Served(_head(folder))
    return Served(_boxes(folder) if (folder / _detector.SPEC_FILE).is_file() else _features(folder))


def _features(folder: Path) -> Callable[[np.ndarray], Any]:
    import torch

    from models.encoders.snippets import snippet_features

    encoder, _ = _encoder.load(folder)

    def call(snippets: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            features: np.ndarray = snippet_features(encoder, torch.from_numpy(snippets)).float().numpy()
        return features

    return call


def _head(folder: Path) -> Callable[[np.ndarray], Any]:
    import pandas
    import torch

    opened = _opened_head.load(folder)
    localiser, classifier = opened.of(InBank("", 1.0))
    if opened.banks:
        warnings.warn(f"{folder}: {_opened_head.WITHOUT_BANKS}", stacklevel=2)

    def call(features: np.ndarray) -> pandas.DataFrame:
        rows = _detections.localise(
            localiser,
            classifier,
            opened.classes,
            _detections.Postprocess(),
            torch.from_numpy(features).T.contiguous(),
            1.0,
        )
        values = [(row["label"], row["score"], *row["segment"]) for row in rows]
        return pandas.DataFrame(values, columns=["label", "score", "begin", "end"])

    return call


def _boxes(folder: Path) -> Callable[[np.ndarray], Any]:
    import pandas
    import torch

    detector, spec = _detector.load(folder)

    def call(pictures: np.ndarray) -> pandas.DataFrame:
        with torch.inference_mode():
            found = detector.detect([torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures])
        rows = [
            (number, spec.classes[int(label)], *box.tolist(), float(score))
            for number, one in enumerate(found)
            for box, label, score in zip(one.boxes, one.labels, one.scores, strict=True)
        ]
        return pandas.DataFrame(rows, columns=["picture", "class", "x1", "y1", "x2", "y2", "score"])

    return call
