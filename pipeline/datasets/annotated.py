"""A folder of videos with annotations in a published format (:mod:`pipeline.datasets.formats.table`).

A trimmed clip becomes one segment from its first to its last frame, so that pre-training and recognition read it like any
other action. People boxed at key frames become a ``truth`` artifact. Annotated videos without a file are left out; ``check``
lists them with every other defect.
"""

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.datasets.definition import UNUSED, AnnotatedDefinition, DefinitionError, resolve_source
from pipeline.datasets.folder import PlannedFile, probe_video
from pipeline.datasets.formats.common import AnnotatedVideo, Annotations, FormatError
from pipeline.datasets.formats.table import read_annotations
from pipeline.datasets.key_frames import plan_key_frames, write_key_frames
from pipeline.datasets.locate import locate
from pipeline.datasets.readers import Planned
from pipeline.datasets.schema import SUBSETS, Segment, Video

CLASS = "class"
"""Task name of a trimmed clip's label among the video labels."""


def annotations(definition: AnnotatedDefinition, root: Path) -> Annotations:
    """The definition's annotations: subsets renamed to ours, held-out videos in ``validation``, times those of the files.

    Raises:
        DefinitionError: the files are missing or not in the format.
    """
    try:
        names = root / definition.class_map if definition.class_map else None
        found = read_annotations(definition.format, root / definition.annotations, definition.split, names)
    except FormatError as error:
        raise DefinitionError(f"data set {definition.name}: {error}") from error
    found = found.renamed(definition.subsets).from_second(definition.starts_s)
    return replace(found, videos=tuple(_dealt(video, definition.held_out) for video in found.videos))


def classes(definition: AnnotatedDefinition, root: Path) -> tuple[str, ...]:
    """Class names in the format's own index order, those without an instance too; raises as :func:`annotations`."""
    return annotations(definition, root).classes


def plan(definition: AnnotatedDefinition, root: Path) -> list[Planned]:
    """The annotated videos that have a file, in id order; says on stderr how many have none or have bad rows.

    Raises:
        DefinitionError: as :func:`annotations`, the folder is missing, a subset is none of ours, or no video has a file.
    """
    found = annotations(definition, root)
    used = {i: video for i, video in enumerate(found.videos) if video.subset != UNUSED}
    videos = list(used.values())
    folder = resolve_source(definition, root)
    strange = next((video.subset for video in videos if video.subset not in SUBSETS), None)
    if strange is not None:
        raise DefinitionError(
            f"data set {definition.name}: subset is {strange!r}, ours are {', '.join(SUBSETS)}; "
            f"say which it is in the definition, `subsets: {{{strange}: testing}}`"
        )
    located = locate(videos, folder)
    if not located.files:
        raise DefinitionError(f"data set {definition.name}: none of its {len(videos)} videos has a file in {folder}")
    errors = sum(defect.severity == "error" for defect in found.defects)
    if located.missing or errors:
        print(
            f"{definition.name}: {len(located.missing)} of {len(videos)} annotated videos have no file, {errors} "
            f"annotation rows cannot be read; `python -m pipeline check --dataset {definition.name}` lists them",
            file=sys.stderr,
        )
    planned, key_frames = [], plan_key_frames(found)
    for i, video in sorted(used.items(), key=lambda one: one[1].id):
        if video.id in located.files:
            file = located.files[video.id]
            entry = PlannedFile(video.id, _relative(file, definition, root), video.subset, video.segments)
            spec = asdict(entry) | {"labels": dict(video.labels), "trimmed": video.trimmed}
            if i in key_frames:
                spec |= {"key_frames": key_frames[i], "classes": list(found.classes)}
            planned.append(Planned(video.id, (file,), spec))
    return planned


def make(_id: str, inputs: Sequence[Path], spec: Mapping[str, Any], folder: Path) -> Video:
    """The entry of one video, which stays where it lies; its truth ``unit.truth.h5``, where its people are boxed.

    Raises as ``folder.probe_video``.
    """
    segments = tuple(Segment(**segment) for segment in spec["segments"])
    video = probe_video(PlannedFile(spec["id"], spec["path"], spec["subset"], segments), inputs[0])
    if "key_frames" in spec:
        write_key_frames(folder / "unit.truth.h5", spec["key_frames"], spec["classes"], video)
    if spec["trimmed"] and CLASS in spec["labels"]:
        segments = (Segment(spec["labels"][CLASS], 0.0, video.duration_s),)
    return replace(video, segments=segments, labels=dict(spec["labels"]))


def _dealt(video: AnnotatedVideo, held_out: float) -> AnnotatedVideo:
    """By its id alone, so that one more video moves no other."""
    place = int.from_bytes(hashlib.blake2b(video.id.encode(), digest_size=8).digest()) / 2**64
    return replace(video, subset="validation") if video.subset == "training" and place < held_out else video


def _relative(file: Path, definition: AnnotatedDefinition, root: Path) -> str:
    """Relative to the project's root, unless the source is absolute: as :mod:`pipeline.datasets.folder` does it."""
    return str(file if Path(definition.source).is_absolute() else os.path.relpath(file, root))
