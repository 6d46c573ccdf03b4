"""features@E: snippet features of every video by encoder E (LoFi, section 3: full fidelity, L snippets a video).

In: frames (or compressed streams, as the encoder wants), and the encoder E. Out: one ``features`` artifact per video:
``[L, feature_dim]``, each row with the cell of the video that it stands for, ``t_start`` and ``t_end`` in seconds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage
from stages import _encoder, _outputs, _snippets

if TYPE_CHECKING:
    import numpy as np


class Features(Section):
    """Section ``features`` of params.yaml."""

    snippets: int = Field(100, ge=2, description="L, snippets per video at full fidelity")
    chunk: int = Field(16, ge=1, description="snippets encoded at once")
    threads: int = Field(1, ge=1, description="torch threads of each process; part of what makes equal bytes")


def units(context: Context) -> Sequence[Unit]:
    """One unit per decoded video outside the auxiliary subset, whose segments only the encoder's pre-training sees."""
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    encoder = context.root / _outputs.ENCODERS.format(variant=context.variant)
    files = (encoder / _encoder.WEIGHTS_FILE, encoder / _encoder.SPEC_FILE)
    source = _snippets.source(_encoder.load_spec(encoder))
    stored = _outputs.existing(context.root, source, (v for v in dataset if v.subset != "auxiliary"))
    return [
        Unit(video.id, video.file_stem, (path, *files), {"variant": context.variant, "duration_s": video.duration_s})
        for video, path in stored.items()
    ]


def extract(unit: Unit, params: Features, folder: Path) -> Mapping[str, Any]:
    """Encode the L snippets of one video."""
    stored, weights, _ = unit.inputs
    duration_s = unit.spec["duration_s"]
    features, spec = encode_video(stored, duration_s, weights.parent, params)
    write(folder / "unit.h5", features, spec, duration_s)
    return {}


def encode_video(
    stored: Path, duration_s: float, encoder_folder: Path, params: Features
) -> tuple["np.ndarray", _encoder.EncoderSpec]:
    """Features ``[L, feature_dim]`` of a video's frames or compressed artifact, and the encoder's spec."""
    import numpy as np
    import torch

    from models.encoders.snippets import snippet_features
    from pipeline.training.device import device

    encoder, spec = _encoder.load_for_inference(encoder_folder, params.threads)
    source = _snippets.Snippets(spec, {"video": stored})
    centers = _snippets.centers(duration_s, params.snippets)
    rows = []
    with torch.inference_mode():
        for start in range(0, params.snippets, params.chunk):
            clips = source.clips("video", centers[start : start + params.chunk]).to(device())
            rows.append(snippet_features(encoder, clips).float().cpu().numpy())
    return np.concatenate(rows), spec


def write(path: Path, features: "np.ndarray", spec: _encoder.EncoderSpec, duration_s: float) -> None:
    """Write a ``features`` artifact."""
    from pipeline.datasets.snippets import snippet_cells

    t_start, t_end = snippet_cells(duration_s, len(features))
    kinds.FEATURES.write(
        path,
        {"t_start": t_start, "t_end": t_end, "feature": features},
        {"encoder": spec.name, "window_s": spec.window_s, "frames_per_snippet": spec.frames, "duration_s": duration_s},
    )


def _entries(_params: Any, root: Path, variant: str) -> Sequence[str]:
    return _encoder.table_entries(_encoder.load_spec(root / _outputs.ENCODERS.format(variant=variant)))


STAGE = VideoStage(
    name="features",
    section=Features,
    variants=_outputs.ENCODER_VARIANTS,
    reads=(kinds.FRAMES, kinds.COMPRESSED),
    writes=(kinds.FEATURES,),
    needs="gpu",
    code=_entries,
    out=_outputs.FEATURES,
    units=units,
    process=extract,
)

if __name__ == "__main__":
    main("features")
