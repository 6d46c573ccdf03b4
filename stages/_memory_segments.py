"""Task ``segments`` of the stage ``memory``: verb and noun of each annotated segment (EPIC-Kitchens; thesis, section 7.2.2).

A label is a verb, a separator and a noun (``take plate``). Verbs and nouns have a network each, with a window of their own;
an action is scored by P(verb) P(noun) mu(verb, noun), mu of the training segments. A clip is the instant of the bank next to
the middle of its segment; in training every instant within the segment is one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.datasets.formats.epic import Actions
from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.run.params import Section
from pipeline.run.stage import StageError
from stages import _memory
from stages._memory import Clips, Taken, Window
from stages._memory_rows import BankRows
from stages._memory_table import figures
from stages._memory_training import Data, data_of
from stages._training import Optimisation

PARTS = ("verb", "noun")
TOP = (1, 5)


class Segments(Section):
    """What is particular to the task."""

    separator: str = Field(" ", min_length=1, description="between verb and noun in a label; the first one counts")
    noun_window: Window | None = Field(None, description="what the nouns' network reads; null: the same as the verbs'")
    noun_training: Optimisation | None = Field(None, description="of the nouns' network; null: the same as the verbs'")


def parts_of(label: str, separator: str) -> tuple[str, str]:
    """Verb and noun of a label; the noun of one without a separator is empty."""
    verb, _, noun = label.partition(separator)
    return verb, noun


def read(root: Path, dataset: Dataset, window: Window, options: Segments) -> dict[str, Data]:
    """Clips and banks of all subsets, for ``verb`` and ``noun``.

    Raises:
        StageError: no label has a separator, or a subset has no segment with a bank.
    """
    pairs = {name: parts_of(name, options.separator) for name in dataset.classes}
    if not any(noun for _, noun in pairs.values()):
        raise StageError(
            f"memory.segments.separator = {options.separator!r}: none of the {len(pairs)} labels of data set "
            f"{dataset.name} has one between a verb and a noun, such as {next(iter(pairs), '')!r}"
        )
    found = {}
    for part, (name, seen) in enumerate(zip(PARTS, (window, options.noun_window or window), strict=True)):
        classes = list(dict.fromkeys(pair[part] for pair in pairs.values()))
        column = {label: classes.index(pair[part]) for label, pair in pairs.items()}
        found[name] = _data(root, dataset, seen, classes, column)
    return found


def _data(root: Path, dataset: Dataset, window: Window, classes: Sequence[str], column: Mapping[str, int]) -> Data:
    def clips(videos: Sequence[Video], subset: str) -> Clips:
        def take(video: Video, rows: BankRows) -> Taken:
            t, label = list[float](), list[int]()
            for segment in video.segments:
                inside = _instants(segment, rows.instants) if subset == "training" else rows.instants[:0]
                # Without a second of its own a segment still has the one next to it.
                at = inside if len(inside) else [_middle(segment, rows.instants)]
                t += list(at)
                label += [column[segment.label]] * len(at)
            return Taken(np.array(t, np.float64), np.eye(len(classes), dtype=bool)[np.array(label, np.int64)])

        return _memory.read_clips(root, videos, window, take, len(classes))

    data = data_of(root, dataset, window, clips, classes, classes, exclusive=True)
    for name in ("training", "testing"):
        if not len(getattr(data, name)):
            raise StageError(f"data set {dataset.name}: no segment of {name} is in a video with a bank")
    return data


def _instants(segment: Segment, instants: NDArray[np.float64]) -> NDArray[np.float64]:
    return instants[(instants >= segment.t_start) & (instants < segment.t_end)]


def _middle(segment: Segment, instants: NDArray[np.float64]) -> float:
    return float(instants[np.abs(instants - (segment.t_start + segment.t_end) / 2).argmin()])


def measure(
    dataset: Dataset,
    data: Mapping[str, Data],
    scores: Mapping[str, Mapping[str, NDArray[np.float32]]],
    separator: str,
    resamples: int,
    seed: int,
) -> dict[str, float]:
    """Top-1 and top-5 of verbs, nouns and actions, with the prior and without, and gains over the first model.

    ``prior_gain``: of the actions' top-1, with the prior less without.

    Args:
        dataset: of the segments.
        data: by part.
        scores: [S, N, classes] by part and model, for the N test segments.
        separator: of the labels.
        resamples: of test videos and trainings.
        seed: of the draws.
    """
    from pipeline.evaluation.epic import ACTION_BASE, action_prior, rank_with_prior
    from pipeline.evaluation.video_means import video_means

    testing = data["verb"].testing
    train, test = (_actions(dataset, subset, data, separator) for subset in ("training", "testing"))
    prior = action_prior(train, *(len(data[part].classes) for part in PARTS))
    wanted = {"verb": test.verb, "noun": test.noun, "action": test.verb * ACTION_BASE + test.noun}
    wanted["action_without_prior"] = wanted["action"]
    hits: dict[str, dict[str, list[NDArray[np.float64]]]] = {}
    for name in scores["verb"]:
        for verb, noun in zip(scores["verb"][name], scores["noun"][name], strict=True):
            logits = [np.log(np.maximum(one.astype(np.float64), 1e-30)) for one in (verb, noun)]
            with_prior, without = (rank_with_prior(logits[0], logits[1], given, max(TOP)) for given in (prior, None))
            ranks = {"verb": with_prior.verb, "noun": with_prior.noun, "action": with_prior.action}
            ranks["action_without_prior"] = without.action
            for task, table in ranks.items():
                for k in TOP:
                    right = (table[:, :k] == wanted[task][:, None]).any(axis=1).astype(np.float64)
                    hits.setdefault(f"{task}_top{k}", {}).setdefault(name, []).append(right)
    metrics = {f"guessed/{task}": _guessed(train, test, task) for task in ("verb", "noun", "action")}
    for figure, by_name in hits.items():
        stacked = {name: np.stack(tables) for name, tables in by_name.items()}
        for name, mean in video_means(stacked, video=testing.video, resamples=resamples, seed=seed).items():
            metrics |= figures(figure, name, mean.value, mean.gain)
    for name in scores["verb"]:
        pair = {figure: np.stack(hits[f"{figure}_top1"][name]) for figure in ("action_without_prior", "action")}
        gain = video_means(pair, video=testing.video, resamples=resamples, seed=seed)["action"].gain
        assert gain is not None
        metrics |= figures("prior_gain", name, gain, None)
    return metrics


def _actions(dataset: Dataset, subset: str, data: Mapping[str, Data], separator: str) -> Actions:
    """The segments of a subset as EPIC's evaluator takes them; those of videos without a bank only in training."""
    known = set(getattr(data["verb"], subset).ids)
    videos = [video for video in dataset.subset(subset) if subset == "training" or video.id in known]
    rows = [(video.id, segment) for video in videos for segment in video.segments]
    verb, noun = (
        np.array(
            [data[name].classes.index(parts_of(s.label, separator)[part]) for _, s in rows], np.int64
        )
        for part, name in enumerate(PARTS)
    )  # fmt: skip
    ids = tuple(f"{id_} {number}" for number, (id_, _) in enumerate(rows))
    times = np.array([(segment.t_start, segment.t_end) for _, segment in rows], np.float64).reshape(-1, 2)
    names = tuple(id_ for id_, _ in rows)
    return Actions(ids, names, names, times[:, 0], times[:, 1], verb, noun, np.zeros(len(rows), np.int64))


def _guessed(train: Actions, test: Actions, task: str) -> float:
    """What always saying the training segments' most frequent one gives."""
    base = int(max(train.noun.max(initial=0), test.noun.max(initial=0))) + 1
    values = [one.verb * base + one.noun if task == "action" else getattr(one, task) for one in (train, test)]
    return float((values[1] == np.bincount(values[0]).argmax()).mean())
