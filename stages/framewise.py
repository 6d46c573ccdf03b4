"""framewise: which actions are on at every frame, several at once (Coarse-Fine Networks, CVPR 2021).

In: frames, and the segments of the data set. Each network of the table is trained on clips of the training subsets by the
average of a classification and a localisation loss, those of two streams after the networks whose weights they start from
(section 4.1), and labels the whole videos of ``testing``. Out: the networks, their histories, for each its scores by video
id (``instants.npz`` at Charades' 25 instants, ``frames.npz`` at every frame of the file, ``videos.npz`` of the whole, all
as ``python -m pipeline evaluate`` reads them; ``grid.npz``: when Grid Pool took frames, s), and ``table.json``:
``charades_v1_localize`` mAP and wAP, mAP over all frames, with intervals over the test videos, beside chance and cost.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.datasets.opened import stored_files
from pipeline.datasets.schema import SUBSETS, Dataset
from pipeline.datasets.snippets import FrameStore
from pipeline.run import kinds
from pipeline.run.files import write_bytes, write_json
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage, StageError
from stages import _framewise_models, _framewise_scores, _framewise_training, _outputs, _training
from stages._framewise_clips import ClipSpec, Reader
from stages._framewise_networks import PRETRAINED, STREAMS, NetworkSection

if TYPE_CHECKING:
    from torch import nn

_TIMES = ("train_cpu_s/", "test_cpu_ms_per_frame/", "peak_mib/")


class Framewise(Section):
    """Section ``framewise`` of params.yaml."""

    subsets: tuple[Literal["auxiliary", "training"], ...] = Field(("training",), min_length=1)
    clips: ClipSpec
    networks: dict[str, NetworkSection] = Field(
        min_length=1, description="by name, null: none; the first is what others gain over"
    )
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of the test videos")
    seed: int = Field(0, ge=0, description="of the resamples")
    measure_memory: bool = Field(False, description="trace one training step's peak memory, for the metrics")

    @field_validator("networks", mode="before")
    @classmethod
    def _without_those_taken_out(cls, networks: object) -> object:
        return {k: v for k, v in networks.items() if v is not None} if isinstance(networks, dict) else networks

    @model_validator(mode="after")
    def _streams_fit(self) -> "Framewise":
        for name, section in self.networks.items():
            if not (section.coarse and section.fine):
                continue
            for field, wanted in zip(("coarse", "fine"), STREAMS[section.model], strict=True):
                other = self.networks.get(getattr(section, field))
                if other is None or other.model != wanted or other.base_width != section.base_width:
                    raise ValueError(
                        f"networks.{name}.{field} is {getattr(section, field)!r}; it must name a network of this table "
                        f"with model {wanted} and base_width {section.base_width}"
                    )
                mine, theirs = (section.chosen_pooling, section.alpha), (other.chosen_pooling, other.alpha)
                if field == "coarse" and mine != theirs:
                    raise ValueError(
                        f"networks.{name}: pooling and alpha are {mine}, those of its coarse stream {theirs}"
                    )
        return self


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    initial = sorted({section.initial for section in context.params.networks.values()} - {""})
    files = [
        context.root / (_outputs.ENCODERS.format(variant=PRETRAINED) if name == PRETRAINED else name)
        for name in initial
    ]
    return [context.root / _outputs.DATASET_FILE, context.root / _outputs.FRAMES, *files]


def in_order(networks: Mapping[str, NetworkSection]) -> list[str]:
    """Names, those that start from others behind all others."""
    return sorted(networks, key=lambda name: bool(networks[name].coarse))


def framewise(context: Context) -> Mapping[str, float]:
    """Train every network, label the test videos, score."""
    import torch

    from models.weights import save_weights
    from pipeline.training.device import device

    params: Framewise = context.params
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    reader = Reader(
        FrameStore(stored_files(context.root / _outputs.FRAMES, [video.id for video in dataset])),
        params.clips,
        {name: i for i, name in enumerate(dataset.classes)},
    )
    training, held_out, testing = (
        [v for subset in subsets for v in dataset.subset(subset) if v.id in reader.frames and (v.segments or last)]
        for subsets, last in ((params.subsets, False), (["validation"], False), (["testing"], True))
    )
    if not training or not any(video.segments for video in testing):
        have = ", ".join(f"{sum(bool(v.segments) for v in dataset.subset(s))} in {s}" for s in SUBSETS)
        raise StageError(
            f"data set {dataset.name}: labels of frames need annotated videos to train on and to test; there are {have}"
        )
    for name, section in params.networks.items():  # a network that cannot be is refused before any is trained
        try:
            with torch.device("meta"):
                _framewise_models.build(section, len(dataset.classes))
        except ValueError as error:
            raise StageError(f"framewise.networks.{name}: {error}") from error

    trained: dict[str, nn.Module] = {}
    found: dict[str, _framewise_scores.Said] = {}
    metrics = {"training_videos": float(len(training)), "test_videos": float(len(testing))}
    for name in in_order(params.networks):
        section = params.networks[name]
        _training.prepare(section.training)
        network = _framewise_models.build(section, len(dataset.classes))
        for message in _framewise_models.start(network, section, trained, context.root):
            context.progress.say(f"{name}: {message}")
        if section.initial == PRETRAINED:
            metrics[f"pretrained/{name}"] = float(_framewise_models.is_pretrained(section, context.root))
        network.to(device())
        learned = _framewise_training.fit(context, network, name, reader, training, held_out)
        metrics |= {f"{key}/{name}": value for key, value in learned.items()}
        context.progress.start(f"{name}: test videos", len(testing))
        began = time.process_time()
        said = _framewise_scores.say(network, section, reader, testing, context.progress.update)
        seconds = time.process_time() - began
        trained[name], found[name] = network, said
        metrics[f"test_cpu_ms_per_frame/{name}"] = 1000 * seconds / sum(reader.cells(video) for video in testing)
        counted = _framewise_scores.costs(network, section, reader, testing[0])
        metrics |= {f"{key}/{name}": value for key, value in counted.items()}
        spec = {"classes": list(dataset.classes), "clips": params.clips.model_dump(), **section.model_dump(mode="json")}
        write_bytes(context.result / "networks" / f"{name}.safetensors", save_weights(network, spec))
        for key, arrays in said._asdict().items():
            if arrays:
                _framewise_scores.write_arrays(context.result / "scores" / name / f"{key}.npz", arrays)
    ordered = {name: found[name] for name in params.networks}
    metrics |= _framewise_scores.measure(ordered, testing, dataset.classes, params.resamples, params.seed)
    # No clock in an output: times and memory stand in the metrics alone.
    write_json(context.result / "scores" / "table.json", {k: v for k, v in metrics.items() if not k.startswith(_TIMES)})
    return metrics


STAGE = DatasetStage(
    name="framewise",
    section=Framewise,
    reads=(kinds.FRAMES,),
    needs="gpu",
    code=lambda params, _root, _variant: [_framewise_models.table_entry(one) for one in params.networks.values()],
    inputs=inputs,
    run=framewise,
    outs={
        "networks": _outputs.FRAME_NETWORKS,
        "scores": _outputs.FRAME_SCORES,
        "history": "data/checkpoints/history/framewise",
    },
)

if __name__ == "__main__":
    main("framewise")
