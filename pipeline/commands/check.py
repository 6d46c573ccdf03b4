"""``python -m pipeline check``: list every defect of a data set, with file and line."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.datasets import annotated
from pipeline.datasets.check import check_sets, check_videos
from pipeline.datasets.definition import (
    RAW,
    ActivityNetDefinition,
    AnnotatedDefinition,
    Definition,
    FolderDefinition,
    SourceDefinition,
    WorldDefinition,
    definition_names,
    load_definition,
    resolve_source,
)
from pipeline.datasets.formats.common import Annotations, Defect
from pipeline.datasets.formats.table import COMMON_SUBSETS, read_annotations
from pipeline.datasets.readers import reader_entry, reader_module
from pipeline.video.decode import probe, scan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--dataset", metavar="NAME", help="a file data/datasets/NAME.yaml (default: all of them)")
    parser.add_argument(
        "--annotations", type=Path, metavar="PATH", help="or: an annotation file or folder, with --format"
    )
    parser.add_argument(
        "--format", metavar="NAME", help="own, activitynet, hacs, thumos14, charades, ava, kinetics, ..."
    )
    parser.add_argument("--videos", type=Path, metavar="DIR", help="with --annotations: the folder with the videos")
    parser.add_argument("--class-map", type=Path, metavar="FILE", help="with --annotations: the classes' names")
    parser.add_argument("--split", type=int, default=1, metavar="N", help="ucf101, hmdb51: which of the three splits")
    parser.add_argument(
        "--starts-s", type=float, default=0.0, metavar="SECOND",
        help="with --annotations: second of their clock at which the files begin (900 for AVA's 15-minute cuts)",
    )  # fmt: skip
    parser.add_argument("--decode", action="store_true", help="decode every video instead of only opening it")


def run(options: argparse.Namespace) -> int:
    """Check; see :func:`check`."""
    return check(options, Path.cwd())


def check(args: argparse.Namespace, root: Path, say: Callable[[str], None] = print) -> int:
    """Check and print one line per defect and a summary; returns 1 if any is an error, else 0.

    Raises:
        ValueError: wrong options, or annotations that are not in the format at all.
    """
    if args.annotations is not None:
        if args.format is None or args.dataset is not None:
            raise ValueError("--annotations goes with --format, and not with --dataset")
        found = read_annotations(args.format, args.annotations, args.split, args.class_map).from_second(args.starts_s)
        return _report(str(args.annotations), found, args.videos, args.decode, say)
    if args.starts_s or any(value is not None for value in (args.videos, args.format, args.class_map)):
        raise ValueError("--format, --videos, --class-map and --starts-s go with --annotations")
    if args.dataset:
        return _check_definition(load_definition(root, args.dataset), root, args.decode, say)
    status = 0
    for name in definition_names(root):
        definition = load_definition(root, name)
        if isinstance(definition, WorldDefinition) or _is_here(definition, root):
            status = max(status, _check_definition(definition, root, args.decode, say))
        else:
            say(f"{name}: not here, neither {root / RAW / name} nor {definition.source} is a folder")
    return status


def _is_here(definition: SourceDefinition, root: Path) -> bool:
    return (root / RAW / definition.name).is_dir() or (root / definition.source).is_dir()


def _check_definition(definition: Definition, root: Path, decode: bool, say: Callable[[str], None]) -> int:
    if isinstance(definition, AnnotatedDefinition):
        folder = resolve_source(definition, root)
        return _report(definition.name, annotated.annotations(definition, root), folder, decode, say)
    if isinstance(definition, FolderDefinition | ActivityNetDefinition) and definition.annotations:
        found = read_annotations("activitynet", root / definition.annotations)
        found = found.renamed({**COMMON_SUBSETS, **definition.subsets})
        return _report(definition.name, found, resolve_source(definition, root), decode, say)
    # Made videos (the world, stitched clips) and plain folders have no annotations to hold against files.
    planned = reader_module(reader_entry(definition)).plan(definition, root)
    files = {file for one in planned for file in one.inputs}
    absent = [Defect(str(file), None, "the file is missing") for file in sorted(files) if not file.is_file()]
    return _print(definition.name, iter(absent), f"{len(planned)} videos from {len(files)} files", say)


def _report(name: str, found: Annotations, videos: Path | None, decode: bool, say: Callable[[str], None]) -> int:
    def defects() -> Iterator[Defect]:
        yield from found.defects
        yield from check_sets(found, name)
        if videos is not None:
            yield from check_videos(found, videos, scan if decode else probe)

    subsets = Counter(video.subset for video in found.videos)
    instances = sum(len(video.segments) or int(video.trimmed and bool(video.labels)) for video in found.videos)
    boxes = f", {len(found.boxes)} boxes" if found.boxes is not None else ""
    listed = ", ".join(f"{count} {subset}" for subset, count in sorted(subsets.items()))
    counts = f"{len(found.videos)} videos ({listed}), {instances} instances, {len(found.classes)} classes{boxes}"
    if videos is not None and not videos.is_dir():
        raise ValueError(f"{videos}: there is no such folder")
    return _print(name, defects(), counts, say)


def _print(name: str, defects: Iterator[Defect], counts: str, say: Callable[[str], None]) -> int:
    severities: Counter[str] = Counter()
    for defect in defects:
        severities[defect.severity] += 1
        say(str(defect))
    say(f"{name}: {counts}; {severities['error']} errors, {severities['warning']} warnings")
    return 1 if severities["error"] else 0
