"""Clips of the stage ``memory``: when, their labels, their short-term features, and their windows of the bank.

What a clip is, a task says (``_memory_seconds``, ``_memory_boxes``, ``_memory_segments``). Plain arrays until :func:`batch`.
A video without a bank (its file failed) has no clips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.datasets.bank_windows import BankIndex, WindowMode, WindowRule, read_window, stack_windows
from pipeline.datasets.schema import Video
from pipeline.run.artifacts import ArtifactError
from pipeline.run.params import Section
from stages._bank_index import bank_paths
from stages._bank_rows import RowKind
from stages._memory_rows import BankRows, Ragged, joined, read_rows, rows_at

if TYPE_CHECKING:
    from torch import Tensor


class Window(Section):
    """What is read from the bank, and which of a clip's own features are classified."""

    mode: WindowMode = Field("causal", description="causal: nothing after the clip; centred: half before, half after")
    settle_s: float = Field(1.0, ge=0, description="causal: younger rows are left out; tracks look so far ahead")
    kinds: tuple[RowKind, ...] = Field(("person", "object"), min_length=1, description="of rows of the bank")
    per_second: int = Field(5, ge=1, description="K, most rows of a second")
    min_score: float = Field(0.0, ge=0, le=1, description="of a row's detection")
    short: Literal["global", "person"] = Field(
        "global",
        description="a clip's own features: of the whole picture, or of each person (the highest answer counts)",
    )


class Variant(Section):
    """One of the models that are compared (table 7.1)."""

    operator: Literal["none", "sto", "nl", "avg", "max"] = Field(description="none: the 3D CNN's features alone")
    window_s: float | None = Field(None, gt=0, description="length of the window; none and sto have no window")
    noun_window_s: float | None = Field(None, gt=0, description="task segments: of the nouns' network; null: the same")
    lr: float | None = Field(None, gt=0, description="in place of the training's: a linear model takes a higher one")

    @model_validator(mode="after")
    def _window_where_read(self) -> "Variant":
        for name in ("window_s", "noun_window_s"):
            value, needed = getattr(self, name), name == "window_s" and self.operator not in ("none", "sto")
            if (value is None and needed) or (value is not None and self.operator in ("none", "sto")):
                raise ValueError(
                    f"operator {self.operator} and {name} {value}: none and sto have none, the others a window_s"
                )
        return self


class Taken(NamedTuple):
    """A video's n clips as a task takes them: ``t`` [n] instants of its bank, ``labels`` [n, C], and for a clip that is one
    box its ``row`` [n] of the bank and its ``box`` [n, 4].
    """

    t: NDArray[np.float64]
    labels: NDArray[np.bool_]
    row: NDArray[np.int64] | None = None
    box: NDArray[np.float32] | None = None


Task = Callable[[Video, BankRows], Taken]


@dataclass(frozen=True)
class Clips:
    """N clips of V videos.

    ``ids`` the videos; ``video`` [N] number of each clip's; ``t`` [N] its instant; ``seen_s`` [N] up to when its window
    reaches, or its instant; ``labels`` [N, C]; ``short`` what is classified; ``own`` the rows of its instant (STO); ``box``
    [N, 4] of a clip that is a box, as the task has it.
    """

    ids: tuple[str, ...]
    video: NDArray[np.int64]
    t: NDArray[np.float64]
    seen_s: NDArray[np.float64]
    labels: NDArray[np.bool_]
    short: Ragged
    own: Ragged
    box: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.t)


def read_clips(root: Path, videos: Sequence[Video], window: Window, task: Task, classes: int) -> Clips:
    """All clips of the videos that have a bank.

    Args:
        root: of the project.
        videos: in order.
        window: what is read.
        task: a video's clips and their labels.
        classes: C of the labels.

    Raises:
        ArtifactError: a bank without the rows that ``window.short`` names, or features that are not finite.
    """
    paths = bank_paths(root, videos)
    known = [video for video in videos if video.id in paths]
    t, seen, boxes = [np.zeros(0)], [np.zeros(0)], [np.zeros((0, 4), np.float32)]
    labels, numbers = [np.zeros((0, classes), bool)], [np.zeros(0, np.int64)]
    short, own = list[Ragged](), list[Ragged]()
    for number, video in enumerate(known):
        rows = read_rows(paths[video.id])
        taken = task(video, rows)
        if taken.row is not None:
            short.append(Ragged(rows.feature[taken.row], np.arange(len(taken.t)), np.arange(1, len(taken.t) + 1)))
        else:
            short.append(rows_at(rows, (window.short,), window.min_score, taken.t))
            if window.short == "global" and (short[-1].last - short[-1].first != 1).any():
                raise ArtifactError(f"{rows.path}: has no rows of kind global; add it to bank.kinds")
        own.append(rows_at(rows, window.kinds, window.min_score, taken.t))
        t.append(taken.t)
        seen.append(taken.t + rows.reach_s - window.settle_s if window.mode == "causal" else taken.t)
        labels.append(taken.labels)
        boxes.append(taken.box if taken.box is not None else np.zeros((len(taken.t), 4), np.float32))
        numbers.append(np.full(len(taken.t), number, np.int64))
    return Clips(
        tuple(video.id for video in known), np.concatenate(numbers), np.concatenate(t), np.concatenate(seen),
        np.concatenate(labels), joined(short), joined(own), np.concatenate(boxes),
    )  # fmt: skip


def batch(
    clips: Clips,
    chosen: NDArray[np.int64],
    banks: BankIndex,
    window: Window,
    variant: Variant,
    rng: np.random.Generator | None = None,
) -> "tuple[Tensor, Tensor, Tensor, Tensor]":
    """``short`` [B, Q, D], ``present`` [B, Q], ``bank`` [B, M, D'], ``valid`` [B, M] of some clips.

    Columns of the window that no clip of the batch fills are cut off; masked padding has no part in anything.
    """
    import torch

    short, present = clips.short.padded(chosen)
    if variant.window_s is not None:
        rule = WindowRule(variant.window_s, window.per_second, window.mode)
        read = [read_window(banks, clips.ids[clips.video[n]], float(clips.seen_s[n]), rule, rng) for n in chosen]
        rows, valid, _ = stack_windows(read)
        filled = max(1, int(valid.sum(axis=1).max()))
        rows, valid = rows[:, :filled].astype(np.float32), valid[:, :filled]
    elif variant.operator == "sto":
        rows, valid = clips.own.padded(chosen)
    else:
        rows, valid = np.zeros((len(chosen), 1, banks.dim), np.float32), np.zeros((len(chosen), 1), bool)
    return torch.from_numpy(short), torch.from_numpy(present), torch.from_numpy(rows), torch.from_numpy(valid)
