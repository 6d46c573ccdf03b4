"""detector: train a detector of people and objects on the data set's boxes, from public weights or fresh ones.

In: frames, and the ``truth`` artifacts of the subsets training and validation. A set without boxes takes pictures of the
procedural world instead, drawn on the spot. With ``network.classes: coco`` nothing is trained: the public weights serve as
they are. Out: the detector, and the training's history. Metric: AP50 on validation.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.files import write_json
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage
from stages import _detector, _examples, _outputs, _training

WORLD_SIDE = 320
"""px of the world's pictures for a detector with a size of its own."""


class Detector(Section):
    """Section ``detector`` of params.yaml."""

    network: _detector.Network
    training: _training.Optimisation
    validation_pictures: int = Field(200, ge=1, description="pictures of the subset validation, evenly spread")
    world_videos: int = Field(24, ge=1, description="videos of the world that a set without boxes learns from")
    world_fps: float = Field(1.0, gt=0, le=20, description="pictures per second of these")


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    network: _detector.Network = context.params.network
    public = [context.root / network.weights] if network.weights else []
    if network.classes == "coco":
        return [path for path in public if path.is_file()]
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    videos = [*dataset.subset("training"), *dataset.subset("validation")]
    frames = [_outputs.artifact(context.root, _outputs.FRAMES, video) for video in videos]
    truths = [_outputs.truth(context.root, video) for video in videos]
    return [context.root / _outputs.DATASET_FILE, *(path for path in (*frames, *truths, *public) if path.is_file())]


def train(context: Context) -> Mapping[str, float]:
    """Train on random pictures, mirrored half of the time; keep the weights of the best validation."""
    import torch
    from torch import Tensor

    from models.detectors import Boxes
    from models.norm import train_mode
    from pipeline.evaluation.detection import BoxTable, mean_ap
    from pipeline.training.device import device
    from pipeline.training.sampler import batch_indices, step_rng

    params: Detector = context.params
    options = params.training
    if params.network.classes == "coco":
        return use_public(context)
    learn, held_out = _examples.of_set(context.root, "training"), _examples.of_set(context.root, "validation")
    own_boxes = learn is not None and held_out is not None
    if learn is None or held_out is None:
        context.progress.say("the data set has no boxes for training and validation: learning from the world's")
        size = (params.world_fps, params.network.short_side or WORLD_SIDE)
        learn = _examples.of_world("training", params.world_videos, *size)
        held_out = _examples.of_world("validation", max(1, params.world_videos // 4), *size)
    spec = _detector.DetectorSpec(network=params.network, classes=learn.classes, own_boxes=own_boxes)

    _training.prepare(options)
    model = _detector.build(spec)
    if params.network.weights:
        fresh = _detector.load_public(model, params.network, context.root)
        context.progress.say(f"of {params.network.weights} all is loaded but {', '.join(fresh) or 'nothing'}")
    model = model.to(device())
    train_mode(model, "running")

    def tensor(picture: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)

    def batches(step: int) -> tuple[list[Tensor], list[Boxes]]:
        rng = step_rng(options.seed, step)
        pictures, truth = [], []
        for i in batch_indices(options.seed, step, options.batch, len(learn.boxes), "wrap"):
            picture, boxes = learn.picture(i), learn.boxes[i]
            if rng.random() < 0.5:
                width = picture.shape[1]
                picture = picture[:, ::-1]
                boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
            pictures.append(tensor(picture))
            truth.append(Boxes(torch.from_numpy(boxes).float(), torch.from_numpy(learn.labels[i])))
        return pictures, truth

    def loss(model: Any, batch: tuple[list[Tensor], list[Boxes]], _generator: torch.Generator) -> Mapping[str, Tensor]:
        result: Mapping[str, Tensor] = model.loss(*batch)
        return result

    chosen = np.unique(np.linspace(0, len(held_out.boxes) - 1, params.validation_pictures).astype(np.int64))

    def ap50(model: Any) -> dict[str, float]:
        truth, found = [], []
        for start in range(0, len(chosen), options.batch):
            part = chosen[start : start + options.batch]
            for i, one in zip(
                part, model.detect([tensor(held_out.picture(i)).to(device()) for i in part]), strict=True
            ):
                boxes, labels, scores = (value.cpu().numpy() for value in one)
                found.append(BoxTable.of(np.zeros(len(boxes)), labels, boxes, scores))
                truth.append(BoxTable.of(np.zeros(len(held_out.boxes[i])), held_out.labels[i], held_out.boxes[i]))
        groups = {"AP50_person": range(1), "AP50_objects": range(1, len(spec.classes))}
        values = {n: mean_ap(truth, found, labels, resamples=0).value for n, labels in groups.items() if len(labels)}
        # A class that is not there cannot be found; a metric is a number.
        present = {name: value for name, value in values.items() if np.isfinite(value)}
        return {**present, "AP50": sum(present.values()) / max(1, len(present))}

    result = _training.fit(context, options, model, loss, batches, name="detector", validate=ap50, metric="AP50")
    _detector.save(context.result / "detector", model, spec)
    best = next(row for row in result.history if row["step"] == result.best_step)
    scores = {f"validation_{name}": value for name, value in best.items() if name.startswith("AP50")}
    # Of the world's pictures they say nothing about this data set.
    return {
        **(scores if own_boxes else {}),
        "own_boxes": float(own_boxes),
        "pictures": float(len(learn.boxes)),
        "boxes": float(sum(map(len, learn.boxes))),
        "best_step": float(result.best_step),
    }


def use_public(context: Context) -> Mapping[str, float]:
    """Public weights with COCO's classes, as they are."""
    network: _detector.Network = context.params.network
    _training.prepare(context.params.training)
    spec = _detector.DetectorSpec(network=network, classes=_detector.coco_classes(), own_boxes=False)
    model = _detector.build(spec)
    _detector.load_public(model, network, context.root)
    _detector.save(context.result / "detector", model, spec)
    write_json(context.result / "history" / "detector.json", [])
    return {"own_boxes": 0.0, "classes": float(len(spec.classes))}


STAGE = DatasetStage(
    name="detector",
    section=Detector,
    reads=(kinds.FRAMES, kinds.TRUTH),
    needs="gpu",
    code=lambda params, _root, _variant: [_detector.table_entry(params.network)],
    inputs=inputs,
    run=train,
    checkpoints={"detector": "stages._served"},
    outs={"detector": _outputs.DETECTOR, "history": "data/checkpoints/history/detector"},
)

if __name__ == "__main__":
    main("detector")
