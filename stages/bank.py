"""bank: the long-term feature bank of every video (Wu et al., CVPR 2019; thesis, chapter 7).

In: frames, tracks, and the encoder after ``pretrain``. Out: one ``bank`` artifact per video: for each second, a row for
each person and object that is tracked in its middle, or where ``first_s`` puts the instants (and, if asked for, for each
cell of a grid and for the whole picture), with the region's feature. The encoder sees the snippet around that instant, its
last feature map is averaged over time, and the region is aligned and maximised (cells and pictures: averaged).

With an ``encoder`` of its own the bank is decoupled (section 7.1.2): ``feature`` is of that encoder, and ``short`` beside it
of the one after ``pretrain``. ``describe`` puts what a row is, where it is and since when behind its ``feature``; ``short``
stays the encoder's alone. Without ``regions`` that is all: a bank of what the detector says, not of pictures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage, totals
from stages import _encoder, _outputs, _snippets
from stages._bank_description import Description, described
from stages._bank_rows import FIRST_S, NO_TRACK, STEP_S, RowKind, row_classes, rows_of

if TYPE_CHECKING:
    from torch import Tensor


class Bank(Section):
    """Section ``bank`` of params.yaml."""

    short_side: int = Field(ge=32, description="px of the pictures that the encoder sees; finer regions cost more")
    kinds: tuple[RowKind, ...] = Field(("person", "object"), min_length=1, description="of rows")
    grid: int = Field(4, ge=1, description="cells of the grid, each way")
    first_s: float = Field(
        FIRST_S, ge=0, lt=STEP_S, description="instant of the first rows, s; then every second. AVA's key frames: 0"
    )
    region: int = Field(7, ge=1, description="cells of an aligned region, each way")
    precision: Literal["fp32", "fp16"] = Field("fp32", description="of the stored features")
    encoder: str | None = Field(
        None, description="folder of the bank's own encoder, from the project's root; null: that after pretrain"
    )
    describe: tuple[Description, ...] = Field(
        (), description="channels behind the bank's features: class of the row, box, age (of its track)"
    )
    regions: bool = Field(True, description="features have the regions' own channels; false: what describe names")
    chunk: int = Field(8, ge=1, description="seconds encoded at once")
    threads: int = Field(1, ge=1, description="torch threads of each process; part of what makes equal bytes")

    @model_validator(mode="after")
    def _says_something(self) -> "Bank":
        if not self.regions and (not self.describe or self.encoder is not None):
            raise ValueError("regions: false leaves the channels of describe; name some there, and no encoder")
        return self


def encoders(root: Path, params: Bank) -> list[Path]:
    """Folders of the encoders: of the bank, and where that is another one, of the short-term side."""
    short = root / _outputs.ENCODERS.format(variant="acp")
    return [short] if params.encoder is None else [root / params.encoder, short]


def units(context: Context) -> Sequence[Unit]:
    """One unit per tracked video."""
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    found = []
    for video, tracks in _outputs.existing(context.root, _outputs.TRACKS, dataset).items():
        inputs = [tracks]
        for folder in encoders(context.root, context.params):
            stored = context.root / _snippets.source(_encoder.load_spec(folder))
            inputs += [stored / tracks.name, folder / _encoder.WEIGHTS_FILE, folder / _encoder.SPEC_FILE]
        found.append(Unit(video.id, video.file_stem, tuple(inputs)))
    return found


def fill(unit: Unit, params: Bank, folder: Path) -> Mapping[str, Any]:
    """Cut the regions of one video.

    Raises:
        ValueError: a feature is not a finite number in the stored precision.
    """
    tracks, *files = unit.inputs
    with kinds.TRACKS.open(tracks) as reader:
        attributes = reader.attributes
        arrays = {name: reader[name] for name in kinds.TRACKS.arrays}
    size = (attributes["height"], attributes["width"])
    classes = attributes["classes"].split(",")
    rows = rows_of(arrays, classes, size, attributes["duration_s"], params.kinds, params.grid, params.first_s)
    names = row_classes(classes, params.kinds)
    spec = _encoder.load_spec(files[1].parent)
    features = {
        name: _features(stored, weights.parent, rows, names, size, params)
        for name, stored, weights in zip(("feature", "short"), files[::3], files[1::3], strict=False)
    }
    if params.describe:
        plain = features["feature"]
        told = described(rows, arrays, names, size, params.describe).astype(plain.dtype)
        features = {"short": plain, **features}
        features["feature"] = np.concatenate([plain, told], axis=1) if params.regions else told
    kinds.BANK.write(
        folder / "unit.h5",
        {**rows, **features},
        {
            "classes": ",".join(names),
            "encoder": spec.name,
            "window_s": spec.window_s,
            "duration_s": attributes["duration_s"],
        },
    )
    return {
        "rows": len(rows["t"]),
        "seconds": len(np.unique(rows["t"])),
        "tracked_seconds": len(np.unique(rows["t"][rows["track"] != NO_TRACK])),
    }


def _features(
    stored: Path, encoder_folder: Path, rows: Mapping[str, np.ndarray], names: Sequence[str],
    size: tuple[int, int], params: Bank,
) -> np.ndarray:  # fmt: skip
    """The features [N, D] of all rows, by one encoder; a few seconds' maps and one second's regions at a time."""
    import torch

    from models.encoders.snippets import normalise_for
    from pipeline.training.device import device
    from pipeline.video.crop import crop_resize

    encoder, spec = _encoder.load_for_inference(encoder_folder, params.threads)
    # The whole picture, not the window that snippets are cut to: people stand at the edges too.
    height, width = (round(side * params.short_side / min(size)) for side in size)
    snippets = _snippets.Snippets(spec, {"video": stored})
    instants = np.unique(rows["t"])
    found = [np.zeros((0, _encoder.feature_dim(encoder)), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(instants), params.chunk):
            some = instants[start : start + params.chunk]
            pictures = snippets.pictures("video", some)
            flat = crop_resize(pictures.reshape(-1, *pictures.shape[2:]), height, width)
            clips = torch.from_numpy(flat.reshape(*pictures.shape[:2], height, width, -1)).permute(0, 4, 1, 2, 3)
            maps = encoder(normalise_for(encoder, clips.to(device()))).mean(dim=2)
            for i, when in enumerate(some):
                mine = rows["t"] == when
                label = np.array(names)[rows["label"][mine]]
                found.append(_regions(maps[i : i + 1], rows["box"][mine], label, size, params).cpu().numpy())
    feature = np.concatenate(found).astype({"fp32": np.float32, "fp16": np.float16}[params.precision])
    if not np.isfinite(feature).all():
        row = int(np.isfinite(feature).all(axis=1).argmin())
        raise ValueError(
            f"the feature of row {row} ({rows['t'][row]:.2f} s) is not finite in {params.precision}; encoder: {spec.name}"
        )
    return feature


def _regions(values: "Tensor", boxes: np.ndarray, label: np.ndarray, size: tuple[int, int], params: Bank) -> "Tensor":
    """Features [n, D] of one instant's rows on its map ``values`` [1, D, h, w]; grid and global rows come last."""
    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    from models.detectors import FeatureMap
    from models.roi import roi_features

    scale = (values.shape[2] / size[0], values.shape[3] / size[1])
    tracked = ~np.isin(label, ["grid", "global"])
    parts = [roi_features(FeatureMap(values, scale), [torch.from_numpy(boxes[tracked])], params.region)]
    for kind, cells in (("grid", params.grid), ("global", 1)):
        if (label == kind).any():
            parts.append(adaptive_avg_pool2d(values.float(), cells)[0].flatten(1).T)
    return torch.cat(parts)


def finish(_context: Context, _folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Count rows, the seconds that have any, and those in which something is tracked."""
    return totals(records, "rows", "seconds", "tracked_seconds")


def _entries(params: Bank, root: Path, _variant: str) -> Sequence[str]:
    specs = [_encoder.load_spec(folder) for folder in encoders(root, params)]
    return sorted({entry for spec in specs for entry in _encoder.table_entries(spec)})


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
