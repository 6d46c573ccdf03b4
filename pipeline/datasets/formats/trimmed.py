"""Sets of trimmed clips, one action each: Kinetics, Something-Something v2, UCF101 and HMDB51, in their own lists.

A clip's label stands in ``labels["class"]``; the one segment that it is, is known when the file is opened.
"""

import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.datasets.formats.common import AnnotatedVideo, Annotations, Defect, FormatError, class_index, only_file
from pipeline.datasets.formats.text import JsonLines, read_json, read_lines, read_object, read_table

SPLITS = (1, 2, 3)
"""Of UCF101 and HMDB51, whose published figure is the mean over the three."""


def read_kinetics(path: Path, _split: int = 1) -> Annotations:
    """Read ``kinetics-400_train.csv`` and the like, one file or all of a folder.

    Header ``label,youtube_id,time_start,time_end,split`` (``is_cc`` in the older ones; test files may lack labels). The
    file of a clip is ``<youtube_id>_000010_000020.*``. A list without header, ``path label`` as of PySlowFast, is read
    too; its labels are class numbers and its subset is the file's name.

    Raises:
        FormatError: no such file, or neither form.
    """
    path = Path(path)
    files = sorted([*path.glob("*.csv"), *path.glob("*.csv.gz")]) if path.is_dir() else [path]
    if not files:
        raise FormatError(f"{path}: no CSV in this folder")
    videos, defects = list[AnnotatedVideo](), list[Defect]()
    for file in files:
        head = next(read_lines(file), (0, ""))[1]
        rows = _kinetics(file, defects) if "youtube_id" in head else _path_list(file, defects)
        videos += rows
    return _finish(videos, defects, ())


