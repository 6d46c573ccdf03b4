"""Parts of the section ``long_form`` of params.yaml."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.datasets.spans import BUDGET, JITTER, SPAN_S, FillOrder
from pipeline.run.params import Section
from stages._box_context import ROUNDS
from stages._box_labels import MATCH_IOU
from stages._long_form_runs import Pretext
from stages._long_form_schedule import Schedule


class Spans(Section):
    """How spans are drawn; see ``pipeline.datasets.spans``."""

    length_s: int = Field(SPAN_S, ge=1)
    budget: int = Field(BUDGET, ge=1, description="most boxes of a span")
    order: FillOrder = Field("latest", description="which boxes are kept where there are more")
    jitter: float = Field(JITTER, ge=0, lt=1, description="of boxes in training, as a share of their size")
    step_s: int = Field(1, ge=1, description="between the spans of an evaluation")


class Network(Section):
    """The transformers; defaults are the thesis' (section 8.4)."""

    width: int = Field(768, ge=1)
    layers: int = Field(3, ge=1)
    heads: int = Field(12, ge=1)
    inner: int = Field(3072, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    form: Literal["thesis", "released"] = Field("thesis", description="of tokens, heads and losses")


class Variant(Section):
    """One of the models that are compared (tables 8.1 to 8.3)."""

    model: Literal["object_transformer", "frame_transformer", "short_term", "average", "max"]
    pretrain: Pretext = "none"
    lr: float | None = Field(None, gt=0, description="in place of the tuning's: linear models take a higher one")

    @model_validator(mode="after")
    def _can_pretrain(self) -> "Variant":
        if self.pretrain != "none" and "transformer" not in self.model:
            raise ValueError(
                f"model {self.model} has nothing to pre-train; pretrain is {self.pretrain!r}, allowed: none"
            )
        return self


class Fusion(Section):
    """Late fusion with the short-term model, of the first object_transformer that is pre-trained with ``mask``."""

    every_s: int = Field(1, ge=1, description="between the seconds whose boxes are trained on and scored")
    rounds: int = Field(ROUNDS, ge=1, description="passes in which all people and objects of a span are hidden once")
    match_iou: float = Field(
        MATCH_IOU, gt=0, le=1, description="of a box with the true one whose actions are its; where boxes have actions"
    )
    examples: int = Field(3, ge=0, description="test boxes whose attention over time is kept")
    schedule: Schedule
