"""The boxes of a video as a long-form model takes them, from the artifacts of the pipeline's stages."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.datasets.schema import file_stem
from pipeline.datasets.spans import Instances, instances_of
from pipeline.run import kinds


def load_instances(folder: Path, video: str, sources: Sequence[int]) -> Instances | None:
    """The boxes of a video, None where it has no bank.

    Args:
        folder: with ``bank/``, ``tracks/`` and ``shots/``.
        video: its id.
        sources: see :func:`~pipeline.datasets.spans.instances_of`.

    Raises:
        ValueError: the bank has no class ``person``, or something in it is not a finite number; it names the file.
    """
    name = f"{file_stem(video)}.h5"
    bank = folder / "bank" / name
    if not bank.is_file():
        return None
    with kinds.BANK.open(bank) as reader:
        arrays = {array: reader[array] for array in kinds.BANK.arrays if array != "short"}
        classes = reader.attributes["classes"].split(",")
    with kinds.TRACKS.open(folder / "tracks" / name) as reader:
        width, height = reader.attributes["width"], reader.attributes["height"]
    shots = kinds.SHOTS.read(folder / "shots" / name)["t_start"]
    try:
        return instances_of(arrays, classes, shots, width, height, sources)
    except ValueError as error:
        raise ValueError(f"{bank}: {error}") from error


def channels(videos: Mapping[str, Instances | None], where: Path) -> int:
    """Channels of the features, the same in all videos.

    Raises:
        ValueError: there are none, or they differ.
    """
    dims = {boxes.feature.shape[1] for boxes in videos.values() if boxes is not None}
    if len(dims) != 1:
        raise ValueError(
            f"{where}: banks of the annotated videos have {sorted(dims) or 'no'} channels; needed: one number"
        )
    return int(dims.pop())
