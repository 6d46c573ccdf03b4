"""bank: the long-term feature bank of every video (Wu et al., CVPR 2019; thesis, chapter 7).

In: frames, tracks, and the encoder after ``pretrain``. Out: one ``bank`` artifact per video: for each second, a row for
each person and object that is tracked in its middle, with the region's feature. The encoder sees the snippet around that
instant, its last feature map is averaged over time, and the region is aligned and maximised.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage, totals
from stages import _encoder, _outputs, _snippets

STEP_S = 1.0
"""Seconds between the rows of a track."""


class Bank(Section):
    """Section ``bank`` of params.yaml."""

    short_side: int = Field(ge=32, description="px of the pictures that the encoder sees; finer regions cost more")
    region: int = Field(7, ge=1, description="cells of an aligned region, each way")
    chunk: int = Field(8, ge=1, description="seconds encoded at once")
    threads: int = Field(1, ge=1, description="torch threads of each process; part of what makes equal bytes")


def units(context: Context) -> Sequence[Unit]:
    """One unit per tracked video."""
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    encoder = context.root / _outputs.ENCODERS.format(variant="acp")
    files = (encoder / _encoder.WEIGHTS_FILE, encoder / _encoder.SPEC_FILE)
    stored = context.root / _snippets.source(_encoder.load_spec(encoder))
    tracks = _outputs.existing(context.root, _outputs.TRACKS, dataset)
    return [Unit(video.id, video.file_stem, (stored / path.name, path, *files)) for video, path in tracks.items()]


def rows_of(tracks: Mapping[str, np.ndarray], duration_s: float) -> dict[str, np.ndarray]:
    """What the bank holds besides features: arrays ``t``, ``track``, ``label``, ``box``, ``score`` by row.

    The instants are the middles of whole seconds; a track has a row for each from its first box to its last, so that no
    region lies beyond a cut.
    """
    from pipeline.video.tracks import box_at

    rows = []
    instants = np.arange(STEP_S / 2, max(duration_s, STEP_S), STEP_S)
    for number in np.unique(tracks["track"]):
        mine = tracks["track"] == number
        t, box = tracks["t"][mine], tracks["box"][mine].astype(np.float64)
        for when in instants[(instants >= t[0]) & (instants <= t[-1])]:
            nearest = int(np.abs(t - when).argmin())
            rows.append((when, number, tracks["label"][mine][0], box_at(t, box, when), tracks["score"][mine][nearest]))
    rows.sort(key=lambda row: row[:2])
    t, track, label, boxes, score = zip(*rows, strict=True) if rows else ((), (), (), np.zeros((0, 4)), ())
    return {
        "t": np.array(t, np.float64),
        "track": np.array(track, np.int32),
        "label": np.array(label, np.int16),
        "box": np.array(boxes, np.float32),
        "score": np.array(score, np.float32),
    }


def fill(unit: Unit, params: Bank, folder: Path) -> Mapping[str, Any]:
    """Cut the regions of one video."""
    import torch

    from models.detectors import FeatureMap
    from models.encoders.snippets import normalise_for
    from models.roi import roi_features
    from pipeline.training.device import device
    from pipeline.video.crop import crop_resize

    stored, tracks, weights, _ = unit.inputs
    encoder, spec = _encoder.load_for_inference(weights.parent, params.threads)
    with kinds.TRACKS.open(tracks) as reader:
        attributes = reader.attributes
        rows = rows_of({name: reader[name] for name in kinds.TRACKS.arrays}, attributes["duration_s"])
    source = (attributes["height"], attributes["width"])
    # The whole picture, not the window that snippets are cut to: people stand at the edges too.
    height, width = (round(side * params.short_side / min(source)) for side in source)
    snippets = _snippets.Snippets(spec, {"video": stored})
    instants = np.unique(rows["t"])
    features = [np.zeros((0, _encoder.feature_dim(encoder)), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(instants), params.chunk):
            pictures = snippets.pictures("video", instants[start : start + params.chunk])
            flat = crop_resize(pictures.reshape(-1, *pictures.shape[2:]), height, width)
            clips = torch.from_numpy(flat.reshape(*pictures.shape[:2], height, width, -1)).permute(0, 4, 1, 2, 3)
            maps = encoder(normalise_for(encoder, clips.to(device()))).mean(dim=2)
            scale = (maps.shape[2] / source[0], maps.shape[3] / source[1])
            boxes = [
                torch.from_numpy(rows["box"][rows["t"] == when]) for when in instants[start : start + params.chunk]
            ]
            features.append(roi_features(FeatureMap(maps, scale), boxes, params.region).cpu().numpy())
    kinds.BANK.write(
        folder / "unit.h5",
        {**rows, "feature": np.concatenate(features)},
        {
            "classes": attributes["classes"],
            "encoder": spec.name,
            "window_s": spec.window_s,
            "duration_s": attributes["duration_s"],
        },
    )
    return {"rows": len(rows["t"]), "seconds": len(instants)}


def finish(_context: Context, _folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Count rows, and the seconds that have any."""
    return totals(records, "rows", "seconds")


def _entries(_params: Any, root: Path, _variant: str) -> Sequence[str]:
    return _encoder.table_entries(_encoder.load_spec(root / _outputs.ENCODERS.format(variant="acp")))


STAGE = VideoStage(
    name="bank",
    section=Bank,
    reads=(kinds.FRAMES, kinds.COMPRESSED, kinds.TRACKS),
    writes=(kinds.BANK,),
    needs="gpu",
    code=_entries,
    out=_outputs.BANK,
    units=units,
    process=fill,
    finish=finish,
)

if __name__ == "__main__":
    main("bank")
