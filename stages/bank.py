"""bank: the long-term feature bank of every video (Wu et al., CVPR 2019; thesis, chapter 7).

In: frames, tracks, and the encoder after ``pretrain``. Out: one ``bank`` artifact per video: for each second, a row for
each person and object that is tracked in its middle, or where ``first_s`` puts the instants (and, if asked for, for each
cell of a grid, for the whole picture, and in training videos for each true person), with the region's feature. The encoder
sees the snippet around that instant, its last feature map is averaged over time, and the region is aligned and maximised
(cells and pictures: averaged).

With an ``encoder`` of its own the bank is decoupled (section 7.1.2): ``feature`` is of that encoder, and ``short`` beside it
of the one after ``pretrain``. ``describe`` puts what a row is, where it is and since when behind its ``feature``; ``short``
stays the encoder's alone. Without ``regions`` that is all: a bank of what the detector says, not of pictures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.runner import main
from pipeline.run.stage import Context, Unit, VideoStage, totals
from stages import _bank_features, _boxes, _encoder, _outputs, _snippets
from stages._bank_description import Description, described
from stages._bank_rows import (
    FIRST_S,
    NO_TRACK,
    STEP_S,
    TRUE_PERSON,
    StoredKind,
    instants,
    row_classes,
    rows_of,
)


class Bank(_bank_features.Regions):
    """Section ``bank`` of params.yaml."""

    kinds: tuple[StoredKind, ...] = Field(
        ("person", "object"),
        min_length=1,
        description="of rows; true_person: of training videos, for memory's task boxes",
    )
    first_s: float = Field(
        FIRST_S, ge=0, lt=STEP_S, description="instant of the first rows, s; then every second. AVA's key frames: 0"
    )
    encoder: str | None = Field(
        None, description="folder of the bank's own encoder, from the project's root; null: that after pretrain"
    )
    describe: tuple[Description, ...] = Field(
        (), description="channels behind the bank's features: class of the row, box, age (of its track)"
    )
    regions: bool = Field(True, description="features have the regions' own channels; false: what describe names")

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
        truth = _outputs.truth(context.root, video)
        if TRUE_PERSON in context.params.kinds and video.subset == "training" and truth.is_file():
            inputs.append(truth)
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
    duration_s, truth = attributes["duration_s"], files[3 * (1 if params.encoder is None else 2) :]
    people = _true_people(truth[0], instants(duration_s, params.first_s)) if truth else []
    rows = rows_of(arrays, classes, size, duration_s, params.kinds, params.grid, params.first_s, people)
    names = row_classes(classes, params.kinds)
    spec = _encoder.load_spec(files[1].parent)
    features = {
        name: _bank_features.features(stored, weights.parent, rows, names, size, params)
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
            "duration_s": duration_s,
        },
    )
    return {
        "rows": len(rows["t"]),
        "seconds": len(np.unique(rows["t"])),
        "tracked_seconds": len(np.unique(rows["t"][rows["track"] != NO_TRACK])),
    }


def _true_people(path: Path, when: np.ndarray) -> list[np.ndarray]:
    """Boxes [P, 4] of the people who are truly there at each of the instants ``when``; none where nobody looked."""
    true = _boxes.read_true_boxes(path, when)
    if true is None or "person" not in true.classes:
        return []
    people = true.label == true.classes.index("person")
    return [true.box[people & (true.picture == number)] for number in range(len(when))]


def finish(_context: Context, _folder: Path, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, float]:
    """Count rows, the seconds that have any, and those in which something is tracked."""
    return totals(records, "rows", "seconds", "tracked_seconds")


def _entries(params: Bank, root: Path, _variant: str) -> Sequence[str]:
    specs = [_encoder.load_spec(folder) for folder in encoders(root, params)]
    return sorted({entry for spec in specs for entry in _encoder.table_entries(spec)})


STAGE = VideoStage(
    name="bank",
    section=Bank,
    reads=(kinds.FRAMES, kinds.COMPRESSED, kinds.TRACKS, kinds.TRUTH),
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
