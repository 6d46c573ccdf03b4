"""CoViAR's streams in a stage: reading clips, training one network per stream, scoring what was not trained on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from pipeline.datasets.clips import ClipSpec, Sources, Stream, labels_at, sample, scored_pictures, training_pictures
from pipeline.datasets.schema import Segment
from pipeline.run.params import Section
from pipeline.run.stage import Context
from stages import _training

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.streams import StreamNetwork

ORDER: tuple[Stream, ...] = ("i", "mv", "residual", "flow")
_BATCH_PICTURES = 256


class NetworkSection(Section):
    """The network of one stream and how it is trained."""

    backbone: str = Field("resnet18", description="a torchvision ResNet; the paper has resnet152 for I-frames")
    base_width: int = Field(64, ge=8, multiple_of=8, description="channels of the first layer; 64 is torchvision's")
    weights: str = Field("", description="file of the backbone's ImageNet weights (torchvision); empty: fresh weights")
    recipe: Literal["plain", "coviar"] = Field("plain", description="coviar: its Adam and multipliers")
    training: _training.Optimisation

    @model_validator(mode="after")
    def _fits(self) -> "NetworkSection":
        if self.weights and self.base_width != 64:
            raise ValueError(f"ImageNet weights need base_width: 64, not {self.base_width}")
        return self


class Item(NamedTuple):
    """What one training example or test score is of: a span of a video, and all of the video's actions."""

    id: str
    span: Segment
    segments: tuple[Segment, ...]


class Task(NamedTuple):
    """What the networks learn: one label of a clip, or all labels of each sampled frame."""

    sources: Sources
    clips: ClipSpec
    classes: dict[str, int]
    frames: bool

    def target(self, item: Item, times: np.ndarray) -> Any:
        """A clip's class number, or 0/1 [K, classes] of its sampled frames."""
        return labels_at(item.segments, self.classes, times) if self.frames else self.classes[item.span.label]


def build(task: Task, stream: Stream, section: NetworkSection, root: Path) -> tuple["StreamNetwork", Sequence[str]]:
    """A fresh network, and what of its ImageNet weights was not loaded."""
    from models.streams import build_stream, load_imagenet

    stack = task.clips.flow_stack if stream == "flow" else 1
    network = build_stream(stream, len(task.classes), section.backbone, section.base_width, stack)
    if not section.weights:
        return network, ()
    return network, load_imagenet(network, section.backbone, root / section.weights).not_loaded


def fit(
    context: Context, network: "nn.Module", task: Task, stream: Stream, section: NetworkSection,
    training: Sequence[Item], held_out: Sequence[Item],
) -> Mapping[str, float]:  # fmt: skip
    """Train one stream; its weights end as the best on ``held_out``, or the last where there is none."""
    import torch
    import torch.nn.functional as F

    from models.streams import normalise
    from pipeline.training.named_groups import PRETRAINED, PRETRAINED_PICTURES, REST, adam_by_name
    from pipeline.training.sampler import batch_indices, step_rng

    options = section.training

    def batches(step: int) -> tuple["Tensor", "Tensor"]:
        rng = step_rng(options.seed, step)
        clips, targets = [], []
        for i in batch_indices(options.seed, step, options.batch, len(training), "wrap"):
            item = training[i]
            drawn = sample(task.sources, item.id, item.span, stream, task.clips, rng)
            clips.append(training_pictures(drawn.pictures, stream, task.clips, rng))
            targets.append(task.target(item, drawn.times))
        return _as_tensor(np.stack(clips)), torch.from_numpy(np.stack(targets))

    def loss(model: Any, batch: tuple["Tensor", "Tensor"], _generator: Any) -> dict[str, "Tensor"]:
        clips, targets = normalise(batch[0], stream), batch[1]
        if task.frames:
            return {"total": F.binary_cross_entropy_with_logits(model.frame_logits(clips), targets)}
        return {"total": F.cross_entropy(model(clips), targets)}

    def measured(model: "nn.Module") -> dict[str, float]:
        return {"score": quality(task, scores(model, task, stream, held_out, options.seed), held_out)}

    optimizer = None
    if section.recipe == "coviar":
        trained = PRETRAINED_PICTURES if stream == "i" else PRETRAINED
        optimizer = adam_by_name(
            network,
            options.lr,
            multipliers=trained if section.weights else {REST: 1.0},
            stem="backbone.",
            weight_decay=options.weight_decay,
        )
    result = _training.fit(
        context,
        options,
        network,
        loss,
        batches,
        name=stream,
        validate=measured if held_out else None,
        metric="score" if held_out else "",
        optimizer=optimizer,
    )
    return {"best_step": float(result.best_step)}


def scores(network: "nn.Module", task: Task, stream: Stream, items: Sequence[Item], seed: int) -> np.ndarray:
    """Scores of items, float32 [N, classes]: mean logits over segments and windows, or mean probabilities of frames."""
    import torch

    from models.streams import normalise
    from pipeline.training.device import device

    network.eval()
    rows, waiting = [], list[np.ndarray]()

    def flush() -> None:
        logits = network.frame_logits(normalise(_as_tensor(np.stack(waiting)).to(device()), stream))  # type: ignore[operator]
        rows.append((logits.sigmoid() if task.frames else logits).mean(dim=1).float().cpu().numpy())
        waiting.clear()

    with torch.inference_mode():
        for number, item in enumerate(items):
            pictures = sample(task.sources, item.id, item.span, stream, task.clips, None).pictures
            waiting.append(scored_pictures(pictures, stream, task.clips, np.random.default_rng([seed, number])))
            if len(waiting) * len(waiting[0]) >= _BATCH_PICTURES:
                flush()
        if waiting:
            flush()
    return np.concatenate(rows)


def quality(task: Task, found: np.ndarray, items: Sequence[Item]) -> float:
    """Top-1 accuracy of clips, or mAP of videos."""
    from pipeline.evaluation.accuracy import multi_label_map

    if task.frames:
        return multi_label_map(found, video_labels(task, items))[0]
    return float((found.argmax(axis=1) == clip_labels(task, items)).mean())


def clip_labels(task: Task, items: Sequence[Item]) -> np.ndarray:
    """Class numbers [N] of clips."""
    return np.array([task.classes[item.span.label] for item in items], np.int64)


def video_labels(task: Task, items: Sequence[Item]) -> np.ndarray:
    """Which classes occur in videos, 0/1 [N, classes]."""
    labels = np.zeros((len(items), len(task.classes)), np.uint8)
    for row, item in zip(labels, items, strict=True):
        row[[task.classes[segment.label] for segment in item.segments]] = 1
    return labels


def gmacs(network: "StreamNetwork", size: int) -> float:
    """Multiply-accumulates of a network for one picture of ``size`` px each way, in 1e9."""
    import copy

    import torch

    from models.costs import conv_macs

    picture = torch.zeros(1, 1, network.channels, size, size, device="meta")
    return conv_macs(copy.deepcopy(network).to("meta"), picture) / 1e9


def _as_tensor(pictures: np.ndarray) -> "Tensor":
    """[B, K, h, w, C] as stored to [B, K, C, h, w]."""
    import torch

    return torch.from_numpy(pictures).permute(0, 1, 4, 2, 3)
