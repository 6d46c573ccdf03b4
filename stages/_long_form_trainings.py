"""The trainings of the stage ``long_form``: each is kept in the work store, so that a killed stage goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.schema import Video, file_stem
from pipeline.datasets.spans import Instances, Sampling
from pipeline.run.files import write_bytes, write_json
from pipeline.run.stage import Context
from stages import _box_actions, _box_examples, _long_form_runs
from stages._box_actions import Labelled, Labelling
from stages._box_context import BoxContext
from stages._long_form_parts import Fusion, Variant
from stages._long_form_runs import Design, Pretext, TaskVideos, Teacher
from stages._long_form_schedule import Kept, Schedule
from stages._long_form_tasks import prediction

if TYPE_CHECKING:
    from models.long_form import PretrainingModel

_NO_ACTIONS = {
    "segments": "no second of training or of testing with a person has an action",
    "boxes": "no person's box of training or of testing matches a true one, at an instant that is known, with an action",
}


class Fused(NamedTuple):
    """``scores`` [S, N, classes] of the short-term model, of context, of both; N boxes; and as of ``_box_examples``."""

    scores: dict[str, NDArray[np.float32]]
    context: BoxContext
    labelled: Labelled
    counts: dict[str, int]
    examples: list[dict[str, Any]]


@dataclass
class Trainings:
    """What the trainings share.

    ``params`` the section; ``boxes`` by video, and their ``labelling``; channels by source; ``pool`` the videos for
    pre-training; ``teacher`` the short-term model, if there is one; ``pretrained`` what was pre-trained so far.
    """

    context: Context
    params: Any
    boxes: Mapping[str, Instances]
    labelling: Labelling
    feature_dims: tuple[int, ...]
    pool: Sequence[Instances]
    teacher: Teacher | None = None
    pretrained: "dict[tuple[str, Pretext, int], PretrainingModel]" = field(default_factory=dict)

    @property
    def sampling(self) -> Sampling:
        """How spans are drawn."""
        return Sampling(**self.params.spans.model_dump())

    def fit_teacher(self, people: Labelled) -> None:
        """Train the short-term model on people's boxes."""
        schedule, name = self.params.short_term, "short_term_boxes"
        self.teacher, history = _box_actions.fit_short_term(people, schedule, self._kept(name, schedule.steps))
        self._record(name, history)

    def can(self, name: str, variant: Variant, skipped: dict[str, str]) -> bool:
        """Whether the variant can be trained; if not, why is noted."""
        why = ""
        if variant.pretrain in ("mask", "both") and self.teacher is None:
            why = "no short-term model tells what is masked: people's boxes in training have no actions"
        elif variant.pretrain != "none" and sum(len(one) > 0 for one in self.pool) < 2:
            why = "pre-training compares videos: fewer than 2 of training have a box"
        if why:
            skipped[f"model {name}"] = why
        return not why

    def predictions(self, name: str, variant: Variant, task: TaskVideos) -> NDArray[np.float64]:
        """What each of the variant's trainings says of the task's test videos, [S, N, outputs]."""
        from models.weights import save_weights

        tables = []
        for number in range(self.params.seeds):
            design = self._design(variant.model)
            tuning: Schedule = self.params.tuning
            own = {"seed": tuning.seed + number, "lr": variant.lr or tuning.lr}
            schedule = _long_form_runs.with_steps(tuning.but(**own), len(task.rows["train"]))
            backbone = self._backbone(variant, number)
            weights = backbone.backbone.state_dict() if backbone else None
            model = _long_form_runs.build(design, max(task.classes, 1), schedule.seed, weights)
            training = f"{name}-{file_stem(task.name)}-{number}"
            kept = self._kept(training, schedule.steps)
            self._record(training, _long_form_runs.tune(model, task, schedule, self.sampling, kept))
            about = {"task": task.name, "classes": task.classes, "variant": name, **variant.model_dump(mode="json")}
            write_bytes(self.context.result / "models" / f"{training}.safetensors", save_weights(model, about))
            spans = _long_form_runs.spans(model, task, "test", self.sampling)
            tables.append(np.stack([prediction(task.classes, spans[row.video]) for row in task.rows["test"]]))
        return np.stack(tables)

    def fused(
        self,
        fusion: Fusion,
        variants: Mapping[str, Variant],
        videos: Mapping[str, Sequence[Video]],
        classes: Sequence[str],
        skipped: dict[str, str],
    ) -> Fused:
        """Of people's boxes in testing; the short-term model alone learns on as many boxes as it does beside the context."""
        assert self.teacher is not None
        masked = [v for v in variants.values() if v.model == "object_transformer" and v.pretrain in ("mask", "both")]
        chosen = masked[0] if masked else None
        nothing = Fused({}, *_box_actions.contexts_of_none(len(classes)), {}, [])
        if chosen is None or self.teacher.classes != len(classes):
            skipped["boxes"] = (
                "no object_transformer is pre-trained with masked instances"
                if chosen is None
                else f"the short-term model has {self.teacher.classes} classes, the data set {len(classes)}"
            )
            return nothing
        tables: dict[str, list[NDArray[np.float32]]] = {"short_term": [], "context": [], "fused": []}
        for number in range(self.params.seeds):
            model = self._backbone(chosen, number)
            assert model is not None
            training, testing = (
                _box_actions.contexts(
                    model, videos[subset], self.boxes, self.labelling, len(classes), self.sampling, fusion.every_s,
                    fusion.rounds, subset == "training",
                )
                for subset in ("training", "testing")
            )  # fmt: skip
            if not (training[1].labels.any() and testing[1].labels.any()):
                skipped["boxes"] = _NO_ACTIONS[self.labelling.by]
                return nothing
            schedule = fusion.schedule.but(seed=fusion.schedule.seed + number)
            kept = self._kept(f"fusion-{number}", schedule.steps)
            scores, history = _box_actions.adapt(model, self.teacher, training, testing[0], schedule, kept)
            self._record(f"fusion-{number}", history)
            kept = self._kept(f"alone-{number}", schedule.steps)
            alone, history = _box_actions.fit_short_term(training[1], schedule, kept, self.teacher)
            self._record(f"alone-{number}", history)
            scores["short_term"] = _box_actions.probabilities(alone, testing[1].feature)
            for name, found in tables.items():
                found.append(scores[name])
            if number == 0:
                ids = [video.id for video in videos["testing"] if video.id in self.boxes]
                counts = _box_examples.counts(self.labelling, ids, *testing, fusion.every_s)
                examples = _box_examples.looked(
                    model, ids, self.boxes, *testing, scores["fused"], classes, self.sampling, fusion.rounds,
                    fusion.examples,
                )  # fmt: skip
        return Fused({name: np.stack(found) for name, found in tables.items()}, *testing, counts, examples)

    def _backbone(self, variant: Variant, number: int) -> "PretrainingModel | None":
        key = (variant.model, variant.pretrain, number)
        if variant.pretrain != "none" and key not in self.pretrained:
            schedule: Schedule = self.params.pretraining
            name = f"pretrain_{variant.model}_{variant.pretrain}-{number}"
            self.pretrained[key], history = _long_form_runs.pretrain(
                self._design(variant.model), variant.pretrain, self.teacher, self.pool,
                schedule.but(seed=schedule.seed + number), self.sampling, self._kept(name, schedule.steps),
            )  # fmt: skip
            self._record(name, history)
        return self.pretrained.get(key)

    def _design(self, model: str) -> Design:
        return Design(model, self.feature_dims, self.params.network.model_dump())

    def _kept(self, name: str, steps: int) -> Kept:
        context = self.context
        context.progress.start(f"{name} steps", steps)

        def on_step(done: int, _total: int, values: dict[str, float]) -> None:
            context.progress.update(done, note=f"loss {values['total']:.3f}")
            if done % 10 == 0 or done == steps:
                context.log(done, {f"{name}/{key}": value for key, value in values.items()})

        return Kept(context.work / f"{name}.pt", f"{context.fingerprint}/{name}", on_step)

    def _record(self, name: str, history: Sequence[Mapping[str, float]]) -> None:
        write_json(self.context.result / "history" / f"{name}.json", list(history))