def read_ssv2(path: Path, _split: int = 1) -> Annotations:
    """Read Something-Something v2: a folder with its JSONs, or one of them beside ``*labels.json``.

    ``[{"id", "label", "template", "placeholders"}]``, classes ``{"Pushing something from left to right": "94"}``; the class
    of a clip is its template without the brackets. Test lists have ids only.

    Raises:
        FormatError: no such file, or no list of labels.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    table = only_file(folder, ("*labels.json",))
    if table is None:
        raise FormatError(f"{folder}: no something-something-v2-labels.json in this folder")
    numbers = read_object(table)
    classes = tuple(sorted(numbers, key=lambda name: int(numbers[name])))
    wanted = ("train", "validation", "test")
    files = (
        [file for part in wanted if (file := only_file(folder, (f"*-{part}.json", f"{part}.json")))]
        if path.is_dir()
        else [path]
    )
    videos, defects = list[AnnotatedVideo](), list[Defect]()
    for file in files:
        lines = JsonLines(file)
        subset = next((part for part in wanted if part in file.name), "train")
        data = read_json(file)
        if not isinstance(data, list):
            raise FormatError(f"{file}: expected a list of clips")
        for index, row in enumerate(data):
            id_ = str(row.get("id", "")) if isinstance(row, dict) else ""
            if not id_:
                defects.append(Defect(str(file), lines(index), f"clip {index} has no id"))
                continue
            label = str(row.get("template", "")).replace("[", "").replace("]", "")
            if label and label not in numbers:
                text = f"clip {id_}: template {row['template']!r} is no class of {table.name}"
                defects.append(Defect(str(file), lines(index), text))
                continue
            videos.append(_clip(id_, subset, label, (id_,), file, None))
    return _finish(videos, defects, classes)


def read_ucf101(path: Path, split: int = 1) -> Annotations:
    """Read UCF101's lists: a folder with ``trainlist0N.txt``, ``testlist0N.txt`` and, if it is there, ``classInd.txt``.

    ``Diving/v_Diving_g09_c02.avi 17`` (classes from 1); test lists have no label, the folder's name is the class.

    Raises:
        FormatError: a list is missing, or ``split`` is not 1, 2 or 3.
    """
    folder = Path(path)
    _check_split(split)
    videos, defects, numbers = list[AnnotatedVideo](), list[Defect](), dict[str, int]()
    index = only_file(folder, ("classInd.txt",))
    for line, text in read_lines(index) if index else ():
        number, _, name = text.strip().partition(" ")
        if not number.isdigit():
            defects.append(Defect(str(index), line, f"{text!r} is not a number and a class"))
            continue
        numbers[name] = int(number)
    listed = bool(numbers)
    for part in ("train", "test"):
        file = only_file(folder, (f"{part}list{split:02d}.txt",))
        if file is None:
            raise FormatError(f"{folder}: no {part}list{split:02d}.txt in this folder")
        for line, text in read_lines(file):
            name, _, number = text.strip().partition(" ")
            label, _, clip = name.partition("/")
            if not clip or (number and not number.strip().isdigit()):
                defects.append(Defect(str(file), line, f"{text.strip()!r} is not 'Class/clip.avi [number]'"))
                continue
            known = numbers.get(label) if listed or number == "" else numbers.setdefault(label, int(number))
            if (listed and known is None) or (number and known != int(number)):
                problem = f"class {label!r} is number {number or '?'} here, {known or 'none'} in the class list"
                defects.append(Defect(str(file), line, problem))
                continue
            videos.append(_clip(Path(clip).stem, part, label, (name, clip), file, line))
    return _finish(videos, defects, tuple(sorted(numbers, key=lambda name: numbers[name])))


def read_hmdb51(path: Path, split: int = 1) -> Annotations:
    """Read HMDB51's splits: a folder (or the ``.tar.gz``) of ``<class>_test_split<N>.txt``.

    ``some_clip.avi 1``: 1 train, 2 test, 0 in neither.

    Raises:
        FormatError: no such file in the folder, or ``split`` is not 1, 2 or 3.
    """
    path = Path(path)
    _check_split(split)
    videos, defects = list[AnnotatedVideo](), list[Defect]()
    pattern = re.compile(rf"(.+)_test_split{split}\.txt$")
    for name, lines in _hmdb_files(path):
        match = pattern.match(Path(name).name)
        if not match:
            continue
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            clip, _, use = text.strip().rpartition(" ")
            if use not in ("0", "1", "2") or not clip:
                defects.append(Defect(name, number, f"{text.strip()!r} is not 'clip.avi 0|1|2'"))
            elif use != "0":
                stem = clip.strip().removesuffix(".avi")
                files = (f"{match[1]}/{clip.strip()}", clip.strip())
                videos.append(_clip(stem, "train" if use == "1" else "test", match[1], files, Path(name), number))
    if not videos and not defects:
        raise FormatError(f"{path}: no <class>_test_split{split}.txt in here")
    return _finish(videos, defects, ())


def _hmdb_files(path: Path) -> Iterator[tuple[str, list[str]]]:
    if path.is_dir():
        found = sorted(path.rglob("*_test_split*.txt"))
        for file in found:
            yield str(file), file.read_text().splitlines()
        if found:
            return
        archive = only_file(path, ("*plits.tar",))
        if archive is None:
            return
        path = archive
    try:
        with tarfile.open(path) as archive_file:
            for member in sorted(archive_file.getmembers(), key=lambda m: m.name):
                data = archive_file.extractfile(member) if member.isfile() else None
                if data is not None:
                    yield f"{path}/{member.name}", data.read().decode().splitlines()
    except (tarfile.TarError, FileNotFoundError) as error:
        raise FormatError(f"{path}: neither a folder of split files nor a tar archive: {error}") from error


def _kinetics(file: Path, defects: list[Defect]) -> Iterator[AnnotatedVideo]:
    for line, row in read_table(file, ("youtube_id", "time_start", "time_end")):
        id_, start, end = row["youtube_id"], row.get("time_start", ""), row.get("time_end", "")
        if not (start.isdigit() and end.isdigit()):
            text = f"clip {id_!r}: time_start {start!r} and time_end {end!r} must be whole seconds"
            defects.append(Defect(str(file), line, text))
            continue
        if int(end) <= int(start):
            defects.append(Defect(str(file), line, f"clip {id_!r} ends at {end} s, starts at {start} s", "warning"))
        name = f"{id_}_{int(start):06d}_{int(end):06d}"
        subset = row.get("split") or Path(file.name.removesuffix(".gz")).stem.rpartition("_")[2]
        label = row.get("label", "")
        yield _clip(name, subset, label, tuple(filter(None, (f"{label}/{name}", name, id_))), file, line)


def _path_list(file: Path, defects: list[Defect]) -> Iterator[AnnotatedVideo]:
    subset = Path(file.name.removesuffix(".gz")).stem
    for line, text in read_lines(file):
        fields = text.split(",") if "," in text else text.split()
        label = fields[-1].strip() if len(fields) in (2, 3) else ""
        if not label.isdigit():
            defects.append(Defect(str(file), line, f"{text!r} is not 'path [frames] label' with a class number"))
            continue
        name = fields[0].strip()
        yield _clip(Path(name).stem, subset, label, (name, Path(name).name), file, line)


def _clip(id_: str, subset: str, label: str, files: Iterable[str], source: Path, line: int | None) -> AnnotatedVideo:
    labels = {"class": label} if label else {}
    return AnnotatedVideo(
        id_, subset, labels=labels, trimmed=True, files=tuple(files), source=str(source), line=line
    )  # fmt: skip


def _finish(videos: list[AnnotatedVideo], defects: list[Defect], classes: tuple[str, ...]) -> Annotations:
    """Note clips that stand twice; classes in the order of ``classes``, or sorted."""
    first: dict[str, AnnotatedVideo] = {}
    for video in videos:
        before = first.setdefault(video.id, video)
        if before is not video:
            text = f"clip {video.id!r} stands before, at {Path(before.source).name}:{before.line}"
            other = before.subset != video.subset
            defects.append(Defect(video.source, video.line, text + (f", in subset {before.subset!r}" if other else "")))
        if not video.labels and video.subset not in ("test", "testing"):
            defects.append(Defect(video.source, video.line, f"clip {video.id!r} ({video.subset}) has no label"))
    names = classes or tuple(
        sorted(
            {video.labels["class"] for video in videos if video.labels}, key=lambda n: (len(n) if n.isdigit() else 0, n)
        )
    )
    known = class_index(names)
    for video in videos:
        if video.labels and video.labels["class"] not in known:
            text = f"clip {video.id!r}: {json.dumps(video.labels['class'])} is no class"
            defects.append(Defect(video.source, video.line, text))
    return Annotations(names, tuple(first.values()), tuple(defects))


def _check_split(split: int) -> None:
    if split not in SPLITS:
        raise FormatError(f"split is {split!r}; it must be one of {', '.join(map(str, SPLITS))}")
