"""One training of a long-form model, for the command ``lvu`` and the stage ``long_form``: build, pre-train, tune, look."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.lvu import SPLITS, Row
from pipeline.datasets.spans import Instances, Sampling
from stages import _long_form
from stages._long_form_schedule import NOT_KEPT, Kept, Schedule
from stages._long_form_tasks import Benchmark, score

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.long_form import PretrainingModel

Pretext = Literal["none", "mask", "compatibility", "both"]
EPOCHS = 10
"""Of an end task whose schedule has no number of steps (section 8.4)."""


class Teacher(NamedTuple):
    """The short-term model's linear classifier: ``weight`` [K, D], ``bias`` [K]."""

    weight: "Tensor"
    bias: "Tensor"

    @property
    def classes(self) -> int:
        """K."""
        return len(self.bias)

    def logits(self, z: "Tensor") -> "Tensor":
        """Of features ``[..., D]``, ``[..., K]``."""
        return z @ self.weight.to(z).T + self.bias.to(z)


class Design(NamedTuple):
    """``model`` of ``models.long_form``, channels by source, and options that a transformer is built with."""

    model: str
    feature_dims: tuple[int, ...]
    network: Mapping[str, Any]

    @property
    def pretrains(self) -> bool:
        """Whether it has a backbone that can be pre-trained."""
        return "transformer" in self.model


class TaskVideos(NamedTuple):
    """A task's rows by split, as far as their videos are at hand; ``missing`` are those that are not."""

    name: str
    classes: int
    rows: Mapping[str, tuple[Row, ...]]
    videos: Mapping[str, Instances]
    missing: tuple[str, ...]

    def without_rows(self, *splits: str) -> list[str]:
        """Those of the splits that have no video."""
        return [split for split in splits if not self.rows[split]]


def read_teacher(path: Path, dim: int) -> Teacher:
    """Read ``weight`` [K, D] and ``bias`` [K] from an .npz file.

    Raises:
        ValueError: they do not fit each other or features of ``dim`` channels.
    """
    import torch

    with np.load(path, allow_pickle=False) as file:
        weight, bias = torch.from_numpy(file["weight"]).float(), torch.from_numpy(file["bias"]).float()
    if weight.shape != (len(bias), dim):
        raise ValueError(f"{path}: weight is {list(weight.shape)}, bias {len(bias)}; features have {dim}")
    return Teacher(weight, bias)


def task_videos(name: str, lvu: Benchmark, instances: Callable[[str], Instances | None]) -> TaskVideos:
    """The task ``name`` on the videos that are at hand; a label whose video is not is listed."""
    rows = lvu.rows[name]
    found = {row.video: boxes for row in rows if (boxes := instances(row.video)) is not None}
    splits = {split: tuple(row for row in rows if row.subset == split and row.video in found) for split in SPLITS}
    return TaskVideos(
        name, len(lvu.classes[name]), splits, found, tuple(sorted({row.video for row in rows} - found.keys()))
    )


def build(design: Design, outputs: int, seed: int, backbone: Mapping[str, Any] | None = None) -> "nn.Module":
    """A model with fresh weights by ``seed``, or those of a pre-trained ``backbone``."""
    import torch

    from models.long_form import build_long_form

    torch.manual_seed(seed)
    options = design.network if design.pretrains else {}
    model = build_long_form(design.model, design.feature_dims, outputs, **options)
    if design.pretrains and backbone is not None:
        model.backbone.load_state_dict(backbone)  # type: ignore[union-attr]
    return model


def pretrain(
    design: Design,
    pretext: Pretext,
    teacher: Teacher | None,
    videos: Sequence[Instances],
    schedule: Schedule,
    sampling: Sampling,
    kept: Kept = NOT_KEPT,
) -> "tuple[PretrainingModel, list[dict[str, float]]]":
    """A pre-trained model with its heads, and the history of its training.

    Raises:
        ValueError: nothing to pre-train in this design, no teacher for masked instances, or as ``_long_form.pretrain``.
    """
    from models.long_form import PretrainingModel

    if not design.pretrains:
        raise ValueError(f"model {design.model} has nothing to pre-train; say --pretrain none")
    mask = pretext in ("mask", "both")
    if mask and teacher is None:
        raise ValueError("masked instances are told by the short-term model's classes: --teacher is missing")
    form = design.network.get("form", "thesis")
    fresh: Any = build(design, 1, schedule.seed)
    model = PretrainingModel(fresh.backbone, teacher.classes if teacher else 1, form, fresh.frames)
    history = _long_form.pretrain(
        model, videos, teacher.logits if teacher else (lambda z: z), schedule, sampling, mask=mask,
        compatibility=pretext in ("compatibility", "both"), released=form == "released", kept=kept,
    )  # fmt: skip
    return model, history


def with_steps(schedule: Schedule, videos: int) -> Schedule:
    """The schedule with its number of steps: ten epochs of so many videos where it says none."""
    return schedule.but(steps=schedule.steps or max(1, EPOCHS * videos // schedule.batch))


def tune(
    model: "nn.Module", task: TaskVideos, schedule: Schedule, sampling: Sampling, kept: Kept = NOT_KEPT
) -> list[dict[str, float]]:
    """Train on the task's training split, and give the history; kept are the weights that validate best, if any can."""

    def validate(model: "nn.Module") -> dict[str, float]:
        value = score(task.classes, task.rows["val"], spans(model, task, "val", sampling))
        return {"validation": (1 if task.classes else -1) * value}  # the loop keeps what is highest

    train, held_out = task.rows["train"], bool(task.rows["val"])
    return _long_form.fine_tune(
        model, [task.videos[row.video] for row in train], np.array([row.target for row in train]),
        with_steps(schedule, len(train)), sampling, classes=task.classes,
        validate=validate if held_out else None, metric="validation" if held_out else "", kept=kept,
    )  # fmt: skip


def spans(model: "nn.Module", task: TaskVideos, split: str, sampling: Sampling) -> dict[str, NDArray[np.floating]]:
    """Scores ``[S, outputs]`` of all spans of each of the split's videos."""
    return {row.video: _long_form.span_outputs(model, task.videos[row.video], sampling) for row in task.rows[split]}
