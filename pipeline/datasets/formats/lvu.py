"""LVU: nine video-level tasks on movie clips, in both published file forms.

``lvu_1.0/<task>/{train,val,test}.csv``, separated by blanks, one header line: ``class_id class_name youtube_id imdb_id``;
``like_count dislike_count youtube_id imdb_id``; ``view_count youtube_id imdb_id``. JSON (MA-LMM): ``{train,val,test}.json``
``{youtube_id: {"subset", "duration", "<task>": "steven", "<task>_answer": "(a)"}}`` for the seven classification tasks,
without movies and without clips that were lost. The answer's letter is the class' place among those that occur, in both.

Thesis section 8.2: clips of one movie are in one split for the four metadata tasks only.
"""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.datasets.formats.activitynet import finite
from pipeline.datasets.formats.common import AnnotatedVideo, Annotations, Defect, FormatError, only_file
from pipeline.datasets.formats.text import JsonLines, read_lines, read_object, read_table

SPLITS = ("train", "val", "test")


class Task(NamedTuple):
    """One task: its classes as (id in the CSV, name there, name in the JSON); none: a regression."""

    name: str
    classes: tuple[tuple[int, str, str], ...]
    movie_disjoint: bool = False

    @property
    def kind(self) -> Literal["classification", "regression"]:
        """What is predicted, and so by what it is scored: accuracy or mean squared error."""
        return "classification" if self.classes else "regression"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that occur, in index order."""
        return tuple(json_name for _, _, json_name in self.classes)


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task("relationship", (
            (0, "friend", "friend"), (1, "ex_boyfriend_ex_girlfriend", "ex-boyfriend ex-girlfriend"),
            (2, "husband_wife", "husband wife"), (3, "boyfriend_girlfriend", "boyfriend girlfriend"),
        )),
        Task("way_speaking", (
            (0, "explains", "explain"), (1, "confronts", "confront"), (2, "discuss", "discuss"), (3, "teaches", "teach"),
            (4, "threatens", "threaten"),
        )),
        Task("scene", (
            (0, "office", "office"), (1, "airport", "airport"), (2, "school", "school"), (3, "hotel", "hotel"),
            (4, "prison", "prison"), (5, "restaurant", "restaurant"),
        )),
        Task("director", (
            (0, "nm0000229", "steven"), (1, "nm0000217", "martin"), (4, "nm0000165", "ron"), (5, "nm0001675", "robert"),
            (6, "nm0040630", "mark"), (7, "nm0001392", "peter"), (8, "nm0000631", "ridley"),
            (9, "nm0000233", "quentin"),
        ), True),
        Task("writer", (
            (0, "\\N", "unknown"), (1, "nm0001220", "ian"), (2, "nm0000175", "stephen"), (5, "nm0000455", "john"),
            (6, "nm0462895", "david"), (7, "nm0000230", "sylvester"), (9, "nm0326040", "akiva"),
        ), True),
        Task("year", tuple((i, str(1930 + 10 * i), str(i)) for i in range(9)), True),
        Task("genre", (
            (0, "Comedy", "comedy"), (1, "Action-Crime-Adventure", "action"), (2, "Romance", "romance"),
            (3, "Thriller-Horror", "thriller"),
        ), True),
        Task("like_ratio", ()),
        Task("view_count", ()),
    )
}  # fmt: skip
"""The nine tasks; classes that the files declare but never use (directors 2 and 3, writers 3, 4 and 8) have no index."""

TARGET_MEANS = {"like_ratio": 9.138220535629456, "view_count": 11.76425435683139}
"""What the released code subtracts from the regression targets (means of the training sets)."""


class Row(NamedTuple):
    """One clip of one task: ``target`` is the class index (of those that occur) or the regression target."""

    video: str
    subset: str
    target: float
    movie: str | None
    source: str
    line: int | None


@dataclass(frozen=True)
class Lvu:
    """Rows by task in file order, stated durations by video, and what is wrong in the files."""

    rows: Mapping[str, tuple[Row, ...]]
    durations: Mapping[str, float]
    defects: tuple[Defect, ...]


def regression_target(task: str, counts: Iterable[float]) -> float:
    """The released target: 10 likes / (likes + dislikes), or log(views), each less its ``TARGET_MEANS``.

    Raises:
        ValueError: no such task, or counts that give no finite target.
    """
    values = tuple(counts)
    if task == "like_ratio" and len(values) == 2 and min(values) >= 0 and sum(values) > 0:
        return values[0] / sum(values) * 10.0 - TARGET_MEANS[task]
    if task == "view_count" and len(values) == 1 and values[0] > 0:
        return math.log(values[0]) - TARGET_MEANS[task]
    raise ValueError(f"{task} with counts {values}: no regression target")


def read_tasks(path: Path) -> Lvu:
    """Read the CSV folder (with or without ``lvu_durations.csv``), or the folder with the three JSONs.

    Raises:
        FormatError: neither form is there.
    """
    folder = Path(path)
    tables = [task for task in TASKS if (folder / task).is_dir()]
    files = {split: file for split in SPLITS if (file := only_file(folder, (f"{split}.json",)))}
    if not tables and not files:
        raise FormatError(f"{folder}: neither <task>/train.csv nor train.json; tasks are {', '.join(TASKS)}")
    rows: dict[str, list[Row]] = {}
    durations, defects = dict[str, float](), list[Defect]()
    for task in tables:
        rows[task] = _read_csvs(folder / task, TASKS[task], defects)
    for split, file in files.items() if not tables else ():
        _read_json(file, split, rows, durations, defects)
    listed = only_file(folder, ("lvu_durations.csv",))
    for line, row in read_table(listed, ("videoid", "duration")) if listed else ():
        value = finite(row.get("duration"))
        if value is None:
            defects.append(Defect(str(listed), line, f"video {row['videoid']!r}: duration {row.get('duration')!r}"))
        else:
            durations[row["videoid"]] = value
    for task, mine in rows.items():
        defects += _repeated(TASKS[task], mine)
        defects += _shared_movie_defects(TASKS[task], mine)
    return Lvu({task: tuple(mine) for task, mine in rows.items()}, durations, tuple(defects))


def shared_movies(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """Movies that have clips in more than one split, with those splits; empty where movies are not known."""
    splits: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.movie:
            splits.setdefault(row.movie, {})[row.subset] = None
    return {movie: tuple(found) for movie, found in splits.items() if len(found) > 1}


def read(path: Path, _split: int = 1) -> Annotations:
    """LVU as annotations: video labels by task (class names, or the target as text); raises as :func:`read_tasks`.

    Splits are per task, and a video may be in training for one and test for another: ``subset`` is that of its first
    task. Who trains a task takes the splits from :func:`read_tasks`.
    """
    lvu = read_tasks(path)
    labels: dict[str, dict[str, str]] = {}
    first: dict[str, Row] = {}
    for task, rows in lvu.rows.items():
        names = TASKS[task].class_names
        for row in rows:
            first.setdefault(row.video, row)
            labels.setdefault(row.video, {})[task] = names[int(row.target)] if names else repr(row.target)
    videos = tuple(
        AnnotatedVideo(
            id_, row.subset, duration_s=lvu.durations.get(id_), labels=labels[id_], files=(id_,), source=row.source,
            line=row.line,
        )
        for id_, row in first.items()
    )  # fmt: skip
    return Annotations((), videos, lvu.defects)


def _read_csvs(folder: Path, task: Task, defects: list[Defect]) -> list[Row]:
    rows = []
    index = {number: place for place, (number, _, _) in enumerate(task.classes)}
    for split in SPLITS:
        file = only_file(folder, (f"{split}.csv",))
        if file is None:
            defects.append(Defect(str(folder / f"{split}.csv"), None, f"task {task.name}: the file is missing"))
            continue
        for line, text in list(read_lines(file))[1:]:
            fields = next(csv.reader([text.strip()], delimiter=" "))
            counts = [finite(value) for value in fields[:-2]]
            try:
                if task.kind == "regression":
                    target = regression_target(task.name, [value for value in counts if value is not None])
                else:
                    target = float(index[int(fields[0])])
                rows.append(Row(fields[-2], split, target, fields[-1], str(file), line))
            except (KeyError, IndexError, ValueError) as error:
                known = f"; class ids are {', '.join(map(str, index))}" if index else ""
                defects.append(Defect(str(file), line, f"{text!r}: {error}{known}"))
    return rows


def _read_json(
    file: Path, split: str, rows: dict[str, list[Row]], durations: dict[str, float], defects: list[Defect]
) -> None:
    lines = JsonLines(file)
    for id_, entry in read_object(file).items():
        if not isinstance(entry, dict):
            defects.append(Defect(str(file), lines(id_), f"video {id_!r}: not an object"))
            continue
        duration = finite(entry.get("duration"))
        if duration is not None:
            durations[id_] = duration
        for task in TASKS.values():
            if task.name not in entry or not task.classes:
                continue
            answer, name = str(entry.get(f"{task.name}_answer", "")), str(entry[task.name])
            place = ord(answer[1]) - ord("a") if len(answer) == 3 else -1
            if not 0 <= place < len(task.classes) or task.class_names[place] != name:
                expected = ", ".join(f"({chr(ord('a') + i)}) {n}" for i, n in enumerate(task.class_names))
                text = f"video {id_!r}: {task.name} is {name!r} {answer}; classes are {expected}"
                defects.append(Defect(str(file), lines(id_), text))
                continue
            subset = str(entry.get("subset", split))
            rows.setdefault(task.name, []).append(Row(id_, subset, float(place), None, str(file), None))


def _repeated(task: Task, rows: list[Row]) -> list[Defect]:
    first: dict[str, Row] = {}
    found = []
    for row in rows:
        before = first.setdefault(row.video, row)
        if before is not row:
            text = f"task {task.name}: video {row.video!r} stands before, in {before.subset}"
            found.append(Defect(row.source, row.line, text))
    return found


def _shared_movie_defects(task: Task, rows: list[Row]) -> list[Defect]:
    shared = shared_movies(rows)
    if not shared:
        return []
    folder = str(Path(rows[0].source).parent)
    example, splits = next(iter(shared.items()))
    text = (
        f"task {task.name}: {len(shared)} movies have clips in several splits, such as {example} in {', '.join(splits)}"
    )
    if task.movie_disjoint:
        return [Defect(folder, None, f"{text}; this task's splits must not share movies")]
    return [Defect(folder, None, f"{text}; LVU published this task so", "warning")]
